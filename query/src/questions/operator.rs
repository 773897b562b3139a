//! What operators ask: how good the data is that comes in.

use super::{Question, questions};

pub(super) const QUESTIONS: &[Question] = questions! {
    20 "quality" Project 7 [From, To]
        "Received events by format, kind and outcome: how many were late, clamped or corrected. The range is of arrival."
        "SELECT format, type, outcome, reason, sum(events) AS events, sum(late_events) AS late_events, \
sum(clamped_events) AS clamped_events, sum(offset_events) AS offset_events FROM rollup_quality_hour \
WHERE bucket_start >= $1 AND bucket_start < $2 GROUP BY format, type, outcome, reason HAVING sum(events) > 0 \
ORDER BY events DESC, format, type, outcome, reason";
    20 "clocks" Project 7 [From, To]
        "Clock offsets that were added, by what was done to the time."
        "SELECT time_quality, count(*) AS events, min(skew_ms) AS skew_ms_min, median(skew_ms) AS skew_ms_p50, \
max(skew_ms) AS skew_ms_max FROM events WHERE corrected_at >= $1 AND corrected_at < $2 \
GROUP BY time_quality ORDER BY time_quality";
    20 "gaps" Project 7 [From, To]
        "Events that are missing between the first and the last number of a session, by format."
        "SELECT format, count(*) AS sessions, sum(missing) AS missing, count(*) FILTER (WHERE missing > 0) AS with_gaps FROM \
(SELECT format, source, session_id, max(seq) - min(seq) + 1 - count(DISTINCT seq) AS missing FROM events \
WHERE corrected_at >= $1 AND corrected_at < $2 AND seq IS NOT NULL AND session_id IS NOT NULL \
GROUP BY format, source, session_id) GROUP BY format ORDER BY format";
    20 "freshness" Project 1 [From, To]
        "Seconds from arrival to commit, per hour of arrival."
        "SELECT date_trunc('hour', records.received_at) AS hour, count(*) AS records, \
median(extract(epoch FROM commits.committed_at) - extract(epoch FROM records.received_at)) AS freshness_s_p50, \
max(extract(epoch FROM commits.committed_at) - extract(epoch FROM records.received_at)) AS freshness_s_max \
FROM records JOIN commits ON records.log_partition = commits.log_partition \
AND records.log_position >= commits.from_position AND records.log_position < commits.to_position \
WHERE commits.lane = 'events' AND records.received_at >= $1 AND records.received_at < $2 GROUP BY 1 ORDER BY 1 DESC" unsteady;
};
