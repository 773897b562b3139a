//! The body of a statement: bounded in bytes and in time.

use std::time::Duration;

use axum::body::Body;
use futures::StreamExt;
use schemas::Problem;

/// A statement has at most 64 KiB; the rest is for parameters.
const MAX_BYTES: usize = 1024 * 1024;
/// What is larger is read on to here and thrown away, so that the caller sees the answer.
const DRAIN_MAX_BYTES: usize = 16 * MAX_BYTES;
const DEADLINE: Duration = Duration::from_secs(30);

/// Reads a body to its end.
///
/// # Errors
///
/// 413 if it is too large, 408 if it does not arrive in time, 400 if the caller went away.
pub(crate) async fn read(body: Body) -> Result<Vec<u8>, Problem> {
    read_within(body, DEADLINE).await
}

async fn read_within(body: Body, deadline: Duration) -> Result<Vec<u8>, Problem> {
    match tokio::time::timeout(deadline, take(body, MAX_BYTES)).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => {
            let detail = format!("a statement with its parameters may have {MAX_BYTES} bytes");
            Err(Problem::new(413, "body_too_large", detail).at("/", "max_body_bytes"))
        }
        Ok(Err(_)) => Err(Problem::new(400, "body_broken", "the body ended before its length").at("/", "complete")),
        Err(_) => Err(Problem::new(408, "body_too_slow", "the body did not arrive in time").at("/", "deadline")),
    }
}

/// Reads a body and throws it away, so that the caller sees the answer instead of a broken connection.
pub(crate) async fn discard(body: Body) {
    // Whatever happens to it, the answer is the same.
    let _ = tokio::time::timeout(DEADLINE, take(body, 0)).await;
}

/// The body; `None` if it is longer than `max_bytes`.
async fn take(body: Body, max_bytes: usize) -> Result<Option<Vec<u8>>, axum::Error> {
    let (mut chunks, mut kept, mut length) = (body.into_data_stream(), Vec::new(), 0);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        length += chunk.len();
        if length <= max_bytes {
            kept.extend_from_slice(&chunk);
        } else {
            kept = Vec::new();
        }
        if length > DRAIN_MAX_BYTES {
            break;
        }
    }
    Ok((length <= max_bytes).then_some(kept))
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use futures::stream;

    use super::*;

    #[tokio::test]
    async fn a_body_that_is_too_long_or_too_slow_is_refused() {
        assert_eq!(read(Body::from("{}")).await.unwrap(), b"{}");
        let long = read(Body::from(vec![b' '; MAX_BYTES + 1])).await.unwrap_err();
        assert_eq!((long.status, long.code), (413, "body_too_large"));
        let never = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let slow = read_within(never, Duration::from_millis(10)).await.unwrap_err();
        assert_eq!((slow.status, slow.code), (408, "body_too_slow"));
        let broken = Body::from_stream(stream::iter([Err::<Bytes, _>(std::io::Error::other("gone"))]));
        assert_eq!(read(broken).await.unwrap_err().code, "body_broken");
    }
}
