//! `docs/benchmarks.md`: the figures with where, when and how they were taken.

use std::path::Path;

use anyhow::{Context, Result};

use crate::table::{Table, grid, show};
use crate::{Options, cluster, e2e, embedded, ingest, machine, now, processor, query, rollups};

/// From here on the document is written by people, and kept.
const KEPT_FROM: &str = "## Where the time goes";

/// A figure that the project wants to reach.
struct Goal {
    name: &'static str,
    what: &'static str,
    wanted: f64,
    unit: &'static str,
    /// Whether less is better.
    at_most: bool,
    measured: Option<f64>,
}

/// Writes the document; what people wrote into an earlier one stays.
pub(crate) fn write(output: Option<&Path>, tables: &[Table], options: &Options) -> Result<()> {
    let default = rig::server::repository().join("docs/benchmarks.md");
    let path = output.unwrap_or(&default);
    let earlier = std::fs::read_to_string(path).unwrap_or_default();
    let kept = earlier.find(KEPT_FROM).map_or("", |at| &earlier[at..]);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, text(tables, options, kept)).with_context(|| format!("write `{}`", path.display()))
}

fn text(tables: &[Table], options: &Options, kept: &str) -> String {
    let mut text = String::from("# Benchmarks\n\n");
    text.push_str(&format!(
        "Written by `{}`; each table can be had alone by its name in place of `all`. Every benchmark checks its own \
         answers and fails if they are wrong.\n\n",
        command(options)
    ));
    let commit = machine::commit().unwrap_or_else(|| "unknown".into());
    text.push_str(&format!("- Date: {}\n", now().to_chrono().format("%Y-%m-%d %H:%M UTC")));
    text.push_str(&format!("- Commit: {commit}\n"));
    text.push_str(&format!("- Machine: {}\n", machine::describe()));
    text.push_str(&format!(
        "- Build: {}, {}\n",
        if cfg!(debug_assertions) {
            "dev profile (what runs per event is optimised, the rest is not)"
        } else {
            "release profile"
        },
        if cfg!(target_feature = "avx2") { "with AVX2" } else { "portable (no CPU features beyond the target's)" }
    ));
    text.push_str(&format!("- Figures: median of {} runs, and the least and greatest of them where they differ; the runs of the variants of one table alternate.\n\n", options.runs));
    text.push_str(
        "CPU-seconds are user and system time of a process or its threads; they are the currency here, since rates depend \
         on what else runs on the machine. K is a thousand, M a million.\n\n## Goals\n\n",
    );
    text.push_str(&goals(tables));
    for table in tables {
        text.push_str(&format!("\n{}", table.markdown()));
    }
    if !kept.is_empty() {
        text.push_str(&format!("\n{kept}"));
    }
    text
}

/// How this run was made.
fn command(options: &Options) -> String {
    let release = if cfg!(debug_assertions) { "" } else { "--release " };
    let seconds = options.seconds.map_or(String::new(), |seconds| format!(" --seconds {}", seconds.as_secs_f64()));
    format!("cargo run {release}-p rig --bin bench -- all --runs {}{seconds}", options.runs)
}

fn goals(tables: &[Table]) -> String {
    let median = |name: &str, variant: &str, figure: &str| {
        tables.iter().filter(|table| table.name == name).find_map(|table| table.median(variant, figure))
    };
    let at_least = |name, what, wanted, unit, measured| Goal { name, what, wanted, unit, at_most: false, measured };
    let at_most = |name, what, wanted, unit, measured| Goal { name, what, wanted, unit, at_most: true, measured };
    let of_cluster = cluster::VARIANTS.map(|variant| median("cluster", variant, e2e::COMMITTED_PER_S));
    let of_cluster = of_cluster.into_iter().flatten().max_by(f64::total_cmp);
    let of_processor = |variant| median("processor", variant, processor::EVENTS_PER_CPU_S);
    let embedded = |figure| median("embedded", embedded::DEFAULTS, figure);
    let of_rollups = |variant| median("rollup-reads", variant, rollups::P99_MS);
    let of_ten = |variant| median("query", variant, query::SUM);
    let of_duckdb = of_ten(query::OURS_CPU).zip(of_ten(query::DUCKDB_CPU)).map(|(ours, theirs)| ours / theirs);
    let goals = [
        at_least(
            "G1",
            "ingest, posts of 100 events",
            600_000.0,
            "events per CPU-s",
            median("ingest", ingest::HUNDRED, ingest::EVENTS_PER_CPU_S),
        ),
        at_least(
            "G2",
            "ingest, posts of 1 event",
            45_000.0,
            "posts per CPU-s",
            median("ingest", ingest::SINGLE, ingest::POSTS_PER_CPU_S),
        ),
        at_least(
            "G4",
            "processor, log to committed rows",
            400_000.0,
            "events per CPU-s",
            of_processor(processor::ON_POSTGRES).or_else(|| of_processor(processor::NO_COPIES)),
        ),
        at_least("G5", "the cluster, everything on the same machine", 100_000.0, "events/s", of_cluster),
        at_most("G6", "event visible in SQL after its 2xx, p99", 2_000.0, "ms", embedded(embedded::SQL_P99_MS)),
        at_most("G6", "event visible in rollups after its 2xx, p99", 2_000.0, "ms", embedded(embedded::ROLLUP_P99_MS)),
        at_most("G8", "ten statements, CPU over that of DuckDB on the same files", query::GOAL_RATIO, "", of_duckdb),
        at_most(
            "G9",
            "a stream, 24 h of minutes, at 2 K/s, p99",
            rollups::GOAL_MS,
            "ms",
            of_rollups(rollups::STREAM_DAY),
        ),
        at_most("G9", "a project, 30 days, at 2 K/s, p99", rollups::GOAL_MS, "ms", of_rollups(rollups::PROJECT_MONTH)),
        at_most("G12", "first start to ready", 300.0, "ms", embedded(embedded::COLD_START_MS)),
        at_most("G12", "RSS when idle", 80.0, "MiB", embedded(embedded::IDLE_MIB)),
        at_least(
            "G12",
            "end to end, client on the same machine",
            100_000.0,
            "events/s",
            median("e2e", e2e::SUSTAINED, e2e::COMMITTED_PER_S),
        ),
    ];
    let mut lines = vec![["goal", "what", "wanted", "measured", "reached"].map(str::to_owned).to_vec()];
    for goal in &goals {
        let sign = if goal.at_most { "≤" } else { "≥" };
        let reached = match goal.measured {
            None => "not measured",
            Some(measured) if (measured <= goal.wanted) == goal.at_most => "yes",
            Some(_) => "no",
        };
        lines.push(vec![
            goal.name.to_owned(),
            goal.what.to_owned(),
            format!("{sign} {} {}", show(goal.wanted), goal.unit),
            goal.measured.map_or("-".into(), |measured| format!("{} {}", show(measured), goal.unit)),
            reached.to_owned(),
        ]);
    }
    grid(&lines)
}
