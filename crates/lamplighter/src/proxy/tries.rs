//! What a request has tried so far, and whom it may still try.

use lamplighter_core::{
    budget::ATTEMPTS,
    fleet::NodeId,
    route::{Candidate, RoutePlan},
};
use std::sync::Arc;
use tokio::time::Instant;

/// Nodes that could not even be reached do not count as attempts; this bounds them.
const UNREACHABLE: usize = 16;

/// What each node that was tried met, in order.
#[derive(Debug, Default)]
pub(super) struct Tries(Vec<Met>);

#[derive(Debug)]
struct Met {
    node: NodeId,
    model: Arc<str>,
    words: String,
    /// It has seen the request, or may have.
    was_sent: bool,
    again: Again,
}

/// May the same node be asked again?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// No.
    No,
    /// No: it was lost, and may be asleep.
    Lost,
    /// No, and nor by another request: it refuses us, and that does not change by itself.
    Never,
    /// It was a broken connection, perhaps a stale one: once more, when nobody else is left.
    Once,
    /// It said later: from then on, when nobody else is left.
    At(Instant),
    /// It has made room for this very model: before anybody who would have to load it, too.
    First,
}

impl Tries {
    /// Notes one.
    pub(super) fn met(&mut self, candidate: &Candidate, words: String, was_sent: bool, again: Again) {
        let (node, model) = (candidate.node, candidate.model.clone());
        self.0.push(Met { node, model, words, was_sent, again });
    }

    /// This node was woken since: what it met before it slept is no reason against it. How often the request was sent still counts.
    pub(super) fn woken(&mut self, node: NodeId) {
        self.0.iter_mut().filter(|met| met.node == node).for_each(|met| met.again = Again::First);
    }

    /// How often it was sent.
    pub(super) fn sent(&self) -> usize {
        self.0.iter().filter(|met| met.was_sent).count()
    }

    /// Has nobody been tried?
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was met, for people.
    pub(super) fn words(&self) -> Vec<String> {
        self.0.iter().map(|met| met.words.clone()).collect()
    }

    /// How often a node said later.
    pub(super) fn rounds(&self) -> u32 {
        self.0.iter().filter(|met| matches!(met.again, Again::At(_))).count() as u32
    }

    /// Do all of them refuse us? That does not change by itself.
    pub(super) fn all_refused(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|met| met.again == Again::Never)
    }

    /// Has this one been tried?
    pub(super) fn has_met(&self, candidate: &Candidate) -> bool {
        self.of(candidate).next().is_some()
    }

    /// The candidates of the first tier that has any left. `None` when nobody can be asked now.
    pub(super) fn left(&self, plan: &RoutePlan) -> Option<Vec<Candidate>> {
        if self.is_over() {
            return None;
        }
        let now = Instant::now();
        let is_first = |c: &Candidate| self.last(c).is_some_and(|met| met.again == Again::First);
        among(plan, is_first)
            .or_else(|| among(plan, |c| !self.has_met(c)))
            .or_else(|| among(plan, |c| self.may_again(c, now)))
    }

    /// Which of the alias's models those have who can be asked now.
    pub(super) fn target_left(&self, plan: &RoutePlan) -> Option<usize> {
        let first = self.left(plan)?.into_iter().next()?;
        let tier = plan.tiers.iter().find(|tier| tier.candidates.iter().any(|it| is_same(it, &first)))?;
        Some(tier.target)
    }

    /// Those of the plan that were lost: their machine may be gone, or asleep.
    pub(super) fn lost<'p>(&self, plan: &'p RoutePlan) -> impl Iterator<Item = (usize, &'p Candidate)> {
        let candidates =
            plan.tiers.iter().flat_map(|tier| tier.candidates.iter().map(|it| (tier.target, it)));
        candidates
            .filter(|(_, it)| matches!(self.last(it), Some(Met { again: Again::Lost | Again::Once, .. })))
    }

    /// That node answers again, and what it did not get may be sent to it once more.
    pub(super) fn is_back(&mut self, node: NodeId) {
        let lost = |met: &&mut Met| met.node == node && !met.was_sent && met.again == Again::Lost;
        self.0.iter_mut().filter(lost).for_each(|met| met.again = Again::Once);
    }

    /// When somebody may be asked again who said later. `None` when never.
    pub(super) fn later(&self, plan: &RoutePlan) -> Option<Instant> {
        if self.is_over() {
            return None;
        }
        let candidates = plan.tiers.iter().flat_map(|tier| &tier.candidates);
        let moments = candidates.filter_map(|c| match self.last(c)?.again {
            Again::At(at) => Some(at),
            Again::Once | Again::First | Again::Lost | Again::No | Again::Never => None,
        });
        moments.min()
    }

    /// Has it been tried as often as it may?
    pub(super) fn is_over(&self) -> bool {
        self.sent() >= ATTEMPTS || self.0.len() >= UNREACHABLE
    }

    fn may_again(&self, candidate: &Candidate, now: Instant) -> bool {
        match self.last(candidate).map(|met| met.again) {
            Some(Again::At(at)) => at <= now,
            Some(Again::Once) => self.of(candidate).count() == 1,
            Some(Again::First) => true,
            Some(Again::Lost | Again::No | Again::Never) | None => false,
        }
    }

    fn last(&self, candidate: &Candidate) -> Option<&Met> {
        self.of(candidate).last()
    }

    fn of<'t>(&'t self, candidate: &Candidate) -> impl Iterator<Item = &'t Met> + use<'t> {
        let (node, model) = (candidate.node, candidate.model.clone());
        self.0.iter().filter(move |met| met.node == node && met.model == model)
    }
}

fn is_same(one: &Candidate, other: &Candidate) -> bool {
    one.node == other.node && one.model == other.model
}

/// The candidates of the first tier that has any of that kind.
fn among(plan: &RoutePlan, is_wanted: impl Fn(&Candidate) -> bool) -> Option<Vec<Candidate>> {
    plan.tiers.iter().find_map(|tier| {
        let left: Vec<Candidate> = tier.candidates.iter().filter(|c| is_wanted(c)).cloned().collect();
        (!left.is_empty()).then_some(left)
    })
}
