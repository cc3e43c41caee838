//! A request that names its node goes there. Nobody else is a candidate then, so this decides nothing; it tells why.

use super::{Rule, prefer, yes};

pub(super) const RULE: Rule = Rule {
    name: "pinned",
    compare: |a, b| prefer(a.pinned, b.pinned),
    value: |it| yes(it.pinned),
    reason: |_| "pinned to this node",
};
