-- From when on rows are kept, by project and by what they are (the names of the settings): what is older is gone, or going.
CREATE TABLE retention_cut (
    project TEXT COLLATE "C" NOT NULL, kept TEXT COLLATE "C" NOT NULL,
    kept_from_us BIGINT NOT NULL, -- a midnight; it never moves back
    swept_us BIGINT NOT NULL, -- everything older than this is gone
    PRIMARY KEY (project, kept)
);
