//! After this computer has slept: what the first answers, and their lack, mean.
//!
//! Streams that were open across the sleep end as soon as their node does not answer: their connections only look open. But no
//! node is called down before this computer's own network is back, which takes some seconds.

use lamplighter_core::{fleet::NodeId, health::Report};
use std::collections::HashSet;

/// This computer's own network is waited for at most this long, in milliseconds.
const SETTLE_MS: u64 = 15_000;

/// What is still open since the last sleep.
#[derive(Debug, Default)]
pub(super) struct Resume {
    /// Nodes of which nothing has been heard since.
    unheard: HashSet<NodeId>,
    /// Until then a miss may be our own network's.
    until_ms: u64,
}

/// What a report means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meaning {
    /// What was open across the sleep ends.
    pub(super) cut: bool,
    /// It says nothing of the node: our own network may not be back.
    pub(super) spared: bool,
}

impl Resume {
    /// This computer has slept. `now_ms` is monotonic.
    pub(super) fn begin(&mut self, nodes: impl Iterator<Item = NodeId>, now_ms: u64) {
        self.unheard = nodes.collect();
        self.until_ms = now_ms + SETTLE_MS;
    }

    /// Weighs a report of a node; `on_this_computer` needs no network to be reached.
    pub(super) fn weigh(
        &mut self,
        node: NodeId,
        report: &Report,
        on_this_computer: bool,
        now_ms: u64,
    ) -> Meaning {
        let missed = matches!(report, Report::Closed(_) | Report::Silent(_));
        let first = self.unheard.remove(&node);
        if !missed && !on_this_computer {
            self.until_ms = 0;
        }
        Meaning { cut: first && missed, spared: missed && !on_this_computer && now_ms < self.until_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent() -> Report {
        Report::Silent("no answer in 2 s".into())
    }

    #[test]
    fn r60_nobody_is_called_down_before_our_own_network_is_back() {
        let (nas, gpu, local) = (NodeId(1), NodeId(2), NodeId(3));
        let mut resume = Resume::default();
        assert_eq!(resume.weigh(nas, &silent(), false, 5), Meaning { cut: false, spared: false });
        resume.begin([nas, gpu, local].into_iter(), 1_000);
        assert_eq!(resume.weigh(nas, &silent(), false, 2_000), Meaning { cut: true, spared: true });
        assert_eq!(resume.weigh(nas, &silent(), false, 3_000), Meaning { cut: false, spared: true });
        // An engine on this computer needs no network.
        assert_eq!(resume.weigh(local, &silent(), true, 3_000), Meaning { cut: true, spared: false });
        // The first machine that answers proves that the network is there.
        resume.weigh(gpu, &Report::Answered, false, 4_000);
        assert_eq!(resume.weigh(nas, &silent(), false, 4_001), Meaning { cut: false, spared: false });
    }

    #[test]
    fn r60_a_network_that_does_not_come_back_is_said_after_a_while() {
        let mut resume = Resume::default();
        resume.begin([NodeId(1)].into_iter(), 0);
        assert!(resume.weigh(NodeId(1), &silent(), false, SETTLE_MS - 1).spared);
        assert!(!resume.weigh(NodeId(1), &silent(), false, SETTLE_MS).spared);
    }
}
