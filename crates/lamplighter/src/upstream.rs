//! The way to one node: its connection pool, its key, and the signs of life that its streams give.

mod framing;
mod head;
mod incoming;
mod paces;
mod pool;
mod resolve;
mod wire;

pub use incoming::Incoming;

use crate::clock;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, Uri, uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use incoming::Broken;
use lamplighter_core::node_url::{NodeUrl, may_lead_to};
use paces::Paces;
use pool::Pool;
use resolve::Guarded;
use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{
            AtomicBool, AtomicU8, AtomicU32, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use wire::Wire;

/// Time to connect: a machine at home answers in milliseconds or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The same for a server on the internet.
const CONNECT_TIMEOUT_CLOUD: Duration = Duration::from_secs(10);
/// An idle connection is kept this long: shorter than the 5 s after which common servers close it, so that we never write into
/// a closing one (hyper #2136).
const POOL_IDLE_MS: u64 = 4_000;
const POOL_IDLE_CLOUD_MS: u64 = 30_000;

/// The way to one node.
#[derive(Debug)]
pub struct Upstream {
    scheme: uri::Scheme,
    authority: uri::Authority,
    base: String,
    /// Ready to send; marked sensitive so that it is never printed.
    key: Option<HeaderValue>,
    connector: Connector,
    pool: RwLock<Pool>,
    /// Signs of life.
    pub pulse: Pulse,
    /// How long its models take to a first event.
    pub paces: Paces,
    ends: Mutex<Ends>,
}

/// Makes connections.
#[derive(Debug, Clone)]
enum Connector {
    /// Plain TCP.
    Plain(HttpConnector<Guarded>),
    /// TLS with the system's roots.
    Tls(HttpsConnector<HttpConnector<Guarded>>),
}

/// Why no answer came. The words say how.
#[derive(Debug)]
pub enum Lost {
    /// No connection: the node has not seen the request.
    NoConnection(String),
    /// The connection broke before an answer came. It may have been a kept one that the node was just closing: then the node
    /// has never seen the request.
    Broke(String),
    /// What came is no answer.
    Malformed(&'static str),
}

/// Signals that end what runs on a node. New ones each time the node comes back.
#[derive(Debug, Clone, Default)]
pub struct Ends {
    /// Probes have missed: what has not begun may go elsewhere.
    pub gone: CancellationToken,
    /// It answers probes and generates nothing: what has not begun may go elsewhere.
    pub gray: CancellationToken,
    /// Gone and silent for long: what has begun ends too.
    pub cut: CancellationToken,
}

impl Upstream {
    /// The way to `url`, with the key to present there.
    ///
    /// # Errors
    /// When the address or the key cannot stand in an HTTP request.
    pub fn new(url: &NodeUrl, key: Option<&str>) -> Result<Self, String> {
        let key = key.map(|key| -> Result<_, String> {
            let mut value = HeaderValue::try_from(format!("Bearer {key}"))
                .map_err(|_| "the api_key holds characters that cannot be sent".to_owned())?;
            value.set_sensitive(true);
            Ok(value)
        });
        let authority = url.authority();
        // A name is looked at with each connection (`Guarded`); an address is not resolved, so it is looked at here.
        if url.host().parse().is_ok_and(|ip| !may_lead_to(url.host(), ip)) {
            return Err(format!("{authority} is no node"));
        }
        Ok(Self {
            scheme: if url.tls() { uri::Scheme::HTTPS } else { uri::Scheme::HTTP },
            authority: authority.parse().map_err(|_| format!("{authority} is not an address"))?,
            base: url.base().to_owned(),
            key: key.transpose()?,
            connector: Connector::new(url.tls())?,
            pool: RwLock::new(Pool::new(if url.tls() { POOL_IDLE_CLOUD_MS } else { POOL_IDLE_MS })),
            pulse: Pulse::default(),
            paces: Paces::default(),
            ends: Mutex::default(),
        })
    }

    /// The URI of `path` on this node.
    ///
    /// # Errors
    /// When the query cannot stand in a URI.
    pub fn uri(&self, path: &str, query: Option<&str>) -> Result<Uri, http::Error> {
        let path_and_query = match query {
            Some(query) => format!("{}{path}?{query}", self.base),
            None if self.base.is_empty() => path.to_owned(),
            None => format!("{}{path}", self.base),
        };
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path_and_query)
            .build()
    }

    /// The `Authorization` to present, if any.
    #[must_use]
    pub fn key(&self) -> Option<&HeaderValue> {
        self.key.as_ref()
    }

    /// Sends a `POST` on a kept connection or on a new one, and waits for the head of the answer.
    ///
    /// # Errors
    /// [`Lost`]. The other kept connections are forgotten then: they may be as stale.
    pub async fn post(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, Lost> {
        let pool = self.pool.read().unwrap_or_else(PoisonError::into_inner).clone();
        let wire = match pool.take() {
            Some(kept) => kept,
            None => self.connector.connect(uri.clone()).await.map_err(Lost::NoConnection)?,
        };
        pool.post(wire, uri, headers, body).await.map_err(|broken| match broken {
            Broken::Io(error) => {
                self.purge();
                Lost::Broke(error.to_string())
            }
            Broken::Malformed(what) => Lost::Malformed(what),
        })
    }

    /// Forgets all pooled connections: after a sleep they only look open.
    pub fn purge(&self) {
        let mut pool = self.pool.write().unwrap_or_else(PoisonError::into_inner);
        let fresh = pool.fresh();
        std::mem::replace(&mut *pool, fresh).close();
    }

    /// Closes connections that have been idle for too long. To be called now and then: nothing else does.
    pub fn tidy(&self) {
        self.pool.read().unwrap_or_else(PoisonError::into_inner).tidy();
    }

    /// The signals that end what runs here.
    #[must_use]
    pub fn ends(&self) -> Ends {
        self.lock_ends().clone()
    }

    /// Probes have missed: lets what has not begun go elsewhere.
    pub fn is_gone(&self) {
        self.lock_ends().gone.cancel();
    }

    /// It answers probes and generates nothing, or does again.
    pub fn is_gray(&self, gray: bool) {
        let mut ends = self.lock_ends();
        if gray { ends.gray.cancel() } else { ends.gray = CancellationToken::new() }
    }

    /// Gone and silent for long: ends what has begun.
    pub fn cut(&self) {
        let ends = self.lock_ends();
        ends.gone.cancel();
        ends.cut.cancel();
    }

    /// The node is back: fresh signals, fresh connections.
    pub fn is_back(&self) {
        let mut ends = self.lock_ends();
        if ends.gone.is_cancelled() {
            // Streams that were not cut live on under the old `cut`; it must still reach them.
            ends.gone = CancellationToken::new();
            if ends.cut.is_cancelled() {
                ends.cut = CancellationToken::new();
            }
            drop(ends);
            self.purge();
        }
    }

    fn lock_ends(&self) -> std::sync::MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connector {
    fn new(tls: bool) -> Result<Self, String> {
        let mut tcp = HttpConnector::new_with_resolver(Guarded);
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(if tls { CONNECT_TIMEOUT_CLOUD } else { CONNECT_TIMEOUT }));
        // A peer that vanishes without a word is noticed in about 15 s (measured), a silent living one is left alone. While
        // something is on its way up, the pings of the node notice it sooner; a limit on what is not acknowledged
        // (TCP_USER_TIMEOUT) would also end what a living node is slow to read.
        tcp.set_keepalive(Some(Duration::from_secs(5)));
        tcp.set_keepalive_interval(Some(Duration::from_secs(5)));
        tcp.set_keepalive_retries(Some(2));
        Ok(if tls {
            let tls = HttpsConnectorBuilder::new()
                .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
                .map_err(|error| format!("the system's certificates cannot be read: {error}"))?;
            Self::Tls(tls.https_only().enable_http1().wrap_connector(tcp))
        } else {
            Self::Plain(tcp)
        })
    }

    /// A new connection, or in words why there is none.
    async fn connect(&self, uri: Uri) -> Result<Wire, String> {
        match self {
            Self::Plain(tcp) => {
                let io = tcp.clone().oneshot(uri).await.map_err(|error| root(&error))?;
                Ok(Wire::Plain(io.into_inner()))
            }
            Self::Tls(tls) => {
                let io = tls.clone().oneshot(uri).await.map_err(|error| root(&*error))?;
                Ok(Wire::Tls(Box::new(TokioIo::new(io))))
            }
        }
    }
}

/// What an error comes from, in its own words.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// Signs of life of one node: requests open there, and when it last gave a good byte.
#[derive(Debug, Default)]
pub struct Pulse {
    open: AtomicU32,
    last_good_ms: AtomicU64,
    wanted: AtomicU8,
    nudge: Notify,
    /// The watcher counts the silence: it need not be told of each request.
    counted: AtomicBool,
    /// A request has failed there since the last that went well.
    failing: AtomicBool,
    /// It belongs to another network: it is not looked at.
    held: AtomicBool,
    /// When a part of an answer last came, by the monotonic clock.
    spoke_ms: AtomicU64,
    /// Open requests that want their answer in one piece: nothing comes of it before all of it is generated.
    whole: AtomicU32,
    /// Since when there has been one at any time.
    whole_since_ms: AtomicU64,
}

/// Which look somebody wants at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Wanted {
    /// None: a request has opened, and its silence counts from now on.
    Nothing = 0,
    /// Is it there?
    Pulse = 1,
    /// What does it have?
    Full = 2,
}

impl Pulse {
    /// A good byte, or a good answer to a probe.
    pub fn beat(&self) {
        self.last_good_ms.store(clock::mono_ms(), Relaxed);
    }

    /// When it last gave one, by the monotonic clock.
    #[must_use]
    pub fn last_good_ms(&self) -> u64 {
        self.last_good_ms.load(Relaxed)
    }

    /// Whether it belongs to another network, and is not looked at.
    pub fn hold(&self, held: bool) {
        self.held.store(held, Relaxed);
    }

    /// Is it not to be looked at?
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held.load(Relaxed)
    }

    /// A request has failed there.
    pub fn has_failed(&self) {
        self.failing.store(true, Relaxed);
    }

    /// Had one failed since this was last asked?
    #[must_use]
    pub fn had_failed(&self) -> bool {
        // The look before the swap keeps the usual case, which writes nothing, cheap.
        self.failing.load(Relaxed) && self.failing.swap(false, Relaxed)
    }

    /// Asks the watcher for a look at once.
    pub fn want_look(&self, wanted: Wanted) {
        self.wanted.fetch_max(wanted as u8, Relaxed);
        self.nudge.notify_one();
    }

    /// Waits until somebody wants something.
    pub async fn wanted(&self) -> Wanted {
        self.nudge.notified().await;
        match self.wanted.swap(0, Relaxed) {
            0 => Wanted::Nothing,
            1 => Wanted::Pulse,
            _ => Wanted::Full,
        }
    }

    /// Is there no request whose silence would count? From then on the next one nudges again.
    pub fn is_at_rest(&self) -> bool {
        // In this order, against a request that opens just now: it sees the flag down and nudges, or it is seen here.
        self.open.load(SeqCst) == 0 && {
            self.counted.store(false, SeqCst);
            self.open.load(SeqCst) == 0
        }
    }

    /// Requests open there now.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.open.load(Relaxed)
    }

    /// Is it generating something, as far as anybody can know: parts of answers have come since then, or one is under way that
    /// comes in one piece, and has not been for longer than such a one is given?
    #[must_use]
    pub fn may_be_generating(&self, since_ms: u64, whole_ms: u64) -> bool {
        let spoke_ms = self.spoke_ms.load(Relaxed);
        let whole_since_ms = self.whole_since_ms.load(Relaxed).max(spoke_ms);
        spoke_ms > since_ms
            || self.whole.load(Relaxed) > 0 && clock::mono_ms().saturating_sub(whole_since_ms) < whole_ms
    }
}

