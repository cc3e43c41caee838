//! A free place goes before a line, even when the model has to be loaded first.

use super::{Rule, prefer, yes};

pub(super) const RULE: Rule = Rule {
    name: "free",
    compare: |a, b| prefer(a.free, b.free),
    value: |it| yes(it.free),
    reason: |_| "a free place",
};
