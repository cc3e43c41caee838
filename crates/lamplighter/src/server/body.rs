//! Request bodies: a limit on standing still, a limit on size, and the encodings that clients use.

use crate::aside;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use lamplighter_core::refusal::Refusal;
use std::{
    fmt,
    io::{self, Read},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Sleep, timeout};

/// Largest body that names a model: images travel as base64.
pub const INFERENCE_CAP: usize = 64 << 20;
/// An encoded body may unpack to so much,
const UNPACKED_FREE: usize = 4 << 20;
/// or to so many times its size. Prompts pack five to ten times; what packs a thousand times is made for it.
const UNPACKED_RATIO: usize = 20;
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
    let (name, unpack): (_, Unpack) = match encoding.as_deref() {
        None | Some(b"" | b"identity") => return Ok(raw),
        Some(b"gzip" | b"x-gzip") => ("gzip", gunzip),
        Some(b"zstd") => ("zstd", unzstd),
        Some(other) => {
            let encoding = super::call::printable(&String::from_utf8_lossy(other), 40);
            return Err(Refusal::BadEncoding { encoding });
        }
    };
    let cap = cap.min(raw.len().saturating_mul(UNPACKED_RATIO).max(UNPACKED_FREE));
    // How large it becomes is not known before: always beside the threads that serve.
    match aside::run(move || unpack(&raw, cap)).await {
        Ok(Ok(unpacked)) if unpacked.len() > cap => Err(Refusal::BodyTooLarge { cap_bytes: cap as u64 }),
        Ok(Ok(unpacked)) => Ok(unpacked.into()),
        Ok(Err(_)) => Err(Refusal::BadBody { what: format!("it is not valid {name}") }),
        Err(error) => Err(Refusal::Internal { what: error.to_string() }),
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

/// The body unpacked, at most one byte more than a cap.
type Unpack = fn(&[u8], usize) -> io::Result<Vec<u8>>;

/// Unpacks to at most one byte more than `cap`: a small body must not become a large one.
fn gunzip(raw: &[u8], cap: usize) -> io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    flate2::read::MultiGzDecoder::new(raw).take(cap as u64 + 1).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}

/// The same for zstd.
fn unzstd(raw: &[u8], cap: usize) -> io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    let decoder = ruzstd::decoding::StreamingDecoder::new(raw).map_err(io::Error::other)?;
    decoder.take(cap as u64 + 1).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}
