//! What the figures were taken on, and what else ran there.

use std::fs;
use std::process::Command;
use std::time::Instant;

/// Clock ticks per second of `/proc` (100 on every Linux we run on).
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor, memory and system in one line.
pub(crate) fn describe() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpu.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let model = field("model name").unwrap_or_else(|| "unknown processor".into());
    let mhz = field("cpu MHz").and_then(|mhz| mhz.parse::<f64>().ok());
    let clock = mhz.map_or(String::new(), |mhz| format!(", {:.1} GHz", mhz / 1000.0));
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory.split_ascii_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel.trim().split(['-', '+']).next().unwrap_or_default().to_owned();
    format!("{cores} × {model}{clock}, {:.0} GiB of memory, Linux {kernel}", kib / f64::from(1 << 20))
}

/// The commit that is checked out, if there is a repository and a `git` to ask; `-dirty` where files differ from it.
pub(crate) fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").current_dir(rig::server::repository()).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short", "HEAD"])?;
    let is_clean = git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Some(if is_clean { commit } else { format!("{commit}-dirty") })
}

/// Watches how much of the machine others used.
#[derive(Debug)]
pub(crate) struct Neighbours {
    begun: Instant,
    busy_s: f64,
    own_s: f64,
}

impl Neighbours {
    /// From now on.
    pub(crate) fn watch() -> Self {
        Self { begun: Instant::now(), busy_s: busy_seconds(), own_s: own_seconds() }
    }

    /// Cores that other processes kept busy, on average. Servers must have ended: only then their time is known.
    pub(crate) fn cores(&self) -> f64 {
        let busy = busy_seconds() - self.busy_s;
        let own = own_seconds() - self.own_s;
        (busy - own).max(0.0) / self.begun.elapsed().as_secs_f64()
    }
}

/// CPU-seconds of the whole machine but for idling and waiting.
fn busy_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = stat.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = first.split_ascii_whitespace().skip(1).filter_map(|ticks| ticks.parse().ok()).collect();
    // user, nice, system, (idle, iowait,) irq, softirq.
    [0, 1, 2, 5, 6].into_iter().filter_map(|idx| ticks.get(idx)).sum::<f64>() / TICKS_PER_SECOND
}

/// CPU-seconds of this process and of its children that have ended.
fn own_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_ascii_whitespace();
    fields.skip(11).take(4).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

/// CPU-seconds of this process so far.
pub(crate) fn cpu_seconds() -> f64 {
    rig::process::cpu_seconds(std::process::id())
}
