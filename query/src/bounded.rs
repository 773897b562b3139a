//! Functions that make much from little, held to a share of memory before they are evaluated.
//!
//! What the calls of one statement make for one row stays below the size of the largest event, what they make for a
//! batch below 64 times that; each call has an equal share, also of functions that only copy. The memory pool of the
//! engine does not see what functions allocate.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::compute::kernels::concat_elements::concat_elements_utf8;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigExtension;
use datafusion::common::{DFSchema, Result, ScalarValue, exec_err, extensions_options, plan_err};
use datafusion::functions_nested::make_array::make_array_udf;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// Bytes that all calls may make for one row.
const ROW_MAX_BYTES: usize = 1024 * 1024;
/// And for a batch.
const BATCH_MAX_BYTES: usize = 64 * ROW_MAX_BYTES;
/// Bytes of a value made of constants alone: it is repeated for every row. A parameter may be as long.
pub(crate) const CONSTANT_MAX_BYTES: usize = 4096;
/// The function behind `||`.
pub(crate) const JOIN_TEXT: &str = "join_text";

extensions_options! {
    /// What the functions of a statement share.
    pub(crate) struct Sharing {
        /// Calls in the statement.
        pub(crate) calls: usize, default = 1
    }
}

impl ConfigExtension for Sharing {
    const PREFIX: &'static str = "streamgauge";
}

/// How much a call makes of its arguments, at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Growth {
    /// So many times all of them together.
    Times(usize),
    /// All of them, the first once more between any two.
    Separated,
    /// Text, what is replaced, what replaces it.
    Replaced,
    /// The same with an expression: what replaces may repeat what was found.
    Rewritten,
    /// What every bracket of an expression finds.
    Captured,
}

impl Growth {
    fn of(function: &str) -> Option<Self> {
        Some(match function {
            "concat" | "make_array" | JOIN_TEXT => Self::Times(1),
            "concat_ws" => Self::Separated,
            "encode" => Self::Times(2),
            "translate" => Self::Times(4),
            // An item of one byte takes 16 more.
            "string_to_array" => Self::Times(17),
            "replace" => Self::Replaced,
            "regexp_replace" => Self::Rewritten,
            "regexp_match" => Self::Captured,
            _ => return None,
        })
    }

    /// Bytes of the result for arguments of these lengths.
    fn most(self, lengths: &[usize]) -> usize {
        let sum = lengths.iter().fold(0, |sum: usize, length| sum.saturating_add(*length));
        let at = |idx: usize| lengths.get(idx).copied().unwrap_or(0);
        match self {
            Self::Times(times) => sum.saturating_mul(times),
            Self::Separated => at(0).saturating_mul(lengths.len()).saturating_add(sum),
            Self::Replaced => (at(0) / at(1).max(1)).saturating_mul(at(2)).saturating_add(at(0)),
            Self::Rewritten => (2 * at(0) + 1).saturating_mul(at(2)).saturating_add(at(0)),
            Self::Captured => at(0).saturating_mul(at(1) + 1),
        }
    }
}

/// The function with its bound, if it needs one.
pub(crate) fn bounded(function: &Arc<ScalarUDF>) -> Option<Arc<ScalarUDF>> {
    let growth = Growth::of(function.name())?;
    Some(Arc::new(Bounded { inner: Arc::clone(function), growth }.into()))
}

/// A function that is asked only for what it may make.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    growth: Growth,
}

impl Bounded {
    fn check(&self, args: &ScalarFunctionArgs) -> Result<()> {
        let lengths = args.args.iter().map(lengths).collect::<Result<Vec<_>>>()?;
        let calls = args.config_options.extensions.get::<Sharing>().map_or(1, |sharing| sharing.calls.max(1));
        let is_constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let row_max = if is_constant { CONSTANT_MAX_BYTES } else { ROW_MAX_BYTES / calls };
        let rows = if is_constant { 1 } else { args.number_rows };
        let mut of_row = Vec::with_capacity(lengths.len());
        let mut sum: usize = 0;
        for row in 0..rows {
            of_row.clear();
            of_row.extend(lengths.iter().map(|lengths| lengths.of(row)));
            let most = self.growth.most(&of_row);
            sum = sum.saturating_add(most);
            if most > row_max || sum > BATCH_MAX_BYTES / calls {
                return exec_err!("{} would make a value of more than {row_max} bytes, or too many", self.name());
            }
        }
        Ok(())
    }
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.check(&args)?;
        self.inner.invoke_with_args(args)
    }
}

