//! Aliases: "coder" stands for a list of models, in order; an alias hides a model of its name.

use crate::{model, wake::WakePolicy};
use serde::{Deserialize, Serialize};

/// One alias as configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct Alias {
    /// The name clients ask for; `*` matches any run of characters (`claude-*`).
    pub name: String,
    /// Models in order of preference; `model@node` pins one to a node, and an entry may be another alias.
    pub models: Vec<String>,
    /// What may happen when the machine that has its model sleeps; `None`: what `[wake]` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "ts", ts(optional))]
    pub wake: Option<WakePolicy>,
}

/// One model that a name stands for, perhaps pinned to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// The model.
    pub model: &'a str,
    /// The only node that may answer.
    pub node: Option<&'a str>,
    /// What may happen when the machine that has it sleeps, as the outermost alias on the way says that says it.
    pub wake: Option<WakePolicy>,
}

/// Finds the alias that a client means by `name`: an exact name first, then the wildcard with the most literal characters,
/// then the one written first. Wildcards catch the rest: a name that `is_listed` by some node is a model.
#[must_use]
pub fn find<'a>(aliases: &'a [Alias], name: &str, is_listed: impl FnOnce(&str) -> bool) -> Option<&'a Alias> {
    find_exact(aliases, name).or_else(|| {
        let fitting = aliases.iter().filter(|alias| is_wildcard(&alias.name) && matches(&alias.name, name));
        // `max_by_key` takes the last of equals: reversed, the first written wins.
        let best = fitting.rev().max_by_key(|alias| alias.name.bytes().filter(|&b| b != b'*').count());
        best.filter(|_| !is_listed(name))
    })
}

fn find_exact<'a>(aliases: &'a [Alias], name: &str) -> Option<&'a Alias> {
    aliases.iter().find(|alias| !is_wildcard(&alias.name) && model::key(&alias.name) == model::key(name))
}

/// The models that `name` stands for, in order: itself when no alias has that name.
///
/// `model@node` in `name` pins every model of an alias that is not pinned already.
#[must_use]
pub fn resolve<'a>(aliases: &'a [Alias], name: &'a str, names: Names<'_>) -> Vec<Target<'a>> {
    let mut search = Search { aliases, names, seen: Vec::new(), targets: Vec::with_capacity(2) };
    search.collect(name, None, None, 0);
    search.targets
}

/// What the fleet makes of names.
#[derive(Clone, Copy)]
pub struct Names<'s> {
    /// Takes a name apart: the model, and the node that it is pinned to.
    pub split: &'s dyn Fn(&str) -> (&str, Option<&str>),
    /// Has some node listed a model of that name?
    pub is_listed: &'s dyn Fn(&str) -> bool,
}

/// Longest chain of aliases that is followed. The configuration refuses cycles.
const DEPTH: usize = 16;

struct Search<'a, 's> {
    aliases: &'a [Alias],
    names: Names<'s>,
    /// Aliases that were opened, each with the pin it was opened under: a second time would add nothing.
    seen: Vec<(&'a str, Option<&'a str>)>,
    targets: Vec<Target<'a>>,
}

impl<'a> Search<'a, '_> {
    fn collect(&mut self, name: &'a str, pin: Option<&'a str>, wake: Option<WakePolicy>, depth: usize) {
        let (bare, own_pin) = (self.names.split)(name);
        let node = own_pin.or(pin);
        // An entry that is pinned inside an alias is always a real model: `qwen = ["qwen@nas"]` is a useful alias. And so is one
        // that only looks pinned: `claude-* = ["claude-sonnet-4@20250514"]`.
        let may_be_alias = depth == 0 || model::split_pin(name).1.is_none();
        // Wildcards are for what clients ask for. An entry is what its owner means by it: `gpt-* = ["gpt-oss:20b"]` is no circle.
        let alias = match depth {
            0 => find(self.aliases, bare, self.names.is_listed),
            _ => find_exact(self.aliases, bare),
        };
        match alias {
            Some(alias) if depth < DEPTH && may_be_alias => {
                if self.seen.contains(&(&alias.name, node)) {
                    return;
                }
                self.seen.push((&alias.name, node));
                for entry in &alias.models {
                    self.collect(entry, node, wake.or(alias.wake), depth + 1);
                }
            }
            _ => {
                if !self.targets.iter().any(|known| (known.model, known.node) == (bare, node)) {
                    self.targets.push(Target { model: bare, node, wake });
                }
            }
        }
    }
}

