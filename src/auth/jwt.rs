//! User tokens: JWTs of one issuer, verified without asking it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use schemas::digest::sha256_hex;
use serde::Deserialize;

use crate::config::AuthConfig;
use crate::telemetry::Repeated;

/// Clocks of issuer and server may differ by this much.
const LEEWAY_S: u64 = 5;
/// A key that is not known is looked for at most this often.
const REFETCH: Duration = Duration::from_secs(30);
/// Keys are good for this long after the last successful fetch.
const KEYS_MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// Verified tokens are remembered: a signature costs 30 to 100 µs.
const CACHE_MAX: usize = 10_000;
/// Not for longer than this, in seconds: a key that the issuer withdrew must not vouch for as long as a token says.
const CACHE_MAX_AGE_S: u64 = 300;
/// No token of an issuer is longer.
const TOKEN_MAX_BYTES: usize = 16 * 1024;

/// Verifies the tokens of one issuer.
pub(crate) struct UserTokens {
    source: Source,
    algorithms: Vec<Algorithm>,
    validation: Validation,
    authorized_parties: Vec<String>,
    keys: RwLock<Keys>,
    /// When the keys were asked for last. Held while asking, so that nobody asks twice.
    asked: tokio::sync::Mutex<Option<Instant>>,
    asking: Repeated,
    /// By the token's hash: until when (Unix seconds) it is remembered, and its subject.
    verified: Mutex<HashMap<String, (u64, Arc<str>)>>,
}

impl std::fmt::Debug for UserTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserTokens").field("algorithms", &self.algorithms).finish_non_exhaustive()
    }
}

enum Source {
    Address { url: reqwest::Url, client: reqwest::Client },
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
            let url = config.jwks_url.parse().with_context(|| format!("auth.jwks_url `{}`", config.jwks_url))?;
            (Source::Address { url, client }, Keys::default())
        } else if !config.jwks_file.is_empty() {
            let path = PathBuf::from(&config.jwks_file);
            let named = || format!("auth.jwks_file `{}`", path.display());
            let text = std::fs::read(&path).with_context(|| format!("read {}", named()))?;
            let keys = Keys::from_jwks(&text).with_context(named)?;
            (Source::File(path), keys)
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
            asked: tokio::sync::Mutex::new(None),
            asking: Repeated::new("reading the issuer's keys, the last good ones hold"),
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

    /// Asks for the keys; how many of them can verify a token by one of the algorithms. Changes nothing.
    ///
    /// # Errors
    ///
    /// If there are none, with the reason.
    pub(crate) async fn usable_keys(&self) -> Result<usize> {
        let (keys, place) = match &self.source {
            Source::Address { url, client } => {
                let asked = || format!("ask for auth.jwks_url `{url}`");
                let text = fetch(client, url.clone()).await.with_context(asked)?;
                (Keys::from_jwks(&text).with_context(asked)?, format!("auth.jwks_url `{url}`"))
            }
            Source::File(path) => {
                let place = format!("auth.jwks_file `{}`", path.display());
                let text = std::fs::read(path).with_context(|| format!("read {place}"))?;
                (Keys::from_jwks(&text).with_context(|| place.clone())?, place)
            }
            // It was read when this was made, for the first of the algorithms.
            Source::Pem => return Ok(1),
        };
        let is_usable = |key: &&DecodingKey| self.algorithms.iter().any(|known| known.family() == key.family());
        // A key without a name is for tokens that name none, if it is the only one.
        let unnamed = keys.only.iter().filter(|_| keys.by_id.is_empty());
        match keys.by_id.values().chain(unnamed).filter(is_usable).count() {
            0 => bail!("{place} has no key for {:?} that a token can name", self.algorithms),
            usable => Ok(usable),
        }
    }

    /// Reads the keys again.
    pub(crate) async fn refresh(&self) {
        let mut asked = self.asked.lock().await;
        self.ask(&mut asked).await;
    }

    /// An unknown key may be a new one: asks once for all callers, and not again for a while.
    async fn look_for_unknown_key(&self) {
        let mut asked = self.asked.lock().await;
        if asked.is_none_or(|asked| asked.elapsed() >= REFETCH) {
            self.ask(&mut asked).await;
        }
    }

    async fn ask(&self, asked: &mut Option<Instant>) {
        *asked = Some(Instant::now());
        let text = match &self.source {
            Source::Address { url, client } => fetch(client, url.clone()).await,
            Source::File(path) => std::fs::read(path).map_err(Into::into),
            Source::Pem => return,
        };
        if let Some(keys) = self.asking.note(text.and_then(|text| Keys::from_jwks(&text))) {
            *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        }
    }

    fn key(&self, kid: Option<&str>) -> Option<DecodingKey> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
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
        let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, subject) = verified.get(hash)?;
        (*until > jsonwebtoken::get_current_timestamp()).then(|| Arc::clone(subject))
    }

    fn remember(&self, hash: String, exp: u64, subject: &Arc<str>) {
        let now = jsonwebtoken::get_current_timestamp();
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= CACHE_MAX {
            verified.retain(|_, (until, _)| *until > now);
            if verified.len() >= CACHE_MAX {
                verified.clear();
            }
        }
        verified.insert(hash, (remembered_until(exp, now), Arc::clone(subject)));
    }
}

/// As long as the token is good, but not for longer than [`CACHE_MAX_AGE_S`]. All in Unix seconds.
fn remembered_until(exp: u64, now: u64) -> u64 {
    exp.saturating_add(LEEWAY_S).min(now.saturating_add(CACHE_MAX_AGE_S))
}

async fn fetch(client: &reqwest::Client, url: reqwest::Url) -> Result<Vec<u8>> {
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
        match decoded.as_slice() {
            [] => bail!("the key set holds no key that can be used"),
            [only] => keys.only = Some(only.clone()),
            _ => {}
        }
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    #[test]
    fn a_token_is_remembered_for_five_minutes_at_most() {
        assert_eq!(remembered_until(1_000, 990), 1_005);
        assert_eq!(remembered_until(1_000_000, 990), 1_290);
        assert_eq!(remembered_until(u64::MAX, 990), 1_290);
    }

    #[tokio::test]
    async fn an_unknown_key_is_asked_for_once_by_all_callers() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = AuthConfig {
            issuer: "https://issuer.test".into(),
            jwks_url: format!("http://{}/jwks", listener.local_addr().unwrap()),
            jwks_file: String::new(),
            public_key_file: String::new(),
            algorithms: vec!["RS256".into()],
            authorized_parties: Vec::new(),
            project: "default".into(),
        };
        // An error means that it is set already.
        let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        let tokens = UserTokens::new(&config).unwrap().unwrap();
        let asked = std::sync::atomic::AtomicU32::new(0);
        // Closes each connection, as an issuer does that is down.
        let answering = async {
            while let Ok((connection, _)) = listener.accept().await {
                asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                drop(connection);
            }
        };
        let token = format!("{}.e30.c2ln", URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","kid":"new"}"#));
        let callers = futures::future::join_all((0..20).map(|_| tokens.verify(&token)));
        let results = tokio::select! {
            results = callers => results,
            () = answering => Vec::new(),
        };
        assert!(results.len() == 20 && results.iter().all(Result::is_err));
        assert_eq!(asked.into_inner(), 1);
    }
}
