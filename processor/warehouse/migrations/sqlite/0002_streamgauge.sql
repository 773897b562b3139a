-- What stands beside the lake in the same transactions.

-- Next record of each log partition that the warehouse has not taken in; the fence of every commit.
CREATE TABLE checkpoint (
    topic TEXT NOT NULL, log_partition INTEGER NOT NULL, position INTEGER NOT NULL,
    log_time_us INTEGER NOT NULL, -- running maximum, Unix microseconds; 0 = none yet
    PRIMARY KEY (topic, log_partition)
) WITHOUT ROWID;

-- Which log the positions are of: in one that was made anew they would mean other records.
CREATE TABLE log_identity (topic TEXT PRIMARY KEY, identity TEXT NOT NULL) WITHOUT ROWID;

-- One row per commit and partition that it moved.
CREATE TABLE commits (
    commit_id INTEGER NOT NULL, committed_at TEXT NOT NULL, lane TEXT NOT NULL, log_partition INTEGER NOT NULL,
    from_position INTEGER NOT NULL, to_position INTEGER NOT NULL, events INTEGER NOT NULL,
    PRIMARY KEY (commit_id, log_partition)
) WITHOUT ROWID;

CREATE INDEX commits_position ON commits (log_partition, from_position);

-- Sorted runs of the keys of events that were taken in, each a range of bytes of a file in the lake folder.
CREATE TABLE id_run (
    run_id INTEGER PRIMARY KEY AUTOINCREMENT, log_partition INTEGER NOT NULL, level INTEGER NOT NULL,
    path TEXT NOT NULL, offset_bytes INTEGER NOT NULL, keys INTEGER NOT NULL
);

-- State of the processor at a position: only saves time, the records give the same.
CREATE TABLE state_file (
    log_partition INTEGER PRIMARY KEY, position INTEGER NOT NULL, path TEXT NOT NULL
);

-- Rollups: a commit appends deltas, a merger folds them into merged rows of every grain. Readers add both.
CREATE TABLE usage_delta (
    commit_id INTEGER NOT NULL, project TEXT NOT NULL, bucket_us INTEGER NOT NULL,
    type TEXT NOT NULL, feature TEXT NOT NULL,
    events INTEGER NOT NULL, late_events INTEGER NOT NULL
);
CREATE INDEX usage_delta_bucket ON usage_delta (project, bucket_us);
CREATE TABLE usage_merged (
    grain TEXT NOT NULL, project TEXT NOT NULL, bucket_us INTEGER NOT NULL,
    type TEXT NOT NULL, feature TEXT NOT NULL,
    events INTEGER NOT NULL, late_events INTEGER NOT NULL, last_commit INTEGER NOT NULL,
    PRIMARY KEY (grain, project, bucket_us, type, feature)
) WITHOUT ROWID;

CREATE TABLE quality_delta (
    commit_id INTEGER NOT NULL, project TEXT NOT NULL, bucket_us INTEGER NOT NULL,
    format TEXT NOT NULL, type TEXT NOT NULL, outcome TEXT NOT NULL, reason TEXT NOT NULL,
    events INTEGER NOT NULL, late_events INTEGER NOT NULL, clamped_events INTEGER NOT NULL,
    offset_events INTEGER NOT NULL
);
CREATE INDEX quality_delta_bucket ON quality_delta (project, bucket_us);
CREATE TABLE quality_merged (
    grain TEXT NOT NULL, project TEXT NOT NULL, bucket_us INTEGER NOT NULL,
    format TEXT NOT NULL, type TEXT NOT NULL, outcome TEXT NOT NULL, reason TEXT NOT NULL,
    events INTEGER NOT NULL, late_events INTEGER NOT NULL, clamped_events INTEGER NOT NULL,
    offset_events INTEGER NOT NULL, last_commit INTEGER NOT NULL,
    PRIMARY KEY (grain, project, bucket_us, format, type, outcome, reason)
) WITHOUT ROWID;

CREATE TABLE ledger_delta (
    commit_id INTEGER NOT NULL, project TEXT NOT NULL, bucket_us INTEGER NOT NULL,
    log_partition TEXT NOT NULL, format TEXT NOT NULL, type TEXT NOT NULL, outcome TEXT NOT NULL,
    reason TEXT NOT NULL, events INTEGER NOT NULL
);
CREATE INDEX ledger_delta_bucket ON ledger_delta (project, bucket_us);
CREATE TABLE ledger_merged (
    grain TEXT NOT NULL, project TEXT NOT NULL, bucket_us INTEGER NOT NULL,
    log_partition TEXT NOT NULL, format TEXT NOT NULL, type TEXT NOT NULL, outcome TEXT NOT NULL,
    reason TEXT NOT NULL, events INTEGER NOT NULL, last_commit INTEGER NOT NULL,
    PRIMARY KEY (grain, project, bucket_us, log_partition, format, type, outcome, reason)
) WITHOUT ROWID;

CREATE TABLE projects (
    project TEXT PRIMARY KEY, created_at TEXT NOT NULL,
    keyless_legacy INTEGER NOT NULL DEFAULT 0, -- 1 = requests of the app's old feeds are admitted without a key
    retention_days INTEGER -- events older than this are suppressed; NULL = none is too old
) WITHOUT ROWID;

-- Only SHA-256 of keys and tokens is kept.
CREATE TABLE upload_keys (
    key_id TEXT PRIMARY KEY, project TEXT NOT NULL REFERENCES projects (project), name TEXT NOT NULL,
    key_sha256 TEXT NOT NULL UNIQUE, created_at TEXT NOT NULL, revoked_at TEXT
) WITHOUT ROWID;
CREATE TABLE service_tokens (
    token_id TEXT PRIMARY KEY, project TEXT NOT NULL REFERENCES projects (project), name TEXT NOT NULL,
    token_sha256 TEXT NOT NULL UNIQUE, scopes TEXT NOT NULL, -- comma-separated
    created_at TEXT NOT NULL, revoked_at TEXT
) WITHOUT ROWID;
