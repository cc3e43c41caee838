//! llama.cpp's `llama-server`, with one model or as a router over several (recorded from build b11434).

use super::lenient::{self, Field};
use super::line::{Answer, LIST_BYTES, Line, SMALL_BYTES};
use super::{Depth, Found, Stop, openai};
use lamplighter_core::fleet::Told;
use lamplighter_core::health::Report;
use lamplighter_core::model::{Capability, Model};
use lamplighter_core::operation::Dialects;
use serde_json::Value;

/// What kind of llama-server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Flavour {
    /// It is none.
    #[default]
    None,
    /// One model, whose name in a request is ignored. `embeds`: started for embeddings alone, where that is known.
    Single { embeds: Option<bool> },
    /// Loads the model that a request names.
    Router,
}

impl Flavour {
    pub(super) fn is_single(self) -> bool {
        matches!(self, Self::Single { .. })
    }
}

/// What `/props` tells; older versions tell less, and without the route nothing.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Props {
    pub(super) router: bool,
    pub(super) version: Option<String>,
    slots: Option<u32>,
    models_max: Option<u32>,
    tools: bool,
    asleep: bool,
}

/// Looks at a llama-server. A single one's pulse is `/health`: open without a key, and it does not wake a sleeping model.
pub(super) async fn look(line: &Line, flavour: Flavour, depth: Depth) -> Result<Found, Stop> {
    if depth == Depth::Pulse && flavour.is_single() {
        let answer = line.get("/health", SMALL_BYTES).await?;
        return match line.verdict(&answer) {
            Some(report) => Err(report.into()),
            None if answer.is_ok() && lenient::object(&answer.body).is_some() => Ok(Found::default()),
            None => Err(Stop::NotIt),
        };
    }
    let answer = line.get("/v1/models", LIST_BYTES).await?;
    if let Some(report) = line.verdict(&answer) {
        return Err(report.into());
    }
    // A pulse of a router is its list: nothing else tells what is loaded.
    let props = if depth == Depth::Full { props(line).await? } else { Props::default() };
    let list = answer.is_ok().then(|| models(&answer.body, flavour, &props)).flatten();
    let models = list.ok_or(Stop::NotIt)?;
    if depth == Depth::Full && props.router != (flavour == Flavour::Router) {
        return Err(Stop::NotIt);
    }
    Ok(Found { models: Some(models), told: props.told(), version: props.version })
}

/// Is this llama.cpp's answer to `/v1/models`? A proxy in front may have taken its `Server` header away.
pub(super) fn is_it(listing: &Answer) -> bool {
    let owned = || {
        lenient::entries(&listing.body, Field::Data, |entry| {
            (entry.get("owned_by")? == "llamacpp").then_some(())
        })
    };
    listing.server.as_deref() == Some("llama.cpp") || owned().is_some_and(|owned| !owned.is_empty())
}

/// Asks for `/props`. Without the route, or where it is switched off, nothing is told.
pub(super) async fn props(line: &Line) -> Result<Props, Report> {
    let answer = line.get("/props", SMALL_BYTES).await?;
    match answer.status {
        200 => Ok(read_props(&answer.body)),
        404 | 405 | 501 => Ok(Props::default()),
        // The list is open while the model is still being read; here that comes to light.
        _ => line.verdict(&answer).map_or_else(|| Ok(Props::default()), Err),
    }
}

/// Which dialects it speaks: an empty object lacks what every route needs (400, for `/v1/messages` 500).
pub(super) async fn dialects(line: &Line) -> Result<Dialects, Report> {
    Ok(Dialects {
        openai: true,
        responses: knows(line, "/v1/responses").await? == Some(true),
        anthropic: knows(line, "/v1/messages").await? == Some(true),
        count_tokens: knows(line, "/v1/messages/count_tokens").await? == Some(true),
        ollama: false,
    })
}

/// Was a single server started with `--embeddings`, which restricts it to them? Only its refusal (501) tells: `/props`
/// does not, and the list says "completion" of either.
pub(super) async fn embeds(line: &Line) -> Result<Option<bool>, Report> {
    knows(line, "/v1/embeddings").await
}

