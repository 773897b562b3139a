-- What an operator ordered. A checkpoint that is paused is not moved, and what was begun before a pause does not move it
-- afterwards: `pauses` counts them. A record that is listed is taken in without its events, which are quarantined.
ALTER TABLE checkpoint ADD COLUMN pauses INTEGER NOT NULL DEFAULT 0;
ALTER TABLE checkpoint ADD COLUMN paused_us INTEGER;
ALTER TABLE checkpoint ADD COLUMN paused_because TEXT;
CREATE TABLE skipped_record (
    topic TEXT NOT NULL, log_partition INTEGER NOT NULL, log_position INTEGER NOT NULL,
    because TEXT NOT NULL, ordered_us INTEGER NOT NULL,
    PRIMARY KEY (topic, log_partition, log_position)
) WITHOUT ROWID;
