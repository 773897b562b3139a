-- What stands beside the lake in the same transactions. Texts are compared by their bytes, as SQLite does.

-- Next record of each log partition that the warehouse has not taken in; the fence of every commit.
CREATE TABLE checkpoint (
    topic TEXT COLLATE "C" NOT NULL, log_partition BIGINT NOT NULL, position BIGINT NOT NULL,
    log_time_us BIGINT NOT NULL, -- running maximum, Unix microseconds; 0 = none yet
    PRIMARY KEY (topic, log_partition)
) WITH (fillfactor = 50);

-- Which log the positions are of: in one that was made anew they would mean other records.
CREATE TABLE log_identity (topic TEXT COLLATE "C" PRIMARY KEY, identity TEXT NOT NULL);

-- One row per commit and partition that it moved.
CREATE TABLE commits (
    commit_id BIGINT NOT NULL, committed_at TIMESTAMPTZ NOT NULL, lane TEXT NOT NULL, log_partition BIGINT NOT NULL,
    from_position BIGINT NOT NULL, to_position BIGINT NOT NULL, events BIGINT NOT NULL,
    PRIMARY KEY (commit_id, log_partition)
);

CREATE INDEX commits_position ON commits (log_partition, from_position);

-- Sorted runs of the keys of events that were taken in, each a range of bytes of a file in the lake folder.
CREATE TABLE id_run (
    run_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, log_partition BIGINT NOT NULL, level BIGINT NOT NULL,
    path TEXT NOT NULL, offset_bytes BIGINT NOT NULL, keys BIGINT NOT NULL
);

CREATE INDEX id_run_partition ON id_run (log_partition);

-- State of the processor at a position: only saves time, the records give the same.
CREATE TABLE state_file (
    log_partition BIGINT PRIMARY KEY, position BIGINT NOT NULL, path TEXT NOT NULL
);

CREATE TABLE projects (
    project TEXT COLLATE "C" PRIMARY KEY, created_at TIMESTAMPTZ NOT NULL,
    keyless_legacy BOOLEAN NOT NULL DEFAULT FALSE, -- requests of the app's old feeds are admitted without a key
    retention_days BIGINT -- events older than this are suppressed; NULL = none is too old
);

-- Only SHA-256 of keys and tokens is kept.
CREATE TABLE upload_keys (
    key_id TEXT COLLATE "C" PRIMARY KEY, project TEXT COLLATE "C" NOT NULL REFERENCES projects (project),
    name TEXT NOT NULL, key_sha256 TEXT NOT NULL UNIQUE, created_at TIMESTAMPTZ NOT NULL, revoked_at TIMESTAMPTZ
);
CREATE TABLE service_tokens (
    token_id TEXT COLLATE "C" PRIMARY KEY, project TEXT COLLATE "C" NOT NULL REFERENCES projects (project),
    name TEXT NOT NULL, token_sha256 TEXT NOT NULL UNIQUE, scopes TEXT NOT NULL, -- comma-separated
    created_at TIMESTAMPTZ NOT NULL, revoked_at TIMESTAMPTZ
);
