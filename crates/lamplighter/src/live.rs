//! Requests under way, for eyes and for cancelling, and the counts since start.

use crate::clock;
use crate::dialects::judge::Tokens;
use lamplighter_core::{
    operation::Operation,
    refusal::Refusal,
    snapshot::{Request, RequestStage, Totals},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// All requests under way.
#[derive(Debug)]
pub struct Requests {
    under_way: Mutex<BTreeMap<u64, Arc<Live>>>,
    next: AtomicU64,
    counts: Counts,
    /// Requests answered by each node since somebody last took the counts.
    answered_by: Mutex<BTreeMap<String, u32>>,
    /// Told when something changed that eyes would see.
    changed: Arc<Notify>,
    /// Cancelled when what is left has to end: shutting down.
    end: CancellationToken,
}

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
    tokens_in: AtomicU64,
    tokens_out: AtomicU64,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// The client hung up. What a request is until it is something else.
    Cancelled = 0,
    /// Answered whole; an error that the node reported itself counts as its answer.
    Answered = 1,
    /// Refused by us, or cut short.
    Failed = 2,
}

/// One request under way.
#[derive(Debug)]
pub struct Live {
    id: String,
    client: String,
    operation: Operation,
    model: String,
    stream: bool,
    started_ms: u64,
    chosen: Mutex<Option<(String, Arc<str>)>>,
    stage: AtomicU8,
    ahead: AtomicU32,
    first_byte_ms: AtomicU64,
    events: AtomicU64,
    outcome: AtomicU8,
    cancel: CancellationToken,
}

/// What is known of a request when it comes in.
#[derive(Debug)]
pub struct Arrival {
    /// Its id.
    pub id: String,
    /// The program that asks.
    pub client: String,
    /// What it asks for.
    pub operation: Operation,
    /// The model as asked for.
    pub model: String,
    /// Does it want a stream?
    pub stream: bool,
}

impl Requests {
    /// No requests yet.
    #[must_use]
    pub fn new(changed: Arc<Notify>) -> Self {
        Self {
            under_way: Mutex::default(),
            next: AtomicU64::new(1),
            counts: Counts::default(),
            answered_by: Mutex::default(),
            changed,
            end: CancellationToken::new(),
        }
    }

    /// Notes a request. It is forgotten, and counted, when the ticket is dropped.
    pub fn begin(self: &Arc<Self>, arrival: Arrival) -> UnderWay {
        let live = Arc::new(Live {
            id: arrival.id,
            client: arrival.client,
            operation: arrival.operation,
            model: arrival.model,
            stream: arrival.stream,
            started_ms: clock::wall_ms(),
            chosen: Mutex::default(),
            stage: AtomicU8::new(RequestStage::Queued as u8),
            ahead: AtomicU32::new(u32::MAX),
            first_byte_ms: AtomicU64::new(0),
            events: AtomicU64::new(0),
            outcome: AtomicU8::new(Outcome::Cancelled as u8),
            cancel: self.end.child_token(),
        });
        let key = self.next.fetch_add(1, Relaxed);
        self.lock().insert(key, live.clone());
        self.counts.requests.fetch_add(1, Relaxed);
        self.changed.notify_one();
        UnderWay { key, live, requests: self.clone() }
    }

    /// Cancels the request of that id. False when there is none.
    pub fn cancel(&self, id: &str) -> bool {
        let found = self.lock().values().find(|live| live.id == id).cloned();
        found.inspect(|live| live.cancel.cancel()).is_some()
    }

    /// Ends everything that is still under way, each with its dialect's error.
    pub fn end_all(&self) {
        self.end.cancel();
    }

    /// Why a request's token is cancelled: we shut down, or a person ended that one.
    #[must_use]
    pub fn why_cancelled(&self) -> Refusal {
        if self.end.is_cancelled() { Refusal::ShuttingDown } else { Refusal::Cancelled }
    }

