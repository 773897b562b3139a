//! Figures of several runs, as a table for people and as JSON.

use serde_json::{Value, json};

/// Figures (rows) of variants (columns), each over all runs.
#[derive(Debug)]
pub(crate) struct Table {
    /// What was measured.
    pub(crate) title: &'static str,
    /// The name that `bench` takes.
    pub(crate) name: &'static str,
    /// What a reader must know.
    pub(crate) notes: Vec<String>,
    figures: Vec<&'static str>,
    variants: Vec<Variant>,
}

#[derive(Debug)]
struct Variant {
    name: String,
    /// By run, in the order of the figures.
    runs: Vec<Vec<f64>>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(name: &'static str, title: &'static str, figures: &[&'static str]) -> Self {
        Self { title, name, notes: Vec::new(), figures: figures.to_vec(), variants: Vec::new() }
    }

    /// Adds one run of a variant; not-a-number stands for «does not apply».
    pub(crate) fn add<const FIGURES: usize>(&mut self, variant: &str, run: [f64; FIGURES]) {
        debug_assert_eq!(FIGURES, self.figures.len());
        let known = self.variants.iter_mut().find(|known| known.name == variant);
        match known {
            Some(known) => known.runs.push(run.to_vec()),
            None => self.variants.push(Variant { name: variant.to_owned(), runs: vec![run.to_vec()] }),
        }
    }

    /// The median of a figure over all runs of a variant.
    pub(crate) fn median(&self, variant: &str, figure: &str) -> Option<f64> {
        let row = self.figures.iter().position(|known| *known == figure)?;
        let variant = self.variants.iter().find(|known| known.name == variant)?;
        Some(median(&variant.sorted(row)))
    }

    /// The table as Markdown, padded so that it can be read as it stands.
    pub(crate) fn markdown(&self) -> String {
        let header: Vec<String> =
            std::iter::once(String::new()).chain(self.variants.iter().map(|variant| variant.name.clone())).collect();
        let mut lines = vec![header];
        for (row, figure) in self.figures.iter().enumerate() {
            let cells = self.variants.iter().map(|variant| cell(&variant.sorted(row)));
            lines.push(std::iter::once((*figure).to_owned()).chain(cells).collect());
        }
        let mut text = format!("## {}\n\n", self.title);
        for note in &self.notes {
            text.push_str(&format!("- {note}\n"));
        }
        if !self.notes.is_empty() {
            text.push('\n');
        }
        text.push_str(&grid(&lines));
        text
    }

    /// The table with the figures of every run.
    pub(crate) fn json(&self) -> Value {
        let variants = self.variants.iter().map(|variant| {
            let figures = self.figures.iter().enumerate();
            let figures = figures.map(|(row, figure)| {
                let runs: Vec<f64> = variant.runs.iter().map(|run| run[row]).collect();
                ((*figure).to_owned(), json!(runs))
            });
            (variant.name.clone(), Value::Object(figures.collect()))
        });
        json!({ "name": self.name, "title": self.title, "notes": self.notes, "variants": Value::Object(variants.collect()) })
    }
}

impl Variant {
    fn sorted(&self, row: usize) -> Vec<f64> {
        let mut values: Vec<f64> = self.runs.iter().map(|run| run[row]).collect();
        values.sort_by(f64::total_cmp);
        values
    }
}

/// Lines of cells as a Markdown table; the first line is the header.
pub(crate) fn grid(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell: &String| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0).max(3)).collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        text.push('|');
        for (column, width) in widths.iter().enumerate() {
            let cell = line.get(column).map_or("", String::as_str);
            text.push_str(&format!(" {cell:<width$} |"));
        }
        text.push('\n');
        if number == 0 {
            text.push('|');
            for width in &widths {
                text.push_str(&format!("{}|", "-".repeat(width + 2)));
            }
            text.push('\n');
        }
    }
    text
}

/// Median, and the spread where there is one.
fn cell(sorted: &[f64]) -> String {
    let (Some(least), Some(greatest)) = (sorted.first(), sorted.last()) else { return "-".into() };
    let median = show(median(sorted));
    let (least, greatest) = (show(*least), show(*greatest));
    if least == greatest { median } else { format!("{median} ({least} to {greatest})") }
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.get(middle) {
        None => f64::NAN,
        Some(value) if sorted.len() % 2 == 1 => *value,
        Some(value) => f64::midpoint(*value, sorted[middle - 1]),
    }
}

/// Three digits, with K for thousand and M for million.
pub(crate) fn show(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => "-".into(),
        size if size >= 999_500.0 => format!("{:.2} M", value / 1e6),
        size if size >= 99_950.0 => format!("{:.0} K", value / 1e3),
        size if size >= 9_995.0 => format!("{:.1} K", value / 1e3),
        size if size >= 99.95 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A count as a figure.
#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^53")]
pub(crate) const fn float(count: u64) -> f64 {
    count as f64
}

/// A count of things in memory as a figure.
pub(crate) const fn float_len(count: usize) -> f64 {
    float(count as u64)
}

/// The value that a share of the sorted values does not exceed, in thousands of their unit.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
pub(crate) fn percentile_ms(sorted_us: &[u64], share: f64) -> f64 {
    let last = sorted_us.len().saturating_sub(1);
    let idx = (float_len(last) * share).round() as usize;
    sorted_us.get(idx).map_or(f64::NAN, |us| float(*us) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let shown = [0.123, 5.0, 9.996, 42.42, 250.0, 9_999.0, 54_321.0, 654_321.0, 1_234_567.0].map(show);
        assert_eq!(shown, ["0.12", "5", "10.0", "42.4", "250", "10.0 K", "54.3 K", "654 K", "1.23 M"]);
    }

    #[test]
    fn a_cell_is_the_median_with_its_spread() {
        let mut table = Table::new("x", "X", &["rate", "files"]);
        for (rate, files) in [(3.0, 7.0), (1.0, 7.0), (2.0, 7.0)] {
            table.add("plain", [rate, files]);
        }
        assert_eq!(table.median("plain", "rate"), Some(2.0));
        let text = table.markdown();
        assert!(text.contains("| rate  | 2 (1 to 3) |") && text.contains("| files | 7          |"), "{text}");
    }

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let latencies: Vec<u64> = (1..=100).map(|ms| ms * 1000).collect();
        assert!((percentile_ms(&latencies, 0.99) - 99.0).abs() < 1e-9);
        assert!((percentile_ms(&latencies, 1.0) - 100.0).abs() < 1e-9);
        assert!(percentile_ms(&[], 0.5).is_nan());
    }
}
