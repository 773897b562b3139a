//! What a caller is told of the engine's errors: its own mistakes in full, ours not at all.

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion::parquet::errors::ParquetError;
use schemas::Problem;

use crate::answer::Refused;

/// The refusal for an error. Nothing of the caller's own is logged: it may hold values.
pub(crate) fn refusal(error: DataFusionError) -> Refused {
    let root = error.find_root();
    match root {
        DataFusionError::SQL(..)
        | DataFusionError::Plan(_)
        | DataFusionError::SchemaError(..)
        | DataFusionError::NotImplemented(_)
        | DataFusionError::Diagnostic(..) => {
            Problem::new(400, "sql_invalid", one_line(&error)).at("/sql", "valid").into()
        }
        DataFusionError::ArrowError(..) | DataFusionError::Execution(_) => failed(&error),
        // A filter that was moved into the scan fails there.
        DataFusionError::ParquetError(inner) if is_of_a_filter(inner) => failed(&error),
        DataFusionError::ResourcesExhausted(_) => {
            Problem::new(422, "query_memory", "the query needs more memory than queries may use")
                .at("/sql", "max_memory")
                .into()
        }
        DataFusionError::IoError(_) | DataFusionError::ObjectStore(_) | DataFusionError::ParquetError(_) => {
            tracing::error!(error = %root, "the lake could not be read for a query");
            internal()
        }
        DataFusionError::External(inner) if inner.is::<Refused>() => {
            inner.downcast_ref().map_or_else(internal, |Refused(problem)| problem.clone().into())
        }
        _ => {
            tracing::error!(error.kind = kind(root), "a query failed");
            internal()
        }
    }
}

fn is_of_a_filter(error: &ParquetError) -> bool {
    match error {
        ParquetError::ArrowError(_) => true,
        ParquetError::External(inner) => {
            inner.downcast_ref::<ArrowError>().is_some_and(|error| !matches!(error, ArrowError::IoError(..)))
        }
        _ => false,
    }
}

fn failed(error: &DataFusionError) -> Refused {
    Problem::new(400, "sql_failed", one_line(error)).at("/sql", "evaluates").into()
}

const fn kind(error: &DataFusionError) -> &'static str {
    match error {
        DataFusionError::Internal(_) => "internal",
        DataFusionError::Configuration(_) => "configuration",
        DataFusionError::ExecutionJoin(_) => "panic",
        DataFusionError::External(_) => "external",
        _ => "other",
    }
}

pub(crate) fn internal() -> Refused {
    Problem::new(500, "internal", "the query failed for a reason of ours").into()
}

/// The first line of an error, without what the engine advises its developers.
fn one_line(error: &DataFusionError) -> String {
    let text = error.strip_backtrace();
    text.lines().next().unwrap_or_default().chars().take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_cannot_be_cast_is_the_callers_mistake_wherever_it_is_found() {
        let cast = || ArrowError::CastError("Cannot cast string 'x' to value of Int64 type".into());
        for error in [ParquetError::ArrowError(cast().to_string()), ParquetError::External(Box::new(cast()))] {
            let Refused(problem) = refusal(DataFusionError::ParquetError(Box::new(error)));
            assert_eq!((problem.status, problem.code), (400, "sql_failed"));
        }
        let Refused(problem) = refusal(DataFusionError::ParquetError(Box::new(ParquetError::EOF("gone".into()))));
        assert_eq!((problem.status, problem.code), (500, "internal"));
    }
}
