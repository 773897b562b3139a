//! What DuckDB reads through the catalogue: a reader that shares no code with the server.
//!
//! The program is the command `duckdb`, or one that behaves as it does: called with `-bail -jsonlines`, it takes
//! statements from its standard input and prints their rows as JSON lines. The catalogue is attached for reading only, and
//! all is read in one transaction: of one commit.

use std::ffi::OsStr;
use std::process::{ExitStatus, Stdio};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;

use super::reader::{Row, Take};
use super::tables::{StoredTable, stored};
use crate::simulate::timeline::Ms;

/// Stands behind each answer, with its number.
const END: &str = "end_of_answer";

/// What it may take beside the server; without a limit it takes most of the machine's.
const MEMORY: &str = "4GB";

/// Tables of the lake that are compared.
const LAKE_TABLES: [&str; 6] = ["events", "quarantine", "records", "views", "app_sessions", "slices"];

/// The database of the catalogue, which holds the tables beside the lake too; in its usual schema.
const DATABASE: &str = "__ducklake_metadata_lake";

/// DuckDB with the catalogue attached.
#[derive(Debug)]
pub(in crate::simulate) struct ThroughDuckDb(Mutex<Box<Process>>);

#[derive(Debug)]
struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Number of answers so far.
    answers: u64,
}

impl ThroughDuckDb {
    /// Starts `program` and attaches `catalogue`, as `ATTACH` takes it: `ducklake:..`.
    pub(in crate::simulate) async fn open(program: &OsStr, catalogue: &str) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["-bail", "-jsonlines"]).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| {
            format!("start DuckDB as `{}`: install the command duckdb, or name it with --duckdb", program.display())
        })?;
        let input = child.stdin.take().context("a program without input")?;
        let output = BufReader::new(child.stdout.take().context("a program without output")?);
        let mut process = Process { child, input, output, answers: 0 };
        process.run("SET TimeZone = 'UTC'").await?;
        process.run(&format!("SET memory_limit = '{MEMORY}'")).await?;
        process.run(&format!("ATTACH {} AS lake (READ_ONLY)", literal(catalogue))).await?;
        Ok(Self(Mutex::new(Box::new(process))))
    }

    /// From now on all is read as of the newest commit, and of all tables only what belongs to `project`.
    pub(in crate::simulate) async fn pin(&self, project: &str) -> Result<()> {
        let mut process = self.0.lock().await;
        process.run("BEGIN TRANSACTION").await?;
        let project = literal(project);
        for table in LAKE_TABLES {
            let rows = format!("SELECT * FROM lake.main.{table} WHERE project = {project}");
            process.run(&format!("CREATE TEMP VIEW {table} AS {rows}")).await?;
        }
        for table in stored() {
            for (grain, length_ms) in table.grains {
                process.run(&view_of(&table, (grain, *length_ms), &project)).await?;
            }
        }
        Ok(())
    }

    /// Hands on the rows of a statement.
    pub(super) async fn each(&self, sql: &str, take: Take<'_>) -> Result<()> {
        self.0.lock().await.each(sql, take).await
    }

    /// By rising bucket and keys.
    pub(super) async fn each_of_rollup(
        &self,
        (name, grain): (&str, &str),
        keys: &[&str],
        measures: &[&str],
        take: Take<'_>,
    ) -> Result<()> {
        let keys: String = keys.iter().map(|key| format!(", {key}")).collect();
        let sums: String = measures.iter().map(|measure| format!(", sum({measure}) AS {measure}")).collect();
        let sql = format!(
            "SELECT bucket_start{keys}{sums} FROM rollup_{name}_{grain} GROUP BY bucket_start{keys} ORDER BY bucket_start{keys}"
        );
        self.each(&sql, take).await
    }
}

impl Process {
    /// Runs what has no rows.
    async fn run(&mut self, sql: &str) -> Result<()> {
        self.each(sql, &mut |_| Ok(())).await
    }

    async fn each(&mut self, sql: &str, take: Take<'_>) -> Result<()> {
        self.answers += 1;
        let asked = format!("{sql};\nSELECT {} AS {END};\n", self.answers);
        // If it is gone already, reading says why.
        let written = self.input.write_all(asked.as_bytes()).await;
        let mut line = String::new();
        loop {
            line.clear();
            if written.is_err() || self.output.read_line(&mut line).await? == 0 {
                let (status, reason) = self.last_words().await?;
                bail!("DuckDB ended with {status} at `{sql}`: {}", reason.trim());
            }
            let row: Row = serde_json::from_str(&line).with_context(|| format!("read `{}`", line.trim_end()))?;
            match row.get(END) {
                Some(number) if number.as_u64() == Some(self.answers) => return Ok(()),
                Some(number) => bail!("DuckDB gave answer {number} instead of {}", self.answers),
                None => take(row)?,
            }
        }
    }

    async fn last_words(&mut self) -> Result<(ExitStatus, String)> {
        let mut reason = String::new();
        if let Some(mut errors) = self.child.stderr.take() {
            errors.read_to_string(&mut reason).await?;
        }
        Ok((self.child.wait().await?, reason))
    }
}

/// A rollup as its readers have it: merged rows of this grain, and the deltas that are not merged yet.
fn view_of(table: &StoredTable, (grain, length_ms): (&str, Ms), project: &str) -> String {
    let (name, view) = (&table.name, table.view(grain));
    let columns: String = table.columns.iter().map(|column| format!(", {column}")).collect();
    let us = length_ms * 1_000;
    let [merged, deltas] = ["merged", "delta"].map(|part| {
        if !table.columns.contains(&"bin") {
            return format!("{DATABASE}.{name}_{part}");
        }
        // Bins of one bucket and keys are one JSON object beside their sums.
        let table = name.trim_end_matches("_bins");
        format!(
            "(SELECT * EXCLUDE (bins, entry), split_part(entry.key, ':', 1) AS metric, \
             split_part(entry.key, ':', 2) AS bin, entry.value AS n FROM (\
             SELECT *, unnest(map_entries(CAST(CAST(bins AS JSON) AS MAP(VARCHAR, BIGINT)))) AS entry \
             FROM {DATABASE}.{table}_{part} WHERE bins IS NOT NULL))"
        )
    });
    format!(
        "CREATE TEMP VIEW {view} AS SELECT make_timestamp(bucket_us) AS bucket_start{columns} FROM {merged} \
         WHERE grain = '{grain}' AND project = {project} \
         UNION ALL SELECT make_timestamp(bucket_us - bucket_us % {us}){columns} FROM {deltas} \
         WHERE project = {project}"
    )
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
