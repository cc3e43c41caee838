//! Folds probe reports into a state that does not flap: three misses to fall, two answers to rise.
//!
//! Figures: active probe each 5 s, 1 s while the state is changing, 5 → 60 s doubling while nothing answers
//! (HAProxy's `fall 3`, `rise 2` and `spread-checks`; Envoy's ejection back-off).

use crate::node::{Presence, Stage, State};

/// Misses in a row until a node that was up is given up.
pub const FALL: u32 = 3;
/// Answers in a row until a node that was gone counts as up again.
pub const RISE: u32 = 2;
/// Failures at work in a row until a node that answers its probes goes to the end of the line (Envoy's outlier detection).
pub const FAILURES: u32 = 3;
/// How long it stays there the first time, in milliseconds; each time in a row adds as much, up to [`EJECTED_MAX_MS`].
pub const EJECTED_MS: u64 = 5_000;
/// Longest stay there, in milliseconds.
pub const EJECTED_MAX_MS: u64 = 60_000;
/// Time that one probe may take, in milliseconds.
pub const PROBE_TIMEOUT_MS: u64 = 2_000;

/// What one probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The engine answered as it should.
    Answered,
    /// The engine answers that it is still loading its model.
    Loading,
    /// It answers, but not for us; the text says why and what to do.
    Refused(String),
    /// Nothing there takes connections: the machine is up and its port is closed.
    Closed(String),
    /// No answer in time.
    Silent(String),
}

/// The health of one node: what we believe and how sure we are.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// What we believe.
    pub state: State,
    /// Since when, in milliseconds of the caller's clock.
    pub since_ms: u64,
    /// Why, in words for a person, when it is not simply up.
    pub why: Option<String>,
    /// A request could not connect since the last good probe: other nodes go first.
    pub suspect: bool,
    misses: u32,
    goods: u32,
    gone_probes: u32,
    port_closed: bool,
    /// Failures at work in a row.
    failures: u32,
    /// Times in a row that it went to the end of the line for them.
    ejections: u32,
    ejected_until_ms: u64,
}

