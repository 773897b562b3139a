//! The program as a process of its own.

use std::collections::HashMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reqwest::{Body, Client, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// How a server is started.
#[derive(Debug, Clone)]
pub struct Start {
    binary: PathBuf,
    folder: Arc<TempDir>,
    arguments: Vec<String>,
    variables: HashMap<String, String>,
}

impl Start {
    /// A server of this program file on a fresh data directory, on free ports that stay the same over restarts.
    ///
    /// # Panics
    ///
    /// If there is no temporary folder or no free port.
    #[must_use]
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        let start = Self { binary: binary.into(), folder, arguments: Vec::new(), variables: HashMap::new() };
        start
            .variable("STREAMGAUGE_HTTP_ADDR", free_address())
            .variable("STREAMGAUGE_ADMIN_ADDR", "127.0.0.1:0")
            .variable("STREAMGAUGE_INGEST__TICK_INTERVAL", "250ms")
    }

    /// With an environment variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.insert(name.to_owned(), value.into());
        self
    }

    /// With the clock that requests set.
    #[must_use]
    pub fn test_clock(self) -> Self {
        self.variable("STREAMGAUGE_TEST_CLOCK", "1")
    }

    /// With these arguments of the command line.
    #[must_use]
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        self
    }

    /// The data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The program with this start's environment, to be given a command.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.env_clear().envs(&self.variables).env("STREAMGAUGE_DATA_DIR", self.data_dir()).kill_on_drop(true);
        command
    }

    /// Upload key and read token: the preset ones of one role of several, else what the first start made.
    fn credentials(&self) -> Result<(String, String)> {
        let preset = |name: &str| self.variables.get(name).cloned();
        if let (Some(key), Some(token)) = (preset("STREAMGAUGE_UPLOAD_KEY"), preset("STREAMGAUGE_READ_TOKEN")) {
            return Ok((key, token));
        }
        let made: Value = serde_json::from_slice(&std::fs::read(self.data_dir().join("credentials.json"))?)?;
        let text = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
        Ok((text("upload_key"), text("read_token")))
    }

    /// Starts the server and waits until it is ready.
    ///
    /// # Errors
    ///
    /// If it ends instead, with what it said.
    pub async fn start(&self) -> Result<Server> {
        let run_file = self.data_dir().join("run.json");
        // A server that was killed left its file behind.
        let _ = std::fs::remove_file(&run_file);
        let log_file = self.folder.path().join("server.log");
        let log = std::fs::File::options().create(true).append(true).open(&log_file)?;
        let started = Instant::now();
        let mut child =
            self.command().args(&self.arguments).stdout(log.try_clone()?).stderr(log).stdin(Stdio::null()).spawn()?;
        let pid = child.id().context("the process has ended")?;
        let run: Value = loop {
            if let Ok(bytes) = std::fs::read(&run_file) {
                break serde_json::from_slice(&bytes).context("read run.json")?;
            }
            if let Some(status) = child.try_wait()? {
                bail!("the server ended with {status}: {}", std::fs::read_to_string(&log_file)?);
            }
            if started.elapsed() > Duration::from_secs(60) {
                bail!("the server is not ready after 60 s: {}", std::fs::read_to_string(&log_file)?);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        let ready_in = started.elapsed();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (upload_key, read_token) = self.credentials()?;
        Ok(Server {
            start: self.clone(),
            child,
            pid,
            ready_in,
            http: format!("http://{}", text(&run["http"])),
            admin: format!("http://{}", text(&run["admin"])),
            upload_key,
            read_token,
            client: client(),
        })
    }
}

/// A free address of this machine.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound address").to_string()
}

/// An HTTP client that talks to nobody but servers of ours.
///
/// # Panics
///
/// If it cannot be made.
#[must_use]
pub fn client() -> Client {
    // An error means that it is set already.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().build().expect("an HTTP client")
}

/// A running server; it is killed when dropped.
#[derive(Debug)]
pub struct Server {
    start: Start,
    child: Child,
    /// Its process id.
    pub pid: u32,
    /// From the start of the process until `run.json` was there.
    pub ready_in: Duration,
    /// `http://host:port` of uploads and API.
    pub http: String,
    /// `http://host:port` of the admin port.
    pub admin: String,
    /// The first upload key.
    pub upload_key: String,
    /// The first read token.
    pub read_token: String,
    client: Client,
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: HashMap<String, String>,
    /// The body.
    pub bytes: Vec<u8>,
}

impl Reply {
    /// The body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_default()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// A header, empty if it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// Sends a request and reads the answer to its end.
///
/// # Errors
///
/// If there is no whole answer.
pub async fn send(request: RequestBuilder) -> Result<Reply> {
    let response = request.timeout(Duration::from_secs(60)).send().await?;
    let status = response.status().as_u16();
    let header = |(name, value): (&reqwest::header::HeaderName, &reqwest::header::HeaderValue)| {
        (name.as_str().to_owned(), value.to_str().unwrap_or_default().to_owned())
    };
    let headers = response.headers().iter().map(header).collect();
    Ok(Reply { status, headers, bytes: response.bytes().await?.to_vec() })
}

impl Server {
    /// How it was started.
    #[must_use]
    pub fn start(&self) -> &Start {
        &self.start
    }

