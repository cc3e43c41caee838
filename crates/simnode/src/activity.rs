//! Whether a connection is in use, and since when it is idle.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Requests open on one connection, and when the last one ended.
#[derive(Debug)]
pub(crate) struct Activity {
    state: Mutex<(usize, Instant)>,
    idle: Notify,
}

impl Activity {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::new((0, Instant::now())), idle: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, (usize, Instant)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when it is idle; `None` while in use.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let (open, since) = *self.state();
        (open == 0).then_some(since)
    }

    /// Wakes when a request has ended.
    pub(crate) async fn ended(&self) {
        self.idle.notified().await;
    }
}

/// One open request; the connection is in use until it drops.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Activity>);

impl Busy {
    pub(crate) fn enter(activity: &Arc<Activity>) -> Self {
        activity.state().0 += 1;
        Self(Arc::clone(activity))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.state();
        *state = (state.0.saturating_sub(1), Instant::now());
        drop(state);
        self.0.idle.notify_one();
    }
}
