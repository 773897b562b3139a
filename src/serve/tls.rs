//! HTTPS without a proxy: certificate and key are read again when their files change.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use anyhow::{Context, Result};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;

use crate::config::Config;
use crate::telemetry::Repeated;

/// A TLS acceptor that follows its files.
#[derive(Clone)]
pub(crate) struct Reloading {
    shared: Arc<Shared>,
}

struct Shared {
    certificate: PathBuf,
    key: PathBuf,
    changed: Mutex<[Option<SystemTime>; 2]>,
    reading: Repeated,
    acceptor: RwLock<TlsAcceptor>,
}

impl Reloading {
    /// The acceptor of the configured files; `None` without.
    pub(crate) fn load(config: &Config) -> Result<Option<Self>> {
        if config.tls_cert.is_empty() {
            return Ok(None);
        }
        let (certificate, key) = (PathBuf::from(&config.tls_cert), PathBuf::from(&config.tls_key));
        let changed = Mutex::new(times(&certificate, &key));
        let acceptor = RwLock::new(acceptor(&certificate, &key)?);
        let reading = Repeated::new("reading the changed certificate, the old one holds");
        Ok(Some(Self { shared: Arc::new(Shared { certificate, key, changed, reading, acceptor }) }))
    }

    /// For the next connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.shared.acceptor.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files again if they changed. A pair that does not fit leaves the old one in use.
    pub(crate) fn reload_if_changed(&self) {
        let Shared { certificate, key, changed, reading, acceptor: current } = &*self.shared;
        let now = times(certificate, key);
        let mut known = changed.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == now {
            return;
        }
        // A pair that is being replaced file by file is looked at again at the next pass.
        if let Some(fresh) = reading.note(acceptor(certificate, key)) {
            *known = now;
            *current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
            tracing::info!("the certificate was read again");
        }
    }
}

fn times(certificate: &PathBuf, key: &PathBuf) -> [Option<SystemTime>; 2] {
    [certificate, key].map(|path| std::fs::metadata(path).and_then(|about| about.modified()).ok())
}

fn acceptor(certificate: &PathBuf, key: &PathBuf) -> Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("read tls_cert `{}`", certificate.display()))?;
    let secret = PrivateKeyDer::from_pem_file(key).with_context(|| format!("read tls_key `{}`", key.display()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .context("tls_cert and tls_key do not belong together")?;
    // Why not HTTP/2: the accept loop.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
