//! The text of a statement, token by token and without recursion.

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use schemas::Problem;

use super::{LITERAL_MAX_BYTES, OPERATORS_MAX, refused, too_many};

const TEXT_MAX_BYTES: usize = 64 * 1024;
const COMMAS_MAX: usize = 10_000;
const SET_OPERATIONS_MAX: usize = 50;
const IDENTIFIER_MAX_BYTES: usize = 128;
/// The parser tries a call in several ways and a bracket after FROM in two, so its work doubles with every bracket
/// around a token: 16 calls in one another took it 0.6 s, 24 took minutes. Tokens, each counted as often as it is read.
const READINGS_MAX: u64 = 1 << 19;

/// Holds the text against the limits.
pub(crate) fn check_text(sql: &str) -> Result<(), Problem> {
    if sql.len() > TEXT_MAX_BYTES {
        return Err(too_many(TEXT_MAX_BYTES, "bytes", "max_bytes"));
    }
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql)
        .tokenize()
        .map_err(|error| refused("sql_invalid", error.to_string(), "syntax"))?;
    let mut counts = Counts::default();
    for token in &tokens {
        counts.add(token)?;
    }
    for (count, max, what, rule) in [
        (counts.operators, OPERATORS_MAX, "operators", "max_operators"),
        (counts.commas, COMMAS_MAX, "list items", "max_list_items"),
        (counts.set_operations, SET_OPERATIONS_MAX, "set operations", "max_set_operations"),
    ] {
        if count > max {
            return Err(too_many(max, what, rule));
        }
    }
    if counts.readings > READINGS_MAX {
        let detail = "the statement has too many brackets in one another: use WITH";
        return Err(refused("sql_too_large", detail, "max_nesting"));
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Counts {
    operators: usize,
    commas: usize,
    set_operations: usize,
    /// Brackets that are open; true for one that makes the parser's work fourfold.
    open: Vec<bool>,
    readings: u64,
    /// Whether the last token was the word `position`.
    is_position: bool,
    /// Bytes of the literal at hand: the parser joins literals that only blanks part.
    literal_bytes: usize,
}

impl Counts {
    fn add(&mut self, token: &Token) -> Result<(), Problem> {
        if matches!(token, Token::Whitespace(_)) {
            return Ok(());
        }
        self.literal_bytes = literal(token).map_or(0, |text| self.literal_bytes + text.len());
        if self.literal_bytes > LITERAL_MAX_BYTES {
            return Err(too_many(LITERAL_MAX_BYTES, "bytes in a literal", "max_literal"));
        }
        let doublings = self.open.iter().map(|is_twice| 1 + u32::from(*is_twice)).sum::<u32>();
        self.readings = self.readings.saturating_add(1 << doublings.min(20));
        let is_position = std::mem::take(&mut self.is_position);
        match token {
            Token::Word(word) => self.add_word(&word.value, word.keyword)?,
            Token::Placeholder(name) => self.add_word(name, Keyword::NoKeyword)?,
            Token::Comma => self.commas += 1,
            Token::LParen => self.open.push(is_position),
            // A subscript is an operator and opens a bracket.
            Token::LBracket => {
                self.operators += 1;
                self.open.push(false);
            }
            Token::RParen | Token::RBracket => {
                self.open.pop();
            }
            Token::Period | Token::SemiColon => {}
            _ if literal(token).is_some() => {}
            _ => self.operators += 1,
        }
        Ok(())
    }

    fn add_word(&mut self, word: &str, keyword: Keyword) -> Result<(), Problem> {
        if word.len() > IDENTIFIER_MAX_BYTES {
            return Err(too_many(IDENTIFIER_MAX_BYTES, "bytes in a name", "max_identifier"));
        }
        match keyword {
            Keyword::AND
            | Keyword::OR
            | Keyword::NOT
            | Keyword::CASE
            | Keyword::WHEN
            | Keyword::IS
            | Keyword::IN
            | Keyword::LIKE
            | Keyword::ILIKE
            | Keyword::SIMILAR
            | Keyword::BETWEEN
            | Keyword::AT
            | Keyword::COLLATE => self.operators += 1,
            Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT => self.set_operations += 1,
            Keyword::POSITION => self.is_position = true,
            _ => {}
        }
        Ok(())
    }
}

/// What a token says, if it is a literal of any kind.
fn literal(token: &Token) -> Option<&str> {
    match token {
        Token::SingleQuotedString(text)
        | Token::DoubleQuotedString(text)
        | Token::TripleSingleQuotedString(text)
        | Token::TripleDoubleQuotedString(text)
        | Token::SingleQuotedByteStringLiteral(text)
        | Token::DoubleQuotedByteStringLiteral(text)
        | Token::TripleSingleQuotedByteStringLiteral(text)
        | Token::TripleDoubleQuotedByteStringLiteral(text)
        | Token::SingleQuotedRawStringLiteral(text)
        | Token::DoubleQuotedRawStringLiteral(text)
        | Token::TripleSingleQuotedRawStringLiteral(text)
        | Token::TripleDoubleQuotedRawStringLiteral(text)
        | Token::NationalStringLiteral(text)
        | Token::EscapedStringLiteral(text)
        | Token::UnicodeStringLiteral(text)
        | Token::HexStringLiteral(text)
        | Token::Number(text, _) => Some(text),
        Token::DollarQuotedString(quoted) => Some(&quoted.value),
        Token::QuoteDelimitedStringLiteral(quoted) | Token::NationalQuoteDelimitedStringLiteral(quoted) => {
            Some(&quoted.value)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(sql: &str) -> Option<&'static str> {
        check_text(sql).err().map(|problem| problem.errors[0].rule)
    }

    #[test]
    fn ordinary_statements_pass() {
        for sql in [
            "SELECT count(*) FROM events",
            "SELECT type, count(*) FROM events WHERE corrected_at > '2026-11-01' AND data ->> 'x' = 'y' GROUP BY 1 \
             ORDER BY 2 DESC LIMIT 10",
            "WITH a AS (SELECT 1 AS x) SELECT * FROM a WHERE x IN ($1, $2)",
        ] {
            assert_eq!(rule(sql), None, "{sql}");
        }
    }

    #[test]
    fn statements_that_would_stall_the_planner_are_refused_by_their_limit() {
        let many = |part: &str, count: usize| format!("SELECT {}1", part.repeat(count));
        assert_eq!(rule(&many("1+", 501)), Some("max_operators"));
        assert_eq!(rule(&format!("SELECT 1 WHERE {}true", "true OR ".repeat(501))), Some("max_operators"));
        assert_eq!(rule(&format!("SELECT 1 {}", "IS NULL ".repeat(501))), Some("max_operators"));
        assert_eq!(rule(&format!("SELECT x{}", "[1]".repeat(501))), Some("max_operators"));
        assert_eq!(rule(&many("1,", 10_001)), Some("max_list_items"));
        assert_eq!(rule(&"SELECT 1 UNION ALL ".repeat(51)), Some("max_set_operations"));
        let nested = |call: &str, depth: usize| format!("SELECT {}1{}", call.repeat(depth), ")".repeat(depth));
        assert_eq!(rule(&nested("abs(", 14)), None);
        assert_eq!(rule(&nested("abs(", 20)), Some("max_nesting"));
        assert_eq!(rule(&nested("position(", 7)), None);
        assert_eq!(rule(&nested("position(", 10)), Some("max_nesting"));
        assert_eq!(rule(&nested("(", 5000)), Some("max_nesting"));
        assert_eq!(rule(&format!("SELECT {}", nested("f(", 8).repeat(500))), Some("max_nesting"));
        assert_eq!(rule(&"x ".repeat(35_000)), Some("max_bytes"));
        assert_eq!(rule("SELECT 'open"), Some("syntax"));
    }

    #[test]
    fn a_literal_of_any_kind_and_a_name_are_short() {
        let (long, half) = ("a".repeat(1025), "a".repeat(600));
        for literal in [
            format!("'{long}'"),
            format!("E'{long}'"),
            format!("N'{long}'"),
            format!("U&'{long}'"),
            format!("X'{long}'"),
            format!("B'{long}'"),
            format!("$${long}$$"),
            format!("$t${long}$t$"),
            "1".repeat(1025),
            // Joined by the parser.
            format!("'{half}'\n'{half}'"),
        ] {
            assert_eq!(rule(&format!("SELECT {literal}")), Some("max_literal"), "{}", &literal[..5]);
        }
        assert_eq!(rule(&format!("SELECT '{half}', '{half}'")), None);
        assert_eq!(rule(&format!("SELECT 1 AS {}", "a".repeat(129))), Some("max_identifier"));
        assert_eq!(rule(&format!("SELECT 1 AS \"{}\"", "a".repeat(129))), Some("max_identifier"));
        assert_eq!(rule(&format!("SELECT ${}", "a".repeat(129))), Some("max_identifier"));
    }
}
