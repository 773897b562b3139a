CREATE INDEX commits_position ON commits (log_partition, from_position);
