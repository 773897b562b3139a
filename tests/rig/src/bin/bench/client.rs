//! A client that costs little.

use std::io::Write;

use anyhow::{Context, Result, bail};
use chrono::{DateTime, SecondsFormat};
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::audience::{Audience, DEVICES, Share, Upload, scripts};

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
    /// A whole request with this body, which is encoded already.
    pub(crate) fn request(&self, coding: Coding, body: &[u8], upload: &Upload, request: &mut Vec<u8>) {
        let stamp = |unix_ms| {
            let at = DateTime::from_timestamp_millis(unix_ms).unwrap_or_default();
            at.to_rfc3339_opts(SecondsFormat::Millis, true)
        };
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: {}\r\nx-api-key: {}\r\n\
             content-type: application/cloudevents-batch+json\r\nstreamgauge-test-received-at: {}\r\n\
             streamgauge-sent-at: {}\r\nstreamgauge-boot-id: {}\r\nstreamgauge-sent-mono: {}\r\n{}\
             content-length: {}\r\n\r\n",
            self.address,
            self.upload_key,
            stamp(upload.arrives_ms),
            stamp(upload.sent_ms()),
            upload.boot,
            upload.mono_ms,
            coding.header(),
            body.len(),
        );
        request.clear();
        request.extend_from_slice(head.as_bytes());
        request.extend_from_slice(body);
    }
}

/// A body that was made before anything is measured, and what its device says of it.
#[derive(Debug)]
pub(crate) struct Prepared {
    body: Vec<u8>,
    upload: Upload,
}

impl Prepared {
    /// Writes the request; returns how many views begin in it.
    pub(crate) fn request(&self, target: &Target, coding: Coding, request: &mut Vec<u8>) -> u64 {
        target.request(coding, &self.body, &self.upload, request);
        self.upload.views
    }
}

/// Compressed bodies of one audience.
pub(crate) fn prepare(coding: Coding, events: usize, bodies: usize) -> Result<Vec<Prepared>> {
    let mut audience = Audience::new(&scripts(events)?, Share::whole(DEVICES), crate::now().millis());
    let mut body = Vec::new();
    let mut prepared = || {
        let upload = audience.next(&mut body);
        Ok(Prepared { body: coding.encode(&body)?, upload })
    };
    (0..bodies).map(|_| prepared()).collect()
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
    fn an_answer_is_whole_when_its_length_is_there() {
        let answer = b"HTTP/1.1 202 Accepted\r\ncontent-type: x\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(answer_length(answer).unwrap(), Some((202, answer.len())));
        assert_eq!(answer_length(&answer[..20]).unwrap(), None);
        assert!(answer_length(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
