-- Logs that positions are of, where one took the place of another: from `base` on, up to the next base of the partition, a
-- position is `base` + the position in log `identity`. A topic that has rows here has none in log_identity.
CREATE TABLE adopted_log (
    topic TEXT NOT NULL, log_partition INTEGER NOT NULL, base INTEGER NOT NULL, identity TEXT NOT NULL,
    PRIMARY KEY (topic, log_partition, base)
) WITHOUT ROWID;
