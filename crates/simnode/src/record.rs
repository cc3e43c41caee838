//! What a node saw and sent: bounded records of requests, exact bytes of answers, and counters.

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Records kept; the oldest go first.
const SEEN_MAX: usize = 4096;
/// Bytes of requests and answers kept in all; the oldest lose theirs first, their lengths and hashes stay.
const KEPT_BYTES_MAX: usize = 64 << 20;
/// Bytes of one answer that are kept.
const SENT_BYTES_MAX: usize = 1 << 20;
/// Different paths that are counted.
const PATHS_MAX: usize = 256;

/// How a request ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Still being answered.
    #[default]
    Open,
    /// Answered to the last byte.
    Answered,
    /// The client went away.
    ClientGone {
        /// Time from the request's arrival until the node noticed.
        after: Duration,
    },
    /// The node broke it off on purpose, by a fault.
    Broken,
    /// The node was killed.
    Killed,
}

/// One request and what became of it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Number of the request at this node, from 0.
    pub seq: u64,
    /// HTTP method.
    pub method: Method,
    /// Path without the query.
    pub path: String,
    /// Query without the question mark.
    pub query: Option<String>,
    /// All headers.
    pub headers: HeaderMap,
    /// Body bytes; empty when dropped to save memory (see `body_len`).
    pub body: Bytes,
    /// Length of the body.
    pub body_len: usize,
    /// When it had been read, on the wall clock.
    pub when: SystemTime,
    /// When it had been read, on the clock that never jumps.
    pub at: Instant,
    /// Status of the answer, once there is one.
    pub status: Option<u16>,
    /// The end.
    pub outcome: Outcome,
    /// Body bytes given to the connection; empty beyond the cap (see `sent_len`).
    pub sent: Bytes,
    /// How many there were.
    pub sent_len: u64,
    /// SHA-256 of all of them, in hex; set at the end.
    pub sent_sha256: Option<String>,
}

impl Seen {
    /// The request's `x-request-id`.
    pub fn request_id(&self) -> Option<&str> {
        self.headers.get("x-request-id").and_then(|id| id.to_str().ok())
    }
}

/// Counters of a node since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Connections accepted.
    pub connections_total: u64,
    /// Connections open now.
    pub connections_open: u64,
    /// Requests read.
    pub requests_total: u64,
    /// Requests being answered now.
    pub in_flight: u64,
    /// The most there were at once.
    pub in_flight_peak: u64,
    /// Generations that got a slot.
    pub generations_started: u64,
    /// Those answered to the end.
    pub generations_finished: u64,
    /// Those whose client went away.
    pub generations_cancelled: u64,
    /// `GET` and `HEAD` requests.
    pub probes: u64,
    /// Body bytes given to connections so far.
    pub sent_bytes: u64,
    /// Requests by path (the first 256 different ones).
    pub paths: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
struct Counters {
    connections_total: AtomicU64,
    connections_open: AtomicU64,
    requests_total: AtomicU64,
    in_flight: AtomicU64,
    in_flight_peak: AtomicU64,
    generations_started: AtomicU64,
    generations_finished: AtomicU64,
    generations_cancelled: AtomicU64,
    probes: AtomicU64,
    sent_bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Book {
    seen: VecDeque<Seen>,
    paths: BTreeMap<String, u64>,
    kept_bytes: usize,
}

impl Book {
    fn find(&mut self, seq: u64) -> Option<&mut Seen> {
        let first = self.seen.front()?.seq;
        self.seen.get_mut(usize::try_from(seq.checked_sub(first)?).ok()?)
    }

    /// Makes room by forgetting the oldest bytes, then the oldest records.
    fn trim(&mut self) {
        while self.seen.len() > SEEN_MAX {
            if let Some(old) = self.seen.pop_front() {
                self.kept_bytes -= old.body.len() + old.sent.len();
            }
        }
        for old in &mut self.seen {
            if self.kept_bytes <= KEPT_BYTES_MAX {
                break;
            }
            self.kept_bytes -= old.body.len() + old.sent.len();
            old.body = Bytes::new();
            old.sent = Bytes::new();
        }
    }
}

/// The book of one node.
#[derive(Debug)]
pub(crate) struct Recorder {
    on: bool,
    killed: AtomicBool,
    counters: Counters,
    book: Mutex<Book>,
}

impl Recorder {
    pub(crate) fn new(on: bool) -> Arc<Self> {
        Arc::new(Self {
            on,
            killed: AtomicBool::new(false),
            counters: Counters::default(),
            book: Mutex::default(),
        })
    }

