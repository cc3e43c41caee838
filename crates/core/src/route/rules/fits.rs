//! Loading should push nobody out and spill nothing to the CPU: see [`crate::fit`].

use super::Rule;
use crate::fit::Fit;

pub(super) const RULE: Rule = Rule {
    name: "memory",
    // What is loaded fits: that it is loaded has been compared before.
    compare: |a, b| a.fit.cost().max(Fit::Fits.cost()).cmp(&b.fit.cost().max(Fit::Fits.cost())),
    value: |it| match it.fit {
        Fit::Loaded => "loaded".to_owned(),
        Fit::Fits => "fits".to_owned(),
        Fit::Evicts => "evicts".to_owned(),
        Fit::Spills => "spills".to_owned(),
        Fit::Unknown => "not known".to_owned(),
    },
    reason: |it| match it.fit {
        Fit::Loaded | Fit::Fits => "it fits into memory there",
        Fit::Unknown => "it may fit into memory there",
        Fit::Evicts | Fit::Spills => "it does not spill to the CPU there",
    },
};
