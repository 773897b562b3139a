//! `docs/questions.md`: every question with its endpoint, its text and the first rows of its answer.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};

use query::questions::{ASKED, Asks, Question, Shaped};
use serde_json::Value;

/// Rows that the page shows of an answer.
const SHOWN: usize = 5;

const HEAD: &str = "# Questions

Made by `STREAMGAUGE_UPDATE_QUESTIONS=1 cargo test --test e2e questions` from `query/src/questions/`: the twenty questions, and for
each the endpoints that answer it, their SQL, and the first rows of the answer on a seeded fleet. The same test holds endpoint, SQL and
what happened to the fleet against each other.

`/v1/stats/{name}` takes `from`, `to` (excluded), `tz`, `limit`, `min_attempts`, of the app's questions also `person`; a user's token sees
its own person. It runs the text shown. An endpoint with a shape of its own (1, 2, 5, 6, 7) gives the numbers of its text.
";

/// The page in the making: answers by number.
#[derive(Debug, Default)]
pub(super) struct Page {
    shaped: BTreeMap<u8, String>,
    questions: BTreeMap<u8, String>,
}

impl Page {
    pub(super) fn question(&mut self, question: &Question, rows: &[Value]) {
        let path = format!("/v1/stats/{}", question.name);
        let text = Text { path: &path, sentence: question.sentence, asks: question.asks, sql: question.sql };
        let page = self.questions.entry(question.number).or_default();
        text.write(page, &question.params);
        if question.is_steady {
            table(page, rows);
        } else {
            page.push_str("Its numbers differ from run to run.\n");
        }
    }

    pub(super) fn shaped(&mut self, shaped: &Shaped, rows: &[Value]) {
        let text = Text { path: shaped.path, sentence: shaped.sentence, asks: shaped.asks, sql: shaped.sql };
        let page = self.shaped.entry(shaped.number).or_default();
        text.write(page, &shaped.params);
        table(page, rows);
    }

    /// Asserts that the page in `docs` is this one, or writes it.
    pub(super) fn hold(&self) {
        let mut page = HEAD.to_owned();
        for asked in &ASKED {
            write!(page, "\n## {}. {}\n\nAsked by: {}.\n", asked.number, asked.question, asked.by).unwrap();
            if !asked.limits.is_empty() {
                write!(page, "\n{}\n", asked.limits).unwrap();
            }
            for answers in [&self.shaped, &self.questions] {
                page.push_str(answers.get(&asked.number).map_or("", String::as_str));
            }
        }
        let place = rig::server::repository().join("docs/questions.md");
        if std::env::var_os("STREAMGAUGE_UPDATE_QUESTIONS").is_some() {
            std::fs::write(&place, &page).unwrap();
        }
        assert_eq!(page, std::fs::read_to_string(&place).unwrap_or_default());
    }
}

struct Text<'a> {
    path: &'a str,
    sentence: &'a str,
    asks: Asks,
    sql: &'a str,
}

impl Text<'_> {
    fn write(&self, page: &mut String, params: &impl Debug) {
        let Self { path, sentence, asks, sql } = self;
        let of_whom = if *asks == Asks::App { "a person or a project" } else { "a project" };
        write!(page, "\n### `GET {path}`\n\n{sentence} Of {of_whom}.\n\n").unwrap();
        write!(page, "```sql\n{sql}-- parameters: {params:?}\n```\n\n").unwrap();
    }
}

/// The first rows of an answer.
fn table(page: &mut String, rows: &[Value]) {
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