/// The names along a cycle of aliases, if there is one: `["a", "b", "a"]`.
#[must_use]
pub fn find_cycle(aliases: &[Alias]) -> Option<Vec<String>> {
    // Names that were walked to their ends without a cycle need no second walk: each alias is walked once.
    fn walk<'a>(
        aliases: &'a [Alias],
        alias: &'a Alias,
        path: &mut Vec<&'a str>,
        clean: &mut Vec<&'a str>,
    ) -> bool {
        if clean.contains(&alias.name.as_str()) {
            return false;
        }
        let closed = path.contains(&alias.name.as_str());
        path.push(&alias.name);
        if closed {
            return true;
        }
        for entry in &alias.models {
            if let (bare, None) = model::split_pin(entry)
                && let Some(next) = find_exact(aliases, bare)
                && walk(aliases, next, path, clean)
            {
                return true;
            }
        }
        path.pop();
        clean.push(&alias.name);
        false
    }
    let mut clean = Vec::new();
    aliases.iter().find_map(|alias| {
        let mut path = Vec::new();
        if !walk(aliases, alias, &mut path, &mut clean) {
            return None;
        }
        // Only the cycle itself, not the way into it.
        let start = path.iter().position(|name| Some(name) == path.last()).unwrap_or(0);
        Some(path[start..].iter().map(|&name| name.to_owned()).collect())
    })
}

/// Does the name contain a wildcard?
#[must_use]
pub fn is_wildcard(name: &str) -> bool {
    name.contains('*')
}

/// Does `pattern` match the whole of `text`? `*` matches any run of characters, also none.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to resume after the last star: greedy matching needs to step back to the last one only.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((star_p, star_t)) = star {
            p = star_p + 1;
            t = star_t + 1;
            star = Some((star_p, t));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&b| b == b'*')
}

#[cfg(test)]
mod tests {
    use super::{resolve as resolve_by, *};
    use proptest::prelude::*;

    fn resolve<'a>(aliases: &'a [Alias], name: &'a str) -> Vec<Target<'a>> {
        resolve_by(aliases, name, Names { split: &model::split_pin, is_listed: &|_| false })
    }

    fn alias(name: &str, models: &[&str]) -> Alias {
        Alias { name: name.into(), models: models.iter().map(|&m| m.into()).collect(), wake: None }
    }