/// Does the route take requests? `None`: this answer does not say.
async fn knows(line: &Line, path: &str) -> Result<Option<bool>, Report> {
    let answer = line.try_post(path).await?;
    match answer.status {
        400 | 422 | 500 => Ok(Some(true)),
        404 | 405 | 501 => Ok(Some(false)),
        _ if openai::does_nothing(&answer) => Ok(Some(true)),
        _ => line.verdict(&answer).map_or(Ok(None), Err),
    }
}

impl Props {
    pub(super) fn told(&self) -> Told {
        Told { slots: self.slots, models_max: self.models_max, queue: None }
    }
}

fn read_props(body: &[u8]) -> Props {
    let Some(told) = lenient::object(body) else { return Props::default() };
    let template = told.get("chat_template_caps");
    Props {
        router: told.get("role").is_some_and(|role| role == "router"),
        version: lenient::version(&told, "build_info"),
        slots: lenient::tokens(&told, "total_slots"),
        models_max: told.get("max_instances").and_then(Value::as_u64).and_then(|max| u32::try_from(max).ok()),
        tools: template.and_then(|can| can.get("supports_tools")).is_some_and(|can| can == true),
        asleep: told.get("is_sleeping").is_some_and(|asleep| asleep == true),
    }
}

/// The models of `data[]`. The `models[]` beside it is an imitation of Ollama with empty digests and sizes.
fn models(body: &[u8], flavour: Flavour, props: &Props) -> Option<Vec<Model>> {
    let list = lenient::entries(body, Field::Data, |entry| {
        let name = lenient::name(entry, &["id"])?;
        let nothing = Value::Null;
        let meta = entry.get("meta").unwrap_or(&nothing);
        let mut aliases: Vec<String> =
            lenient::words(entry, "aliases").into_iter().map(str::to_owned).collect();
        aliases.retain(|alias| lenient::is_name(alias) && *alias != name);
        aliases.truncate(64);
        Some(Model {
            aliases,
            size_bytes: lenient::bytes(meta, "size"),
            context_tokens: lenient::tokens(meta, "n_ctx").or_else(|| lenient::tokens(meta, "n_ctx_train")),
            capabilities: capabilities(entry, flavour, props),
            loaded: match flavour {
                Flavour::Router => status(entry).map(|value| value == "loaded"),
                _ => Some(!props.asleep),
            },
            quantization: lenient::text(meta, "ftype"),
            name,
            ..Model::default()
        })
    });
    list.map(lenient::unique)
}

/// A router's `unloaded`, `loading`, `loaded`, `sleeping`.
fn status(entry: &Value) -> Option<&str> {
    entry.get("status")?.get("value")?.as_str()
}

fn capabilities(entry: &Value, flavour: Flavour, props: &Props) -> Vec<Capability> {
    let nothing = Value::Null;
    let reads = lenient::words(entry.get("architecture").unwrap_or(&nothing), "input_modalities");
    let started_with = lenient::words(entry.get("status").unwrap_or(&nothing), "args");
    let for_embeddings = started_with.iter().any(|arg| matches!(*arg, "--embedding" | "--embeddings"));
    let embeds = match flavour {
        Flavour::Single { embeds } => embeds,
        _ => for_embeddings.then_some(true),
    };
    let vision = reads.contains(&"image");
    let mut can = match embeds {
        Some(true) => return vec![Capability::Embedding],
        Some(false) => vec![Capability::Completion],
        // Reading images is of use only to a model that writes.
        None if vision => vec![Capability::Completion],
        None => return Vec::new(),
    };
    let audio = reads.contains(&"audio");
    let further =
        [(props.tools, Capability::Tools), (vision, Capability::Vision), (audio, Capability::Audio)];
    can.extend(further.into_iter().filter(|(it, _)| *it).map(|(_, capability)| capability));
    can
}

#[cfg(test)]
#[path = "llamacpp_tests.rs"]
mod tests;
