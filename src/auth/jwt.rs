//! User tokens: JWTs of one issuer, verified without asking it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use schemas::digest::sha256_hex;
use serde::Deserialize;

use crate::config::AuthConfig;

/// Clocks of issuer and server may differ by this much.
const LEEWAY_S: u64 = 5;
/// A key that is not known is looked for at most this often.
const REFETCH: Duration = Duration::from_secs(30);
/// Keys are good for this long after the last successful fetch.
const KEYS_MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// Verified tokens are remembered until they expire: a signature costs 30 to 100 µs.
const CACHE_MAX: usize = 10_000;
/// No token of an issuer is longer.
const TOKEN_MAX_BYTES: usize = 16 * 1024;

/// Verifies the tokens of one issuer.
pub(crate) struct UserTokens {
    source: Source,
    algorithms: Vec<Algorithm>,
    validation: Validation,
    authorized_parties: Vec<String>,
    keys: RwLock<Keys>,
    fetching: tokio::sync::Mutex<Option<Instant>>,
    verified: Mutex<HashMap<String, (u64, Arc<str>)>>,
}

impl std::fmt::Debug for UserTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserTokens").field("algorithms", &self.algorithms).finish_non_exhaustive()
    }
}

enum Source {
    Address { url: String, client: reqwest::Client },
    File(PathBuf),
    Pem,
}

#[derive(Default)]
struct Keys {
    by_id: HashMap<String, DecodingKey>,
    /// The key of tokens that name none: the only one there is.
    only: Option<DecodingKey>,
    fetched: Option<Instant>,
}

#[derive(Debug, Deserialize)]
struct Claims {
    sub: String,
    exp: u64,
    azp: Option<String>,
    /// State of the session; an issuer's `pending` one is not signed in yet.
    sts: Option<String>,
}

impl UserTokens {
    /// The verifier of the configured issuer, if there is one. Keys at an address are fetched later.
    pub(crate) fn new(config: &AuthConfig) -> Result<Option<Self>> {
        if config.issuer.is_empty() {
            return Ok(None);
        }
        let mut algorithms = Vec::new();
        for name in &config.algorithms {
            let algorithm: Algorithm = name.parse().with_context(|| format!("auth.algorithms: `{name}`"))?;
            if matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512) {
                bail!("auth.algorithms: `{name}` needs a shared secret, and this server knows public keys only");
            }
            algorithms.push(algorithm);
        }
        let first = *algorithms.first().context("auth.algorithms is empty")?;
        let (source, keys) = if !config.jwks_url.is_empty() {
            let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
            (Source::Address { url: config.jwks_url.clone(), client }, Keys::default())
        } else if !config.jwks_file.is_empty() {
            let path = PathBuf::from(&config.jwks_file);
            let text = std::fs::read(&path).with_context(|| format!("read auth.jwks_file `{}`", path.display()))?;
            (Source::File(path), Keys::from_jwks(&text)?)
        } else {
            let pem = std::fs::read(&config.public_key_file)
                .with_context(|| format!("read auth.public_key_file `{}`", config.public_key_file))?;
            let keys = Keys { only: Some(pem_key(first, &pem)?), by_id: HashMap::new(), fetched: Some(Instant::now()) };
            (Source::Pem, keys)
        };
        let mut validation = Validation::new(first);
        validation.algorithms.clone_from(&algorithms);
        validation.set_issuer(&[&config.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        validation.validate_nbf = true;
        validation.validate_aud = false;
        validation.leeway = LEEWAY_S;
        Ok(Some(Self {
            source,
            algorithms,
            validation,
            authorized_parties: config.authorized_parties.clone(),
            keys: RwLock::new(keys),
            fetching: tokio::sync::Mutex::new(None),
            verified: Mutex::new(HashMap::new()),
        }))
    }

    /// The subject of a valid token. Nothing in the token but its key's name decides how it is verified.
    pub(crate) async fn verify(&self, token: &str) -> Result<Arc<str>, &'static str> {
        const REFUSED: &str = "the user's token is not valid";
        if token.len() > TOKEN_MAX_BYTES {
            return Err(REFUSED);
        }
        let hash = sha256_hex(token.as_bytes());
        if let Some(subject) = self.remembered(&hash) {
            return Ok(subject);
        }
        let header = decode_header(token).map_err(|_| REFUSED)?;
        if !self.algorithms.contains(&header.alg) {
            return Err(REFUSED);
        }
        let key = match self.key(header.kid.as_deref()) {
            Some(key) => key,
            None => {
                self.look_for_unknown_key().await;
                self.key(header.kid.as_deref()).ok_or(REFUSED)?
            }
        };
        let mut validation = self.validation.clone();
        // Algorithms of another family than the key's are refused by name, not tried.
        validation.algorithms = vec![header.alg];
        let claims = decode::<Claims>(token, &key, &validation).map_err(|_| REFUSED)?.claims;
        let is_party = claims
            .azp
            .as_ref()
            .is_none_or(|azp| self.authorized_parties.is_empty() || self.authorized_parties.contains(azp));
        let is_subject = (1..=128).contains(&claims.sub.len()) && !claims.sub.chars().any(char::is_control);
        if !is_party || !is_subject || claims.sts.as_deref() == Some("pending") {
            return Err(REFUSED);
        }
        let subject: Arc<str> = claims.sub.into();
        self.remember(hash, claims.exp, &subject);
        Ok(subject)
    }

