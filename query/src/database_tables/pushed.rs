//! What a statement's filters say about the rows of a rollup, as far as the database can look for it.

use std::time::Duration;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use schemas::Timestamp;
use schemas::rollups::Rollup;

/// Buckets and keys that may meet the filters. The filters themselves are evaluated again, so more rows do no harm.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pushed {
    pub(crate) from: Timestamp,
    /// Excluded.
    pub(crate) to: Timestamp,
    /// Keys that have one of these values.
    pub(crate) only: Vec<(&'static str, Vec<String>)>,
}

impl Pushed {
    /// What these filters, all of which must hold, leave of a rollup whose buckets are in this column.
    pub(crate) fn of(filters: &[Expr], bucket: &str, rollup: &'static Rollup) -> Self {
        let mut pushed = Self { from: Timestamp::MIN, to: Timestamp::MAX, only: Vec::new() };
        for filter in filters {
            pushed.narrow(filter, bucket, rollup);
        }
        pushed
    }

    fn narrow(&mut self, filter: &Expr, bucket: &str, rollup: &'static Rollup) {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                self.narrow(left, bucket, rollup);
                self.narrow(right, bucket, rollup);
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (left.as_ref(), right.as_ref()) {
                (Expr::Column(column), Expr::Literal(value, _)) => {
                    self.compare(&column.name, *op, value, (bucket, rollup));
                }
                (Expr::Literal(value, _), Expr::Column(column)) => {
                    if let Some(op) = op.swap() {
                        self.compare(&column.name, op, value, (bucket, rollup));
                    }
                }
                _ => {}
            },
            Expr::InList(InList { expr, list, negated: false }) => {
                if let Expr::Column(column) = expr.as_ref() {
                    let values: Option<Vec<String>> = list.iter().map(text).collect();
                    self.only(&column.name, values, rollup);
                }
            }
            _ => {}
        }
    }

    fn compare(&mut self, column: &str, op: Operator, value: &ScalarValue, (bucket, rollup): (&str, &'static Rollup)) {
        if column != bucket {
            if op == Operator::Eq {
                self.only(column, value.try_as_str().flatten().map(|value| vec![value.to_owned()]), rollup);
            }
            return;
        }
        let Some(at) = instant(value) else { return };
        // To the microsecond either way: what is taken in too much is filtered out again.
        let next = at + Duration::from_micros(1);
        match op {
            Operator::Gt | Operator::GtEq => self.from = self.from.max(at),
            Operator::Lt | Operator::LtEq => self.to = self.to.min(next),
            Operator::Eq => (self.from, self.to) = (self.from.max(at), self.to.min(next)),
            _ => {}
        }
    }

    fn only(&mut self, column: &str, values: Option<Vec<String>>, rollup: &'static Rollup) {
        let key = rollup.keys.iter().find(|key| key.name == column);
        if let (Some(key), Some(values)) = (key, values) {
            self.only.push((key.name, values));
        }
    }
}

fn text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten().map(str::to_owned),
        _ => None,
    }
}

/// An instant, down to the microsecond.
fn instant(value: &ScalarValue) -> Option<Timestamp> {
    let micros = match value {
        ScalarValue::TimestampSecond(Some(at), _) => at.checked_mul(1_000_000)?,
        ScalarValue::TimestampMillisecond(Some(at), _) => at.checked_mul(1_000)?,
        ScalarValue::TimestampMicrosecond(Some(at), _) => *at,
        ScalarValue::TimestampNanosecond(Some(at), _) => at.div_euclid(1_000),
        _ => return None,
    };
    Some(Timestamp::from_micros(micros).clamp(Timestamp::MIN, Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};
    use schemas::rollups::{STREAM, STREAM_BINS};

    use super::*;

    fn at(us: i64) -> Expr {
        lit(ScalarValue::TimestampMicrosecond(Some(us), Some("UTC".into())))
    }

    fn of(filter: Expr) -> Pushed {
        Pushed::of(&[filter], "bucket_start", &STREAM_BINS)
    }

    #[test]
    fn ranges_and_keys_are_looked_for_and_all_else_is_left_to_the_filter() {
        let bucket = || col("bucket_start");
        let pushed = of(bucket().gt_eq(at(5)).and(at(9).gt(bucket())).and(col("metric").eq(lit("startup_ms"))));
        assert_eq!((pushed.from.micros(), pushed.to.micros()), (5, 10));
        assert_eq!(pushed.only, [("metric", vec!["startup_ms".to_owned()])]);
        let pushed = of(bucket().eq(at(7)).and(col("bin").in_list(vec![lit("1"), lit("2")], false)));
        assert_eq!((pushed.from.micros(), pushed.to.micros()), (7, 8));
        assert_eq!(pushed.only, [("bin", vec!["1".to_owned(), "2".to_owned()])]);
        for other in [
            bucket().gt(at(5)).or(col("metric").eq(lit("x"))),
            bucket().not_eq(at(5)),
            col("metric").in_list(vec![lit("x")], true),
            col("metric").gt(lit("x")),
            col("n").eq(lit(5_i64)),
        ] {
            let pushed = of(other);
            assert_eq!((pushed.from, pushed.to, pushed.only), (Timestamp::MIN, Timestamp::MAX, Vec::new()));
        }
        assert!(Pushed::of(&[col("bin").eq(lit("1"))], "bucket_start", &STREAM).only.is_empty());
    }
}
