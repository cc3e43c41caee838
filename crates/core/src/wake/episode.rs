//! One wake from its first packet to its end: its schedule, what has been seen, who waits.

use super::{Failure, machine::LOOK_EVERY_MS};
use crate::node::Stage;

/// When the first rounds go out, milliseconds after the start; from then on one every [`ROUND_EVERY_MS`].
const ROUNDS_MS: [u64; 3] = [0, 1_000, 3_000];
const ROUND_EVERY_MS: u64 = 10_000;
/// Rounds of which not one packet left this computer, until there is no use in trying on.
const UNSENT_MAX: u32 = 4;
/// How long an engine may answer without the model that was asked for: its disk may come late.
const WITHOUT_MODEL_MS: u64 = 10_000;

/// Something seen of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// Its card answers on the network (ARP). Some do for a machine that sleeps.
    Card,
    /// The machine itself answers: a ping, a port that refuses.
    Reachable,
    /// The engine's API answers.
    Api,
    /// The engine answers that it is loading its model.
    Loading,
    /// The engine is ready, but does not list this model, which was asked for.
    Without(String),
    /// It can take requests.
    Ready,
}

/// When what was first seen, milliseconds after the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timeline {
    /// Anything of the machine.
    pub reachable_ms: Option<u64>,
    /// The engine's API.
    pub api_ms: Option<u64>,
    /// The engine, loading.
    pub loading_ms: Option<u64>,
}

/// A wake under way, for eyes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// How far it has come.
    pub stage: Stage,
    /// Since the first packet, milliseconds.
    pub waited_ms: u64,
    /// How long it usually takes from the first packet until it is ready; `None` before the first time.
    pub eta_ms: Option<u64>,
    /// When it is given up, milliseconds after the first packet.
    pub timeout_ms: u64,
    /// Rounds of packets so far.
    pub rounds: u32,
    /// Requests that wait.
    pub waiters: u32,
    /// A person wants it.
    pub by_person: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Episode {
    pub(super) started_ms: u64,
    pub(super) timeout_ms: u64,
    pub(super) waiters: u32,
    pub(super) by_person: bool,
    /// Wanted although nobody waits: by a person, or for the next request.
    pub(super) wanted: bool,
    /// The machine was awake from the beginning: only its engine is waited for.
    pub(super) is_awake: bool,
    pub(super) stage: Stage,
    pub(super) seen: Timeline,
    /// More than its card.
    is_heard: bool,
    pub(super) rounds: u32,
    next_round_ms: u64,
    next_look_ms: u64,
    /// Packets that left.
    pub(super) sent: u64,
    unsent_rounds: u32,
    unsent_why: Vec<String>,
    without: Option<(String, u64)>,
}

/// What is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) round: bool,
    pub(super) look: bool,
}

impl Episode {
    pub(super) fn new(timeout_ms: u64, now_ms: u64) -> Self {
        Self {
            started_ms: now_ms,
            timeout_ms,
            waiters: 0,
            by_person: false,
            wanted: false,
            is_awake: false,
            stage: Stage::Packet,
            seen: Timeline::default(),
            is_heard: false,
            rounds: 0,
            next_round_ms: now_ms,
            next_look_ms: now_ms,
            sent: 0,
            unsent_rounds: 0,
            unsent_why: Vec::new(),
            without: None,
        }
    }

    pub(super) fn deadline_ms(&self) -> u64 {
        self.started_ms.saturating_add(self.timeout_ms)
    }

    /// When something is due next.
    pub(super) fn next_ms(&self) -> u64 {
        let round_ms = if self.calls() { self.next_round_ms } else { u64::MAX };
        let given_up_ms = self.without.as_ref().map_or(u64::MAX, |(_, since_ms)| since_ms + WITHOUT_MODEL_MS);
        round_ms.min(self.next_look_ms).min(self.deadline_ms()).min(given_up_ms)
    }

    /// Packets go out until the engine answers: a machine that is just going to sleep is seen, too.
    fn calls(&self) -> bool {
        matches!(self.stage, Stage::Packet | Stage::Reachable)
    }

