//! Would a model fit into a node's memory as it is now, or would another have to go, or would it spill to the CPU?

use crate::{expiry, fleet::Node, model::Model, node::Engine};

/// What loading a model would do to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fit {
    /// It is in memory already (or needs none there): nothing is loaded.
    Loaded,
    /// There is room beside what is loaded.
    Fits,
    /// Something that is loaded has to go first.
    Evicts,
    /// Not even the whole video memory holds it: part of it runs on the CPU.
    Spills,
    /// Not enough is known to say.
    Unknown,
}

impl Fit {
    /// How dear it is, cheapest first. Not knowing stands between fitting and evicting: the engine may well have room, and
    /// what is known to throw somebody's model out is worse than what may.
    #[must_use]
    pub fn cost(self) -> u8 {
        match self {
            Self::Loaded => 0,
            Self::Fits => 1,
            Self::Unknown => 2,
            Self::Evicts => 3,
            Self::Spills => 4,
        }
    }

    /// Would another model have to leave the memory?
    #[must_use]
    pub fn evicts(self) -> bool {
        matches!(self, Self::Evicts | Self::Spills)
    }

    /// In words that follow "it …"; ASCII, since they may stand in a response header.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Loaded => "is in memory",
            Self::Fits => "fits beside what is loaded",
            Self::Evicts => "would push another model out",
            Self::Spills => "would spill to the CPU",
            Self::Unknown => "may fit",
        }
    }
}

/// What loading `model`, one of the models that `node` lists, would do there.
///
/// In this order, with no guess where the engine is silent:
/// 1. *Loaded* when the engine says that it is in memory, or when somebody else's machines answer for it (Ollama `:cloud`).
/// 2. A count that is used up *evicts*: a llama.cpp router holds `--models-max` models (llama.cpp `tools/server/README.md`),
///    LM Studio one that was loaded by a request (its "auto-evict", on by default). A llama-server with one model, asleep or
///    not, owns its memory: *fits*. vLLM serves what it was started with and never loads.
/// 3. Sizes: what the model takes ([`needed_bytes`]) against the node's video memory, as its owner wrote it, else the most
///    that was ever seen in use. More than all of it *spills*, when its owner wrote it; a memory that was only seen is a lower
///    bound, and then nothing can be said. More than what the loaded models leave *evicts*: engines unload before they spill
///    (ollama `server/sched.go`), and keep-alive protects no idle model from that. Less *fits*.
///
/// A model counts as loaded until a look finds it gone; [`fit_at`] knows the time, and leaves out what has expired since.
#[must_use]
pub fn fit(node: &Node, model: &Model) -> Fit {
    fit_at(node, model, 0)
}

/// As [`fit`], at `now_ms` (milliseconds since 1970): a loaded model whose time ran out since the last look has left its
/// memory to others. The node's clock may be wrong, so the model in question stays loaded until a look says otherwise.
#[must_use]
pub fn fit_at(node: &Node, model: &Model, now_ms: u64) -> Fit {
    fit_beside(node, node.models.iter().filter(|other| other.loaded == Some(true)), model, now_ms)
}

/// As [`fit_at`], when it is known which models are loaded: a node may list thousands.
pub(crate) fn fit_beside<'a>(
    node: &Node,
    loaded: impl Iterator<Item = &'a Model> + Clone,
    model: &Model,
    now_ms: u64,
) -> Fit {
    if model.remote || model.loaded == Some(true) {
        return Fit::Loaded;
    }
    let others = || loaded.clone().filter(|it| !it.remote && it.name != model.name && !is_over(it, now_ms));
    match node.engine {
        Some(Engine::Llamacpp) if node.models.len() == 1 => return Fit::Fits,
        Some(Engine::Vllm) => return Fit::Unknown,
        _ if models_max(node).is_some_and(|max| others().count() >= max as usize) => return Fit::Evicts,
        _ => {}
    }
    let (Some(needed), Some(whole)) = (needed_bytes(model), node.vram_bytes) else { return Fit::Unknown };
    if needed > whole {
        return if node.config.vram_bytes.is_some() { Fit::Spills } else { Fit::Unknown };
    }
    let mut taken = 0u64;
    for other in others() {
        match other.vram_bytes.or_else(|| needed_bytes(other)) {
            Some(bytes) => taken = taken.saturating_add(bytes),
            None => return Fit::Unknown,
        }
    }
    if needed.saturating_add(taken) > whole { Fit::Evicts } else { Fit::Fits }
}

/// Bytes that a model takes in memory: what its engine tells of the loaded one, else the file and a fifth of it more, for the
/// context and the graph. An estimate: with long contexts it is too small.
#[must_use]
pub fn needed_bytes(model: &Model) -> Option<u64> {
    let loaded = model.loaded_bytes.filter(|&bytes| bytes > 0);
    loaded
        .or_else(|| model.size_bytes.filter(|&bytes| bytes > 0).map(|bytes| bytes.saturating_add(bytes / 5)))
}

/// Models that the engine holds at once, where a count and not the memory decides.
fn models_max(node: &Node) -> Option<u32> {
    let by_itself = (node.engine == Some(Engine::Lmstudio)).then_some(1);
    node.told.models_max.filter(|&max| max > 0).or(by_itself)
}