    fn names<'a>(targets: &[Target<'a>]) -> Vec<(&'a str, Option<&'a str>)> {
        targets.iter().map(|t| (t.model, t.node)).collect()
    }

    #[test]
    fn an_alias_gives_its_models_in_order_and_keeps_pins() {
        let aliases = [alias("coder", &["qwen3-coder:30b", "llama3.2:3b@nas"])];
        assert_eq!(
            names(&resolve(&aliases, "coder")),
            [("qwen3-coder:30b", None), ("llama3.2:3b", Some("nas"))]
        );
        assert_eq!(names(&resolve(&aliases, "coder:latest")).len(), 2);
        assert_eq!(
            names(&resolve(&aliases, "coder@gpu")),
            [("qwen3-coder:30b", Some("gpu")), ("llama3.2:3b", Some("nas"))]
        );
        assert_eq!(names(&resolve(&aliases, "other")), [("other", None)]);
    }

    #[test]
    fn aliases_may_name_aliases_and_wildcards_catch_the_rest() {
        let aliases =
            [alias("claude-*", &["coder"]), alias("claude-haiku*", &["micro"]), alias("coder", &["a", "b"])];
        assert_eq!(names(&resolve(&aliases, "claude-opus-5")), [("a", None), ("b", None)]);
        assert_eq!(names(&resolve(&aliases, "claude-haiku-5")), [("micro", None)]);
    }

    #[test]
    fn an_alias_may_pin_the_model_of_its_own_name() {
        let aliases = [alias("qwen", &["qwen@nas"])];
        assert_eq!(names(&resolve(&aliases, "qwen")), [("qwen", Some("nas"))]);
        assert_eq!(find_cycle(&aliases), None);
    }

    #[test]
    fn what_only_looks_pinned_is_a_model() {
        let aliases = [alias("claude-*", &["claude-sonnet-4@20250514", "m@nas"])];
        // There is a node `nas`, and none `20250514`.
        fn split(name: &str) -> (&str, Option<&str>) {
            if name.ends_with("@nas") { model::split_pin(name) } else { (name, None) }
        }
        let targets = resolve_by(&aliases, "claude-x", Names { split: &split, is_listed: &|_| false });
        assert_eq!(names(&targets), [("claude-sonnet-4@20250514", None), ("m", Some("nas"))]);
        assert_eq!(find_cycle(&aliases), None);
    }

    #[test]
    fn cycles_are_found_and_only_the_cycle_is_named() {
        let aliases = [alias("x", &["a"]), alias("a", &["m", "b"]), alias("b", &["a"])];
        assert_eq!(find_cycle(&aliases), Some(vec!["a".into(), "b".into(), "a".into()]));
        assert_eq!(find_cycle(&[alias("self", &["self"])]), Some(vec!["self".into(), "self".into()]));
        assert_eq!(find_cycle(&[alias("a", &["b"]), alias("c", &["b"])]), None);
    }

    #[test]
    fn an_entry_that_a_wildcard_would_catch_is_a_model() {
        let aliases = [
            alias("gpt-*", &["gpt-oss:20b"]),
            alias("*", &["llama3.2:3b", "coder"]),
            alias("claude-*", &["claude-sonnet-4-5"]),
            alias("coder", &["qwen:7b@nas", "gpt-4"]),
        ];
        assert_eq!(find_cycle(&aliases), None);
        assert_eq!(names(&resolve(&aliases, "gpt-4o")), [("gpt-oss:20b", None)]);
        assert_eq!(names(&resolve(&aliases, "claude-3")), [("claude-sonnet-4-5", None)]);
        assert_eq!(
            names(&resolve(&aliases, "x")),
            [("llama3.2:3b", None), ("qwen:7b", Some("nas")), ("gpt-4", None)]
        );
    }

    #[test]
    fn wildcards_catch_only_what_nobody_lists() {
        let aliases = [alias("gpt-*", &["gpt-oss:20b"]), alias("*", &["small"]), alias("listed", &["m"])];
        let is_listed = |name: &str| ["gpt-oss:120b", "listed"].contains(&name);
        let resolve =
            |name| resolve_by(&aliases, name, Names { split: &model::split_pin, is_listed: &is_listed });
        assert_eq!(names(&resolve("gpt-oss:120b")), [("gpt-oss:120b", None)], "also not by a wider one");
        assert_eq!(names(&resolve("gpt-4o")), [("gpt-oss:20b", None)]);
        assert_eq!(names(&resolve("listed")), [("m", None)], "an alias of the whole name hides a model");
    }

    #[test]
    fn the_outermost_alias_that_says_it_decides_about_waking() {
        let say = |alias: Alias, wake| Alias { wake: Some(wake), ..alias };
        let aliases = [
            alias("claude-*", &["coder", "micro"]),
            say(alias("coder", &["a"]), WakePolicy::Fallback),
            say(alias("micro", &["b", "a"]), WakePolicy::Never),
            say(alias("all", &["coder", "c"]), WakePolicy::Wait),
        ];
        let said = |name| -> Vec<_> { resolve(&aliases, name).iter().map(|t| (t.model, t.wake)).collect() };
        let (wait, fallback, never) = (WakePolicy::Wait, WakePolicy::Fallback, WakePolicy::Never);
        assert_eq!(said("claude-x"), [("a", Some(fallback)), ("b", Some(never))]);
        assert_eq!(said("all"), [("a", Some(wait)), ("c", Some(wait))]);
        assert_eq!(said("a"), [("a", None)]);
    }

    #[test]
    fn globs() {
        for (pattern, text, fits) in [
            ("claude-*", "claude-3", true),
            ("claude-*", "claude-", true),
            ("claude-*", "claud", false),
            ("*", "", true),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1b2b3", false),
            ("**x", "yx", true),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} on {text}");
        }
    }

    #[test]
    fn many_ways_to_the_same_models_cost_no_more_than_one() {
        let names: Vec<String> = (0..200).map(|i| format!("a{i}")).collect();
        let aliases: Vec<Alias> =
            names.windows(2).map(|w| alias(&w[0], &[w[1].as_str(), w[1].as_str(), "m"])).collect();
        assert_eq!(find_cycle(&aliases), None);
        assert!(resolve(&aliases, "a0").contains(&Target { model: "m", node: None, wake: None }));
    }

    proptest! {
        #[test]
        fn resolving_always_ends(entries in prop::collection::vec(("[ab*]{1,3}", prop::collection::vec("[ab]{1,3}", 0..3)), 0..5), name in "[ab]{1,4}") {
            let aliases: Vec<Alias> = entries.into_iter().map(|(name, models)| Alias { name, models, wake: None }).collect();
            if find_cycle(&aliases).is_none() {
                prop_assert!(!resolve(&aliases, &name).is_empty() || aliases.iter().any(|a| a.models.is_empty()));
            }
        }
    }
}
