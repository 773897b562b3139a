//! User tokens: whoever the issuer vouches for sees the own person, and nobody else gets in.

use std::path::Path;

use chrono::Utc;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rig::server::Start;
use rig::{Device, Reply, Server, server};
use serde_json::{Value, json};

use super::{code, has, say, shell};
use crate::start;

const ISSUER: &str = "https://issuer.test";

/// A key pair made by openssl.
pub(crate) struct Pair {
    algorithm: Algorithm,
    key: EncodingKey,
    pub(crate) private_file: String,
    public_file: String,
}

impl Pair {
    pub(crate) async fn new(folder: &Path, algorithm: Algorithm) -> Self {
        let (private, public) = (folder.join(format!("{algorithm:?}.key")), folder.join(format!("{algorithm:?}.pub")));
        let kind = if algorithm == Algorithm::RS256 {
            "RSA -pkeyopt rsa_keygen_bits:2048"
        } else {
            "EC -pkeyopt ec_paramgen_curve:P-256"
        };
        let [private_file, public_file] = [&private, &public].map(|file| file.display().to_string());
        let line = format!(
            "openssl genpkey -algorithm {kind} -out {private_file} && openssl pkey -in {private_file} -pubout -out {public_file}"
        );
        let said = shell(&line).await;
        assert_eq!(said.code, 0, "{said:?}");
        let pem = std::fs::read(private).unwrap();
        let key = match algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(&pem),
            _ => EncodingKey::from_ec_pem(&pem),
        };
        Self { algorithm, key: key.unwrap(), private_file, public_file }
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        encode(&Header::new(self.algorithm), claims, &self.key).unwrap()
    }

    /// A server to be, for which this pair's issuer vouches.
    pub(crate) fn start(&self) -> Start {
        start()
            .variable("STREAMGAUGE_AUTH__ISSUER", ISSUER)
            .variable("STREAMGAUGE_AUTH__PUBLIC_KEY_FILE", &self.public_file)
            .variable("STREAMGAUGE_AUTH__ALGORITHMS", format!("{:?}", self.algorithm))
            .variable("STREAMGAUGE_AUTH__AUTHORIZED_PARTIES", "https://app.test,https://www.app.test")
    }

    async fn serve(&self) -> Server {
        self.start().start().await.unwrap()
    }
}

pub(crate) fn claims(subject: &str) -> Value {
    json!({"sub": subject, "iss": ISSUER, "exp": Utc::now().timestamp() + 60, "azp": "https://app.test"})
}

fn with(mut claims: Value, name: &str, value: impl Into<Value>) -> Value {
    claims[name] = value.into();
    claims
}

async fn read(server: &Server, path: &str, token: &str) -> Reply {
    server::send(server.request("GET", path).bearer_auth(token)).await.unwrap()
}

async fn upload(server: &Server, token: &str, key: Option<&str>, feature: &str) -> Reply {
    let event = Device::new().event("feature.used", Utc::now(), json!({"feature": feature}));
    let request = server.request("POST", "/v1/events").bearer_auth(token).body(event.to_string());
    let request = key.into_iter().fold(request, |request, key| request.header("x-api-key", key));
    server::send(request).await.unwrap()
}

#[tokio::test]
async fn a_user_sees_the_own_person_only() {
    if !has("openssl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for algorithm in [Algorithm::RS256, Algorithm::ES256] {
        let pair = Pair::new(folder.path(), algorithm).await;
        let server = pair.serve().await;
        let (alice, bob) = (pair.sign(&claims("alice")), pair.sign(&claims("bob")));
        assert_eq!(upload(&server, &alice, None, "of_alice").await.status, 202);
        assert_eq!(upload(&server, &bob, Some(&server.upload_key), "of_bob").await.status, 202);
        server.settle().await;
        for (token, own, other) in [(&alice, "of_alice", "of_bob"), (&bob, "of_bob", "of_alice")] {
            let events = read(&server, "/v1/events", token).await;
            assert_eq!(events.status, 200, "{}", events.text());
            assert!(events.text().contains(own) && !events.text().contains(other), "{}", events.text());
            assert_eq!(read(&server, "/v1/stats/usage", token).await.json()["dailyEvents"], 1);
        }
        let foreign = read(&server, "/v1/events?person=bob", &alice).await;
        assert_eq!((foreign.status, code(&foreign.text()).as_str()), (403, "person_not_yours"));
        // What is kept of the project alone is not for its users.
        for path in ["/v1/rollups/stream", "/v1/health/streams", "/v1/health/stream?stream_id=x"] {
            let refused = read(&server, path, &alice).await;
            assert_eq!((refused.status, code(&refused.text()).as_str()), (403, "project_only"), "{path}");
        }
        assert_eq!(read(&server, "/v1/stats/streams", &alice).await.status, 200);
        let sql = server.request("POST", "/v1/sql").bearer_auth(&alice).json(&json!({"sql": "SELECT 1"}));
        assert_eq!(server::send(sql).await.unwrap().status, 403);

        let made = say(server.start(), &["keys", "create", "--project", "other", "--json"]).await;
        let key: Value = serde_json::from_str(&made.out).unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        let crossing = upload(&server, &alice, key["key"].as_str(), "x").await;
        assert_eq!((crossing.status, code(&crossing.text()).as_str()), (403, "project_mismatch"));
    }
}