/// Has its keep-alive run out?
fn is_over(loaded: &Model, now_ms: u64) -> bool {
    let at_ms = loaded.expires_at.as_deref().and_then(expiry::since_1970_ms);
    at_ms.is_some_and(|at_ms| at_ms < now_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::NodeConfig,
        fleet::NodeId,
        node::{Presence, State},
        node_url::NodeUrl,
    };
    use std::sync::Arc;

    const GIB: u64 = 1 << 30;

    fn node(engine: Engine, vram: Option<u64>, models: Vec<Model>) -> Node {
        let config = NodeConfig {
            presence: Presence::AlwaysOn,
            vram_bytes: vram,
            ..NodeConfig::new("gpu", NodeUrl::parse("192.168.1.2:11434").unwrap())
        };
        Node {
            engine: Some(engine),
            state: State::Up,
            models: models.into(),
            ..Node::new(NodeId(1), Arc::new(config))
        }
    }

    fn model(name: &str, gib: u64) -> Model {
        Model { name: name.into(), size_bytes: Some(gib * GIB), loaded: Some(false), ..Model::default() }
    }

    fn loaded(name: &str, gib: u64) -> Model {
        let vram_bytes = Some(gib * GIB);
        Model { loaded: Some(true), vram_bytes, loaded_bytes: vram_bytes, ..model(name, gib) }
    }

    #[test]
    fn sizes_against_a_written_memory() {
        let gpu = node(
            Engine::Ollama,
            Some(24 * GIB),
            vec![loaded("a", 12), model("b", 5), model("c", 15), model("d", 30)],
        );
        let fits: Vec<Fit> = gpu.models.iter().map(|model| fit(&gpu, model)).collect();
        assert_eq!(fits, [Fit::Loaded, Fit::Fits, Fit::Evicts, Fit::Spills]);
        let empty = node(Engine::Ollama, Some(24 * GIB), vec![model("c", 15)]);
        assert_eq!(fit(&empty, &empty.models[0]), Fit::Fits);
    }

    #[test]
    fn a_file_takes_more_in_memory_than_on_disk() {
        assert_eq!(needed_bytes(&model("a", 20)), Some(24 * GIB));
        assert_eq!(needed_bytes(&loaded("a", 20)), Some(20 * GIB), "unless the engine has told");
        assert_eq!(needed_bytes(&Model::default()), None);
    }

    #[test]
    fn a_memory_that_was_only_seen_is_a_lower_bound() {
        let mut gpu = node(
            Engine::Ollama,
            None,
            vec![loaded("a", 12), model("b", 5), model("c", 15), model("tiny", 1)],
        );
        assert_eq!(fit(&gpu, &gpu.models[1]), Fit::Unknown, "nothing was seen");
        gpu.vram_bytes = Some(14 * GIB);
        let fits: Vec<Fit> = gpu.models.iter().map(|model| fit(&gpu, model)).collect();
        assert_eq!(fits, [Fit::Loaded, Fit::Evicts, Fit::Unknown, Fit::Fits]);
    }

    #[test]
    fn what_is_not_told_is_not_guessed() {
        let sizeless = Model { name: "b".into(), ..Model::default() };
        let gpu = node(Engine::Ollama, Some(24 * GIB), vec![model("a", 2), sizeless.clone()]);
        assert_eq!(fit(&gpu, &gpu.models[1]), Fit::Unknown);
        let stranger = Model { loaded: Some(true), ..sizeless };
        let gpu = node(Engine::Ollama, Some(24 * GIB), vec![model("a", 2), stranger]);
        assert_eq!(fit(&gpu, &gpu.models[0]), Fit::Unknown, "somebody of unknown size is loaded");
    }

    #[test]
    fn engines_that_count_instead_of_measuring() {
        let studio = node(Engine::Lmstudio, Some(96 * GIB), vec![loaded("a", 1), model("b", 1)]);
        assert_eq!(fit(&studio, &studio.models[1]), Fit::Evicts);
        let single = node(Engine::Llamacpp, None, vec![Model { loaded: Some(false), ..model("asleep", 9) }]);
        assert_eq!(fit(&single, &single.models[0]), Fit::Fits);
        let mut router = node(Engine::Llamacpp, None, vec![loaded("a", 1), model("b", 1)]);
        assert_eq!(fit(&router, &router.models[1]), Fit::Unknown, "it has not told how many it holds");
        for (max, fits) in [(1, Fit::Evicts), (2, Fit::Unknown), (0, Fit::Unknown)] {
            router.told.models_max = Some(max);
            assert_eq!(fit(&router, &router.models[1]), fits, "--models-max {max}");
        }
        let vllm = node(Engine::Vllm, None, vec![Model { loaded: None, ..model("m", 9) }]);
        assert_eq!(fit(&vllm, &vllm.models[0]), Fit::Unknown);
        let cloud = Model { remote: true, ..model("big:cloud", 900) };
        let ollama = node(Engine::Ollama, Some(8 * GIB), vec![cloud]);
        assert_eq!(fit(&ollama, &ollama.models[0]), Fit::Loaded);
    }

    #[test]
    fn what_has_expired_leaves_its_room() {
        let expired = Model { expires_at: Some("1970-01-01T00:01:00Z".into()), ..loaded("a", 20) };
        let gpu = node(Engine::Ollama, Some(24 * GIB), vec![expired, model("b", 10)]);
        assert_eq!(fit_at(&gpu, &gpu.models[1], 59_000), Fit::Evicts);
        assert_eq!(fit_at(&gpu, &gpu.models[1], 61_000), Fit::Fits);
        assert_eq!(
            fit_at(&gpu, &gpu.models[0], 61_000),
            Fit::Loaded,
            "a look has the last word on the model itself"
        );
    }

    #[test]
    fn costs_are_ordered_and_words_are_ascii() {
        let all = [Fit::Loaded, Fit::Fits, Fit::Unknown, Fit::Evicts, Fit::Spills];
        assert!(all.windows(2).all(|pair| pair[0].cost() < pair[1].cost()));
        assert!(all.iter().all(|fit| fit.words().is_ascii()));
    }
}
