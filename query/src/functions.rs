//! Which functions SQL may use: an allow list of their proper names; a function comes with all its other names.
//!
//! Left out are functions
//!
//! - that make much from little (`repeat`, `lpad`, `rpad`, `space`, `overlay`, `array_to_string`, `array_concat`,
//!   `array_repeat`, `range`, `generate_series`); those that do so within reason are [`bounded`];
//! - whose result has a type of the caller's making (`arrow_cast`, `struct`, `named_struct`): types can double, too;
//! - that collect a whole table into one value (`array_agg`, `string_agg`);
//! - whose work is a product of lengths (`levenshtein`): it cannot be interrupted;
//! - that tell about the server (`version`).

mod local_time;
mod percentile;
#[cfg(test)]
mod tests;

pub(crate) use percentile::PERCENTILE_OF_BINS;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::functions::datetime::planner::DatetimeFunctionPlanner;
use datafusion::functions::unicode::planner::UnicodeFunctionPlanner;
use datafusion::functions_aggregate::planner::AggregateFunctionPlanner;
use datafusion::functions_nested::planner::FieldAccessPlanner;
use datafusion::functions_window::planner::WindowFunctionPlanner;
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};

use crate::bounded;

const SCALAR: &[&str] = &[
    // Conditions and types.
    "arrow_typeof",
    "coalesce",
    "greatest",
    "least",
    "nullif",
    "nvl",
    "nvl2",
    // Numbers.
    "abs",
    "ceil",
    "floor",
    "round",
    "trunc",
    "signum",
    "sqrt",
    "cbrt",
    "exp",
    "ln",
    "log",
    "log10",
    "log2",
    "power",
    "factorial",
    "gcd",
    "lcm",
    "pi",
    "isnan",
    "iszero",
    "nanvl",
    "degrees",
    "radians",
    "sin",
    "cos",
    "tan",
    "cot",
    "asin",
    "acos",
    "atan",
    "atan2",
    "sinh",
    "cosh",
    "tanh",
    "asinh",
    "acosh",
    "atanh",
    // Times.
    "now",
    "current_date",
    "current_time",
    "date_trunc",
    "date_part",
    "date_bin",
    "to_char",
    "to_timestamp",
    "to_timestamp_seconds",
    "to_timestamp_millis",
    "to_timestamp_micros",
    "to_timestamp_nanos",
    "to_date",
    "to_time",
    "to_unixtime",
    "from_unixtime",
    "make_date",
    "make_time",
    "to_local_time",
    local_time::LOCAL_TIME,
    // Text.
    "ascii",
    "bit_length",
    "btrim",
    "ltrim",
    "rtrim",
    "character_length",
    "octet_length",
    "chr",
    "concat",
    "concat_ws",
    "contains",
    "ends_with",
    "starts_with",
    "find_in_set",
    "initcap",
    "left",
    "right",
    "lower",
    "upper",
    "strpos",
    "replace",
    "reverse",
    "split_part",
    "substr",
    "substr_index",
    "to_hex",
    "translate",
    "regexp_like",
    "regexp_match",
    "regexp_count",
    "regexp_instr",
    "regexp_replace",
    "encode",
    "decode",
    // Lists.
    "array_length",
    "cardinality",
    "array_element",
    "array_has",
    "string_to_array",
    "make_array",
    "array_min",
    "array_max",
    "array_distinct",
    "array_sort",
    "array_position",
    "array_slice",
    "empty",
    // JSON.
    "json_get",
    "json_get_str",
    "json_get_int",
    "json_get_float",
    "json_get_bool",
    "json_get_json",
    "json_get_array",
    "json_as_text",
    "json_contains",
    "json_length",
    "json_object_keys",
    // What `||` is planned as.
    bounded::JOIN_TEXT,
];

const AGGREGATE: &[&str] = &[
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "median",
    "approx_distinct",
    "approx_median",
    "approx_percentile_cont",
    "approx_percentile_cont_with_weight",
    "percentile_cont",
    "bool_and",
    "bool_or",
    "bit_and",
    "bit_or",
    "bit_xor",
    "corr",
    "covar_pop",
    "covar_samp",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "var",
    "var_pop",
    "first_value",
    "last_value",
    "nth_value",
    "regr_slope",
    "regr_intercept",
    "regr_count",
    "regr_r2",
    "regr_avgx",
    "regr_avgy",
    "regr_sxx",
    "regr_syy",
    "regr_sxy",
];

const WINDOW: &[&str] = &[
    "row_number",
    "rank",
    "dense_rank",
    "percent_rank",
    "cume_dist",
    "ntile",
    "lag",
    "lead",
    "first_value",
    "last_value",
    "nth_value",
];

/// Whether a plan may call this function, by its proper name.
pub(crate) fn is_allowed(scalar: &str) -> bool {
    SCALAR.contains(&scalar)
}

/// Syntax that is planned as a call. The engine's own planners for `||`, array and struct literals are left out: they
/// reach functions that are not on the list.
pub(crate) fn planners() -> Vec<Arc<dyn ExprPlanner>> {
    vec![
        Arc::new(bounded::Operators::default()),
        Arc::new(FieldAccessPlanner),
        Arc::new(DatetimeFunctionPlanner),
        Arc::new(UnicodeFunctionPlanner),
        Arc::new(AggregateFunctionPlanner),
        Arc::new(WindowFunctionPlanner),
    ]
}

/// Adds the functions that are ours.
pub(crate) fn add_own(state: &mut SessionState) -> Result<()> {
    state.register_udf(Arc::new(local_time::local_time()))?;
    state.register_udaf(Arc::new(percentile::percentile_of_bins()))?;
    Ok(())
}

/// Takes out every function that is not on the lists, and bounds those that can make much from little.
pub(crate) fn restrict(state: &mut SessionState) -> Result<()> {
    let scalar: Vec<Arc<ScalarUDF>> = state.scalar_functions().values().cloned().collect();
    for function in scalar.iter().filter(|function| !SCALAR.contains(&function.name())) {
        state.deregister_udf(function.name())?;
    }
    for function in scalar.iter().filter(|function| SCALAR.contains(&function.name())) {
        if let Some(bounded) = bounded::bounded(function) {
            state.register_udf(bounded)?;
        }
    }
    let aggregate: Vec<Arc<AggregateUDF>> = state.aggregate_functions().values().cloned().collect();
    for function in aggregate.iter().filter(|function| !AGGREGATE.contains(&function.name())) {
        state.deregister_udaf(function.name())?;
    }
    let window: Vec<Arc<WindowUDF>> = state.window_functions().values().cloned().collect();
    for function in window.iter().filter(|function| !WINDOW.contains(&function.name())) {
        state.deregister_udwf(function.name())?;
    }
    let higher_order: Vec<String> = state.higher_order_functions().keys().cloned().collect();
    for name in higher_order {
        state.deregister_higher_order_function(&name)?;
    }
    let table: Vec<String> = state.table_functions().keys().cloned().collect();
    for name in table {
        state.deregister_udtf(&name)?;
    }
    Ok(())
}
