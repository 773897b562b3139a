//! Statements that would write, read what is not theirs, or work without end (the table of docs/sql.md, and what was
//! found since): each ends in time, and the server goes on as if nothing had been.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::fill;
use crate::start;

/// How a hostile statement may end.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// 4xx: it never runs.
    Refused,
    /// 4xx, or 504 at its deadline: it runs into a limit.
    Ended,
    /// It is harmless here: 200.
    Answered,
}

/// All of them.
fn hostile() -> Vec<(String, End)> {
    let mut statements = by_kind();
    statements.extend(by_size());
    statements.extend(too_large().map(|sql| (sql, End::Refused)));
    // Memory is up first; on a busy machine it may be time.
    statements.extend(growing().map(|sql| (sql, End::Ended)));
    statements
}

/// What writes, opens, sets or tells; what makes much from little; what runs into a limit.
fn by_kind() -> Vec<(String, End)> {
    use End::{Answered, Ended, Refused};
    let fixed = [
        ("COPY (SELECT 1) TO 'evil_sql.csv'", Refused),
        ("COPY events TO 'evil_sql.parquet' STORED AS PARQUET", Refused),
        ("INSERT INTO events SELECT * FROM events", Refused),
        ("INSERT INTO events (event_id) VALUES ('x')", Refused),
        ("UPDATE events SET event_id = 'x'", Refused),
        ("DELETE FROM events", Refused),
        ("TRUNCATE TABLE events", Refused),
        ("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'", Refused),
        ("CREATE TABLE t AS SELECT * FROM events", Refused),
        ("CREATE VIEW v AS SELECT * FROM events", Refused),
        ("CREATE FUNCTION f(int) RETURNS int RETURN $1 + 1", Refused),
        ("SELECT * INTO t FROM events", Refused),
        ("SET datafusion.execution.batch_size = 1", Refused),
        ("RESET datafusion.execution.batch_size", Refused),
        ("DROP TABLE events", Refused),
        ("DROP TABLE IF EXISTS streamgauge.main.events", Refused),
        ("ALTER TABLE events ADD COLUMN x int", Refused),
        ("BEGIN", Refused),
        ("PREPARE p AS SELECT 1", Refused),
        ("EXECUTE p", Refused),
        ("EXPLAIN SELECT * FROM events", Refused),
        ("EXPLAIN ANALYZE SELECT * FROM events", Refused),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO 'evil_sql.csv'", Refused),
        ("SHOW TABLES", Refused),
        ("SHOW ALL", Refused),
        ("DESCRIBE events", Refused),
        ("SELECT * FROM information_schema.df_settings", Refused),
        ("SELECT 1; SELECT 2", Refused),
        ("SELECT 1; DROP TABLE events", Refused),
        ("SELECT version()", Refused),
        ("SELECT pg_read_file('/etc/passwd')", Refused),
        ("SELECT * FROM '/etc/passwd'", Refused),
        ("SELECT * FROM \"/etc/passwd\"", Refused),
        ("SELECT * FROM \"file:///etc/passwd\"", Refused),
        ("SELECT * FROM read_csv('/etc/passwd')", Refused),
        ("SELECT * FROM range(1, 1000000000000)", Refused),
        ("SELECT * FROM generate_series(1, 1000000000000)", Refused),
        ("SELECT sum(value) FROM generate_series(1, 1000000000000)", Refused),
        ("SELECT repeat('x', 1000000000)", Refused),
        ("SELECT sum(length(repeat(event_id, 10000))) FROM events", Refused),
        ("SELECT lpad('x', 1000000000), rpad('x', 1000000000)", Refused),
        ("SELECT arrow_cast('x', 'FixedSizeBinary(2000000000)')", Refused),
        ("SELECT CAST(NULL AS int[2000000000])", Refused),
        ("SELECT array_agg(event_id) FROM events", Refused),
        ("SELECT string_agg(data, data) FROM events", Refused),
        ("SELECT unnest(ARRAY[1, 2]) FROM events", Refused),
        ("SELECT count(*) FROM events WHERE event_id ~ (type || '\\w{500}')", Refused),
        ("WITH RECURSIVE r AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM r) SELECT count(*) FROM r", Refused),
        ("SELECT sum(a.seq + e.seq) FROM events a, events b, events c, events d, events e", Ended),
        ("SELECT max(a.data) OVER () FROM events a, events b, events c", Ended),
        ("SELECT count(DISTINCT (a.event_id || b.event_id || c.event_id)) FROM events a, events b, events c", Ended),
        (
            "SELECT a.event_id FROM events a, events b, events c, events d ORDER BY a.data, b.data, c.data, d.data",
            Ended,
        ),
        ("SELECT * FROM events ORDER BY data DESC, event_id", Answered),
        ("SELECT event_id, install_id, session_id FROM events GROUP BY 1, 2, 3", Answered),
    ];
    fixed.map(|(sql, end)| (sql.to_owned(), end)).into()
}