    /// What is due now. However late the clock is, at most one round and one look.
    pub(super) fn take_due(&mut self, now_ms: u64) -> Due {
        let round = self.calls() && now_ms >= self.next_round_ms;
        if round {
            self.rounds += 1;
            self.next_round_ms = self.round_after(now_ms);
        }
        let look = now_ms >= self.next_look_ms;
        if look {
            self.next_look_ms = now_ms + LOOK_EVERY_MS;
        }
        Due { round, look }
    }

    /// Goes on for `timeout_ms` from now, with a round at once.
    pub(super) fn extend(&mut self, timeout_ms: u64, now_ms: u64) {
        self.timeout_ms = now_ms.saturating_sub(self.started_ms).saturating_add(timeout_ms);
        self.next_round_ms = now_ms;
    }

    /// Taken up again: what would have been due meanwhile is left out.
    pub(super) fn resume(&mut self, now_ms: u64) {
        self.next_look_ms = now_ms;
        if self.next_round_ms < now_ms {
            self.next_round_ms = self.round_after(now_ms);
        }
    }

    /// The first time on the schedule after `now_ms`.
    fn round_after(&self, now_ms: u64) -> u64 {
        let since_ms = now_ms.saturating_sub(self.started_ms);
        let next_ms = ROUNDS_MS.into_iter().find(|&at_ms| at_ms > since_ms).unwrap_or_else(|| {
            let last_ms = ROUNDS_MS[ROUNDS_MS.len() - 1];
            last_ms + ((since_ms - last_ms) / ROUND_EVERY_MS + 1) * ROUND_EVERY_MS
        });
        self.started_ms + next_ms
    }

    pub(super) fn not_sent(&mut self, why: String) {
        self.unsent_rounds += 1;
        if self.unsent_why.len() < 8 && !self.unsent_why.contains(&why) {
            self.unsent_why.push(why);
        }
    }

    /// Takes in a sight. True when the stage is another one.
    pub(super) fn see(&mut self, sight: &Sight, now_ms: u64) -> bool {
        let since_ms = now_ms.saturating_sub(self.started_ms);
        let before = self.stage;
        let seen = &mut self.seen;
        seen.reachable_ms.get_or_insert(since_ms);
        self.is_heard |= *sight != Sight::Card;
        let stage = match sight {
            Sight::Card | Sight::Reachable => Stage::Reachable,
            Sight::Api | Sight::Without(_) | Sight::Ready => Stage::Api,
            Sight::Loading => Stage::Loading,
        };
        if stage != Stage::Reachable {
            seen.api_ms.get_or_insert(since_ms);
        }
        if stage == Stage::Loading {
            seen.loading_ms.get_or_insert(since_ms);
        }
        if rank(stage) > rank(self.stage) {
            self.stage = stage;
        }
        match sight {
            Sight::Without(model) if self.without.is_none() => self.without = Some((model.clone(), now_ms)),
            Sight::Without(_) | Sight::Card | Sight::Reachable => {}
            Sight::Api | Sight::Loading | Sight::Ready => self.without = None,
        }
        before != self.stage
    }

    /// Why it has to be given up now; `None` while there is hope.
    pub(super) fn hopeless(&self, now_ms: u64) -> Option<Failure> {
        if let Some((model, since_ms)) = &self.without
            && now_ms >= since_ms.saturating_add(WITHOUT_MODEL_MS).min(self.deadline_ms())
        {
            return Some(Failure::WithoutModel { model: model.clone() });
        }
        let mute = self.sent == 0 && self.unsent_rounds > 0 && self.seen.reachable_ms.is_none();
        if mute && (self.unsent_rounds >= UNSENT_MAX || now_ms >= self.deadline_ms()) {
            return Some(Failure::NothingSent { why: self.unsent_why.clone() });
        }
        (now_ms >= self.deadline_ms()).then(|| match (self.seen.reachable_ms, self.seen.api_ms) {
            (_, Some(answered_ms)) => Failure::StillLoading { answered_ms },
            (Some(seen_ms), None) if self.is_heard => Failure::EngineClosed { seen_ms },
            (Some(seen_ms), None) => Failure::CardOnly { seen_ms },
            (None, None) => Failure::NeverAnswered {
                rounds: self.rounds,
                waited_ms: now_ms.saturating_sub(self.started_ms),
            },
        })
    }
}

fn rank(stage: Stage) -> u8 {
    match stage {
        Stage::Packet => 0,
        Stage::Reachable => 1,
        Stage::Api => 2,
        Stage::Loading => 3,
    }
}
