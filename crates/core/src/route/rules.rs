//! The rules of the ranking, in their order. Each looks at one thing; the first that tells two candidates apart decides.

mod fits;
mod free;
mod loaded;
mod pinned;
mod priority;
mod queue;
mod running;
mod session;
mod speed;
mod steady;

use super::Standing;
use std::cmp::Ordering;

/// One rule.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// A stable word for programs and for the table that `explain` prints.
    pub name: &'static str,
    /// Who goes first: `Less` is the first.
    pub compare: fn(&Standing, &Standing) -> Ordering,
    /// What it sees of one candidate, in a word or two.
    pub value: fn(&Standing) -> String,
    /// Why the one that it prefers goes first. ASCII: it stands in a response header.
    pub reason: fn(&Standing) -> &'static str,
}

/// All rules, the strongest first.
pub const RULES: [Rule; 10] = [
    steady::RULE,
    pinned::RULE,
    session::RULE,
    loaded::RULE,
    free::RULE,
    queue::RULE,
    fits::RULE,
    speed::RULE,
    priority::RULE,
    running::RULE,
];

/// Why a candidate stands where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason {
    /// The rule that put it before the next one; `order` when none did, `only` when there is no next one.
    pub rule: &'static str,
    /// The same in words, ASCII.
    pub words: &'static str,
}

/// Why the machine answers that a request has woken or waited for: it has a place there, and no rule is asked any more.
pub const WOKEN: Reason = Reason { rule: "woken", words: "woken for this request" };

/// Who goes first? Equals keep their order.
pub(super) fn compare(a: &Standing, b: &Standing) -> Ordering {
    RULES.iter().fold(Ordering::Equal, |so_far, rule| so_far.then_with(|| (rule.compare)(a, b)))
}

/// Why `it` stands before `next`.
pub(super) fn reason(it: &Standing, next: Option<&Standing>) -> Reason {
    let Some(next) = next else { return Reason { rule: "only", words: alone(it) } };
    match RULES.iter().find(|rule| (rule.compare)(it, next) != Ordering::Equal) {
        Some(rule) => Reason { rule: rule.name, words: (rule.reason)(it) },
        None => Reason { rule: "order", words: "first of equals in the configuration" },
    }
}

/// With nobody to be preferred to, how it stands is all there is to say.
fn alone(it: &Standing) -> &'static str {
    match (it.pinned, it.loaded == Some(true), it.free) {
        (true, ..) => (pinned::RULE.reason)(it),
        (_, true, true) => (loaded::RULE.reason)(it),
        (_, false, true) => (free::RULE.reason)(it),
        (_, true, false) => "loaded, all places taken",
        (_, false, false) => "all places taken",
    }
}

/// `true` goes first.
fn prefer(a: bool, b: bool) -> Ordering {
    b.cmp(&a)
}

fn yes(it: bool) -> String {
    if it { "yes" } else { "no" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::Fit;

    /// One candidate for each rule that is better by that rule alone, and worse by all that follow.
    fn better_by(rule: &str) -> Standing {
        let worst = Standing {
            loaded: Some(false),
            free: false,
            waiting: 9,
            running: 9,
            fit: Fit::Spills,
            tokens_per_s: Some(0.2),
            priority: -9,
            ..Standing::plain()
        };
        match rule {
            "steady" => worst,
            "pinned" => Standing { pinned: true, ..worst },
            "session" => Standing { session: true, ..worst },
            "loaded" => Standing { loaded: Some(true), free: true, ..worst },
            "free" => Standing { free: true, ..worst },
            "queue" => Standing { waiting: 0, running: 1, ..worst },
            "memory" => Standing { fit: Fit::Fits, ..worst },
            "speed" => Standing { tokens_per_s: Some(90.0), ..worst },
            "priority" => Standing { priority: 1, ..worst },
            "running" => Standing { running: 0, free: true, loaded: None, ..worst },
            other => panic!("{other}?"),
        }
    }

    #[test]
    fn an_earlier_rule_beats_all_later_ones() {
        let best = |rule: &str| match rule {
            // As good as can be by every rule, but for those that are put down.
            "steady" => Standing { trouble: Some("degraded"), pinned: true, ..Standing::plain() },
            "pinned" => Standing { session: true, ..Standing::plain() },
            "session" => Standing { tokens_per_s: Some(90.0), priority: 9, ..Standing::plain() },
            "loaded" => Standing { loaded: Some(false), priority: 9, ..Standing::plain() },
            "free" => Standing { free: false, priority: 9, ..Standing::plain() },
            "queue" => Standing {
                free: false,
                waiting: 1,
                running: 9,
                tokens_per_s: Some(90.0),
                ..Standing::plain()
            },
            other => panic!("{other}?"),
        };
        for rule in ["steady", "pinned", "session", "loaded", "free", "queue"] {
            let (it, other) = (better_by(rule), best(rule));
            assert_eq!(compare(&it, &other), Ordering::Less, "{rule}");
            assert_eq!(reason(&it, Some(&other)).rule, rule);
            assert_eq!(compare(&other, &it), Ordering::Greater, "{rule}, the other way round");
        }
    }

    #[test]
    fn the_last_rules_in_their_order() {
        let plain =
            Standing { loaded: Some(false), fit: Fit::Evicts, tokens_per_s: Some(9.0), ..Standing::plain() };
        let fits = Standing { fit: Fit::Fits, tokens_per_s: Some(0.2), ..plain.clone() };
        let fast = Standing { tokens_per_s: Some(90.0), priority: -1, ..plain.clone() };
        let dear = Standing { priority: 1, running: 9, ..plain.clone() };
        let busy = Standing { running: 1, slots: 4, ..plain.clone() };
        for (it, other, rule) in [
            (&fits, &fast, "memory"),
            (&fast, &dear, "speed"),
            (&dear, &plain, "priority"),
            (&plain, &busy, "running"),
        ] {
            assert_eq!(compare(it, other), Ordering::Less, "{rule}");
            assert_eq!(reason(it, Some(other)).rule, rule);
        }
        assert_eq!(reason(&plain, Some(&plain)).rule, "order");
        assert_eq!(reason(&plain, None), Reason { rule: "only", words: "a free place" });
    }

    #[test]
    fn reasons_can_stand_in_a_header_and_names_are_single() {
        let (a, b) = (Standing::plain(), Standing { loaded: Some(false), free: false, ..Standing::plain() });
        for rule in RULES {
            assert!((rule.reason)(&a).is_ascii() && (rule.reason)(&b).is_ascii(), "{}", rule.name);
            assert!(!(rule.value)(&a).is_empty(), "{}", rule.name);
            assert_eq!(RULES.iter().filter(|other| other.name == rule.name).count(), 1);
        }
    }
}