/// Statements that are fine up to a size.
fn by_size() -> Vec<(String, End)> {
    use End::{Answered, Refused};
    let mut statements = Vec::new();
    for terms in [500, 1000, 2000, 5000, 20_000] {
        let end = if terms == 500 { Answered } else { Refused };
        statements.push((format!("SELECT {}1", many("1+", terms)), end));
        statements
            .push((format!("SELECT count(*) FROM events WHERE {}false", many("seq = 1 OR ", terms / 2 - 1)), end));
    }
    for items in [10_000, 200_000] {
        let end = if items == 10_000 { Answered } else { Refused };
        statements.push((format!("SELECT count(*) FROM events WHERE seq IN ({}1)", many("1,", items - 1)), end));
    }
    statements
}

fn many(part: &str, count: usize) -> String {
    part.repeat(count)
}

/// Statements that are too long, too deep or too wide.
fn too_large() -> [String; 20] {
    let columns: Vec<String> = (0..30).map(|n| format!("seq + {n}")).collect();
    [
        format!("{}SELECT 1", many("SELECT 1 UNION ALL ", 3000)),
        format!("SELECT {}1", many("1,", 20_000)),
        format!("SELECT {}1", many("1,", 5000)),
        format!("SELECT {}1{}", many("(", 5000), many(")", 5000)),
        format!("{}SELECT 1{}", many("SELECT * FROM (", 500), many(") t", 500)),
        format!("SELECT {}1{}", many("abs(", 40), many(")", 40)),
        format!("SELECT {}1{}", many("position(", 40), many(")", 40)),
        format!("SELECT * FROM {}SELECT 1{}", many("((", 22), many(") t)", 22)),
        format!("{}SELECT 1{}", many("WITH a AS (", 40), many(") SELECT * FROM a", 40)),
        format!("SELECT data{} FROM events", many(" -> 'a'", 100)),
        format!("SELECT 1 {}", many("IS NULL ", 5000)),
        format!("SELECT data{}", many("[1]", 5000)),
        format!("SELECT {}x FROM events", many("events.", 5000)),
        format!("SELECT {}", many("- ", 5000) + "1"),
        format!("SELECT length($${}$$)", many("x", 60_000)),
        format!("SELECT N'{}'", many("x", 60_000)),
        format!("SELECT 1 AS \"{}\"", many("x", 60_000)),
        format!("SELECT count(*) FROM events GROUP BY CUBE ({})", columns.join(", ")),
        format!("SELECT greatest({}1)", many("1,", 5000)),
        format!("SELECT count(*) FROM events{}", (0..100).map(|n| format!(", events e{n}")).collect::<String>()),
    ]
}

