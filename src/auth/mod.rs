//! Authentication: from the credentials of a request to a [`Principal`], for all routes in one place.

mod jwt;
mod layer;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use anyhow::Result;
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ingest::{Quota, Spent};
use schemas::principal::Caller;
use schemas::{Principal, Problem};
use warehouse::{Access, Warehouse};

pub(crate) use jwt::UserTokens;
pub(crate) use layer::{Edge, EdgeMetrics, authenticate, no_method, no_route};

use crate::config::Config;

/// Everything that vouches for callers.
#[derive(Debug)]
pub(crate) struct Authentication {
    access: RwLock<Arc<Access>>,
    user_tokens: Option<UserTokens>,
    /// The project that user tokens, and requests without any key, belong to.
    project: Arc<str>,
    keyless: Mutex<Quota>,
}

/// What a request shows.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shown<'a> {
    upload_key: Option<String>,
    bearer: Option<&'a str>,
}

impl Authentication {
    pub(crate) fn new(access: Access, user_tokens: Option<UserTokens>, config: &Config) -> Self {
        Self {
            access: RwLock::new(Arc::new(access)),
            user_tokens,
            project: config.auth.project.as_str().into(),
            keyless: Mutex::new(Quota::new(config.ingest.keyless_requests_per_second, Instant::now())),
        }
    }

    /// Reads keys and tokens again. When the database is down, what was read last still holds.
    pub(crate) async fn refresh(&self, warehouse: &Warehouse) -> Result<()> {
        let access = warehouse.access().await?;
        *self.access.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(access);
        Ok(())
    }

    /// Fetches the issuer's keys again, if they come from an address.
    pub(crate) async fn refresh_user_keys(&self) {
        if let Some(tokens) = &self.user_tokens {
            tokens.refresh().await;
        }
    }

