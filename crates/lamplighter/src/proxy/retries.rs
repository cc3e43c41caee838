//! What is tried more than once, or against belief: bounded for all requests together.

use crate::clock;
use lamplighter_core::{budget, patience::Patience};
use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

/// The bounds, and how far they are used.
#[derive(Debug)]
pub struct Retries {
    /// How long things may last.
    pub patience: Patience,
    retrying: Arc<AtomicUsize>,
    /// When somebody may next try a node that is believed to be gone.
    next_hope_ms: AtomicU64,
}

impl Retries {
    /// Nothing tried yet.
    #[must_use]
    pub fn new(patience: Patience) -> Self {
        Self { patience, retrying: Arc::default(), next_hope_ms: AtomicU64::new(0) }
    }

    /// May a request that was sent `sent` times be sent again, with so many requests active? `None`: no. The permit is held
    /// while it is tried.
    pub(super) fn permit(&self, sent: usize, active: impl FnOnce() -> usize) -> Option<Permit> {
        if !budget::is_counted(sent) {
            return Some(Permit(None));
        }
        let retrying = self.retrying.fetch_add(1, Relaxed);
        // From here on it is given back on drop.
        let permit = Permit(Some(self.retrying.clone()));
        budget::allows(sent, active(), retrying).then_some(permit)
    }

    /// While nobody is up: may this request try the likeliest node? One at a time, each few seconds.
    pub(super) fn may_hope(&self) -> bool {
        let (now_ms, next_ms) = (clock::mono_ms(), self.next_hope_ms.load(Relaxed));
        now_ms >= next_ms
            && self
                .next_hope_ms
                .compare_exchange(next_ms, now_ms + self.patience.hope_ms, Relaxed, Relaxed)
                .is_ok()
    }
}

/// The right to try once more. Given back on drop.
#[derive(Debug)]
pub(super) struct Permit(Option<Arc<AtomicUsize>>);

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(retrying) = &self.0 {
            retrying.fetch_sub(1, Relaxed);
        }
    }
}
