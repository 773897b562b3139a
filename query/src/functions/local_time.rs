//! `local_time(instant, zone)`: what a clock on the wall shows, as a timestamp without zone.

use std::sync::Arc;

use arrow::array::{Array, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use schemas::Timestamp;

use crate::local_time::Zone;

pub(super) const LOCAL_TIME: &str = "local_time";

#[derive(Debug, PartialEq, Eq, Hash)]
struct LocalTime {
    signature: Signature,
}

pub(super) fn local_time() -> ScalarUDF {
    LocalTime { signature: Signature::user_defined(Volatility::Immutable) }.into()
}

impl ScalarUDFImpl for LocalTime {
    fn name(&self) -> &'static str {
        LOCAL_TIME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [
                DataType::Timestamp(..) | DataType::Date32 | DataType::Utf8 | DataType::Null,
                DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 | DataType::Null,
            ] => Ok(vec![DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), DataType::Utf8]),
            _ => plan_err!("local_time takes an instant and a time zone, for example 'Asia/Kathmandu'"),
        }
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Timestamp(TimeUnit::Microsecond, None))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let (times, zones) = (arrays[0].as_primitive::<TimestampMicrosecondType>(), arrays[1].as_string::<i32>());
        // Zones are all the same, mostly.
        let mut known: Option<(&str, Zone)> = None;
        let mut local = TimestampMicrosecondArray::builder(times.len());
        for row in 0..times.len() {
            if times.is_null(row) || zones.is_null(row) {
                local.append_null();
                continue;
            }
            let text = zones.value(row);
            let zone = match known {
                Some((name, zone)) if name == text => zone,
                _ => zone(text)?,
            };
            known = Some((text, zone));
            local.append_value(zone.wall_clock(Timestamp::from_micros(times.value(row))).and_utc().timestamp_micros());
        }
        Ok(ColumnarValue::Array(Arc::new(local.finish())))
    }
}

fn zone(text: &str) -> Result<Zone> {
    Zone::parse(text).map_err(|problem| DataFusionError::Execution(format!("`{text}` is no zone: {}", problem.detail)))
}