/// Bytes of an argument, row by row.
enum Lengths {
    Equal(usize),
    Each(Vec<usize>),
}

impl Lengths {
    fn of(&self, row: usize) -> usize {
        match self {
            Self::Equal(length) => *length,
            Self::Each(lengths) => lengths.get(row).copied().unwrap_or(0),
        }
    }
}

fn lengths(arg: &ColumnarValue) -> Result<Lengths> {
    match arg {
        ColumnarValue::Array(array) => array_lengths(array),
        ColumnarValue::Scalar(value) => Ok(Lengths::Equal(array_lengths(&value.to_array()?)?.of(0))),
    }
}

fn array_lengths(array: &dyn Array) -> Result<Lengths> {
    let each = |lengths: &mut dyn Iterator<Item = usize>| Ok(Lengths::Each(lengths.collect()));
    match array.data_type() {
        DataType::Utf8 => each(&mut array.as_string::<i32>().offsets().lengths()),
        DataType::LargeUtf8 => each(&mut array.as_string::<i64>().offsets().lengths()),
        DataType::Binary => each(&mut array.as_binary::<i32>().offsets().lengths()),
        DataType::LargeBinary => each(&mut array.as_binary::<i64>().offsets().lengths()),
        DataType::Utf8View => each(&mut array.as_string_view().lengths().map(|length| length as usize)),
        DataType::BinaryView => each(&mut array.as_binary_view().lengths().map(|length| length as usize)),
        DataType::Null | DataType::Boolean => Ok(Lengths::Equal(1)),
        other => match other.primitive_width() {
            Some(width) => Ok(Lengths::Equal(width)),
            None => plan_err!("a value of type {other} cannot be used in this function here"),
        },
    }
}

/// `||` and array literals, planned as bounded functions.
#[derive(Debug)]
pub(crate) struct Operators {
    join_text: Arc<ScalarUDF>,
    make_array: Arc<ScalarUDF>,
}

impl Default for Operators {
    fn default() -> Self {
        let bounded = |inner, growth| Arc::new(Bounded { inner, growth }.into());
        Self {
            join_text: bounded(Arc::new(JoinText::default().into()), Growth::Times(1)),
            make_array: bounded(make_array_udf(), Growth::Times(1)),
        }
    }
}

impl ExprPlanner for Operators {
    fn plan_binary_op(&self, expr: RawBinaryExpr, _schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        Ok(match expr.op {
            BinaryOperator::StringConcat => PlannerResult::Planned(self.join_text.call(vec![expr.left, expr.right])),
            _ => PlannerResult::Original(expr),
        })
    }

    fn plan_array_literal(&self, items: Vec<Expr>, _schema: &DFSchema) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(self.make_array.call(items)))
    }
}

/// `||`: two texts in one; null if one of them is.
#[derive(Debug, PartialEq, Eq, Hash)]
struct JoinText {
    signature: Signature,
}

impl Default for JoinText {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for JoinText {
    fn name(&self) -> &'static str {
        JOIN_TEXT
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match arg_types.iter().find(|ty| ty.is_nested()) {
            Some(ty) => plan_err!("|| joins texts, and this is {ty}"),
            None => Ok(vec![DataType::Utf8; arg_types.len()]),
        }
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [left, right] = arrays.as_slice() else { return exec_err!("|| joins two texts") };
        let joined = concat_elements_utf8(left.as_string::<i32>(), right.as_string::<i32>())?;
        Ok(if is_constant {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&joined, 0)?)
        } else {
            ColumnarValue::Array(Arc::new(joined))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_never_underrated() {
        assert_eq!(Growth::Times(1).most(&[3, 4]), 7);
        // 'a,b' as concat_ws(', ', 'a', 'b') is 4 long.
        assert!(Growth::Separated.most(&[2, 1, 1]) >= 4);
        assert!(Growth::Replaced.most(&[6, 1, 3]) >= 18);
        assert_eq!(Growth::Replaced.most(&[6, 0, 0]), 6);
        // regexp_replace('abc', '.', '\0\0', 'g') is 6 long, with '' as expression 'xxxxaxxxxbxxxxcxxxx'.
        assert!(Growth::Rewritten.most(&[3, 1, 4, 1]) >= 3 + 4 * 4);
        assert!(Growth::Captured.most(&[10, 5]) >= 20);
        assert_eq!(Growth::Times(4).most(&[usize::MAX, 2]), usize::MAX);
    }
}