    /// From now on an unfinished request was ended by us, not by its client.
    pub(crate) fn killed(&self) {
        self.killed.store(true, Relaxed);
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection until the guard drops.
    pub(crate) fn connection(self: &Arc<Self>) -> ConnectionCount {
        self.counters.connections_total.fetch_add(1, Relaxed);
        self.counters.connections_open.fetch_add(1, Relaxed);
        ConnectionCount(Arc::clone(self))
    }

    /// Enters a request; the ticket follows it to its end.
    pub(crate) fn enter(self: &Arc<Self>, head: &http::request::Parts, body: &Bytes) -> Ticket {
        let counters = &self.counters;
        if head.method == Method::GET || head.method == Method::HEAD {
            counters.probes.fetch_add(1, Relaxed);
        }
        let open = counters.in_flight.fetch_add(1, Relaxed) + 1;
        counters.in_flight_peak.fetch_max(open, Relaxed);
        let at = Instant::now();
        let seq = if self.on {
            let mut book = self.book();
            // Numbered under the lock, so that the records stay in order.
            let seq = counters.requests_total.fetch_add(1, Relaxed);
            let path = head.uri.path();
            if let Some(count) = book.paths.get_mut(path) {
                *count += 1;
            } else if book.paths.len() < PATHS_MAX {
                book.paths.insert(path.to_owned(), 1);
            }
            book.kept_bytes += body.len();
            book.seen.push_back(Seen {
                seq,
                method: head.method.clone(),
                path: path.to_owned(),
                query: head.uri.query().map(str::to_owned),
                headers: head.headers.clone(),
                body: body.clone(),
                body_len: body.len(),
                when: SystemTime::now(),
                at,
                status: None,
                outcome: Outcome::Open,
                sent: Bytes::new(),
                sent_len: 0,
                sent_sha256: None,
            });
            book.trim();
            seq
        } else {
            counters.requests_total.fetch_add(1, Relaxed)
        };
        Ticket {
            recorder: Arc::clone(self),
            seq,
            at,
            generation: false,
            outcome: None,
            sent: Vec::new(),
            sent_len: 0,
            hash: self.on.then(Sha256::new),
        }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.book().seen.iter().cloned().collect()
    }

    pub(crate) fn find_sent(&self, wanted: impl Fn(&Seen) -> bool) -> Option<Bytes> {
        self.book().seen.iter().rev().find(|seen| wanted(seen)).map(|seen| seen.sent.clone())
    }

    pub(crate) fn stats(&self) -> Stats {
        let counters = &self.counters;
        Stats {
            connections_total: counters.connections_total.load(Relaxed),
            connections_open: counters.connections_open.load(Relaxed),
            requests_total: counters.requests_total.load(Relaxed),
            in_flight: counters.in_flight.load(Relaxed),
            in_flight_peak: counters.in_flight_peak.load(Relaxed),
            generations_started: counters.generations_started.load(Relaxed),
            generations_finished: counters.generations_finished.load(Relaxed),
            generations_cancelled: counters.generations_cancelled.load(Relaxed),
            probes: counters.probes.load(Relaxed),
            sent_bytes: counters.sent_bytes.load(Relaxed),
            paths: self.book().paths.clone(),
        }
    }
}

/// Counts one open connection.
#[derive(Debug)]
pub(crate) struct ConnectionCount(Arc<Recorder>);

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        self.0.counters.connections_open.fetch_sub(1, Relaxed);
    }
}

/// Follows one request; dropping it without an outcome means the client went away.
#[derive(Debug)]
pub(crate) struct Ticket {
    recorder: Arc<Recorder>,
    seq: u64,
    at: Instant,
    generation: bool,
    outcome: Option<Outcome>,
    sent: Vec<u8>,
    sent_len: u64,
    hash: Option<Sha256>,
}

impl Ticket {
    /// Notes that a generation holds its slot.
    pub(crate) fn generation_started(&mut self) {
        self.generation = true;
        self.recorder.counters.generations_started.fetch_add(1, Relaxed);
    }

    pub(crate) fn status(&self, status: u16) {
        if self.hash.is_some()
            && let Some(seen) = self.recorder.book().find(self.seq)
        {
            seen.status = Some(status);
        }
    }

    /// Notes body bytes handed to the connection.
    pub(crate) fn sent(&mut self, bytes: &[u8]) {
        self.sent_len += bytes.len() as u64;
        self.recorder.counters.sent_bytes.fetch_add(bytes.len() as u64, Relaxed);
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
            let room = SENT_BYTES_MAX.saturating_sub(self.sent.len());
            self.sent.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    /// Ends it; the first word counts.
    pub(crate) fn end(&mut self, outcome: Outcome) {
        if self.outcome.is_some() {
            return;
        }
        self.outcome = Some(outcome);
        let counters = &self.recorder.counters;
        if self.generation {
            match outcome {
                Outcome::Answered => counters.generations_finished.fetch_add(1, Relaxed),
                Outcome::ClientGone { .. } => counters.generations_cancelled.fetch_add(1, Relaxed),
                Outcome::Open | Outcome::Broken | Outcome::Killed => 0,
            };
        }
        if let Some(hash) = self.hash.take() {
            let digest = hash.finalize();
            let mut book = self.recorder.book();
            if let Some(seen) = book.find(self.seq) {
                let sent = Bytes::from(std::mem::take(&mut self.sent));
                let kept = sent.len();
                seen.outcome = outcome;
                seen.sent_len = self.sent_len;
                seen.sent_sha256 = Some(digest.iter().map(|byte| format!("{byte:02x}")).collect());
                seen.sent = sent;
                book.kept_bytes += kept;
                book.trim();
            }
        }
        counters.in_flight.fetch_sub(1, Relaxed);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let after = self.at.elapsed();
        let killed = self.recorder.killed.load(Relaxed);
        self.end(if killed { Outcome::Killed } else { Outcome::ClientGone { after } });
    }
}