/// A request open on a node. Closed on drop.
#[derive(Debug)]
pub struct OpenRequest {
    upstream: Arc<Upstream>,
    is_whole: bool,
}

impl OpenRequest {
    /// Opens one. `is_whole`: its answer comes in one piece.
    #[must_use]
    pub fn new(upstream: Arc<Upstream>, is_whole: bool) -> Self {
        if is_whole && upstream.pulse.whole.fetch_add(1, Relaxed) == 0 {
            upstream.pulse.whole_since_ms.store(clock::mono_ms(), Relaxed);
        }
        if upstream.pulse.open.fetch_add(1, SeqCst) == 0 {
            // From now on its silence counts.
            upstream.pulse.beat();
            if !upstream.pulse.counted.swap(true, SeqCst) {
                upstream.pulse.nudge.notify_one();
            }
        }
        Self { upstream, is_whole }
    }

    /// A good byte came.
    pub fn beat(&self) {
        self.upstream.pulse.beat();
    }

    /// A part of the answer came.
    pub fn spoke(&self) {
        self.beat();
        self.upstream.pulse.spoke_ms.store(clock::mono_ms(), Relaxed);
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.upstream.pulse.open.fetch_sub(1, Relaxed);
        self.upstream.pulse.whole.fetch_sub(u32::from(self.is_whole), Relaxed);
    }
}
