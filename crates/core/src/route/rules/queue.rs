//! Where all places are taken, the shortest line goes first, counted per place: three before four places is less than one
//! before one. Of equally long ones, that where the model is in memory.
//!
//! Counted are our own and what the engine tells of others, who ask it directly.

use super::{Rule, prefer};
use crate::route::Standing;
use std::cmp::Ordering;

/// Requests to be done before a new one, all of them at work or waiting.
fn ahead(it: &Standing) -> u64 {
    u64::from(it.running) + u64::from(it.waiting)
}

fn compare(a: &Standing, b: &Standing) -> Ordering {
    if a.free || b.free {
        return Ordering::Equal; // whoever has a free place has no line: the rules before this one have compared them
    }
    let (mine, theirs) = (ahead(a) * u64::from(b.slots), ahead(b) * u64::from(a.slots));
    mine.cmp(&theirs).then(prefer(a.loaded == Some(true), b.loaded == Some(true)))
}

pub(super) const RULE: Rule = Rule {
    name: "queue",
    compare,
    value: |it| it.waiting.to_string(),
    reason: |it| if it.loaded == Some(true) { "loaded, with the shortest line" } else { "the shortest line" },
};
