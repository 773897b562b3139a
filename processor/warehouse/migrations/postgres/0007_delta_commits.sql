-- Merging reads the deltas of the oldest commits, of all projects. With the project first in the index it read all there were,
-- once for every step. The list of changed buckets asks by commit too.

DROP INDEX usage_delta_commit;
CREATE INDEX usage_delta_commit ON usage_delta (commit_id);
DROP INDEX quality_delta_commit;
CREATE INDEX quality_delta_commit ON quality_delta (commit_id);
CREATE INDEX ledger_delta_commit ON ledger_delta (commit_id);
DROP INDEX stream_delta_commit;
CREATE INDEX stream_delta_commit ON stream_delta (commit_id);
DROP INDEX stream_bins_delta_commit;
CREATE INDEX stream_bins_delta_commit ON stream_bins_delta (commit_id);
DROP INDEX release_delta_commit;
CREATE INDEX release_delta_commit ON release_delta (commit_id);
DROP INDEX release_bins_delta_commit;
CREATE INDEX release_bins_delta_commit ON release_bins_delta (commit_id);
DROP INDEX layout_delta_commit;
CREATE INDEX layout_delta_commit ON layout_delta (commit_id);
DROP INDEX layout_bins_delta_commit;
CREATE INDEX layout_bins_delta_commit ON layout_bins_delta (commit_id);
DROP INDEX error_delta_commit;
CREATE INDEX error_delta_commit ON error_delta (commit_id);
