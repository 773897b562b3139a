//! Log lines to standard error, as text or JSON.

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Starts logging; `filter` is `RUST_LOG`.
pub(crate) fn start(format: LogFormat, filter: Option<&str>) {
    // Libraries whose chatter at `info` is of no use to an operator.
    let default = "info,fjall=warn,lsm_tree=warn,sqlx=warn,datafusion=warn";
    let filter = EnvFilter::try_new(filter.filter(|filter| !filter.is_empty()).unwrap_or(default))
        .unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
