//! Statements through all layers of the gate and the engine, over a lake of three events.

use serde_json::{Value, json};

use crate::QueryConfig;
use crate::answer::Refused;
use crate::testing::{Fixture, row};

async fn fixture() -> Fixture {
    let events =
        ["a", "b", "c"].map(|id| row("p", &[("event_id", id), ("type", "layout.saved"), ("data", "{\"x\":\"y\"}")]));
    Fixture::with_events(&events).await
}

impl Fixture {
    /// The code and rule that a statement is refused with.
    async fn refused(&self, sql: &str) -> (&'static str, &'static str) {
        match self.rows("p", sql).await {
            Err(Refused(problem)) => (problem.code, problem.errors.first().map_or("", |fault| fault.rule)),
            Ok(rows) => panic!("{sql:.200} gives {rows:.200}"),
        }
    }
}

#[tokio::test]
async fn only_one_select_is_allowed() {
    let fixture = fixture().await;
    for sql in [
        "COPY (SELECT 1) TO 'file.csv'",
        "INSERT INTO events SELECT * FROM events",
        "CREATE EXTERNAL TABLE t (a int) STORED AS CSV LOCATION '/etc/passwd'",
        "CREATE TABLE t AS SELECT 1",
        "SET datafusion.execution.batch_size = 1",
        "RESET datafusion.execution.batch_size",
        "DROP TABLE events",
        "DELETE FROM events",
        "PREPARE p AS SELECT 1",
        "EXPLAIN SELECT * FROM events",
        "EXPLAIN ANALYZE SELECT * FROM events",
        "SHOW TABLES",
        "DESCRIBE events",
    ] {
        assert_eq!(fixture.refused(sql).await, ("sql_not_allowed", "read_only"), "{sql}");
    }
    assert_eq!(fixture.refused("SELECT 1; SELECT 2").await.0, "sql_invalid");
    assert_eq!(fixture.refused("SELECT * INTO t FROM events").await.0, "sql_not_allowed");
}

#[tokio::test]
async fn ctes_count_as_often_as_they_are_mentioned() {
    let fixture = fixture().await;
    let doubling = |first: &str, levels: usize| {
        let level = |n: usize| format!(", c{n} AS (SELECT * FROM c{m} UNION ALL SELECT * FROM c{m})", m = n - 1);
        format!("WITH c0 AS ({first}){} SELECT count(*) FROM c{levels}", (1..=levels).map(level).collect::<String>())
    };
    assert_eq!(fixture.rows("p", &doubling("SELECT 1 AS x", 3)).await.unwrap(), json!([{"count(*)": 8}]));
    assert_eq!(fixture.refused(&doubling("SELECT 1 AS x", 20)).await, ("sql_too_large", "max_selects"));
    assert_eq!(fixture.refused(&doubling("SELECT * FROM events", 5)).await, ("sql_too_large", "max_tables"));
    let joined =
        "SELECT count(*) FROM events ".to_owned() + &(0..20).map(|n| format!(", events e{n}")).collect::<String>();
    assert_eq!(fixture.refused(&joined).await, ("sql_too_large", "max_tables"));
    // A name means the innermost CTE, and none means one outside its query.
    let shadowed =
        "WITH events AS (SELECT 1 AS x) SELECT count(*) AS n FROM events, (WITH t AS (SELECT 2) SELECT * FROM t) u";
    assert_eq!(fixture.rows("p", shadowed).await.unwrap(), json!([{"n": 1}]));
    let recursive = "WITH RECURSIVE r AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM r) SELECT count(*) FROM r";
    assert_eq!(fixture.refused(recursive).await.0, "sql_not_allowed");
}

#[tokio::test]
async fn what_grows_at_planning_is_refused() {
    let fixture = fixture().await;
    let levels: String = (1..=40).map(|n| format!(", c{n} AS (SELECT x + x AS x FROM c{})", n - 1)).collect();
    let doubling = format!("WITH c0 AS (SELECT seq AS x FROM events){levels} SELECT x FROM c40 WHERE x > 0");
    assert_eq!(fixture.refused(&doubling).await, ("sql_too_large", "max_expanded"));
    let many = |part: &str, count: usize| vec![part; count].join(", ");
    for (sql, rule) in [
        (format!("SELECT {}", many("1", 201)), "max_columns"),
        (format!("SELECT greatest({})", many("1", 65)), "max_arguments"),
        (format!("SELECT ARRAY[{}]", many("1", 65)), "max_arguments"),
        (format!("SELECT 1 ORDER BY {}", many("1", 65)), "max_arguments"),
        (format!("SELECT 1 GROUP BY {}", many("1", 65)), "max_arguments"),
        (format!("SELECT {}", ["a"; 5].join(".")), "max_identifier"),
    ] {
        assert_eq!(fixture.refused(&sql).await, ("sql_too_large", rule), "{sql:.60}");
    }
    for by in ["CUBE (type, seq)", "ROLLUP (type)", "GROUPING SETS ((type), ())"] {
        let sql = format!("SELECT count(*) FROM events GROUP BY {by}");
        assert_eq!(fixture.refused(&sql).await, ("sql_not_allowed", "allowed"), "{sql}");
    }
}

