//! Names that look like the one that was asked for.

use crate::{alias, fleet::Fleet, model, operation::Dialect};

/// Up to three listed names or aliases that look like `name`.
pub(super) fn similar(fleet: &Fleet, name: &str, dialect: Dialect) -> Vec<String> {
    let wanted = name.to_ascii_lowercase();
    let stem = wanted
        .split([':', '/'])
        .next_back()
        .filter(|s| s.len() > 2 && !wanted.contains(':'))
        .unwrap_or(wanted.split(':').next().unwrap_or(&wanted))
        .to_owned();
    let listed = fleet.catalogue.in_dialect(&fleet.nodes, dialect).map(|entry| entry.name.as_str());
    // An alias whose models nobody lists is no help to whoever asked for it.
    let is_other = |other: &&str| model::key(other) != model::key(name);
    let aliases =
        fleet.aliases.iter().map(|alias| alias.name.as_str()).filter(|name| !alias::is_wildcard(name));
    let mut close: Vec<(usize, String)> = aliases
        .chain(listed)
        .filter(is_other)
        .filter_map(|candidate| {
            let lower = candidate.to_ascii_lowercase();
            let far = distance(&wanted, &lower);
            (far <= 1 + wanted.len() / 5 || lower.contains(&stem)).then(|| (far, candidate.to_owned()))
        })
        .collect();
    close.sort();
    close.into_iter().take(3).map(|(_, name)| name).collect()
}

/// What there is to ask for instead of `name`, which nobody has any more: names that look like it, else the first five that are
/// listed. The list itself may be a moment behind, and still name it.
#[must_use]
pub fn instead(fleet: &Fleet, name: &str, dialect: Dialect) -> Vec<String> {
    let is_other = |other: &String| model::key(other) != model::key(name);
    let mut close = similar(fleet, name, dialect);
    if close.is_empty() {
        let listed = fleet.catalogue.in_dialect(&fleet.nodes, dialect).map(|entry| entry.name.clone());
        close = listed.filter(is_other).take(5).collect();
    }
    close
}

/// Levenshtein's distance, for short names.
#[must_use]
pub fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(256).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(256).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let cost = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
