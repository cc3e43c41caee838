//! What is told, from one snapshot to the next: plain data that a shell keeps, because some news is only true in view of what
//! comes right after it.

use super::{
    Notice,
    bell::{all_gone, down, news, outdated},
};
use crate::snapshot::Snapshot;
use std::sync::Arc;

/// Remembers what was there, and says what is new.
#[derive(Debug, Clone, Default)]
pub struct Crier {
    before: Option<Arc<Snapshot>>,
    lost: Option<Lost>,
}

/// Machines went away, and nobody has been told.
#[derive(Debug, Clone)]
struct Lost {
    /// The last snapshot before the first of them did.
    before: Arc<Snapshot>,
    /// When it did.
    since_ms: u64,
}

/// What a snapshot has brought.
#[derive(Debug, Default)]
pub struct Heard {
    /// Keys of notifications that are not true any more.
    pub outdated: Vec<String>,
    /// What is worth a notification.
    pub news: Vec<Notice>,
}

impl Crier {
    /// How long it is held back that a machine is gone; then [`Crier::settle`] tells it, when no snapshot has come before. The
    /// gateway shows the first change at once and the next ones 250 ms later, so whether one of them is gone or all (then it is this
    /// computer's network) is known only then.
    pub const HOLD_MS: u64 = 1_000;

    /// Takes in a snapshot; the first one is no news.
    pub fn hear(&mut self, now: &Arc<Snapshot>) -> Heard {
        let Some(before) = self.before.replace(now.clone()) else { return Heard::default() };
        if before.seq == now.seq {
            return Heard::default();
        }
        if self.lost.is_none() && loses(&before, now) {
            self.lost = Some(Lost { before: before.clone(), since_ms: now.at_ms });
        }
        let outdated = outdated(&before, now);
        if let Some(quiet) = self.lost.as_ref().and_then(|lost| all_gone(&lost.before, now)) {
            self.lost = None;
            return Heard { outdated, news: vec![quiet] };
        }
        let mut news = news(&before, now);
        if self.lost.as_ref().is_some_and(|lost| now.at_ms.saturating_sub(lost.since_ms) >= Self::HOLD_MS) {
            news.extend(self.settle());
        }
        Heard { outdated, news }
    }

    /// Is something held back?
    #[must_use]
    pub fn holds(&self) -> bool {
        self.lost.is_some()
    }

    /// The hold is over: who is still gone is told.
    pub fn settle(&mut self) -> Vec<Notice> {
        let (Some(lost), Some(now)) = (self.lost.take(), &self.before) else { return vec![] };
        let of_old = |name: &str| lost.before.nodes.iter().find(|old| old.name == name);
        now.nodes.iter().filter_map(|node| down(of_old(&node.name)?, node)).collect()
    }
}

/// Somebody who took requests does not any more.
fn loses(before: &Snapshot, now: &Snapshot) -> bool {
    let was_up = |name: &str| before.nodes.iter().any(|old| old.name == name && old.state.takes_requests());
    now.nodes.iter().any(|node| !node.state.takes_requests() && was_up(&node.name))
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};
    use crate::{node::State, snapshot::Node};

    /// A crier who has seen these machines up, and what it says when the given ones are down at that moment.
    struct House {
        crier: Crier,
        seq: u64,
    }

    const NAMES: [&str; 3] = ["nas", "attic", "cellar"];

    impl House {
        fn up() -> Self {
            let mut house = Self { crier: Crier::default(), seq: 0 };
            assert_eq!(house.told(0, &[]), [""; 0], "the first snapshot is no news");
            house
        }

        fn told(&mut self, at_ms: u64, down: &[&str]) -> Vec<String> {
            self.seq += 1;
            let state = |name| if down.contains(name) { State::Down } else { State::Up };
            let nodes: Vec<Node> = NAMES.iter().map(|name| sample::node(name, state(name))).collect();
            let now = Snapshot { seq: self.seq, at_ms, nodes, ..Snapshot::default() };
            titles(self.crier.hear(&Arc::new(now)).news)
        }
    }

    fn titles(notices: Vec<Notice>) -> Vec<String> {
        notices.into_iter().map(|notice| notice.title).collect()
    }

    #[test]
    fn one_quiet_line_when_all_vanish_one_after_the_other() {
        let mut house = House::up();
        assert_eq!(house.told(10_000, &["nas"]), [""; 0], "the first to go may not be the last");
        assert_eq!(house.told(10_250, &["nas", "attic"]), [""; 0]);
        assert_eq!(house.told(10_500, &NAMES), ["No machine answers"]);
        assert_eq!(house.told(60_000, &NAMES), [""; 0], "told once");
        assert!(!house.crier.holds() && house.crier.settle().is_empty());
    }

    #[test]
    fn one_machine_that_is_gone_is_told_a_moment_later_with_and_without_a_snapshot() {
        let mut house = House::up();
        assert_eq!(house.told(10_000, &["nas"]), [""; 0]);
        assert_eq!(house.told(10_999, &["nas"]), [""; 0]);
        assert_eq!(house.told(11_000, &["nas"]), ["nas is down"]);
        assert!(!house.crier.holds());
        assert_eq!(house.told(12_000, &["nas", "attic"]), [""; 0]);
        assert!(house.crier.holds());
        assert_eq!(titles(house.crier.settle()), ["attic is down"], "and the first is not told again");
    }

    #[test]
    fn two_of_three_are_two_machines_and_one_that_is_back_is_none() {
        let mut house = House::up();
        assert_eq!(house.told(10_000, &["nas"]), [""; 0]);
        assert_eq!(house.told(10_250, &["nas", "cellar"]), [""; 0]);
        assert_eq!(titles(house.crier.settle()), ["nas is down", "cellar is down"]);
        let mut house = House::up();
        assert_eq!(house.told(10_000, &["nas"]), [""; 0]);
        assert_eq!(house.told(10_500, &[]), [""; 0]);
        assert_eq!(house.told(11_500, &[]), [""; 0], "gone for a moment is no news");
    }

    #[test]
    fn a_clock_that_is_set_back_holds_nothing_for_ever() {
        let mut house = House::up();
        assert_eq!(house.told(10_000, &["nas"]), [""; 0]);
        assert_eq!(house.told(3_000, &["nas"]), [""; 0]);
        assert_eq!(titles(house.crier.settle()), ["nas is down"], "the shell's own clock ends the hold");
    }
}
