//! The questions that the product answers: each is a declaration with one SQL text, `sql/{name}.sql`.
//!
//! `GET /v1/stats/{name}` runs that text, in the caller's scope, on the path of `/v1/sql`: endpoint and SQL cannot differ.
//! [`shaped`] are those whose endpoints answer in a shape of their own. `docs/questions.md` is made from all of them and
//! from their answers on a seeded fleet.

mod answer;
mod asked;
mod declared;
pub(crate) mod shaped;

pub(crate) use answer::answer;
pub use asked::{ASKED, Asked};
pub use declared::ALL;
pub use shaped::{Bound, SHAPED, Shaped};

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
    /// Its number among the twenty questions.
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

/// Declares questions: number, name, who asks, range in days, parameters, sentence.
macro_rules! questions {
    ($($number:literal $name:literal $asks:ident $days:literal [$($param:ident),*] $sentence:literal $($unsteady:ident)?;)+) => {
        &[$($crate::questions::Question {
            name: $name,
            number: $number,
            asks: $crate::questions::Asks::$asks,
            sentence: $sentence,
            days: $days,
            params: &[$($crate::questions::Param::$param),*],
            sql: include_str!(concat!("sql/", $name, ".sql")),
            is_steady: concat!($(stringify!($unsteady))?).is_empty(),
        }),+]
    };
}
use questions;

/// The question of that name.
fn named(name: &str) -> Option<&'static Question> {
    ALL.iter().find(|question| question.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_name_is_given_once_and_a_text_has_the_parameters_it_declares() {
        let questions = ALL.iter().map(|question| (question.name, question.sql, question.params.len()));
        let shaped = SHAPED.iter().map(|shaped| (shaped.name, shaped.sql, shaped.params.len()));
        let texts: Vec<_> = questions.chain(shaped).collect();
        assert_eq!(texts.iter().map(|(name, ..)| name).collect::<BTreeSet<_>>().len(), texts.len());
        for (name, sql, params) in texts {
            for n in 1..=9 {
                assert_eq!(sql.contains(&format!("${n}")), n <= params, "${n} of {name}");
            }
            assert!(sql.contains("ORDER BY"), "{name}");
            assert!(sql.lines().all(|line| line.len() <= 120), "{name} is too wide for its page");
        }
    }

    #[test]
    fn each_of_the_twenty_questions_is_answered() {
        let numbers: Vec<u8> = ASKED.iter().map(|asked| asked.number).collect();
        assert_eq!(numbers, (1..=20).collect::<Vec<u8>>());
        assert!(ALL.is_sorted_by_key(|question| question.number));
        let answered: BTreeSet<u8> =
            ALL.iter().map(|question| question.number).chain(SHAPED.iter().map(|shaped| shaped.number)).collect();
        assert_eq!(answered.into_iter().collect::<Vec<u8>>(), numbers);
    }
}
