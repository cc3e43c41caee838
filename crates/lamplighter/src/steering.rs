//! The routing mode in force, chosen by a person. "Local only" and "never wake" survive a restart; a pause does not.

use crate::{clock, config};
use lamplighter_core::mode::{Mode, Routing};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// The mode in force.
#[derive(Debug)]
pub struct Steering {
    routing: Mutex<Routing>,
    /// Where the chosen mode is kept; `None` keeps nothing.
    kept: Option<PathBuf>,
    changed: Arc<Notify>,
}

impl Steering {
    /// As it was left. A file that cannot be read means the cautious thing only if it exists: nothing leaves the house.
    #[must_use]
    pub fn load(kept: Option<PathBuf>, changed: Arc<Notify>) -> Self {
        let chosen = match kept.as_ref().map(std::fs::read_to_string) {
            Some(Ok(text)) => match text.trim() {
                "auto" => Mode::Auto,
                "no-wake" => Mode::NoWake,
                _ => Mode::Local,
            },
            // Nobody has chosen anything yet.
            Some(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Mode::Auto,
            Some(Err(error)) => {
                tracing::warn!(%error, "the kept routing mode cannot be read: until you choose one, nothing leaves the house");
                Mode::Local
            }
            None => Mode::Auto,
        };
        Self { routing: Mutex::new(Routing { chosen, paused_until_ms: None }), kept, changed }
    }

    /// The mode now.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.lock().mode(clock::boot_ms())
    }

    /// Milliseconds until the pause ends by itself: `None` when not paused, `Some(None)` until somebody resumes.
    #[must_use]
    pub fn pause_left_ms(&self) -> Option<Option<u64>> {
        let routing = *self.lock();
        // Asked with every request, and hardly ever paused.
        routing.paused_until_ms?;
        let now_ms = clock::boot_ms();
        let until_ms = routing.paused_until_ms.filter(|_| routing.mode(now_ms) == Mode::Paused)?;
        Some((until_ms != u64::MAX).then(|| until_ms - now_ms))
    }

    /// Chooses a mode, which ends a pause.
    ///
    /// # Errors
    /// When the choice cannot be kept for the next start; it is in force all the same.
    pub fn choose(&self, mode: Mode) -> Result<(), String> {
        self.lock().choose(mode);
        self.changed.notify_one();
        let Some(place) = &self.kept else { return Ok(()) };
        config::write_atomically(place, format!("{}\n", mode.word()).as_bytes(), 0o600).map_err(|error| {
            format!("the mode is in force, but it cannot be kept in {}: {error}", place.display())
        })
    }

    /// Pauses for `for_ms`, or until somebody resumes.
    pub fn pause(&self, for_ms: Option<u64>) {
        self.lock().pause(clock::boot_ms(), for_ms);
        self.changed.notify_one();
    }

    /// Ends a pause in what was chosen before it: "local only" is not forgotten over lunch.
    pub fn resume(&self) {
        self.lock().resume();
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Routing> {
        self.routing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
