//! One wake as it is kept: written when it begins and again as it goes on, so that a killed gateway leaves a whole history.

use crate::{
    clock,
    store::{self, Store, WakeRecord},
};
use lamplighter_core::{
    node::Stage,
    wake::{Outcome, Who},
};

/// One wake as it is kept.
#[derive(Debug)]
pub(super) struct Record {
    kept: WakeRecord,
    began_mono_ms: u64,
    is_written: bool,
}

impl Record {
    pub(super) fn new(node: &str, who: Who, asked_by: Option<String>) -> Self {
        let cause = match who {
            Who::Person => "person",
            Who::Waiter | Who::ForTheNext => "request",
        };
        Self {
            kept: WakeRecord {
                node: node.to_owned(),
                started_ms: clock::wall_ms(),
                cause: cause.into(),
                asked_by,
                outcome: None,
                reason: None,
                rounds: 0,
                reachable_ms: None,
                api_ms: None,
                ready_ms: None,
                ended_ms: None,
            },
            began_mono_ms: clock::mono_ms(),
            is_written: true,
        }
    }

    /// Of a machine that was awake, and is no part of its history.
    pub(super) fn unwritten(node: &str, who: Who, asked_by: Option<String>) -> Self {
        Self { is_written: false, ..Self::new(node, who, asked_by) }
    }

    /// It goes on after all.
    pub(super) fn resumed(mut self) -> Self {
        (self.kept.outcome, self.kept.reason, self.kept.ended_ms) = (None, None, None);
        self
    }

    pub(super) fn node(&self) -> &str {
        &self.kept.node
    }

    pub(super) fn asked_by(&self) -> Option<&str> {
        self.kept.asked_by.as_deref()
    }

    pub(super) fn started_ms(&self) -> u64 {
        self.kept.started_ms
    }

    pub(super) fn round(&mut self, round: u32) {
        self.kept.rounds = round;
    }

    pub(super) fn stage(&mut self, stage: Stage) {
        let since_ms = self.since_ms();
        match stage {
            Stage::Packet => {}
            Stage::Reachable => drop(self.kept.reachable_ms.get_or_insert(since_ms)),
            Stage::Api | Stage::Loading => {
                self.kept.reachable_ms.get_or_insert(since_ms);
                self.kept.api_ms.get_or_insert(since_ms);
            }
        }
    }

    pub(super) fn ended(&mut self, outcome: &Outcome, store: Option<&Store>) {
        let since_ms = self.since_ms();
        let (word, reason) = match outcome {
            Outcome::Ready { seen, .. } => {
                self.kept.reachable_ms = self.kept.reachable_ms.or(seen.reachable_ms);
                self.kept.api_ms = self.kept.api_ms.or(seen.api_ms);
                self.kept.ready_ms = Some(since_ms);
                (store::Outcome::Ready, None)
            }
            Outcome::Failed(failure) => (store::Outcome::Failed, Some(failure.words())),
            Outcome::Left => (store::Outcome::Cancelled, Some("nobody waited any more".into())),
            Outcome::Cancelled => (store::Outcome::Cancelled, Some("somebody ended it".into())),
        };
        (self.kept.outcome, self.kept.reason) = (Some(word), reason);
        self.kept.ended_ms = Some(since_ms);
        self.keep(store);
    }

    pub(super) fn keep(&self, store: Option<&Store>) {
        if let Some(store) = store.filter(|_| self.is_written) {
            store.woke(self.kept.clone());
        }
    }

    /// Since its beginning.
    pub(super) fn since_ms(&self) -> u64 {
        clock::mono_ms().saturating_sub(self.began_mono_ms)
    }
}

/// How long the last wakes of a node took, oldest first, milliseconds.
pub(super) async fn past(store: Option<&Store>, node: &str, limit: u32) -> Vec<u64> {
    let Some(store) = store else { return Vec::new() };
    let wakes = store.wakes(Some(node), limit).await.unwrap_or_else(|error| {
        tracing::warn!(node, "past wakes cannot be read: {error}");
        Vec::new()
    });
    wakes.iter().rev().filter_map(|wake| wake.ready_ms).collect()
}
