//! Waking one node: events in, effects out. One wake at a time, joined by all who want it.
//!
//! Times are the caller's monotonic milliseconds. The caller carries out the effects, tells what came of them, and ticks at
//! [`Wake::next_ms`]; a late tick makes up for nothing: it sends one round and looks once.

use super::{
    Condition, Failure, TooSoon,
    episode::{Episode, Progress, Sight, Timeline},
    limits::Limits,
};
use crate::node::Stage;
use std::collections::VecDeque;

/// How often the machine is looked at during a wake, milliseconds.
pub const LOOK_EVERY_MS: u64 = 500;
/// Wakes that the estimate is taken from.
const REMEMBERED: usize = 20;
/// A machine that is ready sooner was not asleep: it says nothing about waking.
const AWAKE_ALREADY_MS: u64 = 1_000;
/// How long a wake that everybody has left is taken up again instead of started anew.
const RESUME_MS: u64 = 60_000;

/// Who wants the node awake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// A click or a command: always may, and it goes on although nobody waits.
    Person,
    /// A request that waits until it is ready. It must say when it leaves.
    Waiter,
    /// A request that is answered elsewhere: the node is woken for the next one.
    ForTheNext,
}

/// What became of the wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A wake has begun.
    Begun,
    /// One was under way.
    Joined,
    /// One that everybody had left goes on.
    Resumed,
    /// Not now.
    TooSoon(TooSoon),
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// A round of packets left: to so many places.
    Sent(u32),
    /// Of a round, nothing left this computer, and why.
    NotSent(String),
    /// Something was seen of the machine.
    Seen(Sight),
    /// One who waited has gone: its client hung up, or its time was over.
    Left,
    /// A person ends it.
    Cancelled,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send the packet everywhere it should go. Tell with [`Event::Sent`] or [`Event::NotSent`].
    Send {
        /// Counted from 1.
        round: u32,
    },
    /// Look at the machine, on fresh connections. Tell with [`Event::Seen`] what there is to see.
    Look,
    /// It has come so far: tell those who wait and watch.
    Stage(Stage),
    /// It is over: tell those who wait and watch.
    Ended(Outcome),
}

/// How a wake ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The node can take requests.
    Ready {
        /// From the first packet, milliseconds.
        took_ms: u64,
        /// What was seen when on the way.
        seen: Timeline,
        /// Rounds of packets.
        rounds: u32,
    },
    /// It did not work.
    Failed(Failure),
    /// Everybody who waited has gone.
    Left,
    /// A person ended it.
    Cancelled,
}

#[derive(Debug, Clone)]
enum Phase {
    Idle,
    Running(Episode),
    /// Everybody left; who comes within the minute takes it up again.
    Left(Episode),
}

/// The waking of one node.
#[derive(Debug, Clone)]
pub struct Wake {
    timeout_ms: u64,
    limits: Limits,
    /// How long it took, newest last.
    took_ms: VecDeque<u64>,
    phase: Phase,
}

impl Wake {
    /// Nothing tried yet. `timeout_ms` is how long one wake may take; `took_ms` how long earlier ones took, newest last.
    #[must_use]
    pub fn new(timeout_ms: u64, took_ms: &[u64]) -> Self {
        let mut wake = Self {
            timeout_ms,
            limits: Limits::default(),
            took_ms: VecDeque::with_capacity(REMEMBERED),
            phase: Phase::Idle,
        };
        wake.recall(took_ms);
        wake
    }

    /// How long earlier ones took, newest last: those of before this one was begun with.
    pub fn recall(&mut self, took_ms: &[u64]) {
        let since = std::mem::take(&mut self.took_ms);
        took_ms.iter().copied().chain(since).for_each(|took_ms| self.remember(took_ms));
    }

    /// Another limit, from the next wake on.
    pub fn set_timeout(&mut self, timeout_ms: u64) {
        self.timeout_ms = timeout_ms;
    }