#[tokio::test]
async fn the_deepest_expression_fits_on_the_stack() {
    let fixture = fixture().await;
    let sum = format!("SELECT count(*) AS n FROM events WHERE {}1 > 0", "1 + ".repeat(490));
    assert_eq!(fixture.rows("p", &sum).await.unwrap(), json!([{"n": 3}]));
    let nested = |levels: usize| {
        let (calls, ends) = ("abs(".repeat(10), ")".repeat(10));
        let level = |n: usize| format!(", c{n} AS (SELECT {calls}x{ends} AS x FROM c{})", n - 1);
        let chain: String = (1..=levels).map(level).collect();
        format!(
            "WITH c0 AS (SELECT coalesce(seq, 1) AS x FROM events){chain} SELECT count(*) AS n FROM c{levels} WHERE x > 0"
        )
    };
    assert_eq!(fixture.rows("p", &nested(20)).await.unwrap(), json!([{"n": 3}]));
    assert_eq!(fixture.refused(&nested(40)).await, ("sql_too_large", "max_expanded"));
}

#[tokio::test]
async fn nesting_that_doubles_the_work_ends_early() {
    let fixture = fixture().await;
    let json = |count: usize| format!("SELECT data{} AS x FROM events LIMIT 1", " ->> 'a'".repeat(count));
    assert_eq!(fixture.rows("p", &json(8)).await.unwrap(), json!([{"x": null}]));
    assert_eq!(fixture.refused(&json(9)).await, ("sql_too_large", "max_operators"));
    let with =
        |depth: usize| format!("{}SELECT 1 AS x{}", "WITH a AS (".repeat(depth), ") SELECT x FROM a".repeat(depth));
    assert_eq!(fixture.rows("p", &with(8)).await.unwrap(), json!([{"x": 1}]));
    assert_eq!(fixture.refused(&with(9)).await, ("sql_too_large", "max_nesting"));
    let joined = |count: usize| format!("SELECT length('a'{}) AS n", " || 'a'".repeat(count));
    assert_eq!(fixture.rows("p", &joined(300)).await.unwrap(), json!([{"n": 301}]));
}

#[tokio::test]
async fn functions_and_types_without_a_bound_are_not_there() {
    let fixture = fixture().await;
    for sql in [
        "SELECT arrow_cast('x', 'FixedSizeBinary(1000000000)')",
        "SELECT arrow_try_cast(1, 'Int8')",
        "SELECT repeat('x', 1000000000)",
        "SELECT lpad('x', 1000000000)",
        "SELECT levenshtein(data, data) FROM events",
        "SELECT array_to_string(ARRAY['a'], data) FROM events",
        "SELECT array_agg(event_id) FROM events",
        "SELECT string_agg(event_id, ',') FROM events",
        "SELECT version()",
        "SELECT struct(1, 2)",
        "SELECT named_struct('a', 1)",
        "SELECT {'a': 1}",
        "SELECT (1, 2)",
        "SELECT MAP {'a': 1}",
        "SELECT ARRAY[1] || ARRAY[2]",
        "SELECT * FROM generate_series(1, 10)",
        "SELECT * FROM range(1, 10)",
        "SELECT unnest(ARRAY[1, 2])",
        "SELECT * FROM unnest(ARRAY[1, 2])",
        "SELECT CAST(NULL AS int[1000000000])",
        "SELECT ARRAY[ARRAY[1]]",
        "SELECT event_id ~ type FROM events",
        "SELECT regexp_like(event_id, type) FROM events",
        "SELECT regexp_replace(event_id, type, 'x') FROM events",
    ] {
        let (code, _) = fixture.refused(sql).await;
        assert!(["sql_not_allowed", "sql_invalid"].contains(&code), "{sql}: {code}");
    }
}