    fn access(&self) -> Arc<Access> {
        Arc::clone(&self.access.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Who posts. `is_legacy`: the app's old feeds, which carry a bearer that means nothing and perhaps no key.
    pub(crate) async fn uploader(
        &self,
        headers: &HeaderMap,
        query: &HashMap<String, String>,
        is_legacy: bool,
    ) -> Result<Principal, Problem> {
        let shown = Shown::read(headers, query, is_legacy);
        let access = self.access();
        let project = match &shown.upload_key {
            Some(key) => {
                Some(access.upload_key(key).ok_or_else(|| unauthorized("the upload key is unknown or revoked"))?)
            }
            None => None,
        };
        let subject = match (&self.user_tokens, shown.bearer) {
            (Some(tokens), Some(bearer)) => Some(tokens.verify(bearer).await.map_err(unauthorized)?),
            _ => None,
        };
        let caller = match (&project, subject) {
            // The issuer vouches for people of one project; a key of another one must not carry them over.
            (Some(project), Some(_)) if **project != *self.project => {
                let detail = "the upload key and the user's token belong to different projects";
                return Err(Problem::new(403, "project_mismatch", detail));
            }
            (_, Some(subject)) => Caller::User { subject },
            (Some(_), None) => Caller::UploadKey,
            (None, None) if is_legacy => self.keyless(&access)?,
            (None, None) => {
                return Err(unauthorized(
                    "an upload needs a key (X-API-Key, ?key=, Basic or Bearer sgk_..) or a user's token",
                ));
            }
        };
        Ok(Principal { project: project.unwrap_or_else(|| Arc::clone(&self.project)), caller })
    }

    fn keyless(&self, access: &Access) -> Result<Caller, Problem> {
        if !access.projects.get(&self.project).is_some_and(|project| project.keyless_legacy) {
            return Err(unauthorized("this project admits no upload without a key"));
        }
        let taken = self.keyless.lock().unwrap_or_else(PoisonError::into_inner).take(1, Instant::now());
        taken.map_err(|Spent { retry_after_s }| {
            Problem::new(429, "keyless_quota", "too many uploads without a key, try again").retry_after(retry_after_s)
        })?;
        Ok(Caller::Keyless)
    }

    /// Who reads: a service token or a user's token; for receipts also the key that posted.
    pub(crate) async fn reader(
        &self,
        headers: &HeaderMap,
        query: &HashMap<String, String>,
        with_upload_key: bool,
    ) -> Result<Principal, Problem> {
        let shown = Shown::read(headers, query, false);
        let access = self.access();
        if with_upload_key && let Some(key) = &shown.upload_key {
            let project = access.upload_key(key).ok_or_else(|| unauthorized("the upload key is unknown or revoked"))?;
            return Ok(Principal { project, caller: Caller::UploadKey });
        }
        let Some(bearer) = shown.bearer else {
            return Err(unauthorized("reading needs a service token or a user's token as Authorization: Bearer"));
        };
        if bearer.starts_with("sgt_") || access.service_token(bearer).is_some() {
            let (project, scopes) =
                access.service_token(bearer).ok_or_else(|| unauthorized("the service token is unknown or revoked"))?;
            return Ok(Principal { project, caller: Caller::Service(scopes) });
        }
        let Some(tokens) = &self.user_tokens else { return Err(unauthorized("the token is unknown")) };
        let subject = tokens.verify(bearer).await.map_err(unauthorized)?;
        Ok(Principal { project: Arc::clone(&self.project), caller: Caller::User { subject } })
    }
}

fn unauthorized(detail: &'static str) -> Problem {
    Problem::new(401, "unauthorized", detail)
}

impl<'a> Shown<'a> {
    /// Precedence of keys: X-API-Key, `?key=`, Basic user name, a bearer that begins with `sgk_`. An empty one is none.
    fn read(headers: &'a HeaderMap, query: &HashMap<String, String>, is_legacy: bool) -> Self {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let (scheme, value) = header("authorization").and_then(|value| value.split_once(' ')).unwrap_or(("", ""));
        let credentials =
            |of: &str| Some(value.trim()).filter(|value| scheme.eq_ignore_ascii_case(of) && !value.is_empty());
        // The app's old feeds send a placeholder, which is nobody's identity.
        let bearer = credentials("bearer").filter(|_| !is_legacy);
        let own = |key: &str| (!key.is_empty()).then(|| key.to_owned());
        let upload_key = header("x-api-key")
            .and_then(own)
            .or_else(|| query.get("key").and_then(|key| own(key)))
            .or_else(|| credentials("basic").and_then(basic_user))
            .or_else(|| bearer.filter(|bearer| bearer.starts_with("sgk_")).and_then(own));
        let bearer = bearer.filter(|bearer| !bearer.starts_with("sgk_"));
        Self { upload_key, bearer }
    }
}

/// The user name of Basic credentials.
fn basic_user(encoded: &str) -> Option<String> {
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let user = decoded.split_once(':').map_or(decoded.as_str(), |(user, _)| user);
    (!user.is_empty()).then(|| user.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(headers: &[(&str, &str)], query: &[(&str, &str)], is_legacy: bool) -> (Option<String>, Option<String>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(axum::http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let shown = Shown::read(&map, &query, is_legacy);
        (shown.upload_key, shown.bearer.map(str::to_owned))
    }

    #[test]
    fn keys_are_taken_in_their_precedence() {
        let own = |text: &str| Some(text.to_owned());
        let basic = "Basic d2tfdGVzdDo=";
        assert_eq!(key(&[("x-api-key", "a"), ("authorization", basic)], &[("key", "b")], false), (own("a"), None));
        assert_eq!(key(&[("authorization", basic)], &[("key", "b")], false), (own("b"), None));
        assert_eq!(key(&[("authorization", basic)], &[], false), (own("wk_test"), None));
        assert_eq!(key(&[("authorization", "Bearer sgk_c")], &[], false), (own("sgk_c"), None));
        assert_eq!(
            key(&[("authorization", "bearer ey.a.b"), ("x-api-key", "a")], &[], false),
            (own("a"), own("ey.a.b"))
        );
        assert_eq!(key(&[("x-api-key", " "), ("authorization", basic)], &[("key", "b")], false), (own("b"), None));
        assert_eq!(key(&[("authorization", basic)], &[("key", "")], false), (own("wk_test"), None));
        // The old feeds' bearer is nobody's identity; their other credentials count.
        assert_eq!(key(&[("authorization", "Bearer user_123")], &[], true), (None, None));
        assert_eq!(key(&[("authorization", "Bearer sgk_c")], &[], true), (None, None));
        assert_eq!(key(&[("authorization", basic)], &[], true), (own("wk_test"), None));
    }
}
