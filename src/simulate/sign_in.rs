//! Users of the fleet: tokens as an issuer signs them, whom the server trusts.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

use crate::clock::Clock;
use crate::config::AuthConfig;

/// For so long a token is good. One is made for each attempt of an upload, as apps do that get theirs anew.
const GOOD_FOR_S: i64 = 60;

/// Who vouches for the users.
pub(super) struct Issuer {
    name: String,
    authorized_party: Option<String>,
    header: Header,
    key: EncodingKey,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Issuer {
    /// The configured one, with its private key in a file: PEM of PKCS #8, P-256 or RSA.
    pub(super) fn new(config: &AuthConfig, file: &Path) -> Result<Self> {
        ensure!(!config.issuer.is_empty(), "--user-key signs for `auth.issuer`, which is not set");
        let pem = std::fs::read(file).with_context(|| format!("read `{}`", file.display()))?;
        let of_curve = EncodingKey::from_ec_pem(&pem).map(|key| (Algorithm::ES256, key));
        let (algorithm, key) = of_curve
            .or_else(|_| EncodingKey::from_rsa_pem(&pem).map(|key| (Algorithm::RS256, key)))
            .with_context(|| format!("`{}` is no private key of P-256 or RSA in PEM", file.display()))?;
        let authorized_party = config.authorized_parties.first().cloned();
        Ok(Self { name: config.issuer.clone(), authorized_party, header: Header::new(algorithm), key })
    }

    /// A token of a user.
    pub(super) fn token(&self, user: &str) -> Result<String> {
        let good_until = Clock::System.now().micros() / 1_000_000 + GOOD_FOR_S;
        let mut claims = json!({ "sub": user, "iss": self.name, "exp": good_until });
        if let Some(party) = &self.authorized_party {
            claims["azp"] = json!(party);
        }
        encode(&self.header, &claims, &self.key).context("sign a user's token")
    }
}