    /// A request to the public port, without any credential.
    ///
    /// # Panics
    ///
    /// If there is no such method.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.client.request(method.parse().expect("a method"), format!("{}{path}", self.http))
    }

    /// Posts a body with the upload key.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    pub async fn post(&self, path: &str, content_type: &str, body: impl Into<Body>) -> Reply {
        let request =
            self.request("POST", path).header("x-api-key", &self.upload_key).header("content-type", content_type);
        send(request.body(body)).await.expect("an answer")
    }

    /// Uploads a batch of CloudEvents.
    pub async fn upload(&self, events: &[Value]) -> Reply {
        self.post("/v1/events", "application/cloudevents-batch+json", json!(events).to_string()).await
    }

    /// Reads with the read token.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    pub async fn get(&self, path: &str) -> Reply {
        send(self.request("GET", path).bearer_auth(&self.read_token)).await.expect("an answer")
    }

    /// The answer to a statement.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    pub async fn try_sql(&self, statement: &Value) -> Reply {
        send(self.request("POST", "/v1/sql").bearer_auth(&self.read_token).json(statement)).await.expect("an answer")
    }

    /// The rows of a statement.
    ///
    /// # Panics
    ///
    /// If it is refused.
    pub async fn sql(&self, sql: &str) -> Vec<Value> {
        let reply = self.try_sql(&json!({ "sql": sql })).await;
        assert_eq!(reply.status, 200, "{sql}: {}", reply.text());
        reply.json()["data"].as_array().cloned().unwrap_or_default()
    }

    /// The only number of a statement's only row.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub async fn number(&self, sql: &str) -> i64 {
        let rows = self.sql(sql).await;
        let row = rows.first().and_then(Value::as_object).and_then(|row| row.values().next()).cloned();
        row.and_then(|value| value.as_i64()).unwrap_or_else(|| panic!("{sql} gives no number: {rows:?}"))
    }

    /// A metric's value, by its name with labels.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let text = send(self.client.get(format!("{}/metrics", self.admin))).await.ok()?.text();
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// Waits until everything in the log is committed.
    ///
    /// # Panics
    ///
    /// If that takes more than a minute.
    pub async fn settle(&self) {
        let lag = "streamgauge_processor_lag_records{lane=\"events\"}";
        let trouble = || format!("the processor does not catch up: {}", self.log());
        wait_until(Duration::from_secs(60), trouble, async || self.metric(lag).await == Some(0.0)).await;
    }

    /// What the server wrote to its log so far, over all starts on this data directory.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.start.folder.path().join("server.log")).unwrap_or_default()
    }

    /// Lines of the log at a level, for example `ERROR`.
    #[must_use]
    pub fn log_lines(&self, level: &str) -> Vec<String> {
        self.log().lines().filter(|line| line.contains(&format!(" {level} "))).map(str::to_owned).collect()
    }

    /// Ends the process at once, as a crash does.
    ///
    /// # Panics
    ///
    /// If it cannot be ended.
    pub async fn kill(mut self) -> Start {
        self.child.kill().await.expect("the process can be killed");
        self.start.clone()
    }

    /// Asks the process to end, and waits for it.
    ///
    /// # Panics
    ///
    /// If it is still there after 40 s.
    pub async fn stop(mut self) -> (ExitStatus, Start) {
        signal(self.pid, "TERM").await;
        let ended = tokio::time::timeout(Duration::from_secs(40), self.child.wait()).await;
        (ended.expect("the server ends after SIGTERM").expect("an exit status"), self.start.clone())
    }

    /// Ends the process as a crash does, and starts it again.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn crash_and_restart(self) -> Self {
        self.kill().await.start().await.expect("the server starts again")
    }
}

/// Waits until something is so, asking again and again.
///
/// # Panics
///
/// With this trouble, if it is not so within `limit`.
pub async fn wait_until(limit: Duration, trouble: impl Fn() -> String, mut is_so: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + limit;
    while !is_so().await {
        assert!(Instant::now() < until, "{}", trouble());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sends a signal to a process that this one started.
///
/// # Panics
///
/// If there is no `kill` command.
pub async fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().await;
    assert!(status.expect("the command kill").success(), "signal {name} to {pid}");
}

/// The folder of the repository: the working directory, or the nearest above it that has a `Cargo.lock`. Not where this was
/// compiled, since checkouts may share what they compile.
#[must_use]
pub fn repository() -> &'static Path {
    static FOUND: LazyLock<PathBuf> = LazyLock::new(|| {
        let here = std::env::current_dir().expect("a working directory");
        here.ancestors().find(|folder| folder.join("Cargo.lock").is_file()).unwrap_or(&here).to_owned()
    });
    &FOUND
}
