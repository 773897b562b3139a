//! The ten statements of `bench query`: what an analyst asks of events, from a count to an approximate percentile.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

/// A statement for us and for DuckDB.
#[derive(Debug)]
pub(crate) struct Statement {
    /// What it is, as a figure's name.
    pub(crate) name: &'static str,
    /// For us.
    pub(crate) ours: String,
    /// The same for DuckDB.
    pub(crate) duckdb: String,
    /// How far two sums of one column may be apart, as a share: 0 but for approximations and fractions.
    pub(crate) tolerance: f64,
}

/// How many there are.
pub(crate) const STATEMENTS: usize = 10;

/// Names by number.
pub(crate) const NAMES: [&str; STATEMENTS] = [
    "1 count of all rows",
    "2 sum, mean and greatest of three columns",
    "3 minute × type: count, sum, mean",
    "4 one type, top 20 streams",
    "5 one hour, per platform",
    "6 distinct persons",
    "7 persons, top 10",
    "8 views, top 10",
    "9 `LIKE '%15%'`",
    "10 95th percentile per platform",
];

/// All of them; `hour` is a full one of the data.
pub(crate) fn statements(hour: DateTime<Utc>) -> Vec<Statement> {
    let stamp = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let hour = format!(
        "corrected_at >= TIMESTAMPTZ '{}' AND corrected_at < TIMESTAMPTZ '{}'",
        stamp(hour),
        stamp(hour + TimeDelta::hours(1))
    );
    let texts = [
        "SELECT count(*) AS n FROM events".to_owned(),
        "SELECT sum(seq) AS seqs, avg(log_index) AS mean, max(log_position) AS last FROM events".into(),
        "SELECT date_trunc('minute', corrected_at) AS minute, type, count(*) AS n, sum(seq) AS seqs, avg(seq) AS mean \
         FROM events GROUP BY 1, 2"
            .into(),
        "SELECT stream_id, count(*) AS n FROM events WHERE type = 'playback.view_started' GROUP BY stream_id \
         ORDER BY n DESC, stream_id LIMIT 20"
            .into(),
        format!("SELECT device_platform, count(*) AS n, sum(seq) AS seqs FROM events WHERE {hour} GROUP BY device_platform"),
        "SELECT count(DISTINCT person_id) AS persons FROM events".into(),
        "SELECT person_id, count(*) AS n, sum(seq) AS seqs FROM events GROUP BY person_id ORDER BY n DESC, person_id LIMIT 10"
            .into(),
        "SELECT view_id, count(*) AS n, sum(seq) AS seqs FROM events WHERE view_id IS NOT NULL GROUP BY view_id \
         ORDER BY n DESC, view_id LIMIT 10"
            .into(),
        "SELECT count(*) AS n FROM events WHERE app_version LIKE '%15%'".into(),
    ];
    let mut all: Vec<Statement> = NAMES
        .into_iter()
        .zip(texts)
        // Means are fractions.
        .map(|(name, sql)| Statement { name, duckdb: sql.clone(), ours: sql, tolerance: 1e-9 })
        .collect();
    let percentile = |function: &str| {
        format!("SELECT device_platform, {function}(seq, 0.95) AS p95 FROM events GROUP BY device_platform")
    };
    all.push(Statement {
        name: NAMES[9],
        ours: percentile("approx_percentile_cont"),
        duckdb: percentile("approx_quantile"),
        tolerance: 0.05,
    });
    all
}
