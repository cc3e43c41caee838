//! The model is in memory and a place is free: the answer begins at once.

use super::{Rule, prefer};
use crate::route::Standing;

fn is_ready(it: &Standing) -> bool {
    it.free && it.loaded == Some(true)
}

pub(super) const RULE: Rule = Rule {
    name: "loaded",
    compare: |a, b| prefer(is_ready(a), is_ready(b)),
    value: |it| match it.loaded {
        Some(true) => "yes".to_owned(),
        Some(false) => "no".to_owned(),
        None => "not told".to_owned(),
    },
    reason: |_| "loaded, with a free place",
};
