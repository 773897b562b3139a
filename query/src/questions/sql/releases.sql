WITH sums AS (
  SELECT
    app_version,
    min(bucket_start) AS first_day,
    sum(attempts) AS attempts,
    sum(playback_failures)::double / nullif(sum(attempts), 0) AS failure_rate,
    sum(ebvs)::double / nullif(sum(attempts - abandoned_early - left_unstarted), 0) AS ebvs_rate,
    1.0 - sum(crashed_sessions)::double / nullif(sum(sessions), 0) AS crash_free_rate
  FROM rollup_release_day
  WHERE bucket_start >= $1 AND bucket_start < $2 AND app_version <> ''
  GROUP BY app_version
),
starts AS (
  SELECT app_version, percentile_of_bins(bin, n, 0.95) AS startup_ms_p95
  FROM rollup_release_bins_day
  WHERE metric = 'startup_ms' AND bucket_start >= $1 AND bucket_start < $2
  GROUP BY app_version
),
both AS (
  SELECT sums.*, starts.startup_ms_p95
  FROM sums LEFT JOIN starts ON sums.app_version = starts.app_version
)
SELECT
  app_version,
  first_day,
  attempts,
  failure_rate,
  lag(failure_rate) OVER w AS failure_rate_before,
  ebvs_rate,
  lag(ebvs_rate) OVER w AS ebvs_rate_before,
  crash_free_rate,
  lag(crash_free_rate) OVER w AS crash_free_rate_before,
  startup_ms_p95,
  lag(startup_ms_p95) OVER w AS startup_ms_p95_before
FROM both
WINDOW w AS (ORDER BY first_day, app_version)
ORDER BY first_day DESC, app_version DESC