#[tokio::test]
async fn every_listed_function_has_all_its_names() {
    let fixture = fixture().await;
    for (call, value) in [
        ("instr('abc', 'c')", json!(3)),
        ("position('c' in 'abc')", json!(3)),
        ("pow(2, 3)::int", json!(8)),
        ("length('abc')", json!(3)),
        ("char_length('abc')", json!(3)),
        ("substring('abc', 2)", json!("bc")),
        ("trim(' a ')", json!("a")),
        ("list_has(ARRAY[1, 2], 2)", json!(true)),
        ("array_contains(ARRAY[1, 2], 2)", json!(true)),
        ("array_empty(string_to_array('a', ','))", json!(false)),
        ("list_empty(string_to_list('a', ','))", json!(false)),
        ("(ARRAY['a', 'b'])[2]", json!("b")),
        ("ifnull(NULL, 1)", json!(1)),
        ("extract(year from TIMESTAMP '2026-11-23')", json!(2026)),
        ("json_len('[1, 2]')", json!(2)),
        ("'{\"a\": \"b\"}' ->> 'a'", json!("b")),
        ("'a' || 'b' || 1", json!("ab1")),
        ("'a' || NULL", Value::Null),
        ("concat('a', NULL, 'b')", json!("ab")),
        ("concat_ws('-', 'a', 'b')", json!("a-b")),
        ("replace('abc', 'b', 'xx')", json!("axxc")),
        ("regexp_replace('abc', 'b', '\\0\\0')", json!("abbc")),
        ("(regexp_match('abc', '(b)(c)'))[2]", json!("c")),
        ("translate('abc', 'a', 'ü')", json!("übc")),
        ("encode('a', 'hex')", json!("61")),
        ("event_id ~ '^[abc]$'", json!(true)),
        ("type = ANY(ARRAY['x', 'layout.saved'])", json!(true)),
        ("type IN ('x', 'layout.saved')", json!(true)),
        ("date_trunc('hour', TIMESTAMP '2026-11-23 08:56:01')::text", json!("2026-11-23T08:00:00")),
    ] {
        let sql = format!("SELECT {call} AS value FROM events LIMIT 1");
        let rows = fixture.rows("p", &sql).await.unwrap_or_else(|Refused(problem)| panic!("{call}: {problem:?}"));
        assert_eq!(rows, json!([{"value": value}]), "{call}");
    }
    for aggregate in
        ["mean(seq)", "var_samp(seq)", "covar(seq, seq)", "quantile_cont(seq, 0.5)", "approx_distinct(type)"]
    {
        assert!(fixture.rows("p", &format!("SELECT {aggregate} FROM events")).await.is_ok(), "{aggregate}");
    }
    assert!(
        fixture.rows("p", "SELECT row_number() OVER (ORDER BY event_id), lag(type) OVER () FROM events").await.is_ok()
    );
}

#[tokio::test]
async fn text_cannot_be_multiplied() {
    let fixture = fixture().await;
    let doubling = |first: &str, step: &str, levels: usize| {
        let level = |n: usize| format!(", c{n} AS (SELECT {step} AS s FROM c{})", n - 1);
        let levels_sql: String = (1..=levels).map(level).collect();
        format!("WITH c0 AS (SELECT {first}){levels_sql} SELECT length(s) AS n FROM c{levels}")
    };
    // Beside the doubling itself: a limit of a constant, of a row, of what the optimizer would put in.
    for step in ["s || s", "concat(s, s)", "concat_ws(s, s, s)", "replace(s, 'a', 'aa')", "encode(s, 'hex')"] {
        for first in ["'aaaaaaaa' AS s", "event_id AS s FROM events"] {
            let small = fixture.rows("p", &doubling(first, step, 3)).await;
            assert!(small.is_ok(), "{step}: {small:?}");
            let (code, _) = fixture.refused(&doubling(first, step, 30)).await;
            assert!(["sql_failed", "sql_too_large"].contains(&code), "{step} of {first}: {code}");
        }
    }
    let column = |n: usize| format!("encode('{}', 'hex') AS s{n}", "x".repeat(1000));
    let wide = |count: usize| format!("SELECT {}", (0..count).map(column).collect::<Vec<_>>().join(", "));
    assert!(fixture.rows("p", &wide(20)).await.is_ok());
    assert_eq!(fixture.refused(&wide(40)).await, ("sql_too_large", "max_constants"));
}

#[tokio::test]
async fn what_a_window_keeps_is_counted() {
    let events: Vec<_> = (0..1000).map(|n| row("p", &[("event_id", &format!("{n:0100}"))])).collect();
    let config = QueryConfig { memory_bytes: 16 << 20, ..QueryConfig::default() };
    let fixture = Fixture::with_config(&events, config).await;
    let window = "SELECT max(a.event_id) OVER () AS m FROM events a, events b LIMIT 1";
    assert_eq!(fixture.refused(window).await.0, "query_memory");
    let small =
        "SELECT max(event_id) OVER () AS m, row_number() OVER (ORDER BY event_id) AS n FROM events ORDER BY 2 LIMIT 1";
    assert_eq!(fixture.rows("p", small).await.unwrap()[0]["n"], 1);
}
