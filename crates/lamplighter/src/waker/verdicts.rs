//! What a request may do about machines that sleep, as things stand: for requests, and for whoever asks what would happen.

use super::{Waker, is_loading};
use lamplighter_core::{
    fleet::Node,
    refusal::Refusal,
    route::Asleep,
    wake::{Condition, Kind, Pass, TooSoon, Verdict, Wish},
};

impl Waker {
    /// What may be done about each of them, side by side. `forbidden`: a person has switched waking off.
    #[must_use]
    pub fn verdicts(&self, asleep: &[Asleep], kind: Kind, forbidden: bool) -> Vec<Verdict> {
        let (default, quiet) = (self.default_policy(), self.is_quiet());
        let house = self.parts.registry.house();
        let verdict = |it: &Asleep| {
            // Nobody sleeps there: to wait for an engine that loads wakes nothing.
            if is_loading(&house, it.node) && self.condition(it.node, quiet) != Condition::Waking {
                return Verdict::Wait;
            }
            let wish = Wish { kind, alias: it.policy, default, forbidden };
            wish.verdict(self.condition(it.node, quiet))
        };
        asleep.iter().map(verdict).collect()
    }

    /// What a request hears for which nobody is up, and this machine is not woken.
    #[must_use]
    pub fn refuses(&self, model: &str, node: &Node, pass: Pass) -> Refusal {
        match (pass, self.too_soon(node.id)) {
            (Pass::Failed, Some(too_soon)) => too_soon_for(model, node, &too_soon),
            _ => Refusal::NodeAsleep {
                model: model.into(),
                node: node.name().into(),
                why: format!("is asleep, and {}", pass.words()),
                retry_s: None,
            },
        }
    }
}

/// What a request hears that comes too soon after an earlier try.
#[must_use]
pub fn too_soon_for(model: &str, node: &Node, too_soon: &TooSoon) -> Refusal {
    let why = match &too_soon.last {
        Some(failure) => failure.words(),
        None => format!("is asleep, and {}", Pass::Failed.words()),
    };
    let retry_s = u32::try_from(too_soon.wait_ms.div_ceil(1000)).unwrap_or(u32::MAX).clamp(1, 60);
    Refusal::NodeAsleep { model: model.into(), node: node.name().into(), why, retry_s: Some(retry_s) }
}
