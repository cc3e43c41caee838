//! What fails at work, crawls, or could not be reached just now goes last. It is not left out: it may be all there is.

use super::Rule;

pub(super) const RULE: Rule = Rule {
    name: "steady",
    compare: |a, b| a.trouble.is_some().cmp(&b.trouble.is_some()),
    value: |it| it.trouble.unwrap_or("yes").to_owned(),
    reason: |_| "steady, where others are not",
};
