//! Log lines to standard error, as text or JSON.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};

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

/// Something that is tried again and again: one line when it begins to fail, one when it works again.
#[derive(Debug)]
pub(crate) struct Repeated {
    what: &'static str,
    is_failing: AtomicBool,
}

impl Repeated {
    pub(crate) const fn new(what: &'static str) -> Self {
        Self { what, is_failing: AtomicBool::new(false) }
    }

    /// Notes how a try ended. Returns its value.
    pub(crate) fn note<T>(&self, result: Result<T, impl Display>) -> Option<T> {
        let (what, was_failing) = (self.what, self.is_failing.swap(result.is_err(), Ordering::AcqRel));
        match result {
            Ok(value) => {
                if was_failing {
                    tracing::info!("{what}: works again");
                }
                Some(value)
            }
            Err(error) => {
                if !was_failing {
                    tracing::warn!(error = %format_args!("{error:#}"), "{what}: failed, and is tried again silently");
                }
                None
            }
        }
    }
}