    /// Reads the keys again.
    pub(crate) async fn refresh(&self) {
        let mut last = self.fetching.lock().await;
        *last = Some(Instant::now());
        let text = match &self.source {
            Source::Address { url, client } => fetch(client, url).await,
            Source::File(path) => std::fs::read(path).map_err(Into::into),
            Source::Pem => return,
        };
        match text.and_then(|text| Keys::from_jwks(&text)) {
            Ok(keys) => *self.keys.write().unwrap_or_else(std::sync::PoisonError::into_inner) = keys,
            Err(error) => {
                tracing::warn!(error = %format!("{error:#}"), "the issuer's keys could not be read; the last good ones hold")
            }
        }
    }

    /// An unknown key may be a new one: asks once for all callers, and not again for a while.
    async fn look_for_unknown_key(&self) {
        let may_fetch = match self.fetching.try_lock() {
            Ok(last) => last.is_none_or(|last| last.elapsed() >= REFETCH),
            // Somebody asks already: wait for the answer.
            Err(_) => {
                drop(self.fetching.lock().await);
                false
            }
        };
        if may_fetch {
            self.refresh().await;
        }
    }

    fn key(&self, kid: Option<&str>) -> Option<DecodingKey> {
        let keys = self.keys.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let is_fresh = matches!(self.source, Source::Pem) || keys.fetched.is_some_and(|at| at.elapsed() < KEYS_MAX_AGE);
        if !is_fresh {
            return None;
        }
        match kid {
            Some(kid) if !matches!(self.source, Source::Pem) => keys.by_id.get(kid).cloned(),
            _ => keys.only.clone(),
        }
    }

    fn remembered(&self, hash: &str) -> Option<Arc<str>> {
        let verified = self.verified.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (exp, subject) = verified.get(hash)?;
        (*exp + LEEWAY_S > jsonwebtoken::get_current_timestamp()).then(|| Arc::clone(subject))
    }

    fn remember(&self, hash: String, exp: u64, subject: &Arc<str>) {
        let mut verified = self.verified.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if verified.len() >= CACHE_MAX {
            let now = jsonwebtoken::get_current_timestamp();
            verified.retain(|_, (exp, _)| *exp > now);
            if verified.len() >= CACHE_MAX {
                verified.clear();
            }
        }
        verified.insert(hash, (exp, Arc::clone(subject)));
    }
}

async fn fetch(client: &reqwest::Client, url: &str) -> Result<Vec<u8>> {
    let response = client.get(url).send().await?.error_for_status()?;
    let bytes = response.bytes().await?;
    if bytes.len() > 1 << 20 {
        bail!("the key set has {} bytes", bytes.len());
    }
    Ok(bytes.to_vec())
}

fn pem_key(algorithm: Algorithm, pem: &[u8]) -> Result<DecodingKey> {
    let key = match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => DecodingKey::from_ec_pem(pem),
        Algorithm::EdDSA => DecodingKey::from_ed_pem(pem),
        _ => DecodingKey::from_rsa_pem(pem),
    };
    key.context("auth.public_key_file does not hold a public key of the first of auth.algorithms")
}

impl Keys {
    fn from_jwks(text: &[u8]) -> Result<Self> {
        let set: JwkSet = serde_json::from_slice(text).context("read the key set")?;
        let mut keys = Self { fetched: Some(Instant::now()), ..Self::default() };
        let mut decoded = Vec::new();
        for jwk in &set.keys {
            // A key of a kind we do not know is none of ours.
            let Ok(key) = DecodingKey::from_jwk(jwk) else { continue };
            if let Some(kid) = &jwk.common.key_id {
                keys.by_id.insert(kid.clone(), key.clone());
            }
            decoded.push(key);
        }
        if let [only] = decoded.as_slice() {
            keys.only = Some(only.clone());
        }
        Ok(keys)
    }
}