    /// Somebody wants the node awake: begins a wake, or joins the one under way. A [`Who::Waiter`] that is not refused must be
    /// followed by [`Event::Left`] when it goes before the end.
    pub fn ask(&mut self, who: Who, now_ms: u64) -> (Asked, Vec<Effect>) {
        if let Phase::Running(episode) = &mut self.phase {
            let mut effects = Vec::new();
            if who == Who::Person && !episode.by_person {
                // A click gets the time that it would have had by itself, and is followed by a packet.
                episode.extend(self.timeout_ms, now_ms);
                due(episode, now_ms, &mut effects);
            }
            join(episode, who);
            return (Asked::Joined, effects);
        }
        if let Phase::Left(episode) = &mut self.phase
            && who != Who::Person
            && may_resume(episode, now_ms)
        {
            let mut episode = episode.clone();
            join(&mut episode, who);
            episode.resume(now_ms);
            let mut effects = vec![Effect::Stage(episode.stage)];
            due(&mut episode, now_ms, &mut effects);
            self.phase = Phase::Running(episode);
            return (Asked::Resumed, effects);
        }
        if who != Who::Person {
            if let Err(too_soon) = self.limits.allow(now_ms) {
                return (Asked::TooSoon(too_soon), vec![]);
            }
            self.limits.started(now_ms);
        }
        self.limits.forget_failure();
        let mut episode = Episode::new(self.timeout_ms, now_ms);
        join(&mut episode, who);
        let mut effects = vec![Effect::Stage(Stage::Packet)];
        due(&mut episode, now_ms, &mut effects);
        self.phase = Phase::Running(episode);
        (Asked::Begun, effects)
    }

    /// Somebody wants the node, whose engine answers that it is loading: the machine does not sleep. Its end is waited for like that of
    /// a wake; no packet goes out, nothing is counted, and how long it takes says nothing about waking. As [`Wake::ask`] for the rest.
    pub fn attend(&mut self, who: Who, now_ms: u64) -> (Asked, Vec<Effect>) {
        if matches!(self.phase, Phase::Running(_)) {
            return self.ask(who, now_ms);
        }
        let mut episode = Episode::new(self.timeout_ms, now_ms);
        episode.is_awake = true;
        episode.see(&Sight::Loading, now_ms);
        join(&mut episode, who);
        let mut effects = vec![Effect::Stage(episode.stage)];
        due(&mut episode, now_ms, &mut effects);
        self.phase = Phase::Running(episode);
        (Asked::Begun, effects)
    }

    /// Takes in an event. What comes when no wake is under way changes nothing.
    pub fn on(&mut self, event: Event, now_ms: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Phase::Running(episode) = &mut self.phase else { return effects };
        match event {
            Event::Tick => {}
            Event::Sent(places) if places > 0 => episode.sent += u64::from(places),
            Event::Sent(_) => episode.not_sent("there was no place to send it to".into()),
            Event::NotSent(why) => episode.not_sent(why),
            Event::Seen(sight) => {
                let is_news = episode.see(&sight, now_ms);
                if sight == Sight::Ready {
                    let outcome = Outcome::Ready {
                        took_ms: now_ms.saturating_sub(episode.started_ms),
                        seen: episode.seen,
                        rounds: episode.rounds,
                    };
                    return self.end(outcome, now_ms);
                }
                if is_news {
                    effects.push(Effect::Stage(episode.stage));
                }
            }
            Event::Left => {
                episode.waiters = episode.waiters.saturating_sub(1);
                if episode.waiters == 0 && !episode.wanted {
                    return self.end(Outcome::Left, now_ms);
                }
            }
            Event::Cancelled => return self.end(Outcome::Cancelled, now_ms),
        }
        if let Some(failure) = episode.hopeless(now_ms) {
            effects.extend(self.end(Outcome::Failed(failure), now_ms));
            return effects;
        }
        due(episode, now_ms, &mut effects);
        effects
    }

