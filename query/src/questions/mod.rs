//! The questions that the product answers: each is a declaration with one SQL text.
//!
//! `GET /v1/stats/{name}` runs that text, in the caller's scope, on the path of `/v1/sql`: endpoint and SQL cannot differ.
//! `docs/questions.md` is made from these declarations and from their answers on a seeded fleet.

mod answer;
mod app;
mod dashboard;
mod operator;
mod playback;
mod workspace;

pub(crate) use answer::answer;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// The app, with a user's token or for any person: one person's own rows, or the whole project's.
    App,
    /// Someone who may read the statistics of the whole project.
    Project,
}

/// What `$1`, `$2`, .. of a text stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Param {
    /// Parameter `from`: start of the range; without it [`Question::days`] before its end.
    From,
    /// Parameter `to`: end of the range, excluded; without it now.
    To,
    /// The start of the range of equal length before it.
    Before,
    /// Parameter `tz`: zone of local days and hours, UTC without it.
    Zone,
    /// Parameter `min_attempts`, from 1; 25 without it.
    MinAttempts,
}

/// A question and how it is answered.
#[derive(Debug)]
pub struct Question {
    /// The last part of the endpoint's path.
    pub name: &'static str,
    /// Its number among the twenty questions; 0 for further cards of the app's dashboard.
    pub number: u8,
    /// Who may ask.
    pub asks: Asks,
    /// What it asks, as a sentence.
    pub sentence: &'static str,
    /// Length of the range without parameter `from`.
    pub days: u32,
    /// What the text's parameters are, in their order.
    pub params: &'static [Param],
    /// Rows have a total order. A number that nothing was measured for is null.
    pub sql: &'static str,
    /// Whether the answer depends on stored events alone, not on when they were committed.
    pub is_steady: bool,
}

/// Declares questions: number, name, who asks, range in days, parameters, sentence, text.
macro_rules! questions {
    ($($number:literal $name:literal $asks:ident $days:literal [$($param:ident),*] $sentence:literal $sql:literal $($unsteady:ident)?;)+) => {
        &[$($crate::questions::Question {
            name: $name,
            number: $number,
            asks: $crate::questions::Asks::$asks,
            sentence: $sentence,
            days: $days,
            params: &[$($crate::questions::Param::$param),*],
            sql: $sql,
            is_steady: concat!($(stringify!($unsteady))?).is_empty(),
        }),+]
    };
}
use questions;

/// All questions, by who asks them.
pub const ALL: [&[Question]; 5] =
    [app::QUESTIONS, dashboard::QUESTIONS, workspace::QUESTIONS, playback::QUESTIONS, operator::QUESTIONS];

/// The question of that name.
fn named(name: &str) -> Option<&'static Question> {
    ALL.into_iter().flatten().find(|question| question.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_given_once_and_a_text_has_the_parameters_it_declares() {
        let names: std::collections::BTreeSet<_> = ALL.into_iter().flatten().map(|question| question.name).collect();
        assert_eq!(names.len(), ALL.into_iter().flatten().count());
        for question in ALL.into_iter().flatten() {
            for n in 1..=9 {
                let is_there = question.sql.contains(&format!("${n}"));
                assert_eq!(is_there, n <= question.params.len(), "${n} of {}", question.name);
            }
            assert!(question.sql.contains("ORDER BY"), "{}", question.name);
        }
    }
}