    /// How many are under way.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// All of them as people see them, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Request> {
        self.lock().values().map(|live| live.show()).collect()
    }

    /// The counts since start.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let counts = &self.counts;
        Totals {
            requests: counts.requests.load(Relaxed),
            answered: counts.answered.load(Relaxed),
            failed: counts.failed.load(Relaxed),
            cancelled: counts.cancelled.load(Relaxed),
            tokens_in: counts.tokens_in.load(Relaxed),
            tokens_out: counts.tokens_out.load(Relaxed),
        }
    }

    /// Takes the counts of requests that each node has answered since the last call.
    #[must_use]
    pub fn take_answered(&self) -> BTreeMap<String, u32> {
        std::mem::take(&mut *self.answered_by.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn has_answered(&self, live: &Live) {
        let chosen = live.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((node, _)) = chosen.as_ref() else { return };
        let mut answered = self.answered_by.lock().unwrap_or_else(PoisonError::into_inner);
        match answered.get_mut(node) {
            Some(count) => *count = count.saturating_add(1),
            None => drop(answered.insert(node.clone(), 1)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Live>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    fn show(&self) -> Request {
        let chosen = self.chosen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (node, node_model) =
            chosen.map_or((None, None), |(node, model)| (Some(node), Some(model.to_string())));
        let stage = match self.stage.load(Relaxed) {
            0 => RequestStage::Queued,
            1 => RequestStage::Waking,
            2 => RequestStage::Sent,
            _ => RequestStage::Streaming,
        };
        let some = |value: u64| (value > 0).then_some(value);
        let ahead = self.ahead.load(Relaxed);
        Request {
            id: self.id.clone(),
            client: self.client.clone(),
            operation: self.operation,
            model: self.model.clone(),
            node,
            node_model,
            stage,
            ahead: (stage == RequestStage::Queued && ahead != u32::MAX).then_some(ahead),
            started_ms: self.started_ms,
            first_byte_ms: some(self.first_byte_ms.load(Relaxed)),
            events: self.events.load(Relaxed),
            stream: self.stream,
        }
    }
}

/// A request's place in the list.
#[derive(Debug)]
pub struct UnderWay {
    key: u64,
    live: Arc<Live>,
    requests: Arc<Requests>,
}

impl UnderWay {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.live.id
    }

    /// Cancelled when a person or a shutdown ends it.
    #[must_use]
    pub fn cancel_token(&self) -> &CancellationToken {
        &self.live.cancel
    }

    /// It waits, with so many before it.
    pub fn waits(&self, ahead: usize) {
        self.live.stage.store(RequestStage::Queued as u8, Relaxed);
        self.live.ahead.store(u32::try_from(ahead).unwrap_or(u32::MAX - 1), Relaxed);
        self.requests.changed.notify_one();
    }

    /// It waits for that node to wake.
    pub fn wakes(&self, node: &str) {
        *self.live.chosen.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((node.to_owned(), self.live.model.as_str().into()));
        self.live.stage.store(RequestStage::Waking as u8, Relaxed);
        self.requests.changed.notify_one();
    }

    /// It is sent to a node.
    pub fn sent(&self, node: &str, model: Arc<str>) {
        *self.live.chosen.lock().unwrap_or_else(PoisonError::into_inner) = Some((node.to_owned(), model));
        self.live.stage.store(RequestStage::Sent as u8, Relaxed);
        self.requests.changed.notify_one();
    }

    /// The answer begins.
    pub fn streams(&self) {
        self.live.first_byte_ms.store(clock::wall_ms(), Relaxed);
        self.live.stage.store(RequestStage::Streaming as u8, Relaxed);
        self.requests.changed.notify_one();
    }

    /// So many events so far.
    pub fn events(&self, events: u64) {
        self.live.events.store(events, Relaxed);
    }

    /// How it ended.
    pub fn ends(&self, outcome: Outcome) {
        self.live.outcome.store(outcome as u8, Relaxed);
    }

    /// Tokens that the node told.
    pub fn tokens(&self, tokens: Tokens) {
        self.requests.counts.tokens_in.fetch_add(tokens.input, Relaxed);
        self.requests.counts.tokens_out.fetch_add(tokens.output, Relaxed);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.requests.lock().remove(&self.key);
        let counts = &self.requests.counts;
        let count = match self.live.outcome.load(Relaxed) {
            0 => &counts.cancelled,
            1 => {
                self.requests.has_answered(&self.live);
                &counts.answered
            }
            _ => &counts.failed,
        };
        count.fetch_add(1, Relaxed);
        self.requests.changed.notify_one();
    }
}
