//! A client that costs little: requests are bytes made beforehand, of which only the event ids are written anew.

use std::io::Write;

use anyhow::{Context, Result, bail, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use rig::Device;
use rig::load::Post;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::{Builder, Uuid};

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// Not at all.
    Identity,
    /// gzip, level 6: what most clients have.
    Gzip,
    /// Zstandard, level 3.
    Zstd,
}

impl Coding {
    fn header(self) -> &'static str {
        match self {
            Self::Identity => "",
            Self::Gzip => "content-encoding: gzip\r\n",
            Self::Zstd => "content-encoding: zstd\r\n",
        }
    }

    fn encode(self, body: &[u8]) -> Result<Vec<u8>> {
        match self {
            Self::Identity => Ok(body.to_vec()),
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(body)?;
                Ok(encoder.finish()?)
            }
            Self::Zstd => Ok(zstd::bulk::compress(body, 3)?),
        }
    }
}

/// Where uploads go, and on whose behalf.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// `host:port`.
    pub(crate) address: String,
    /// The upload key.
    pub(crate) upload_key: String,
}

impl Target {
    fn head(&self, coding: Coding, body_bytes: usize) -> String {
        format!(
            "POST /v1/events HTTP/1.1\r\nhost: {}\r\nx-api-key: {}\r\n\
             content-type: application/cloudevents-batch+json\r\n{}content-length: {body_bytes}\r\n\r\n",
            self.address,
            self.upload_key,
            coding.header()
        )
    }

    /// A whole request with this body, which is encoded already.
    pub(crate) fn request(&self, coding: Coding, body: &[u8], request: &mut Vec<u8>) {
        request.clear();
        request.extend_from_slice(self.head(coding, body.len()).as_bytes());
        request.extend_from_slice(body);
    }
}

/// A request or body whose event ids can be replaced in place.
#[derive(Debug)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    ids_at: Vec<usize>,
    random: Random,
}

/// Length of an id as text.
const ID_BYTES: usize = 36;

impl Template {
    /// The body of a batch of heartbeats of a new device.
    pub(crate) fn body(events: usize) -> Result<Self> {
        let post = Post::heartbeats(&mut Device::new(), events);
        let mut ids_at = Vec::with_capacity(events);
        let mut from = 0;
        for id in &post.ids {
            ensure!(id.len() == ID_BYTES, "`{id}` is no UUID");
            let at = from + post.body[from..].find(id).context("an event without its id")?;
            ids_at.push(at);
            from = at + id.len();
        }
        Ok(Self { bytes: post.body.into_bytes(), ids_at, random: Random::new() })
    }

    /// A whole request with such a body.
    pub(crate) fn request(target: &Target, events: usize) -> Result<Self> {
        let body = Self::body(events)?;
        let head = target.head(Coding::Identity, body.bytes.len());
        Ok(Self {
            ids_at: body.ids_at.iter().map(|at| at + head.len()).collect(),
            bytes: [head.into_bytes(), body.bytes].concat(),
            random: body.random,
        })
    }

    /// The same with new ids.
    pub(crate) fn renew(&mut self) -> &[u8] {
        let millis = u64::try_from(crate::now().millis()).unwrap_or(0);
        for at in &self.ids_at {
            let id = self.random.uuid(millis);
            id.hyphenated().encode_lower(&mut self.bytes[*at..at + ID_BYTES]);
        }
        &self.bytes
    }
}

/// Compressed bodies with distinct ids, made before anything is measured.
pub(crate) fn prepare(coding: Coding, events: usize, bodies: usize) -> Result<Vec<Vec<u8>>> {
    let mut templates: Vec<Template> = (0..64).map(|_| Template::body(events)).collect::<Result<_>>()?;
    let turns = templates.len();
    (0..bodies).map(|number| coding.encode(templates[number % turns].renew())).collect()
}

/// xorshift64*: ids need to be distinct, not secret.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Another sequence each time.
    pub(crate) fn new() -> Self {
        Self(Uuid::new_v4().as_u64_pair().0 | 1)
    }

    /// The same sequence for the same seed, which is not 0.
    pub(crate) const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from((self.next() >> 16) % (bound as u64).max(1)).unwrap_or(0)
    }

    /// A UUIDv7.
    fn uuid(&mut self, millis: u64) -> Uuid {
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.next().to_be_bytes());
        random[8..].copy_from_slice(&self.next().to_be_bytes()[..2]);
        Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }
}

/// One connection that is kept alive.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, answer: Vec::with_capacity(64 * 1024) })
    }

    /// Sends a request, reads the answer to its end, and returns its status.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<u16> {
        self.stream.write_all(request).await?;
        self.answer.clear();
        loop {
            if let Some((status, length)) = answer_length(&self.answer)?
                && self.answer.len() >= length
            {
                return Ok(status);
            }
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                bail!("the server closed the connection");
            }
        }
    }
}

/// Status and whole length of an answer, once its head is there.
fn answer_length(answer: &[u8]) -> Result<Option<(u16, usize)>> {
    let Some(head_end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&answer[..head_end])?;
    let status = head.split_ascii_whitespace().nth(1).and_then(|status| status.parse().ok()).context("no status")?;
    let header = head.lines().filter_map(|line| line.split_once(':'));
    let mut length =
        header.filter(|(name, _)| name.eq_ignore_ascii_case("content-length")).map(|(_, value)| value.trim());
    let length: usize = length.next_back().context("an answer without a length")?.parse()?;
    Ok(Some((status, head_end + 4 + length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewed_events_differ_in_their_ids_only() {
        let mut template = Template::body(3).unwrap();
        let ids = |bytes: &[u8]| -> Vec<String> {
            let events: Vec<serde_json::Value> = serde_json::from_slice(bytes).unwrap();
            events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
        };
        let first = template.renew().to_vec();
        let second = template.renew().to_vec();
        assert_eq!(first.len(), second.len());
        let all: std::collections::BTreeSet<String> = ids(&first).into_iter().chain(ids(&second)).collect();
        assert_eq!(all.len(), 6);
        assert!(all.iter().all(|id| Uuid::parse_str(id).unwrap().get_version_num() == 7));
    }

    #[test]
    fn an_answer_is_whole_when_its_length_is_there() {
        let answer = b"HTTP/1.1 202 Accepted\r\ncontent-type: x\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(answer_length(answer).unwrap(), Some((202, answer.len())));
        assert_eq!(answer_length(&answer[..20]).unwrap(), None);
        assert!(answer_length(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
