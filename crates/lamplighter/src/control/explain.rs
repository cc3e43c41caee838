//! Why a request would go where: every candidate with what each rule sees of it, who is woken, and who was passed over.

use super::Control;
use crate::{clock, conversations};
use lamplighter_core::{
    fleet::Fleet,
    mode::Mode,
    operation::Operation,
    refusal::Refusal,
    route::{self, Ask, Candidate, RULES, Tier},
};
use serde_json::{Value, json};

/// What is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The model, as a client would write it.
    pub model: &'a str,
    /// What would be asked for.
    pub operation: Operation,
    /// A node that the request would be pinned to.
    pub pin: Option<&'a str>,
    /// The name of the conversation that it would belong to, as a client's header gives it.
    pub session: Option<&'a str>,
}

impl Control {
    /// How a request would be routed now.
    #[must_use]
    pub fn explain(&self, question: Question<'_>) -> Value {
        let Question { model: name, operation, pin, session } = question;
        let house = self.registry.house();
        let fleet = &house.fleet;
        let home = session.and_then(|session| {
            self.conversations.home(conversations::named(session.as_bytes(), fleet.asked(name).0))
        });
        let ask = Ask {
            pin,
            local_only: self.steering.mode() == Mode::Local,
            home: home.as_ref(),
            wall_ms: clock::wall_ms(),
            ..Ask::new(name, operation)
        };
        let planned = self.speeds.with(|speeds, now_ms| {
            let ask = Ask { speeds: Some(speeds), now_ms, ..ask };
            self.places.with_room(|room| route::plan(fleet, room, ask))
        });
        let (tiers, asleep, passed_over, refusal) = match planned {
            Ok(plan) => (plan.tiers, plan.asleep, plan.passed_over, None),
            Err(no_route) => (vec![], no_route.asleep, no_route.passed_over, Some(no_route.refusal)),
        };
        let up = tiers.first().map(|tier| tier.target);
        let foretold = self.foretell(fleet, name, operation, up, &asleep);
        // Who sleeps may be woken: then nobody hears that nobody is up.
        let refusal = self.paused().or(if asleep.is_empty() { refusal } else { foretold.refusal });
        let alias = fleet.alias(fleet.asked(name).0).map(|alias| &alias.name);
        let candidates: Vec<Value> = tiers
            .iter()
            .flat_map(|tier| tier.candidates.iter().map(|candidate| self.show(fleet, tier, candidate)))
            .collect();
        json!({ "model": name, "alias": alias, "operation": operation, "mode": self.steering.mode(),
            "candidates": candidates, "asleep": foretold.asleep, "passed_over": passed_over,
            "refusal": refusal.as_ref().map(words) })
    }

    /// What every request hears while a person has paused it.
    fn paused(&self) -> Option<Refusal> {
        let left_ms = self.steering.pause_left_ms()?;
        Some(Refusal::Paused { left_s: left_ms.map(|left_ms| left_ms.div_ceil(1000)) })
    }

    /// One candidate: `rule` has put it before the next one of its model, `reason` says so in words.
    fn show(&self, fleet: &Fleet, tier: &Tier, candidate: &Candidate) -> Value {
        let running = self.places.with_room(|room| room.running(&candidate.seat.place));
        let rules: Vec<Value> = RULES
            .iter()
            .map(|rule| json!({ "rule": rule.name, "value": (rule.value)(&candidate.standing) }))
            .collect();
        json!({
            "model": tier.model, "node": fleet.nodes[candidate.at].name(), "node_model": &*candidate.model,
            "reason": candidate.reason.words, "rule": candidate.reason.rule, "rules": rules,
            "running": running, "slots": candidate.seat.limit,
        })
    }
}

fn words(refusal: &Refusal) -> Value {
    json!({ "code": refusal.code(), "message": refusal.message(), "hint": refusal.hint() })
}
