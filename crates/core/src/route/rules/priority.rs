//! What the owner wrote: the higher number goes first.

use super::Rule;

pub(super) const RULE: Rule = Rule {
    name: "priority",
    compare: |a, b| b.priority.cmp(&a.priority),
    value: |it| it.priority.to_string(),
    reason: |_| "a higher priority",
};
