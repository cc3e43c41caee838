//! How fast the nodes write, measured on the answers that go through.

use crate::clock;
use lamplighter_core::{
    fleet::NodeId,
    speed::{Sample, Speeds},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What was measured of all nodes; in memory, see [`Speeds`].
#[derive(Debug, Default)]
pub struct Measured {
    speeds: Mutex<Speeds>,
}

impl Measured {
    /// Looks at what was measured, with the time to look at it by.
    pub fn with<T>(&self, look: impl FnOnce(&Speeds, u64) -> T) -> T {
        look(&self.lock(), clock::mono_ms())
    }

    /// A watch on one answer of `model` (its key) on `node`.
    #[must_use]
    pub fn watch(self: &Arc<Self>, node: NodeId, model: Arc<str>) -> Stopwatch {
        Stopwatch { measured: self.clone(), node, model, first_ms: None, last_ms: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, Speeds> {
        self.speeds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Measures one answer that streams, from its first event to its last.
#[derive(Debug)]
pub struct Stopwatch {
    measured: Arc<Measured>,
    node: NodeId,
    model: Arc<str>,
    first_ms: Option<u64>,
    last_ms: u64,
}

impl Stopwatch {
    /// Something has come.
    pub fn beat(&mut self) {
        self.last_ms = clock::mono_ms();
        self.first_ms.get_or_insert(self.last_ms);
    }

    /// So many tokens have come in all, also when the client did not stay to the end.
    pub fn stop(&self, tokens: u64) {
        let Some(first_ms) = self.first_ms else { return };
        let sample = Sample { tokens, took_ms: self.last_ms.saturating_sub(first_ms) };
        self.measured.lock().finished(self.node, &self.model, sample, self.last_ms);
    }
}
