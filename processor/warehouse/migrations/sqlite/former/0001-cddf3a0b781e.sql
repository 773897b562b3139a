DROP INDEX ducklake_data_file_path;
CREATE INDEX ducklake_data_file_begin ON ducklake_data_file (begin_snapshot);
CREATE INDEX ducklake_data_file_end ON ducklake_data_file (end_snapshot);
