//! The questions of `docs/questions.md` on a seeded fleet: each endpoint answers what its SQL text does, cell by cell, what
//! the fleet's own truth can tell is the truth, and the page shows it. `STREAMGAUGE_UPDATE_QUESTIONS=1` writes it anew.

mod callers;
mod page;
mod shaped;
mod truth;

use chrono::TimeDelta;
use query::questions::{ALL, Param, Question, SHAPED};
use rig::server::send;
use rig::{Device, Reply, Server};
use serde_json::{Value, json};

use crate::start;
use crate::views::{base, session, upload_at};
use page::Page;
use truth::Truth;

/// Who asks what of which server.
#[derive(Debug, Clone, Copy)]
struct Asking<'a> {
    server: &'a Server,
    /// Asks the endpoints.
    token: &'a str,
    /// Asks SQL.
    sql_token: &'a str,
    from: &'a str,
    to: &'a str,
    before: &'a str,
    /// The only person that texts are narrowed to; all of the project without one.
    person: Option<&'a str>,
}

/// Where every local midnight is 18:15 in UTC.
const ZONE: &str = "Asia/Kathmandu";
/// Streams with fewer attempts are left out.
const MIN_ATTEMPTS: i64 = 2;

impl Asking<'_> {
    async fn get(&self, path: &str) -> Reply {
        send(self.server.request("GET", path).bearer_auth(self.token)).await.unwrap()
    }

    /// The answer of a question's endpoint.
    async fn endpoint(&self, question: &Question) -> Reply {
        let Self { from, to, .. } = self;
        let name = question.name;
        self.get(&format!("/v1/stats/{name}?from={from}&to={to}&tz={ZONE}&min_attempts={MIN_ATTEMPTS}")).await
    }

    /// The answer of its text.
    async fn text(&self, question: &Question) -> Reply {
        let value = |param: &Param| match param {
            Param::From => json!(self.from),
            Param::To => json!(self.to),
            Param::Before => json!(self.before),
            Param::Zone => json!(ZONE),
            Param::MinAttempts => json!(MIN_ATTEMPTS),
        };
        self.sql(question.sql, question.params.iter().map(value).collect()).await
    }

    async fn sql(&self, sql: &str, params: Vec<Value>) -> Reply {
        let statement = json!({ "sql": self.narrowed(sql), "params": params, "limit": 1_000 });
        let request = self.server.request("POST", "/v1/sql").bearer_auth(self.sql_token).json(&statement);
        send(request).await.unwrap()
    }

    /// The text over the rows of the person alone.
    fn narrowed(&self, sql: &str) -> String {
        let Some(person) = self.person else { return sql.to_owned() };
        ["events", "slices", "app_sessions", "views"].iter().fold(sql.to_owned(), |sql, table| {
            let own = format!("FROM (SELECT * FROM {table} WHERE person_id = '{person}') AS {table}");
            sql.replace(&format!("FROM {table}"), &own)
        })
    }
}

/// The rows of an answer.
fn rows(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["data"].as_array().cloned().unwrap_or_default()
}

/// A server to which a fleet has reported, and what really happened.
async fn fleet(wish: &[&str]) -> (Server, Truth) {
    let server = start().test_clock().start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("truth.json");
    let mut command = server.start().command();
    command.args(["simulate", "--check", "--days", "1", "--truth"]).arg(&file).args(wish);
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    server.settle().await;
    let truth = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    (server, truth)
}

#[tokio::test]
async fn every_question_has_one_answer_by_its_endpoint_by_its_sql_and_by_what_happened() {
    let (server, truth) = fleet(&["--devices", "10", "--seed", "3"]).await;
    let asking = Asking {
        server: &server,
        token: &server.read_token,
        sql_token: &server.read_token,
        from: "2026-03-01T00:00:00.000Z",
        to: "2026-03-03T00:00:00.000Z",
        before: "2026-02-27T00:00:00.000Z",
        person: None,
    };
    let mut page = Page::default();
    for question in ALL {
        let (by_endpoint, by_sql) = (asking.endpoint(question).await, asking.text(question).await);
        assert_eq!(rows(&by_endpoint), rows(&by_sql), "{}", question.name);
        assert_eq!(by_endpoint.json()["meta"]["exact"], by_sql.json()["meta"]["exact"], "{}", question.name);
        page.question(question, &rows(&by_sql));
    }
    let now = shaped::now(&asking).await;
    // Fleets let days pass at their end: nobody watches just then.
    let lately = shaped::watching().await;
    let lately = Asking { server: &lately, token: &lately.read_token, sql_token: &lately.read_token, ..asking };
    for shaped in SHAPED {
        let (asking, now) = if shaped.name == "health" { (lately, shaped::now(&lately).await) } else { (asking, now) };
        page.shaped(shaped, &shaped::hold(&asking, shaped, now).await);
    }
    shaped::totals_are_the_same(&asking, now).await;
    truth.hold(&asking, now).await;
    page.hold();
}

/// Nothing is offline, so that the last day is a day of the fleet.
#[tokio::test]
async fn health_clocks_and_gaps_are_what_happened_where_events_are_lost_and_clocks_are_wrong() {
    let disturb = "duplicates,recut,reorder,clocks,lost";
    let (server, truth) = fleet(&["--devices", "15", "--seed", "5", "--disturb", disturb]).await;
    let asking = Asking {
        server: &server,
        token: &server.read_token,
        sql_token: &server.read_token,
        // A slow clock that is not proved yet is hours behind.
        from: "2026-02-28T00:00:00.000Z",
        to: "2026-03-03T00:00:00.000Z",
        before: "2026-02-25T00:00:00.000Z",
        person: None,
    };
    let now = shaped::now(&asking).await;
    // What lets log time pass comes three hours after the rest.
    let to = (now - TimeDelta::hours(1)).to_rfc3339();
    truth.hold_what_is_heard(&Asking { to: &to.replace("+00:00", "Z"), ..asking }, now).await;
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

#[tokio::test]
async fn days_are_the_callers_and_shares_are_of_sessions() {
    let server = start().test_clock().start().await.unwrap();
    // Midnight in Kathmandu is at 18:15 UTC: one session before, one after it, another person before it only.
    let (mut one, mut other) = (Device::new(), Device::new());
    let evening = base() + TimeDelta::hours(8);
    let at = |minute: i64| evening + TimeDelta::minutes(minute);
    let mut events = session(&mut one, evening);
    events.push(one.event("feature.used", at(40), json!({"feature": "search"})));
    events.push(other.view_event("v", "playback.view_started", at(0), json!({"stream_id": "twitch:a"})));
    events.push(other.view_event("v", "playback.first_frame", at(1), json!({})));
    events.push(other.view_event("v", "playback.view_ended", at(2), json!({"reason": "completed"})));
    upload_at(&server, &events, at(41)).await;
    server.settle().await;
    for (zone, d1) in [("UTC", 0.0), (ZONE, 0.5)] {
        let rows = rows(&server.get(&format!("/v1/stats/retention?tz={zone}")).await);
        assert_eq!((&rows[0]["persons"], &rows[0]["d1"], rows.len()), (&json!(2), &json!(d1), 1), "{zone}");
    }
    let layouts = rows(&server.get("/v1/stats/layouts").await);
    let of = |layout: &str| layouts.iter().find(|row| row["layout_type"] == layout).unwrap();
    for layout in ["grid2x2", ""] {
        assert_eq!(
            (&of(layout)["sessions"], &of(layout)["share_of_sessions"]),
            (&json!(1), &json!(0.5)),
            "{layouts:?}"
        );
    }
}
