//! Equals share the work: where fewer of the places are taken.

use super::Rule;

pub(super) const RULE: Rule = Rule {
    name: "running",
    compare: |a, b| {
        let (mine, theirs) =
            (u64::from(a.running) * u64::from(b.slots), u64::from(b.running) * u64::from(a.slots));
        mine.cmp(&theirs)
    },
    value: |it| {
        if it.slots == u32::MAX { it.running.to_string() } else { format!("{} of {}", it.running, it.slots) }
    },
    reason: |_| "fewer requests run there",
};
