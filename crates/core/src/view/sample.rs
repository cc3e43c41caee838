//! Nodes, requests and problems to look at in the tests of the views.

use crate::{
    model::Model,
    node::{Engine, Presence, Stage, State},
    operation::{Dialects, Operation},
    snapshot::{Level, Node, Problem, Request, RequestStage, WakeFailure, Waking},
    wake::Failure,
};

/// An Ollama without models, in `state` since fifteen o'clock UTC of day 20,000.
pub(super) fn node(name: &str, state: State) -> Node {
    Node {
        name: name.into(),
        url: format!("http://{name}:11434"),
        engine: Some(Engine::Ollama),
        version: Some("0.9.1".into()),
        presence: Presence::AlwaysOn,
        state,
        since_ms: 20_000 * 86_400_000 + 15 * 3_600_000,
        why: None,
        gpu: None,
        vram_typed: false,
        vram_bytes: None,
        dialects: Dialects::default(),
        slots: 1,
        priority: 0,
        active: 0,
        waiting: 0,
        engine_waiting: None,
        models: vec![],
        probe_ms: None,
        cloud: false,
        can_load: false,
        sleep: crate::snapshot::Sleep::default(),
    }
}

/// The node with these models, the first `loaded` of them in memory.
pub(super) fn models(node: Node, names: &[&str], loaded: usize) -> Node {
    let models = names.iter().enumerate().map(|(n, name)| Model {
        name: (*name).into(),
        loaded: Some(n < loaded),
        ..Default::default()
    });
    Node { models: models.collect(), ..node }
}

/// A streaming chat on `node`.
pub(super) fn request(node: &str) -> Request {
    Request {
        id: "r1".into(),
        client: "curl".into(),
        operation: Operation::ChatCompletions,
        model: "coder".into(),
        node: Some(node.into()),
        node_model: None,
        stage: RequestStage::Streaming,
        ahead: None,
        started_ms: 0,
        first_byte_ms: None,
        events: 0,
        stream: true,
    }
}

pub(super) fn problem(level: Level, message: &str) -> Problem {
    Problem { code: "test".into(), level, message: message.into(), hint: None, node: None }
}

/// A wake that a person began, at this moment.
pub(super) fn waking(stage: Stage, started_ms: u64) -> Waking {
    Waking { stage, started_ms, timeout_ms: 120_000, rounds: 3, waiters: 1, by_person: true, asked_by: None }
}

/// How a wake failed, as people see it.
pub(super) fn failure(failure: &Failure) -> WakeFailure {
    WakeFailure { code: failure.code().into(), words: failure.words(), at_ms: None, checklist: vec![] }
}
