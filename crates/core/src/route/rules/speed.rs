//! Whoever writes clearly faster goes first (see [`crate::speed`]). One that was not measured lately is tried: it may be the
//! fastest.

use super::Rule;
use crate::{route::Standing, speed};
use std::cmp::Reverse;

/// Higher is better.
fn step(it: &Standing) -> i32 {
    it.tokens_per_s.map_or(i32::MAX, speed::step)
}

pub(super) const RULE: Rule = Rule {
    name: "speed",
    compare: |a, b| Reverse(step(a)).cmp(&Reverse(step(b))),
    value: |it| match it.tokens_per_s {
        Some(rate) if rate < 10.0 => format!("{rate:.1} tok/s"),
        Some(rate) => format!("{rate:.0} tok/s"),
        None => "not measured".to_owned(),
    },
    reason: |it| if it.tokens_per_s.is_some() { "measured to be faster" } else { "not measured yet" },
};
