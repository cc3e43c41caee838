//! What a model list shows: only what its reader could get. A sleeping machine's models are there when asking for one may wake it.

use lamplighter_core::{
    alias,
    catalogue::Entry,
    fleet::{Fleet, Node},
    model::{Model, key},
    node::State,
    operation::Dialect,
    wake::{Condition, Kind, Verdict, WakePolicy, Wish},
};

/// A fleet, and whether its sleeping machines count.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// The fleet.
    pub fleet: &'a Fleet,
    /// Requests may wake machines just now.
    pub may_wake: bool,
    /// These are quiet hours: only a machine that is being woken already comes.
    pub quiet: bool,
    /// Nothing may leave the house.
    pub local_only: bool,
    /// What `[wake]` says for names that are no alias.
    pub default: WakePolicy,
}

/// What stands behind a name.
pub(super) enum Named<'a, 'n> {
    /// An alias of that name.
    Own(&'a str),
    /// An alias, by another name than its own.
    Alias(&'n str),
    /// A model, and how it was asked for when that is not by a name of its own.
    Model(&'a Entry, Option<&'n str>),
}

impl Named<'_, '_> {
    /// The name to show.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Own(own) => own,
            Self::Alias(asked) => asked,
            Self::Model(entry, asked) => asked.unwrap_or(&entry.name),
        }
    }
}

impl<'a> Shown<'a> {
    /// Would a request for that model under that policy get an answer from this node?
    fn counts(&self, node: &Node, model: &Model, policy: Option<WakePolicy>) -> bool {
        if self.local_only && (node.config.url.is_cloud() || model.remote) {
            return false;
        }
        if !node.sleeps() {
            return true;
        }
        // As a request's own wish is judged; whether it is a moment too soon for another try is nothing for a list.
        let kind = if model.embeds_only() { Kind::Embed } else { Kind::Generate };
        let wish = Wish { kind, alias: policy, default: self.default, forbidden: !self.may_wake };
        let condition = match node.state {
            State::Waking(_) => Condition::Waking,
            _ if self.quiet => Condition::Quiet,
            _ => Condition::Asleep,
        };
        !matches!(wish.verdict(condition), Verdict::Pass(_))
    }

    /// Every model that a client of `dialect` could ask for by its own name.
    pub(super) fn entries(self, dialect: Dialect) -> impl Iterator<Item = &'a Entry> {
        let hidden =
            move |entry: &Entry| self.fleet.aliases.iter().any(|alias| key(&alias.name) == key(&entry.name));
        self.fleet
            .catalogue
            .in_dialect(&self.fleet.nodes, dialect)
            .filter(move |entry| !hidden(entry) && self.offer(entry, dialect, None, None).is_some())
    }

    /// What a client of `dialect` would get under that name, in any of the forms in which it could ask for it: also one that only
    /// a wildcard catches, with `:latest` or without, pinned to a node.
    pub(super) fn named<'n>(self, name: &'n str, dialect: Dialect) -> Option<Named<'a, 'n>> {
        let (bare, pin) = self.fleet.asked(name);
        // A list says that it is there: somebody gets it, even if not by the first of an alias's models.
        let entry = self.fleet.targets(bare).iter().find_map(|target| {
            let entry = self.fleet.catalogue.find(target.model)?;
            self.offer(entry, dialect, target.node.or(pin), target.wake).map(|_| entry)
        })?;
        Some(match self.fleet.alias(bare) {
            Some(alias) if alias::is_wildcard(&alias.name) || pin.is_some() => Named::Alias(name),
            Some(alias) => Named::Own(&alias.name),
            None => Named::Model(entry, pin.map(|_| name)),
        })
    }

    /// Aliases that a client of `dialect` could use now, without wildcards: a pattern is no name to ask for. Each with the model
    /// that it would get first.
    pub(super) fn aliases(self, dialect: Dialect) -> impl Iterator<Item = (&'a str, &'a Model)> {
        let names = self.fleet.aliases.iter().map(|alias| alias.name.as_str());
        names.filter(|name| !alias::is_wildcard(name)).filter_map(move |name| {
            let targets = self.fleet.targets(name);
            let model = targets.iter().find_map(|target| {
                let entry = self.fleet.catalogue.find(target.model)?;
                self.offer(entry, dialect, target.node, target.wake)
            })?;
            Some((name, model))
        })
    }

    /// The first offer of a model that counts.
    pub(super) fn offer(
        self,
        entry: &Entry,
        dialect: Dialect,
        pin: Option<&str>,
        policy: Option<WakePolicy>,
    ) -> Option<&'a Model> {
        entry.offers.iter().find_map(|offer| {
            let node = &self.fleet.nodes[offer.node];
            let model = &node.models[offer.model];
            let fits = node.dialects.speaks(dialect)
                && pin.is_none_or(|pin| pin == node.name())
                && self.counts(node, model, policy);
            fits.then_some(model)
        })
    }
}
