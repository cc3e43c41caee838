//! How long each model of a node takes to the first event of a stream.

use lamplighter_core::patience::Pace;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Models whose times are kept; a node with more of them in use at once is not known.
const MODELS: usize = 64;

/// The times of one node.
#[derive(Debug, Default)]
pub struct Paces(Mutex<HashMap<Arc<str>, Pace>>);

impl Paces {
    /// A stream of that model has begun after so long.
    pub fn record(&self, model: &Arc<str>, took: Duration) {
        let took_ms = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
        let mut paces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pace) = paces.get_mut(model) {
            pace.record(took_ms);
        } else if paces.len() < MODELS {
            paces.entry(model.clone()).or_default().record(took_ms);
        }
    }

    /// The time that 99 of 100 streams of that model did not pass; `None` before the first.
    #[must_use]
    pub fn p99_ms(&self, model: &str) -> Option<u32> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(model).and_then(Pace::p99_ms)
    }
}