impl Health {
    /// Nothing asked yet.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        Self {
            state: State::Unknown,
            since_ms: now_ms,
            why: None,
            suspect: false,
            misses: 0,
            goods: 0,
            gone_probes: 0,
            port_closed: false,
            failures: 0,
            ejections: 0,
            ejected_until_ms: 0,
        }
    }

    /// Takes in one probe report. True when the state, its reason or the suspicion changed.
    pub fn fold(&mut self, report: Report, presence: Presence, now_ms: u64) -> bool {
        let before = (self.state, self.why.clone(), self.suspect);
        match report {
            Report::Answered => self.answered(now_ms),
            Report::Loading => {
                self.reset_counts();
                self.suspect = false;
                self.enter(
                    State::Waking(Stage::Loading),
                    Some("the engine is loading its model".into()),
                    now_ms,
                );
            }
            Report::Refused(why) => {
                self.reset_counts();
                self.enter(State::Refusing, Some(why), now_ms);
            }
            Report::Closed(why) => {
                self.port_closed = true;
                self.missed(why, presence, now_ms);
            }
            Report::Silent(why) => {
                self.port_closed = false;
                self.missed(why, presence, now_ms);
            }
        }
        before != (self.state, self.why.clone(), self.suspect)
    }

    /// A request could not reach the node. It goes to the end of the line until a probe has answered.
    /// True when that is news.
    pub fn suspect(&mut self) -> bool {
        let news = self.state.takes_requests() && !self.suspect;
        self.suspect |= news;
        news
    }

    /// The node failed at a request, although it answers probes. After three in a row it is `degraded` and goes to the end of
    /// the line for a while; `mono_ms` is the monotonic clock, `random` in `0.0..1.0` keeps many from coming back at once.
    /// True when that is news.
    pub fn failed_at_work(&mut self, what: &str, now_ms: u64, mono_ms: u64, random: f64) -> bool {
        self.failures = self.failures.saturating_add(1);
        if self.failures < FAILURES || !self.state.takes_requests() {
            return false;
        }
        self.ejections = self.ejections.saturating_add(1);
        let stay_ms = (EJECTED_MS * u64::from(self.ejections)).min(EJECTED_MAX_MS);
        self.ejected_until_ms = mono_ms + (stay_ms as f64 * (1.0 + 0.5 * random)) as u64;
        let before = (self.state, self.why.clone());
        self.enter(State::Degraded, Some(format!("it fails at work: {what}")), now_ms);
        before != (self.state, self.why.clone())
    }

    /// The node did a request well: what was held against it is forgotten. True when that is news.
    pub fn worked(&mut self, now_ms: u64) -> bool {
        (self.failures, self.ejections) = (0, 0);
        let news = self.state == State::Degraded;
        if news {
            self.enter(State::Up, None, now_ms);
        }
        news
    }

    /// Ends a stay at the end of the line whose time is over: the node gets requests again, and one more failure sends it
    /// back for longer. True when that is news.
    pub fn recover(&mut self, now_ms: u64, mono_ms: u64) -> bool {
        let over = self.state == State::Degraded && mono_ms >= self.ejected_until_ms;
        if over {
            self.failures = FAILURES - 1;
            self.enter(State::Up, None, now_ms);
        }
        over
    }

    /// Does anything there answer, even if it is only a port that refuses?
    #[must_use]
    pub fn answers_somehow(&self) -> bool {
        self.state.takes_requests()
            || self.port_closed
            || matches!(self.state, State::Refusing | State::Waking(_))
    }

    /// It is being woken: its first answer is enough.
    pub fn expect(&mut self) {
        self.goods = RISE - 1;
    }

    /// Milliseconds until the next probe. `random` is in `0.0..1.0` and spreads the probes of many nodes.
    #[must_use]
    pub fn next_probe_ms(&self, random: f64) -> u64 {
        let spread = |base_ms: f64, share: f64| (base_ms * (1.0 - share + 2.0 * share * random)) as u64;
        if self.suspect || self.misses > 0 && self.state.takes_requests() || self.goods > 0 {
            return if self.port_closed { 300 } else { 1_000 };
        }
        match self.state {
            State::Unknown | State::Waking(_) => 1_000,
            State::Up | State::Degraded => spread(5_000.0, 0.2),
            State::Asleep => spread(60_000.0, 0.2),
            State::Refusing | State::Away | State::Down => {
                let doubled = 5_000.0 * f64::from(1u32 << self.gone_probes.saturating_sub(1).min(4));
                spread(doubled.min(60_000.0), 0.25)
            }
        }
    }

    fn answered(&mut self, now_ms: u64) {
        (self.misses, self.suspect, self.port_closed) = (0, false, false);
        let back_from_silence = matches!(self.state, State::Down | State::Away | State::Asleep);
        if back_from_silence && self.goods + 1 < RISE {
            self.goods += 1;
            return;
        }
        self.goods = 0;
        self.gone_probes = 0;
        // An answer to a probe is no proof of work: only time or a request that went well ends `degraded`.
        if self.state != State::Degraded {
            self.enter(State::Up, None, now_ms);
        }
    }

    fn missed(&mut self, why: String, presence: Presence, now_ms: u64) {
        self.goods = 0;
        self.misses += 1;
        let enough = match self.state {
            State::Up | State::Degraded | State::Refusing | State::Waking(_) => self.misses >= FALL,
            State::Unknown => self.misses >= 2,
            State::Asleep | State::Away | State::Down => true,
        };
        if !enough {
            return;
        }
        self.gone_probes = self.gone_probes.saturating_add(1);
        self.suspect = false;
        let gone = match presence {
            Presence::AlwaysOn => State::Down,
            Presence::Sleeps => State::Asleep,
            Presence::ComesAndGoes => State::Away,
        };
        self.enter(gone, Some(why), now_ms);
    }

    fn reset_counts(&mut self) {
        (self.misses, self.goods, self.gone_probes, self.port_closed) = (0, 0, 0, false);
    }

    fn enter(&mut self, state: State, why: Option<String>, now_ms: u64) {
        if self.state != state {
            self.since_ms = now_ms;
        }
        (self.state, self.why) = (state, why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent() -> Report {
        Report::Silent("no answer in 2 s".into())
    }

    #[test]
    fn the_first_answer_is_enough_at_the_start() {
        let mut health = Health::new(0);
        health.fold(Report::Answered, Presence::AlwaysOn, 5);
        assert_eq!((health.state, health.since_ms), (State::Up, 5));
    }

    #[test]
    fn falls_after_three_misses_and_rises_after_two_answers() {
        let mut health = Health::new(0);
        health.fold(Report::Answered, Presence::AlwaysOn, 0);
        assert!(!health.fold(silent(), Presence::AlwaysOn, 1));
        assert_eq!(health.next_probe_ms(0.5), 1_000, "a miss is followed up quickly");
        health.fold(silent(), Presence::AlwaysOn, 2);
        assert_eq!(health.state, State::Up);
        health.fold(silent(), Presence::AlwaysOn, 3);
        assert_eq!((health.state, health.since_ms), (State::Down, 3));
        health.fold(Report::Answered, Presence::AlwaysOn, 4);
        assert_eq!(health.state, State::Down, "one answer is not a recovery");
        health.fold(silent(), Presence::AlwaysOn, 5);
        health.fold(Report::Answered, Presence::AlwaysOn, 6);
        health.fold(Report::Answered, Presence::AlwaysOn, 7);
        assert_eq!((health.state, health.since_ms), (State::Up, 7));
    }

    #[test]
    fn silence_means_what_the_owner_said_it_means() {
        for (presence, state) in [
            (Presence::AlwaysOn, State::Down),
            (Presence::Sleeps, State::Asleep),
            (Presence::ComesAndGoes, State::Away),
        ] {
            let mut health = Health::new(0);
            health.fold(silent(), presence, 1);
            assert_eq!(health.state, State::Unknown);
            health.fold(silent(), presence, 2);
            assert_eq!(health.state, state);
        }
    }

    #[test]
    fn a_closed_port_is_asked_again_at_once_and_a_gone_machine_ever_less() {
        let mut health = Health::new(0);
        health.fold(Report::Answered, Presence::AlwaysOn, 0);
        health.fold(Report::Closed("refused".into()), Presence::AlwaysOn, 1);
        assert_eq!(health.next_probe_ms(0.5), 300);
        let mut waits = Vec::new();
        for at in 0..9 {
            health.fold(silent(), Presence::AlwaysOn, at);
            waits.push(health.next_probe_ms(0.5));
        }
        assert_eq!(waits[2..], [10_000, 20_000, 40_000, 60_000, 60_000, 60_000, 60_000]);
    }

    #[test]
    fn a_refusal_counts_at_once_and_is_left_at_once() {
        let mut health = Health::new(0);
        health.fold(Report::Refused("401: it wants an api_key".into()), Presence::AlwaysOn, 1);
        assert_eq!(health.state, State::Refusing);
        health.fold(Report::Answered, Presence::AlwaysOn, 2);
        assert_eq!((health.state, health.why.clone()), (State::Up, None));
    }

    #[test]
    fn three_failures_at_work_send_it_to_the_end_of_the_line_for_a_while() {
        let mut health = Health::new(0);
        health.fold(Report::Answered, Presence::AlwaysOn, 0);
        assert!(!health.failed_at_work("500", 1, 1, 0.0));
        assert!(!health.failed_at_work("500", 2, 2, 0.0));
        assert!(health.failed_at_work("500", 3, 3, 0.0));
        assert_eq!(health.state, State::Degraded);
        health.fold(Report::Answered, Presence::AlwaysOn, 4);
        assert_eq!(health.state, State::Degraded, "probes were fine all the time");
        assert!(!health.recover(5, 5_002));
        assert!(health.recover(5, 5_003));
        assert!(health.failed_at_work("500", 6, 6_000, 0.0), "on trial, one failure is enough");
        assert!(!health.recover(7, 15_999), "and the second stay is longer");
        assert!(health.recover(7, 16_000));
        assert!(!health.worked(8));
        assert!(!health.failed_at_work("500", 9, 17_000, 0.0), "work well done is a fresh start");
        health.fold(silent(), Presence::AlwaysOn, 10);
        for at in 11..14 {
            health.fold(silent(), Presence::AlwaysOn, at);
        }
        assert_eq!(health.state, State::Down);
        assert!(!health.failed_at_work("500", 15, 18_000, 0.0), "what is gone cannot fail at work");
    }

    #[test]
    fn a_failed_connection_makes_suspect_until_a_probe_answers() {
        let mut health = Health::new(0);
        assert!(!health.suspect(), "a node that takes no requests cannot become suspect");
        health.fold(Report::Answered, Presence::AlwaysOn, 0);
        assert!(health.suspect());
        assert!(!health.suspect(), "only the first is news");
        assert!(health.fold(Report::Answered, Presence::AlwaysOn, 1));
        assert!(!health.suspect);
    }
}
