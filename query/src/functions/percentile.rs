//! `percentile_of_bins(bin, n, share)`: the value at this share (0 to 1) of the way through the sorted values, within 1 %.
//!
//! Bins of a distribution add, so they can be put together over any keys and buckets; percentiles cannot.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use schemas::fold::sketch;

pub(crate) const PERCENTILE_OF_BINS: &str = "percentile_of_bins";

#[derive(Debug, PartialEq, Eq, Hash)]
struct Percentile {
    signature: Signature,
}

pub(super) fn percentile_of_bins() -> AggregateUDF {
    Percentile { signature: Signature::user_defined(Volatility::Immutable) }.into()
}

impl AggregateUDFImpl for Percentile {
    fn name(&self) -> &'static str {
        PERCENTILE_OF_BINS
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [bin, n, share]
                if (bin.is_integer() || bin.is_null() || *bin == DataType::Utf8)
                    && (n.is_integer() || n.is_null())
                    && share.is_numeric() =>
            {
                Ok(vec![DataType::Int64, DataType::Int64, DataType::Float64])
            }
            _ => plan_err!("percentile_of_bins takes bin, n and a share from 0 to 1"),
        }
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let field = |name: &str, ty: DataType| Arc::new(Field::new(format_state_name(args.name, name), ty, true));
        let list = || DataType::new_list(DataType::Int64, true);
        Ok(vec![field("bins", list()), field("counts", list()), field("share", DataType::Float64)])
    }

    fn accumulator(&self, _args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Bins::default()))
    }
}

/// Counts by bin, and the share that is asked for.
#[derive(Debug, Default)]
struct Bins {
    counts: BTreeMap<i32, i64>,
    share: Option<f64>,
}

impl Bins {
    fn add(&mut self, bins: &dyn Array, counts: &dyn Array) {
        let (bins, counts) = (bins.as_primitive::<Int64Type>(), counts.as_primitive::<Int64Type>());
        for (bin, count) in bins.iter().zip(counts) {
            // What lies beyond all bins is no bin.
            if let (Some(Ok(bin)), Some(count)) = (bin.map(i32::try_from), count) {
                let sum = self.counts.entry(bin).or_insert(0);
                *sum = sum.saturating_add(count);
            }
        }
    }

    fn ask(&mut self, shares: &dyn Array) {
        let shares = shares.as_primitive::<Float64Type>();
        self.share = self.share.or_else(|| shares.iter().flatten().next());
    }
}

impl Accumulator for Bins {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(&values[0], &values[1]);
        self.ask(&values[2]);
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (bins, counts): (&ListArray, &ListArray) = (states[0].as_list(), states[1].as_list());
        for (bins, counts) in bins.iter().zip(counts.iter()) {
            if let (Some(bins), Some(counts)) = (bins, counts) {
                self.add(&bins, &counts);
            }
        }
        self.ask(&states[2]);
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let list = |values: Vec<ScalarValue>| ScalarValue::List(ScalarValue::new_list(&values, &DataType::Int64, true));
        let bins = self.counts.keys().map(|bin| ScalarValue::Int64(Some(i64::from(*bin)))).collect();
        let counts = self.counts.values().map(|count| ScalarValue::Int64(Some(*count))).collect();
        Ok(vec![list(bins), list(counts), ScalarValue::Float64(self.share)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let bins: Vec<(i32, i64)> = self.counts.iter().map(|(bin, count)| (*bin, *count)).collect();
        Ok(ScalarValue::Float64(self.share.and_then(|share| sketch::quantile(&bins, share))))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.counts.len() * 3 * size_of::<(i32, i64)>()
    }
}
