//! What the app asks of one person, and the cards of its dashboard. Days and hours are local; slices are quarters of an
//! hour, of which every local day is made. Watch times are null where nothing was played or tried to.

use super::{Question, questions};

pub(super) const QUESTIONS: &[Question] = questions! {
    1 "summary" App 7 [Before, From, To]
        "My watch time, streams, mean session and platforms in a range, and in the range of equal length before it."
        "WITH played AS (SELECT bucket_start >= $2 AS is_now, stream_id, stream_platform, \
sum(viewer_ms) AS viewer_ms, sum(playing_ms) AS tile_ms, sum(attempts + watch_ms + paused_ms) AS measured \
FROM slices WHERE bucket_start >= $1 AND bucket_start < $3 GROUP BY 1, 2, 3), \
used AS (SELECT started_at >= $2 AS is_now, duration_ms FROM app_sessions WHERE started_at >= $1 AND started_at < $3), \
watched AS (SELECT CASE WHEN sum(measured) FILTER (WHERE is_now) > 0 THEN sum(viewer_ms) FILTER (WHERE is_now) END AS viewer_ms, \
CASE WHEN sum(measured) FILTER (WHERE NOT is_now) > 0 THEN sum(viewer_ms) FILTER (WHERE NOT is_now) END AS viewer_ms_before, \
CASE WHEN sum(measured) FILTER (WHERE is_now) > 0 THEN sum(tile_ms) FILTER (WHERE is_now) END AS tile_ms, \
CASE WHEN sum(measured) FILTER (WHERE NOT is_now) > 0 THEN sum(tile_ms) FILTER (WHERE NOT is_now) END AS tile_ms_before, \
count(DISTINCT stream_id) FILTER (WHERE is_now AND tile_ms > 0) AS streams, \
count(DISTINCT stream_id) FILTER (WHERE NOT is_now AND tile_ms > 0) AS streams_before, \
count(DISTINCT stream_platform) FILTER (WHERE is_now AND tile_ms > 0) AS platforms, \
count(DISTINCT stream_platform) FILTER (WHERE NOT is_now AND tile_ms > 0) AS platforms_before FROM played), \
sat AS (SELECT avg(duration_ms) FILTER (WHERE is_now) AS avg_session_ms, \
avg(duration_ms) FILTER (WHERE NOT is_now) AS avg_session_ms_before FROM used) \
SELECT watched.*, sat.avg_session_ms, sat.avg_session_ms_before FROM watched CROSS JOIN sat ORDER BY 1";
    0 "activity" App 30 [From, To, Zone]
        "My viewer time, tile time, streams and mean session per local day."
        "WITH played AS (SELECT date_trunc('day', local_time(bucket_start, $3))::date AS day, stream_id, \
sum(viewer_ms) AS viewer_ms, sum(playing_ms) AS tile_ms, sum(attempts + watch_ms + paused_ms) AS measured \
FROM slices WHERE bucket_start >= $1 AND bucket_start < $2 GROUP BY 1, 2), \
watched AS (SELECT day, CASE WHEN sum(measured) > 0 THEN sum(viewer_ms) END AS viewer_ms, \
CASE WHEN sum(measured) > 0 THEN sum(tile_ms) END AS tile_ms, \
count(stream_id) FILTER (WHERE tile_ms > 0) AS streams FROM played GROUP BY day), \
sat AS (SELECT date_trunc('day', local_time(started_at, $3))::date AS day, count(*) AS sessions, \
avg(duration_ms) AS avg_session_ms FROM app_sessions WHERE started_at >= $1 AND started_at < $2 GROUP BY 1) \
SELECT coalesce(watched.day, sat.day) AS day, watched.viewer_ms, watched.tile_ms, coalesce(watched.streams, 0) AS streams, \
coalesce(sat.sessions, 0) AS sessions, sat.avg_session_ms \
FROM watched FULL JOIN sat ON watched.day = sat.day ORDER BY 1";
    3 "categories" App 30 [From, To]
        "My categories with most tile time."
        "SELECT category, sum(playing_ms) AS tile_ms, sum(attempts) AS views FROM slices \
WHERE bucket_start >= $1 AND bucket_start < $2 AND category IS NOT NULL \
GROUP BY category HAVING sum(playing_ms) > 0 ORDER BY tile_ms DESC, category";
    3 "platforms" App 30 [From, To]
        "The shares of stream platforms in my tile time."
        "WITH played AS (SELECT stream_platform, sum(playing_ms) AS tile_ms FROM slices \
WHERE bucket_start >= $1 AND bucket_start < $2 AND stream_platform IS NOT NULL \
GROUP BY stream_platform HAVING sum(playing_ms) > 0) \
SELECT stream_platform, tile_ms, tile_ms::double / sum(tile_ms) OVER () AS share FROM played \
ORDER BY tile_ms DESC, stream_platform";
    4 "habits" App 30 [From, To, Zone]
        "My mean and longest session, streams, favourite weekday (1 is Monday), peak hour and time per day with any, local."
        "WITH played AS (SELECT local_time(bucket_start, $3) AS at, stream_id, viewer_ms, playing_ms \
FROM slices WHERE bucket_start >= $1 AND bucket_start < $2), \
streams AS (SELECT count(*) AS streams FROM (SELECT stream_id FROM played WHERE stream_id IS NOT NULL \
GROUP BY stream_id HAVING sum(playing_ms) > 0)), \
weekdays AS (SELECT first_value(weekday ORDER BY ms DESC, weekday) AS favourite_weekday FROM \
(SELECT extract(isodow FROM at) AS weekday, sum(viewer_ms) AS ms FROM played GROUP BY 1 HAVING sum(viewer_ms) > 0)), \
hours AS (SELECT first_value(hour ORDER BY ms DESC, hour) AS peak_hour FROM \
(SELECT extract(hour FROM at) AS hour, sum(viewer_ms) AS ms FROM played GROUP BY 1 HAVING sum(viewer_ms) > 0)), \
days AS (SELECT avg(ms) AS viewer_ms_per_day FROM (SELECT date_trunc('day', at) AS day, sum(viewer_ms) AS ms FROM played \
GROUP BY 1 HAVING sum(viewer_ms) > 0)), \
sat AS (SELECT count(*) AS sessions, avg(duration_ms) AS avg_session_ms, max(duration_ms) AS longest_session_ms \
FROM app_sessions WHERE started_at >= $1 AND started_at < $2) \
SELECT sat.*, streams.streams, weekdays.favourite_weekday, hours.peak_hour, days.viewer_ms_per_day \
FROM sat CROSS JOIN streams CROSS JOIN weekdays CROSS JOIN hours CROSS JOIN days ORDER BY 1";
    4 "hours" App 30 [From, To, Zone]
        "My viewer time by local weekday (1 is Monday) and hour."
        "SELECT extract(isodow FROM local_time(bucket_start, $3)) AS weekday, \
extract(hour FROM local_time(bucket_start, $3)) AS hour, sum(viewer_ms) AS viewer_ms FROM slices \
WHERE bucket_start >= $1 AND bucket_start < $2 GROUP BY 1, 2 HAVING sum(viewer_ms) > 0 ORDER BY 1, 2";
};
