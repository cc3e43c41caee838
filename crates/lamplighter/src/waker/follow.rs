//! Follows the nodes that can be woken, also while nobody wants one awake: how long earlier wakes took comes from the store, and
//! one that is up by whatever means has no failed wake behind it any more.

use super::{PAST, Sleeper, Waker, record};
use crate::registry::House;
use lamplighter_core::wake::Wake;
use std::sync::Arc;

impl Waker {
    /// Follows the nodes until the end.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut changes = self.parts.registry.subscribe();
        loop {
            let house = changes.borrow_and_update().clone();
            self.meet(&house).await;
            tokio::select! {
                () = self.parts.stop.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Takes in the nodes that are new, with their past, and lets go of those that are gone.
    pub(super) async fn meet(&self, house: &House) {
        let is_there = |sleeper: &Sleeper| sleeper.running.is_some();
        self.lock().retain(|id, sleeper| is_there(sleeper) || house.fleet.by_id(*id).is_some());
        for node in &house.fleet.nodes {
            let Some(config) = &node.config.wake else { continue };
            if node.state.takes_requests()
                && let Some(sleeper) = self.lock().get_mut(&node.id)
            {
                sleeper.wake.seen_up();
            }
            if self.lock().get(&node.id).is_some_and(|sleeper| sleeper.knows_past) {
                continue;
            }
            let past = record::past(self.parts.store.as_ref(), node.name(), PAST).await;
            let mut sleepers = self.lock();
            let sleeper = sleepers.entry(node.id).or_insert_with(|| Sleeper::new(config.timeout_ms));
            sleeper.knows_past = true;
            sleeper.wake.recall(&past);
        }
    }
}

impl Sleeper {
    pub(super) fn new(timeout_ms: u64) -> Self {
        Self {
            wake: Wake::new(timeout_ms, &[]),
            running: None,
            left: None,
            failed_ms: None,
            knows_past: false,
        }
    }
}
