//! Request bodies: a limit on standing still, a limit on size, and the encodings that clients use.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use lamplighter_core::refusal::Refusal;
use std::{
    fmt,
    io::Read,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Sleep, timeout};

/// Largest body that names a model: images travel as base64.
pub const INFERENCE_CAP: usize = 64 << 20;
/// Reserved at once for a body whose length is announced: an announcement is not yet a body.
const RESERVE_CAP: usize = 1 << 20;
/// Of a body that is refused for its size so much more is taken in and thrown away,
const FORGET_CAP: usize = 256 << 20;
/// for so long at most,
const FORGET_TIMEOUT: Duration = Duration::from_secs(10);
/// and only while it flows.
const FORGET_QUIET: Duration = Duration::from_millis(300);

/// A request body that may not stand still for longer than `idle`.
pub struct PatientBody {
    body: Incoming,
    idle: Duration,
    /// Only made when something is waited for: most bodies are there at once.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl PatientBody {
    /// A body that is given up after `idle` without a byte.
    #[must_use]
    pub fn new(body: Incoming, idle: Duration) -> Self {
        Self { body, idle, sleep: None }
    }
}

/// The body stood still.
#[derive(Debug)]
pub struct Stalled;

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request body stopped arriving")
    }
}

impl std::error::Error for Stalled {}

impl hyper::body::Body for PatientBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.sleep = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let sleep = this.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(this.idle)));
        sleep.as_mut().poll(cx).map(|()| Some(Err(Stalled.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Collects a body of at most `cap` bytes, counted after decoding.
///
/// # Errors
/// A refusal that says what is wrong with it.
pub async fn collect(headers: &HeaderMap, body: Body, cap: usize) -> Result<Bytes, Refusal> {
    let too_large = || Refusal::BodyTooLarge { cap_bytes: cap as u64 };
    let encoding = headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes().to_ascii_lowercase());
    if body.size_hint().lower() > cap as u64 {
        // Who asks first with `Expect: 100-continue` sends nothing when it is refused.
        if !headers.contains_key(header::EXPECT) {
            forget(body).await;
        }
        return Err(too_large());
    }
    let raw = collect_raw(body, cap).await?;
    match encoding.as_deref() {
        None | Some(b"" | b"identity") => Ok(raw),
        Some(b"gzip" | b"x-gzip") => decode(flate2::read::MultiGzDecoder::new(&raw[..]), cap, "gzip"),
        Some(b"zstd") => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(&raw[..])
                .map_err(|_| Refusal::BadBody { what: "it is not valid zstd".into() })?;
            decode(decoder, cap, "zstd")
        }
        Some(other) => Err(Refusal::BadEncoding {
            encoding: super::call::printable(&String::from_utf8_lossy(other), 40),
        }),
    }
}

async fn collect_raw(mut body: Body, cap: usize) -> Result<Bytes, Refusal> {
    let mut first: Option<Bytes> = None;
    let mut all = BytesMut::new();
    let hint = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    while let Some(frame) = body.frame().await {
        let chunk = match frame.map_err(axum::Error::into_inner) {
            Ok(frame) => frame.into_data().unwrap_or_default(),
            Err(error) if is_stalled(&*error) => return Err(Refusal::BodyStalled),
            Err(error) => return Err(Refusal::BadRequest { what: format!("its body broke off ({error})") }),
        };
        if first.as_ref().map_or(0, Bytes::len) + all.len() + chunk.len() > cap {
            drop((first, all));
            forget(body).await;
            return Err(Refusal::BodyTooLarge { cap_bytes: cap as u64 });
        }
        // Most bodies come in one piece, and need no copy.
        match first.take() {
            None if all.is_empty() => first = Some(chunk),
            None => all.extend_from_slice(&chunk),
            Some(before) => {
                all.reserve(hint.min(RESERVE_CAP).max(before.len() + chunk.len()));
                all.extend_from_slice(&before);
                all.extend_from_slice(&chunk);
            }
        }
    }
    Ok(first.unwrap_or_else(|| all.freeze()))
}

/// Takes in the rest of a body that is refused and keeps nothing of it, as long as it flows: a client that is still sending
/// when the connection closes never reads why.
async fn forget(mut body: Body) {
    let rest = async {
        let mut left = FORGET_CAP;
        while let Ok(Some(Ok(frame))) = timeout(FORGET_QUIET, body.frame()).await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    // Longer than that nobody is waited for.
    let _ = timeout(FORGET_TIMEOUT, rest).await;
}

/// axum wraps the error of a body; ours is somewhere inside.
fn is_stalled(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<Stalled>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// Decodes at most `cap` bytes: a small body must not become a large one.
fn decode(decoder: impl Read, cap: usize, name: &str) -> Result<Bytes, Refusal> {
    let mut decoded = Vec::new();
    match decoder.take(cap as u64 + 1).read_to_end(&mut decoded) {
        Ok(_) if decoded.len() > cap => Err(Refusal::BodyTooLarge { cap_bytes: cap as u64 }),
        Ok(_) => Ok(decoded.into()),
        Err(_) => Err(Refusal::BadBody { what: format!("it is not valid {name}") }),
    }
}
