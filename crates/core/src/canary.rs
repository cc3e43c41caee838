//! The canary: a node whose lists answer and whose tokens never come is asked for one token on a second connection.
//!
//! Two misses make it `degraded`, two tokens bring it back (tabbyAPI #428: `/v1/models` stayed 200 while nothing was
//! generated). Silence alone is never a fault: a long prompt is silent too, and the canary comes through beside it, or waits
//! behind it no longer than the prompt itself is given.

use crate::patience::Patience;
use std::sync::Arc;

/// Misses until the node is believed not to work, and tokens until it is believed again.
const ENOUGH: u32 = 2;

/// What one canary found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Song {
    /// A token came.
    Sang,
    /// None came in time.
    Silent,
    /// It said something else: that it is busy, that it does not know the model. That proves neither.
    Unclear,
}

/// The doubt about one node. All times are milliseconds of the monotonic clock.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Canary {
    /// The model whose request was silent, while there is a doubt.
    model: Option<Arc<str>>,
    is_gray: bool,
    /// Misses in a row, or once it is gray tokens in a row.
    count: u32,
    /// One is on its way.
    flying: bool,
    /// The next may go then.
    next_ms: u64,
}

impl Canary {
    /// A request for `model` has been silent for too long there.
    pub fn silent(&mut self, model: &Arc<str>) {
        self.model.get_or_insert_with(|| model.clone());
    }

    /// The model to ask for one token of, when it is time for that. Whoever asks reports by [`Canary::came_back`].
    pub fn fly(&mut self, now_ms: u64) -> Option<Arc<str>> {
        if self.flying || self.next_ms > now_ms {
            return None;
        }
        let model = self.model.clone()?;
        self.flying = true;
        Some(model)
    }

    /// A canary is back.
    pub fn came_back(&mut self, song: Song, now_ms: u64, patience: &Patience) {
        self.flying = false;
        let is_step = match (song, self.is_gray) {
            (Song::Silent, false) | (Song::Sang, true) => true,
            (Song::Sang, false) => {
                // It works: the silence was a long prompt. Nobody asks again for as long as that took.
                *self = Self { next_ms: now_ms + patience.silent_ms, ..Self::default() };
                return;
            }
            (Song::Silent | Song::Unclear, _) => false,
        };
        self.count = if is_step { self.count + 1 } else { 0 };
        if self.count == ENOUGH {
            (self.is_gray, self.count) = (!self.is_gray, 0);
            if !self.is_gray {
                *self = Self::default();
                return;
            }
        }
        if song == Song::Unclear && !self.is_gray {
            *self = Self { next_ms: now_ms + patience.silent_ms, ..Self::default() };
            return;
        }
        // The second miss and the second token are looked for at once; a node that does not work is left in peace.
        let pause_ms = if self.count > 0 { 0 } else { patience.canary_every_ms };
        self.next_ms = now_ms + pause_ms;
    }

    /// A request for `model` went well there.
    pub fn worked(&mut self, model: &str) {
        if self.model.as_deref() == Some(model) {
            *self = Self { flying: self.flying, ..Self::default() };
        }
    }

    /// The node is gone, or its model is: what was held against it is forgotten.
    pub fn forget(&mut self) {
        *self = Self { flying: self.flying, ..Self::default() };
    }

    /// Is it believed not to work?
    #[must_use]
    pub fn is_gray(&self) -> bool {
        self.is_gray
    }

    /// When the next canary is to fly; `None` while one does, or none is wanted.
    #[must_use]
    pub fn next_ms(&self) -> Option<u64> {
        (self.model.is_some() && !self.flying).then_some(self.next_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flown(canary: &mut Canary, now_ms: u64, song: Song) {
        assert_eq!(canary.fly(now_ms).as_deref(), Some("m"), "{canary:?}");
        assert_eq!(canary.fly(now_ms), None, "one at a time");
        canary.came_back(song, now_ms, &Patience::default());
    }

    #[test]
    fn r07_two_misses_make_it_gray_and_two_tokens_bring_it_back() {
        let mut canary = Canary::default();
        assert_eq!(canary.fly(0), None, "nobody doubts");
        canary.silent(&"m".into());
        flown(&mut canary, 0, Song::Silent);
        assert!(!canary.is_gray());
        flown(&mut canary, 20_000, Song::Silent);
        assert!(canary.is_gray());
        assert_eq!(canary.fly(49_999), None, "left in peace for a while");
        flown(&mut canary, 50_000, Song::Sang);
        flown(&mut canary, 50_000, Song::Silent);
        assert!(canary.is_gray(), "in a row");
        flown(&mut canary, 80_000, Song::Sang);
        flown(&mut canary, 80_000, Song::Sang);
        assert_eq!((canary.is_gray(), canary.next_ms()), (false, None));
    }

    #[test]
    fn a_token_or_an_unclear_answer_ends_the_doubt_for_a_while() {
        for song in [Song::Sang, Song::Unclear] {
            let mut canary = Canary::default();
            canary.silent(&"m".into());
            flown(&mut canary, 0, song);
            assert_eq!((canary.is_gray(), canary.next_ms()), (false, None));
            canary.silent(&"m".into());
            assert_eq!(canary.fly(119_999), None);
            assert!(canary.fly(120_000).is_some());
        }
    }

    #[test]
    fn work_well_done_ends_it_only_for_its_own_model() {
        let mut canary = Canary::default();
        canary.silent(&"m".into());
        flown(&mut canary, 0, Song::Silent);
        flown(&mut canary, 0, Song::Silent);
        canary.worked("another");
        assert!(canary.is_gray());
        canary.worked("m");
        assert!(!canary.is_gray());
    }
}
