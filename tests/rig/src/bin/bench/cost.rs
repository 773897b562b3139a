//! What the server's threads cost, by what they do.

use rig::process;

/// CPU-seconds (user and system) by role. Threads are told apart by their names.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cpu {
    /// Requests: everything that has no name of its own, threads that have ended among it.
    pub(crate) http: f64,
    /// The log's writer.
    pub(crate) log_writer: f64,
    /// Flushing and compacting of the log's storage.
    pub(crate) log_storage: f64,
    /// The processor.
    pub(crate) processor: f64,
    /// SQLite.
    pub(crate) database: f64,
    /// The query engine.
    pub(crate) query: f64,
}

impl Cpu {
    /// Of a process so far.
    pub(crate) fn of(pid: u32) -> Self {
        let mut cpu = Self::default();
        let total = process::cpu_seconds(pid);
        for (name, seconds) in process::cpu_seconds_by_thread(pid) {
            let role = match name.as_str() {
                "log-writer" => &mut cpu.log_writer,
                "processor" => &mut cpu.processor,
                "query" => &mut cpu.query,
                name if name.starts_with("fjall") => &mut cpu.log_storage,
                name if name.starts_with("sqlx-sqlite") => &mut cpu.database,
                _ => continue,
            };
            *role += seconds;
        }
        let named = cpu.log_writer + cpu.processor + cpu.query + cpu.log_storage + cpu.database;
        cpu.http = (total - named).max(0.0);
        cpu
    }

    /// What was spent since then.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            http: (self.http - earlier.http).max(0.0),
            log_writer: (self.log_writer - earlier.log_writer).max(0.0),
            log_storage: (self.log_storage - earlier.log_storage).max(0.0),
            processor: (self.processor - earlier.processor).max(0.0),
            database: (self.database - earlier.database).max(0.0),
            query: (self.query - earlier.query).max(0.0),
        }
    }

    /// Requests and log: what taking uploads costs.
    pub(crate) fn ingest(&self) -> f64 {
        self.http + self.log_writer + self.log_storage
    }

    /// Everything.
    pub(crate) fn total(&self) -> f64 {
        self.ingest() + self.processor + self.database + self.query
    }
}
