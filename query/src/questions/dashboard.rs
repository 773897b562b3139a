//! What dashboards ask of a project: load, startup, stalls, releases, errors.

use super::{Question, questions};

pub(super) const QUESTIONS: &[Question] = questions! {
    8 "concurrency" Project 1 [From, To]
        "Tiles and viewers at once, attempts, starts and failures per minute."
        "SELECT bucket_start, sum(views_at_start) AS tiles, sum(viewers_at_start) AS viewers, sum(attempts) AS attempts, \
sum(started) AS started, sum(playback_failures) AS failures FROM rollup_release_minute \
WHERE bucket_start >= $1 AND bucket_start < $2 GROUP BY bucket_start ORDER BY bucket_start DESC";
    9 "startup" Project 7 [From, To]
        "Startup times by device platform and version of the app, day by day."
        "SELECT bucket_start AS day, device_platform, app_version, sum(n) AS starts, \
percentile_of_bins(bin, n, 0.5) AS startup_ms_p50, percentile_of_bins(bin, n, 0.95) AS startup_ms_p95, \
percentile_of_bins(bin, n, 0.99) AS startup_ms_p99 FROM rollup_release_bins_day \
WHERE metric = 'startup_ms' AND bucket_start >= $1 AND bucket_start < $2 \
GROUP BY bucket_start, device_platform, app_version HAVING sum(n) > 0 \
ORDER BY bucket_start DESC, device_platform, app_version";
    10 "stalls" Project 7 [From, To]
        "Stalled share of watch time and stalls per minute by stream platform and hour."
        "SELECT bucket_start AS hour, stream_platform, \
sum(rebuffer_ms)::double / nullif(sum(watch_ms_rebuffer_capable), 0) AS rebuffer_ratio, \
60000.0 * sum(rebuffer_count) / nullif(sum(watch_ms_rebuffer_capable), 0) AS rebuffers_per_min, \
sum(watch_ms) AS watch_ms FROM rollup_stream_hour WHERE bucket_start >= $1 AND bucket_start < $2 \
GROUP BY bucket_start, stream_platform HAVING sum(watch_ms) > 0 ORDER BY bucket_start DESC, stream_platform";
    10 "stalled-streams" Project 7 [From, To, MinAttempts]
        "Streams that stall most, of those with enough attempts."
        "SELECT stream_id, stream_platform, sum(attempts) AS attempts, \
sum(rebuffer_ms)::double / nullif(sum(watch_ms_rebuffer_capable), 0) AS rebuffer_ratio, \
60000.0 * sum(rebuffer_count) / nullif(sum(watch_ms_rebuffer_capable), 0) AS rebuffers_per_min \
FROM rollup_stream_hour WHERE bucket_start >= $1 AND bucket_start < $2 \
GROUP BY stream_id, stream_platform HAVING sum(attempts) >= $3 \
ORDER BY rebuffer_ratio DESC NULLS LAST, stream_id, stream_platform";
    11 "releases" Project 30 [From, To]
        "Versions of the app, the newest first, each beside the one before: failures, early exits, crashes, startup."
        "WITH sums AS (SELECT app_version, min(bucket_start) AS first_day, sum(attempts) AS attempts, \
sum(playback_failures)::double / nullif(sum(attempts), 0) AS failure_rate, \
sum(ebvs)::double / nullif(sum(attempts - abandoned_early - left_unstarted), 0) AS ebvs_rate, \
1.0 - sum(crashed_sessions)::double / nullif(sum(sessions), 0) AS crash_free_rate FROM rollup_release_day \
WHERE bucket_start >= $1 AND bucket_start < $2 AND app_version <> '' GROUP BY app_version), \
starts AS (SELECT app_version, percentile_of_bins(bin, n, 0.95) AS startup_ms_p95 FROM rollup_release_bins_day \
WHERE metric = 'startup_ms' AND bucket_start >= $1 AND bucket_start < $2 GROUP BY app_version), \
both AS (SELECT sums.app_version, sums.first_day, sums.attempts, sums.failure_rate, sums.ebvs_rate, sums.crash_free_rate, \
starts.startup_ms_p95 FROM sums LEFT JOIN starts ON sums.app_version = starts.app_version) \
SELECT app_version, first_day, attempts, failure_rate, lag(failure_rate) OVER w AS failure_rate_before, ebvs_rate, \
lag(ebvs_rate) OVER w AS ebvs_rate_before, crash_free_rate, lag(crash_free_rate) OVER w AS crash_free_rate_before, \
startup_ms_p95, lag(startup_ms_p95) OVER w AS startup_ms_p95_before FROM both \
WINDOW w AS (ORDER BY first_day, app_version) ORDER BY first_day DESC, app_version DESC";
    12 "exits" Project 7 [From, To]
        "How many left before the first frame, by how long they had to wait."
        "SELECT waited_from_ms, count(*) AS attempts, sum(CASE WHEN outcome = 'ebvs' THEN 1 ELSE 0 END) AS ebvs, \
avg(CASE WHEN outcome = 'ebvs' THEN 1.0 ELSE 0.0 END) AS ebvs_rate FROM \
(SELECT outcome, CASE WHEN join_ms < 500 THEN 0 WHEN join_ms < 1000 THEN 500 WHEN join_ms < 2000 THEN 1000 \
WHEN join_ms < 4000 THEN 2000 WHEN join_ms < 8000 THEN 4000 ELSE 8000 END AS waited_from_ms FROM views \
WHERE started_at >= $1 AND started_at < $2 AND outcome NOT IN ('abandoned_early', 'left_unstarted')) \
GROUP BY waited_from_ms ORDER BY waited_from_ms";
    13 "errors" Project 7 [From, To]
        "The errors that come most often: persons, first and last seen, versions."
        "SELECT type, coalesce(data ->> 'code', data ->> 'signature') AS code, data ->> 'domain' AS domain, count(*) AS errors, \
count(DISTINCT person_id) AS persons, min(corrected_at) AS first_seen, max(corrected_at) AS last_seen, \
count(DISTINCT app_version) AS versions FROM events \
WHERE type IN ('playback.error', 'app.error', 'app.crashed') AND corrected_at >= $1 AND corrected_at < $2 \
GROUP BY 1, 2, 3 ORDER BY errors DESC, 1, 2, 3";
    14 "active" Project 30 [To]
        "Persons of the last day, week and month: guests, signed in, new, returning. A guest's id begins with anon:."
        "WITH persons AS (SELECT person_id, min(bucket_start) AS first_at, max(bucket_start) AS last_at FROM slices \
WHERE bucket_start < $1 AND person_id IS NOT NULL GROUP BY person_id), \
spans AS (SELECT days, $1::timestamptz - length AS since FROM \
(VALUES (1, INTERVAL '1 day'), (7, INTERVAL '7 days'), (30, INTERVAL '30 days')) AS lengths(days, length)) \
SELECT days, count(*) AS persons, count(*) FILTER (WHERE person_id LIKE 'anon:%') AS guests, \
count(*) FILTER (WHERE person_id NOT LIKE 'anon:%') AS signed_in, count(*) FILTER (WHERE first_at >= since) AS new, \
count(*) FILTER (WHERE first_at < since) AS returning FROM persons CROSS JOIN spans WHERE last_at >= since \
GROUP BY days ORDER BY days";
};