#[tokio::test]
async fn tokens_that_the_issuer_did_not_sign_for_us_now_are_refused() {
    if !has("openssl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let pair = Pair::new(folder.path(), Algorithm::RS256).await;
    let other = Pair::new(
        &{
            let path = folder.path().join("other");
            std::fs::create_dir(&path).unwrap();
            path
        },
        Algorithm::RS256,
    )
    .await;
    let elliptic = Pair::new(folder.path(), Algorithm::ES256).await;
    let server = pair.serve().await;
    let now = Utc::now().timestamp();
    let good = pair.sign(&claims("alice"));
    assert_eq!(read(&server, "/v1/stats/usage", &good).await.status, 200);
    let without = |name: &str| {
        let mut claims = claims("alice");
        claims.as_object_mut().unwrap().remove(name);
        pair.sign(&claims)
    };
    let unsigned = {
        let (_, rest) = good.split_once('.').unwrap();
        let (payload, _) = rest.split_once('.').unwrap();
        move |header: &str, signature: &str| {
            use base64::Engine as _;
            let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(header);
            format!("{header}.{payload}.{signature}")
        }
    };
    let public = std::fs::read(&pair.public_file).unwrap();
    let confused =
        encode(&Header::new(Algorithm::HS256), &claims("alice"), &EncodingKey::from_secret(&public)).unwrap();
    let signature = good.rsplit_once('.').unwrap().1.to_owned();
    for (what, token) in [
        ("wrong issuer", pair.sign(&with(claims("alice"), "iss", "https://other.test"))),
        ("expired", pair.sign(&with(claims("alice"), "exp", now - 30))),
        ("not yet", pair.sign(&with(claims("alice"), "nbf", now + 120))),
        ("issued to somebody else", pair.sign(&with(claims("alice"), "azp", "https://evil.test"))),
        ("not signed in yet", pair.sign(&with(claims("alice"), "sts", "pending"))),
        ("no subject", without("sub")),
        ("no end", without("exp")),
        ("no issuer", without("iss")),
        ("empty subject", pair.sign(&claims(""))),
        ("another key", other.sign(&claims("alice"))),
        ("another algorithm", elliptic.sign(&claims("alice"))),
        ("none", unsigned(r#"{"alg":"none"}"#, "")),
        ("NONE", unsigned(r#"{"alg":"NONE"}"#, &signature)),
        ("HS256 with the public key", confused),
        ("RS256 without a signature", unsigned(r#"{"alg":"RS256"}"#, "")),
        ("RS384 in the header", unsigned(r#"{"alg":"RS384"}"#, &signature)),
        ("a key in the header", unsigned(r#"{"alg":"RS256","jku":"http://127.0.0.1/","kid":"../../x"}"#, "AAAA")),
        ("cut", good[..good.len() - 4].to_owned()),
        ("no token", "alice".to_owned()),
        ("a megabyte", "a".repeat(30_000)),
    ] {
        for reply in [read(&server, "/v1/stats/usage", &token).await, upload(&server, &token, None, "x").await] {
            assert_eq!((reply.status, code(&reply.text()).as_str()), (401, "unauthorized"), "{what}");
        }
    }
    assert_eq!(read(&server, "/v1/stats/usage", &good).await.status, 200);
    // Without an issuer no such token is known.
    let plain = start().start().await.unwrap();
    assert_eq!(read(&plain, "/v1/stats/usage", &good).await.status, 401);
}
