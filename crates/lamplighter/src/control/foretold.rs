//! What would be done about the machines that have the model and sleep.

use super::Control;
use lamplighter_core::{
    fleet::Fleet,
    mode::Mode,
    node::State,
    operation::Operation,
    refusal::Refusal,
    route::{Asleep, Course, course},
    wake::{Kind, Pass, Verdict},
};
use serde_json::{Value, json};

/// What would be done about those that sleep, and what the request would hear when nobody can answer it.
pub(super) struct Foretold {
    pub(super) asleep: Vec<Value>,
    pub(super) refusal: Option<Refusal>,
}

impl Control {
    /// `up` is the first of the alias's models that somebody who is up has. The same verdicts and the same course as a request's
    /// own; nothing is known of its body, so that it is never taken for a background request.
    pub(super) fn foretell(
        &self,
        fleet: &Fleet,
        name: &str,
        operation: Operation,
        up: Option<usize>,
        asleep: &[Asleep],
    ) -> Foretold {
        let forbidden = self.steering.mode() == Mode::NoWake;
        let verdicts = self.waker.verdicts(asleep, Kind::of(operation), forbidden);
        let course = course(up, asleep, &verdicts);
        let refusal = match course {
            Course::Nobody { passed } => {
                let (at, pass) = passed.unwrap_or((0, Pass::Policy));
                asleep.get(at).map(|it| self.waker.refuses(name, &fleet.nodes[it.at], pass))
            }
            Course::Answer { .. } | Course::Ask { .. } | Course::Wait { .. } => None,
        };
        let targets = fleet.targets(fleet.asked(name).0);
        let show = |(at, (it, verdict)): (usize, (&Asleep, &Verdict))| {
            let node = &fleet.nodes[it.at];
            let usual_ms = self.waker.seen(it.node).and_then(|seen| seen.eta_ms);
            let (done, words) = deed(&course, at, *verdict, up.is_some());
            let waking = matches!(node.state, State::Waking(_));
            json!({
                "model": targets.get(it.target).map(|target| target.model), "node": node.name(), "node_model": &*it.model,
                "done": done, "words": words, "waking": waking, "usual_ms": usual_ms,
            })
        };
        Foretold { asleep: asleep.iter().zip(&verdicts).enumerate().map(show).collect(), refusal }
    }
}

/// What is done about the one at that position: a word for programs, and words for people that follow its name.
fn deed(course: &Course, at: usize, verdict: Verdict, somebody_is_up: bool) -> (&'static str, String) {
    match (course, verdict) {
        (Course::Wait { at: it }, _) if *it == at => ("wait", "is woken and waited for".into()),
        (Course::Answer { wake: Some(it) }, _) if *it == at => {
            ("next", "is woken for the next request".into())
        }
        (Course::Ask { at: it }, _) if *it == at => {
            let else_ = if somebody_is_up { "for the next request" } else { "and waited for" };
            ("ask", format!("a person is asked first; without an answer it is woken {else_}"))
        }
        (_, Verdict::Pass(why)) => ("pass", format!("is not woken: {}", why.words())),
        (_, Verdict::Wait | Verdict::Fallback | Verdict::Ask) => {
            ("spare", "is not woken: another one comes first".into())
        }
    }
}
