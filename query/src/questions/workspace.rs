//! What is asked about layouts, templates, and who comes back.

use super::{Question, questions};

pub(super) const QUESTIONS: &[Question] = questions! {
    15 "layouts" Project 7 [From, To]
        "Types of layouts: their share of viewer time, mean tiles, how many came up, and how often they are switched."
        "WITH sums AS (SELECT layout_type, sum(viewer_ms) AS viewer_ms, sum(layouts_opened) AS layouts_opened, \
sum(attempts) AS views, sum(playing_ms) AS tile_ms FROM rollup_layout_day \
WHERE bucket_start >= $1 AND bucket_start < $2 GROUP BY layout_type), \
tiles AS (SELECT layout_type, sum(bin::bigint * n)::double / nullif(sum(n), 0) AS mean_tiles FROM rollup_layout_bins_day \
WHERE metric = 'tile_count' AND bucket_start >= $1 AND bucket_start < $2 GROUP BY layout_type) \
SELECT sums.layout_type, sums.viewer_ms, sums.viewer_ms::double / nullif(sum(sums.viewer_ms) OVER (), 0) AS share, \
sums.tile_ms, tiles.mean_tiles, sums.layouts_opened, \
3600000.0 * sums.layouts_opened / nullif(sums.viewer_ms, 0) AS opened_per_viewer_hour \
FROM sums LEFT JOIN tiles ON sums.layout_type = tiles.layout_type ORDER BY sums.viewer_ms DESC, sums.layout_type";
    15 "templates" Project 30 [From, To]
        "Of the sessions that look at templates, how many make a layout from one."
        "WITH looks AS (SELECT install_id, session_id, bool_or(type = 'template.used') AS has_used, \
bool_or(type = 'layout.created' AND data ->> 'from_template' IS NOT NULL) AS has_made FROM events \
WHERE type IN ('template.viewed', 'template.used', 'layout.created') AND corrected_at >= $1 AND corrected_at < $2 \
GROUP BY install_id, session_id HAVING bool_or(type LIKE 'template.%')) \
SELECT count(*) AS sessions, count(*) FILTER (WHERE has_used) AS used, \
count(*) FILTER (WHERE has_used OR has_made) AS converted, \
count(*) FILTER (WHERE has_used OR has_made)::double / nullif(count(*), 0) AS conversion FROM looks ORDER BY 1";
    18 "retention" Project 90 [From, To]
        "Of the persons who came first in the range, how many came back after 1, 7 and 30 days: template users and others."
        "WITH firsts AS (SELECT person_id, date_trunc('day', min(bucket_start)) AS first_day FROM slices \
WHERE person_id IS NOT NULL GROUP BY person_id), \
days AS (SELECT DISTINCT person_id, date_trunc('day', bucket_start) AS day FROM slices WHERE person_id IS NOT NULL), \
users AS (SELECT DISTINCT person_id FROM events WHERE type = 'template.used' AND person_id IS NOT NULL), \
persons AS (SELECT firsts.person_id, users.person_id IS NOT NULL AS uses_templates, \
bool_or(days.day = firsts.first_day + INTERVAL '1 day') AS d1, bool_or(days.day = firsts.first_day + INTERVAL '7 days') AS d7, \
bool_or(days.day = firsts.first_day + INTERVAL '30 days') AS d30 \
FROM firsts JOIN days ON firsts.person_id = days.person_id LEFT JOIN users ON firsts.person_id = users.person_id \
WHERE firsts.first_day >= $1 AND firsts.first_day < $2 GROUP BY firsts.person_id, users.person_id) \
SELECT uses_templates, count(*) AS persons, avg(CASE WHEN d1 THEN 1.0 ELSE 0.0 END) AS d1, \
avg(CASE WHEN d7 THEN 1.0 ELSE 0.0 END) AS d7, avg(CASE WHEN d30 THEN 1.0 ELSE 0.0 END) AS d30 \
FROM persons GROUP BY uses_templates ORDER BY uses_templates";
    18 "sign-ins" Project 90 [From, To]
        "Of the guests who came first in the range, how many signed in within 7 days."
        "WITH guests AS (SELECT anon_id, min(corrected_at) AS first_at FROM events \
WHERE anon_id IS NOT NULL GROUP BY anon_id), \
signed AS (SELECT anon_id, min(corrected_at) AS signed_at FROM events \
WHERE type = 'identity.signed_in' AND anon_id IS NOT NULL GROUP BY anon_id) \
SELECT count(*) AS guests, count(signed.signed_at) FILTER (WHERE signed.signed_at < guests.first_at + INTERVAL '7 days') AS signed_in \
FROM guests LEFT JOIN signed ON guests.anon_id = signed.anon_id \
WHERE guests.first_at >= $1 AND guests.first_at < $2 ORDER BY 1";
};
