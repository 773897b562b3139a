ALTER TABLE ducklake_table_stats SET (fillfactor = 20);
ALTER TABLE ducklake_table_column_stats SET (fillfactor = 20);
