//! Which functions SQL may use: an allow list.
//!
//! Left out are functions that make much from little (`repeat`, `lpad`, `rpad`, `space`, `array_repeat`, `range`,
//! `generate_series`), that collect a whole table into one value (`array_agg`, `string_agg`), and that tell about the
//! server (`version`).

use datafusion::prelude::SessionContext;

const SCALAR: &[&str] = &[
    // Conditions and types.
    "arrow_typeof", "coalesce", "greatest", "least", "nullif", "nvl", "ifnull", "nvl2", "named_struct", "struct", "get_field",
    "arrow_cast", "arrow_try_cast",
    // Numbers.
    "abs", "ceil", "floor", "round", "trunc", "signum", "sign", "sqrt", "cbrt", "exp", "ln", "log", "log10", "log2", "power",
    "pow", "factorial", "gcd", "lcm", "pi", "isnan", "iszero", "nanvl", "degrees", "radians", "sin", "cos", "tan", "cot",
    "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh",
    // Times.
    "now", "current_timestamp", "current_date", "today", "current_time", "date_trunc", "datetrunc", "date_part", "datepart",
    "date_bin", "date_format", "to_char", "to_timestamp", "to_timestamp_seconds", "to_timestamp_millis",
    "to_timestamp_micros", "to_timestamp_nanos", "to_date", "to_time", "to_unixtime", "from_unixtime", "make_date", "make_time",
    "to_local_time",
    // Text.
    "ascii", "bit_length", "btrim", "trim", "ltrim", "rtrim", "char_length", "character_length", "length", "octet_length",
    "chr", "concat", "concat_ws", "contains", "ends_with", "starts_with", "find_in_set", "initcap", "left", "right", "lower",
    "upper", "levenshtein", "overlay", "position", "instr", "strpos", "replace", "reverse", "split_part", "substr",
    "substring", "substr_index", "substring_index", "to_hex", "translate", "regexp_like", "regexp_match", "regexp_count",
    "regexp_instr", "regexp_replace", "encode", "decode",
    // Lists.
    "array_length", "list_length", "cardinality", "array_element", "array_extract", "list_element", "array_has", "list_has",
    "array_contains", "list_contains", "array_to_string", "list_to_string", "string_to_array", "string_to_list", "make_array",
    "make_list", "array_min", "array_max", "array_distinct", "array_sort", "array_position", "array_slice", "empty",
    "array_empty",
    // JSON.
    "json_get", "json_get_str", "json_get_int", "json_get_float", "json_get_bool", "json_get_json", "json_get_array",
    "json_as_text", "json_contains", "json_length", "json_len", "json_object_keys", "json_keys",
];

const AGGREGATE: &[&str] = &[
    "count", "sum", "avg", "mean", "min", "max", "median", "approx_distinct", "approx_median", "approx_percentile_cont",
    "approx_percentile_cont_with_weight", "percentile_cont", "quantile_cont", "bool_and", "bool_or", "bit_and", "bit_or",
    "bit_xor", "corr", "covar", "covar_pop", "covar_samp", "stddev", "stddev_pop", "stddev_samp", "var", "var_pop",
    "var_population", "var_samp", "var_sample", "first_value", "last_value", "nth_value", "grouping", "regr_slope",
    "regr_intercept", "regr_count", "regr_r2", "regr_avgx", "regr_avgy", "regr_sxx", "regr_syy", "regr_sxy",
];

const WINDOW: &[&str] = &[
    "row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile", "lag", "lead", "first_value", "last_value",
    "nth_value",
];

/// Takes out every function that is not on the list.
pub(crate) fn restrict(context: &SessionContext) {
    let state = context.state();
    for name in state.scalar_functions().keys().filter(|name| !SCALAR.contains(&name.as_str())) {
        context.deregister_udf(name);
    }
    for name in state.aggregate_functions().keys().filter(|name| !AGGREGATE.contains(&name.as_str())) {
        context.deregister_udaf(name);
    }
    for name in state.window_functions().keys().filter(|name| !WINDOW.contains(&name.as_str())) {
        context.deregister_udwf(name);
    }
    for name in state.table_functions().keys() {
        context.deregister_udtf(name);
    }
    for name in state.higher_order_functions().keys() {
        context.deregister_higher_order_function(name);
    }
}
