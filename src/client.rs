//! Commands that talk to the running server over HTTP.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use arrow::ipc::reader::StreamReader;
use arrow::util::pretty::pretty_format_batches;
use futures::StreamExt;
use reqwest::{Client, Response};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde::Serialize;
use serde_json::Value;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::{self, CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};

use crate::cli::print;
use crate::config::Config;
use crate::data_dir::{read_credentials, read_run};

/// A statement as the server takes it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) params: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) as_of: Option<i64>,
}

impl Statement {
    /// One without parameters, as of now.
    pub(crate) fn of(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), ..Self::default() }
    }
}

/// A file for a result; its ending says the format.
#[derive(Debug, Clone)]
pub(crate) struct OutputFile {
    path: PathBuf,
    accept: &'static str,
}

impl FromStr for OutputFile {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = PathBuf::from(text);
        let accept = match path.extension().and_then(|ending| ending.to_str()) {
            Some("arrow") => "application/vnd.apache.arrow.stream",
            Some("csv") => "text/csv",
            Some("json") => "application/json",
            Some("ndjson" | "jsonl") => "application/x-ndjson",
            Some("parquet") => "application/vnd.apache.parquet",
            _ => return Err("the file's ending is one of .csv, .json, .ndjson, .jsonl, .arrow, .parquet"),
        };
        Ok(Self { path, accept })
    }
}

/// The running server of a data directory.
pub(crate) struct Server {
    pub(crate) base: String,
    token: String,
    pub(crate) client: Client,
}

impl Server {
    pub(crate) fn find(config: &Config) -> Result<Self> {
        let run = read_run(&config.data_dir)?;
        let http = run.http.context("the running server has no HTTP address")?;
        let token = match config.read_token.0.as_str() {
            "" => {
                let credentials = read_credentials(&config.data_dir)?;
                let lacks = "read_token is not set, and there is no credentials.json in the data directory";
                credentials.context(lacks)?.read_token
            }
            preset => preset.to_owned(),
        };
        // The server is on this machine.
        let client = Client::builder().no_proxy();
        let (scheme, client) = match config.tls_cert.as_str() {
            "" => ("http", client),
            certificate => ("https", client.use_preconfigured_tls(Pinned::client_config(certificate)?)),
        };
        Ok(Self { base: format!("{scheme}://{http}"), token, client: client.build()? })
    }

    /// The answer to a statement, as JSON.
    pub(crate) async fn answer(&self, statement: &Statement) -> Result<Value> {
        let request = self.client.post(format!("{}/v1/sql", self.base)).json(statement);
        Ok(self.send(request.header("accept", "application/json")).await?.json().await?)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response> {
        let response = request.bearer_auth(&self.token).send().await.with_context(|| format!("ask {}", self.base))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let problem: Value = response.json().await.unwrap_or_default();
        bail!("{} ({status})", problem["detail"].as_str().unwrap_or("the server refused"))
    }
}

/// Accepts the one certificate that the server's own configuration names, whatever names and issuer it has: the server
/// is reached by an address, which no certificate names, and a self-signed one has no issuer to trust.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: CryptoProvider,
}

impl Pinned {
    fn client_config(file: &str) -> Result<ClientConfig> {
        let certificate = CertificateDer::from_pem_file(file).with_context(|| format!("read tls_cert `{file}`"))?;
        let provider = ring::default_provider();
        let builder =
            ClientConfig::builder_with_provider(Arc::new(provider.clone())).with_safe_default_protocol_versions()?;
        let verifier = Arc::new(Self { certificate, provider });
        Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Runs a statement; prints a table or JSON, or writes a file.
pub(crate) async fn sql(config: &Config, statement: &Statement, output: Option<&OutputFile>, json: bool) -> Result<()> {
    let server = Server::find(config)?;
    let accept = match output {
        Some(file) => file.accept,
        None if json => "application/json",
        None => "application/vnd.apache.arrow.stream",
    };
    let request = server.client.post(format!("{}/v1/sql", server.base)).header("accept", accept).json(statement);
    let response = server.send(request).await?;
    let truncated = response.headers().get("streamgauge-truncated").is_some_and(|value| value == "true");
    let bytes = response.bytes().await?;
    match output {
        Some(OutputFile { path, .. }) => {
            std::fs::write(path, &bytes).with_context(|| format!("write `{}`", path.display()))?;
        }
        None if json => print(&String::from_utf8_lossy(&bytes))?,
        None => {
            let batches = StreamReader::try_new(&bytes[..], None)?.collect::<Result<Vec<_>, _>>()?;
            print(&pretty_format_batches(&batches)?.to_string())?;
        }
    }
    if truncated {
        note("there are more rows: ask with --limit");
    }
    Ok(())
}

/// Follows what arrives until interrupted.
pub(crate) async fn tail(config: &Config, json: bool) -> Result<()> {
    let server = Server::find(config)?;
    let response = server.send(server.client.get(format!("{}/v1/tail", server.base))).await?;
    let mut chunks = response.bytes_stream();
    let mut pending = Vec::new();
    while let Some(chunk) = chunks.next().await {
        pending.extend_from_slice(&chunk.context("the server closed the stream")?);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            if let Some(data) = line.strip_prefix("data:") {
                print(&if json { data.trim().to_owned() } else { readable(data) })?;
            }
        }
    }
    Ok(())
}

/// Kind, verdict, reason, corrected time and bucket of one event, in columns.
fn readable(data: &str) -> String {
    let event: Value = serde_json::from_str(data).unwrap_or_default();
    let text = |name: &str| event[name].as_str().unwrap_or("-").to_owned();
    format!(
        "{:<28} {:<12} {:<20} {:<26} {}",
        text("type"),
        text("verdict"),
        text("reason"),
        text("corrected_at"),
        text("bucket")
    )
}

#[expect(clippy::print_stderr, reason = "beside the result")]
fn note(text: &str) {
    eprintln!("{text}");
}
