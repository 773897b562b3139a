//! The questions of `docs/questions.md` on a seeded fleet: each endpoint answers what its SQL text does, cell by cell, and
//! the page shows both. `STREAMGAUGE_UPDATE_QUESTIONS=1` writes it anew.

use std::fmt::Write;

use query::questions::{ALL, Asks, Param, Question};
use rig::Server;
use serde_json::{Value, json};

use crate::start;

const FROM: &str = "2026-03-01T00:00:00.000Z";
const TO: &str = "2026-03-02T06:00:00.000Z";
const BEFORE: &str = "2026-02-27T18:00:00.000Z";
const ZONE: &str = "Asia/Kathmandu";
/// Rows that the page shows of an answer.
const SHOWN: usize = 5;

async fn fleet() -> Server {
    let server = start().test_clock().start().await.unwrap();
    let mut command = server.start().command();
    let output = command.args(["simulate", "--check", "--devices", "10", "--days", "1", "--seed", "3"]).output().await;
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    server.settle().await;
    server
}

fn path(question: &Question) -> String {
    format!("/v1/stats/{}?from={FROM}&to={TO}&tz={ZONE}&min_attempts=2", question.name)
}

fn params(question: &Question) -> Vec<Value> {
    let value = |param: &Param| match param {
        Param::From => json!(FROM),
        Param::To => json!(TO),
        Param::Before => json!(BEFORE),
        Param::Zone => json!(ZONE),
        Param::MinAttempts => json!(2),
    };
    question.params.iter().map(value).collect()
}

#[tokio::test]
async fn every_question_has_one_answer_by_its_endpoint_and_by_its_sql() {
    let server = fleet().await;
    let mut page = "# Questions\n\nMade by `STREAMGAUGE_UPDATE_QUESTIONS=1 cargo test --test e2e questions` from `query/src/questions/`: what is asked, the\nendpoint, its SQL, and the first rows of the answer on a seeded fleet. Number 0 are further cards of the app's dashboard. An\nendpoint takes `from`, `to` (excluded), `tz`, `limit`, `min_attempts`, of the app's questions also `person`; a user's token sees its\nown person. It runs the text shown.\n".to_owned();
    let mut troubles = Vec::new();
    for question in ALL.into_iter().flatten() {
        let by_endpoint = server.get(&path(question)).await;
        let statement = json!({ "sql": question.sql, "params": params(question), "limit": 1000 });
        let by_sql = server.try_sql(&statement).await;
        if (by_endpoint.status, by_sql.status) != (200, 200) {
            troubles.push(format!("{}: {} {}", question.name, by_endpoint.text(), by_sql.text()));
            continue;
        }
        assert_eq!(by_endpoint.json()["data"], by_sql.json()["data"], "{}", question.name);
        assert_eq!(by_endpoint.json()["meta"]["exact"], by_sql.json()["meta"]["exact"], "{}", question.name);
        show(&mut page, question, by_endpoint.json()["data"].as_array().unwrap());
    }
    assert!(troubles.is_empty(), "{}", troubles.join("\n"));
    let place = rig::server::repository().join("docs/questions.md");
    if std::env::var_os("STREAMGAUGE_UPDATE_QUESTIONS").is_some() {
        std::fs::write(&place, &page).unwrap();
    }
    assert_eq!(page, std::fs::read_to_string(&place).unwrap_or_default());
}

fn show(page: &mut String, question: &Question, rows: &[Value]) {
    let who = if question.asks == Asks::App { "a person or a project" } else { "a project" };
    let (number, name, sentence) = (question.number, question.name, question.sentence);
    write!(page, "\n## {number} {name}\n\n{sentence} Asked of {who}.\n\n`GET /v1/stats/{name}`\n\n").unwrap();
    write!(page, "```sql\n{}\n-- parameters: {:?}\n```\n\n", question.sql, question.params).unwrap();
    if !question.is_steady {
        page.push_str("Its numbers differ from run to run.\n");
        return;
    }
    let Some(first) = rows.first().and_then(Value::as_object) else {
        page.push_str("No rows: the fleet does none of it.\n");
        return;
    };
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    page.push_str(&line(first.keys().cloned().collect()));
    page.push_str(&line(first.keys().map(|_| "---".to_owned()).collect()));
    for row in rows.iter().take(SHOWN) {
        let cell = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        page.push_str(&line(row.as_object().unwrap().values().map(cell).collect()));
    }
    if rows.len() > SHOWN {
        writeln!(page, "\n{} rows in all.", rows.len()).unwrap();
    }
}

#[tokio::test]
async fn what_cannot_be_asked_is_a_problem_that_names_the_parameter() {
    let server = start().start().await.unwrap();
    for (path, status, code) in [
        ("none", 404, "no_such_question"),
        ("habits?tz=Mars", 400, "unknown_zone"),
        ("habits?limit=0", 400, "bad_limit"),
        ("stalled-streams?min_attempts=0", 400, "bad_min_attempts"),
        ("habits?from=x", 400, "bad_time"),
        ("habits?from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z", 400, "bad_range"),
        ("habits?from=2024-03-02T00:00:00Z&to=2026-03-01T00:00:00Z", 422, "range_too_large"),
    ] {
        let reply = server.get(&format!("/v1/stats/{path}")).await;
        assert_eq!((reply.status, reply.json()["code"].as_str()), (status, Some(code)), "{path}: {}", reply.text());
    }
    // Nothing was measured: that is not zero.
    let summary = server.get("/v1/stats/summary").await.json()["data"][0].clone();
    assert_eq!((&summary["viewer_ms"], &summary["streams"]), (&Value::Null, &json!(0)));
    assert_eq!(server.get("/v1/stats/activity?tz=+05:45").await.status, 200);
}