/// Chains of CTEs of which each doubles what the one before makes.
fn growing() -> [String; 7] {
    let chain = |first: &str, step: &dyn Fn(usize) -> String, last: usize, then: &str| {
        let steps: String = (1..=last).map(|n| format!(", c{n} AS ({})", step(n - 1))).collect();
        format!("WITH c0 AS ({first}){steps} {then}")
    };
    [
        chain(
            "SELECT 1 AS x",
            &|n| format!("SELECT * FROM c{n} UNION ALL SELECT * FROM c{n}"),
            40,
            "SELECT count(*) FROM c40",
        ),
        chain(
            "SELECT seq AS x FROM events",
            &|n| format!("SELECT x + x AS x FROM c{n}"),
            100,
            "SELECT x FROM c100 WHERE x > 0",
        ),
        chain(
            "SELECT event_id AS x FROM events",
            &|n| format!("SELECT x || x AS x FROM c{n}"),
            30,
            "SELECT length(x) FROM c30",
        ),
        chain(
            "SELECT event_id AS x FROM events",
            &|n| format!("SELECT replace(x, '1', '11') AS x FROM c{n}"),
            60,
            "SELECT length(x) FROM c60",
        ),
        chain(
            "SELECT 'xxxxxxxx' AS x",
            &|n| format!("SELECT encode(x, 'hex') AS x FROM c{n}"),
            40,
            "SELECT length(x) FROM c40",
        ),
        chain(
            "SELECT seq AS x FROM events",
            &|n| format!("SELECT struct(x, x) AS x FROM c{n}"),
            40,
            "SELECT x FROM c40",
        ),
        chain(
            "SELECT ARRAY[seq] AS x FROM events",
            &|n| format!("SELECT x || x AS x FROM c{n}"),
            40,
            "SELECT x FROM c40",
        ),
    ]
}

/// Every file of a data directory that a statement could add or change, but for the database and the log, which grow
/// by themselves.
fn files(folder: &Path, found: &mut BTreeSet<(String, u64)>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if name == "log" || name.starts_with("warehouse.db") {
            continue;
        }
        if path.is_dir() {
            files(&path, found);
        } else {
            found.insert((path.display().to_string(), entry.metadata().unwrap().len()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_statements_end_in_time_and_leave_nothing_behind() {
    let limit = Duration::from_secs(4);
    let server = start()
        .variable("STREAMGAUGE_QUERY__TIMEOUT", "4s")
        .variable("STREAMGAUGE_QUERY__MEMORY_BYTES", "64MiB")
        .variable("STREAMGAUGE_MAINTENANCE__INTERVAL", "1h")
        .variable("STREAMGAUGE_PROCESSOR__STATE_INTERVAL", "1h")
        .start()
        .await
        .unwrap();
    fill(&server, 400).await;
    assert_eq!(server.number("SELECT count(*) FROM events").await, 400);
    let (before_mib, _) = rig::process::resident_mib(server.pid);
    let data_dir = server.start().data_dir();
    let mut before = BTreeSet::new();
    files(&data_dir, &mut before);
    for (sql, end) in hostile() {
        let begun = Instant::now();
        let reply = server.try_sql(&json!({ "sql": sql })).await;
        let took = begun.elapsed();
        let text: String = reply.text().chars().take(300).collect();
        assert!(took < limit + Duration::from_secs(1), "{sql:.100} took {took:?}: {text}");
        let is_expected = matches!(
            (end, reply.status),
            (End::Answered, 200) | (End::Refused | End::Ended, 400..=499) | (End::Ended, 504)
        );
        assert!(is_expected, "{sql:.100} was to be {end:?}: {} {text}", reply.status);
        if end != End::Answered {
            assert_eq!(reply.header("content-type"), "application/problem+json", "{sql:.100}");
        }
    }
    let mut after = BTreeSet::new();
    files(&data_dir, &mut after);
    assert_eq!(after, before);
    for name in ["evil_sql.csv", "evil_sql.parquet"] {
        assert!(!data_dir.join(name).exists() && !rig::server::repository().join(name).exists());
    }
    let (_, peak_mib) = rig::process::resident_mib(server.pid);
    assert!(peak_mib - before_mib < 512.0, "{before_mib} MiB before, {peak_mib} MiB at the peak");

    // The same process goes on as if nothing had been.
    let run: Value = serde_json::from_slice(&std::fs::read(data_dir.join("run.json")).unwrap()).unwrap();
    assert_eq!(run["pid"], server.pid);
    fill(&server, 5).await;
    assert_eq!(server.number("SELECT count(*) FROM events").await, 405);
}
