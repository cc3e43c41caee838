//! Which conversation was answered where: the engine that read a long prompt once need not read it again.
//!
//! Engines keep the state of the prompts they have read (llama.cpp's slots, vLLM's prefix cache, Ollama's runner): the next
//! turn of a conversation costs seconds less where the last one was. And one name may hold different contents on two nodes
//! (R18): a conversation should not change its model in the middle.

use crate::fleet::NodeId;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// A conversation that has been silent this long is forgotten, in milliseconds: engines have long forgotten it too.
pub const TTL_MS: u64 = 60 * 60 * 1_000;
/// Conversations remembered; the one that was silent longest goes first.
pub const CONVERSATIONS: usize = 4_096;

/// A conversation: a keyed hash of what its client calls it, else of how it begins. Never the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conversation(pub u64);

/// Where a conversation was answered last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// The node.
    pub node: NodeId,
    /// The model's name there.
    pub model: Arc<str>,
    /// Its contents, where the engine tells: 64 hex digits.
    pub digest: Option<Arc<str>>,
}

/// The conversations of the last hour. Times are milliseconds of one monotonic clock.
#[derive(Debug, Default)]
pub struct Affinity {
    homes: HashMap<Conversation, Seen>,
    /// In the order in which they were seen; only the youngest mark of each counts.
    order: VecDeque<(Conversation, u64)>,
    marks: u64,
}

#[derive(Debug)]
struct Seen {
    home: Home,
    at_ms: u64,
    mark: u64,
}

impl Affinity {
    /// Where the conversation was answered last, if that was within [`TTL_MS`].
    #[must_use]
    pub fn home(&self, conversation: Conversation, now_ms: u64) -> Option<&Home> {
        let seen = self.homes.get(&conversation)?;
        (now_ms.saturating_sub(seen.at_ms) < TTL_MS).then_some(&seen.home)
    }

    /// It is being answered there now.
    pub fn settle(&mut self, conversation: Conversation, home: Home, now_ms: u64) {
        self.marks += 1;
        let mark = self.marks;
        self.homes.insert(conversation, Seen { home, at_ms: now_ms, mark });
        self.order.push_back((conversation, mark));
        self.tidy(now_ms);
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.homes.len()
    }

    /// Is none remembered?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.homes.is_empty()
    }

    /// Forgets what is old and what is too much. The list of marks is cleaned when it is twice as long as it must be.
    fn tidy(&mut self, now_ms: u64) {
        while let Some(&(oldest, mark)) = self.order.front() {
            match self.homes.get(&oldest).filter(|seen| seen.mark == mark) {
                None => {}
                Some(seen) => {
                    let too_old = now_ms.saturating_sub(seen.at_ms) >= TTL_MS;
                    if !too_old && self.homes.len() <= CONVERSATIONS {
                        break;
                    }
                    self.homes.remove(&oldest);
                }
            }
            self.order.pop_front();
        }
        if self.order.len() > 2 * CONVERSATIONS {
            let homes = &self.homes;
            self.order.retain(|(it, mark)| homes.get(it).is_some_and(|seen| seen.mark == *mark));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn home(node: u32) -> Home {
        Home { node: NodeId(node), model: "m".into(), digest: None }
    }

    fn node_of(affinity: &Affinity, conversation: u64, now_ms: u64) -> Option<u32> {
        affinity.home(Conversation(conversation), now_ms).map(|home| home.node.0)
    }

    #[test]
    fn the_last_answer_counts_and_an_hour_of_silence_ends_it() {
        let mut affinity = Affinity::default();
        affinity.settle(Conversation(1), home(1), 0);
        affinity.settle(Conversation(1), home(2), 1_000);
        assert_eq!(node_of(&affinity, 1, 2_000), Some(2));
        assert_eq!(node_of(&affinity, 2, 2_000), None);
        assert_eq!(node_of(&affinity, 1, 1_000 + TTL_MS - 1), Some(2));
        assert_eq!(node_of(&affinity, 1, 1_000 + TTL_MS), None);
        affinity.settle(Conversation(9), home(1), 1_000 + TTL_MS);
        assert_eq!(affinity.len(), 1, "the old one is not kept either");
    }

    #[test]
    fn the_one_that_was_silent_longest_goes_first() {
        let mut affinity = Affinity::default();
        for conversation in 0..CONVERSATIONS as u64 {
            affinity.settle(Conversation(conversation), home(1), conversation);
        }
        affinity.settle(Conversation(0), home(1), 5_000);
        affinity.settle(Conversation(u64::MAX), home(1), 5_001);
        assert_eq!(affinity.len(), CONVERSATIONS);
        assert_eq!(node_of(&affinity, 0, 5_002), Some(1), "it has just spoken");
        assert_eq!(node_of(&affinity, 1, 5_002), None);
    }

    #[test]
    fn one_busy_conversation_fills_nothing() {
        let mut affinity = Affinity::default();
        affinity.settle(Conversation(1), home(1), 0);
        for at_ms in 0..100_000 {
            affinity.settle(Conversation(2), home(1), at_ms);
        }
        assert_eq!(affinity.len(), 2);
        assert!(affinity.order.len() <= 2 * CONVERSATIONS, "{}", affinity.order.len());
        assert_eq!(node_of(&affinity, 1, 100_000), Some(1));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4))]
        #[test]
        fn bounded_whatever_comes(steps in prop::collection::vec((0u64..6_000, 0u64..2_000), 1..20_000)) {
            let mut affinity = Affinity::default();
            let mut now_ms = 0;
            for (conversation, later_ms) in steps {
                now_ms += later_ms;
                affinity.settle(Conversation(conversation), home(1), now_ms);
                prop_assert_eq!(node_of(&affinity, conversation, now_ms), Some(1));
                prop_assert!(affinity.len() <= CONVERSATIONS && affinity.order.len() <= 2 * CONVERSATIONS);
            }
        }
    }
}