    fn end(&mut self, outcome: Outcome, now_ms: u64) -> Vec<Effect> {
        let Phase::Running(episode) = std::mem::replace(&mut self.phase, Phase::Idle) else { return vec![] };
        if episode.is_awake && !matches!(outcome, Outcome::Failed(_)) {
            return vec![Effect::Ended(outcome)];
        }
        match &outcome {
            Outcome::Ready { took_ms, .. } => {
                self.limits.forget_failure();
                if *took_ms >= AWAKE_ALREADY_MS {
                    self.remember(*took_ms);
                }
            }
            Outcome::Failed(failure) => self.limits.ended(Some(failure.clone()), now_ms),
            Outcome::Cancelled => self.limits.ended(None, now_ms),
            Outcome::Left => self.phase = Phase::Left(episode),
        }
        vec![Effect::Ended(outcome)]
    }

    fn remember(&mut self, took_ms: u64) {
        if self.took_ms.len() >= REMEMBERED {
            self.took_ms.pop_front();
        }
        self.took_ms.push_back(took_ms);
    }

    /// When to tick next; `None` when nothing is under way.
    #[must_use]
    pub fn next_ms(&self) -> Option<u64> {
        match &self.phase {
            Phase::Running(episode) => Some(episode.next_ms()),
            Phase::Idle | Phase::Left(_) => None,
        }
    }

    /// How far the wake under way has come.
    #[must_use]
    pub fn progress(&self, now_ms: u64) -> Option<Progress> {
        let Phase::Running(episode) = &self.phase else { return None };
        Some(Progress {
            stage: episode.stage,
            waited_ms: now_ms.saturating_sub(episode.started_ms),
            eta_ms: self.eta_ms(),
            timeout_ms: episode.timeout_ms,
            rounds: episode.rounds,
            waiters: episode.waiters,
            by_person: episode.by_person,
        })
    }

    /// How long a wake of this node usually takes: the median of those remembered.
    #[must_use]
    pub fn eta_ms(&self) -> Option<u64> {
        let mut sorted: Vec<u64> = self.took_ms.iter().copied().collect();
        sorted.sort_unstable();
        match sorted.len() {
            0 => None,
            n if n % 2 == 1 => Some(sorted[n / 2]),
            n => Some(sorted[n / 2 - 1].midpoint(sorted[n / 2])),
        }
    }

    /// The node is up, whoever woke it.
    pub fn seen_up(&mut self) {
        self.limits.forget_failure();
    }

    /// How the last wake failed, until another one begins or the node is up.
    #[must_use]
    pub fn last_failure(&self) -> Option<&Failure> {
        self.limits.last()
    }

    /// What a request meets at this node while it sleeps, for [`super::Wish::verdict`]. `quiet`: these are quiet hours.
    /// What lies behind [`Condition::Failed`] is told by [`Wake::too_soon`].
    #[must_use]
    pub fn condition(&self, quiet: bool, now_ms: u64) -> Condition {
        match &self.phase {
            Phase::Running(_) => Condition::Waking,
            _ if quiet => Condition::Quiet,
            Phase::Left(episode) if may_resume(episode, now_ms) => Condition::Asleep,
            Phase::Left(_) | Phase::Idle => match self.too_soon(now_ms) {
                Some(_) => Condition::Failed,
                None => Condition::Asleep,
            },
        }
    }

    /// Why no request may start a wake now.
    #[must_use]
    pub fn too_soon(&self, now_ms: u64) -> Option<TooSoon> {
        self.limits.allow(now_ms).err()
    }
}

/// A wake that everybody has left is taken up again as long as it could still have gone on.
fn may_resume(episode: &Episode, now_ms: u64) -> bool {
    now_ms < episode.started_ms.saturating_add(RESUME_MS).min(episode.deadline_ms())
}

fn join(episode: &mut Episode, who: Who) {
    match who {
        Who::Person => (episode.by_person, episode.wanted) = (true, true),
        Who::ForTheNext => episode.wanted = true,
        Who::Waiter => episode.waiters = episode.waiters.saturating_add(1),
    }
}

fn due(episode: &mut Episode, now_ms: u64, effects: &mut Vec<Effect>) {
    let due = episode.take_due(now_ms);
    if due.round {
        effects.push(Effect::Send { round: episode.rounds });
    }
    if due.look {
        effects.push(Effect::Look);
    }
}
