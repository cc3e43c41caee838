//! Ollama: `/api/tags`, `/api/ps`, `/api/show` and `/api/version` (ollama `api/types.go`, `server/routes.go`).

use super::lenient::{self, Field};
use super::line::{Answer, LIST_BYTES, Line, SMALL_BYTES};
use super::{Depth, Found, Stop};
use lamplighter_core::health::Report;
use lamplighter_core::model::{Capability, Model, key};
use lamplighter_core::operation::Dialects;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};

/// Models that one look asks for their details: a node with hundreds of them is learned over time.
pub(super) const SHOWS_PER_LOOK: usize = 4;

/// What need not be asked again.
#[derive(Default)]
pub(super) struct Memory {
    /// The models of the last `/api/tags`, as it told them.
    tags: Vec<Model>,
    /// Details by digest (by name where there is none); empty ones were asked for in vain.
    shown: HashMap<String, Shown>,
    /// An older version without `/api/ps`.
    no_ps: bool,
    /// Loaded, and missing from `tags` even after asking again: no reason to ask a third time.
    strangers: HashSet<String>,
    /// `/api/show` did not come in time: no more of them until the next full look.
    shows_paused: bool,
}

/// What `/api/show` adds.
#[derive(Debug, Default, Clone, PartialEq)]
struct Shown {
    capabilities: Vec<Capability>,
    context_tokens: Option<u32>,
}

/// One loaded model of `/api/ps`.
#[derive(Debug, PartialEq)]
struct Resident {
    name: String,
    digest: Option<String>,
    loaded_bytes: Option<u64>,
    /// 0 is a fact here: all of it runs on the CPU.
    vram_bytes: Option<u64>,
    expires_at: Option<String>,
    context_tokens: Option<u32>,
}

/// Looks at a node known to be Ollama.
pub(super) async fn look(line: &Line, memory: &mut Memory, depth: Depth) -> Result<Found, Stop> {
    let residents = residents(line, memory).await?;
    let mut full = depth == Depth::Full;
    if let Some(residents) = &residents {
        let strangers = strangers(&memory.tags, residents);
        full |= strangers.iter().any(|name| !memory.strangers.contains(name));
    }
    // Without /api/ps this is also the sign of life.
    let version = if full || residents.is_none() {
        let answer = line.get("/api/version", SMALL_BYTES).await?;
        Some(version(&answer).ok_or_else(|| not_it(line, &answer))?)
    } else {
        None
    };
    if full {
        memory.shows_paused = false;
        let answer = line.get("/api/tags", LIST_BYTES).await?;
        let tags = answer.is_ok().then(|| tags(&answer.body)).flatten();
        memory.tags = tags.ok_or_else(|| not_it(line, &answer))?;
        let keys: HashSet<&str> = memory.tags.iter().map(cache_key).collect();
        memory.shown.retain(|key, _| keys.contains(key.as_str()));
        memory.strangers =
            residents.iter().flat_map(|residents| strangers(&memory.tags, residents)).collect();
    }
    if !memory.shows_paused {
        show_some(line, memory).await;
    }
    let mut models = memory.tags.clone();
    for model in &mut models {
        if let Some(shown) = memory.shown.get(cache_key(model)) {
            if model.capabilities.is_empty() {
                model.capabilities.clone_from(&shown.capabilities);
            }
            model.context_tokens = model.context_tokens.or(shown.context_tokens);
        }
    }
    if let Some(residents) = &residents {
        apply(&mut models, residents);
    }
    Ok(Found { models: Some(models), version, ..Found::default() })
}

/// The version, when this is Ollama's answer to `/api/version`.
///
/// LM Studio answers every unknown path with 200 and an error object: the field must be there, and be text.
pub(super) fn version(answer: &Answer) -> Option<String> {
    lenient::version(&answer.is_ok().then(|| lenient::object(&answer.body)).flatten()?, "version")
}

/// gin answers a known path asked with the wrong method with 405, and an unknown one with 404: nothing is run to know.
pub(super) async fn dialects(line: &Line) -> Result<Dialects, Report> {
    let mut there = [false; 2];
    for (path, there) in ["/v1/messages", "/v1/responses"].into_iter().zip(&mut there) {
        *there = matches!(line.try_get(path).await?.status, 405 | 400 | 200..=299);
    }
    let [anthropic, responses] = there;
    Ok(Dialects { openai: true, responses, anthropic, count_tokens: false, ollama: true })
}

/// What is loaded; `None` when this version cannot tell.
async fn residents(line: &Line, memory: &mut Memory) -> Result<Option<Vec<Resident>>, Stop> {
    if memory.no_ps {
        return Ok(None);
    }
    let answer = line.get("/api/ps", LIST_BYTES).await?;
    if matches!(answer.status, 404 | 405) {
        memory.no_ps = true;
        return Ok(None);
    }
    let list = answer.is_ok().then(|| ps(&answer.body)).flatten();
    list.map(Some).ok_or_else(|| not_it(line, &answer))
}

/// Asks for the details of a few models that lack them. Failing is no failure of the node: what is not told stays open.
async fn show_some(line: &Line, memory: &mut Memory) {
    let lacking = |model: &&Model| {
        !model.remote
            && (model.capabilities.is_empty() || model.context_tokens.is_none())
            && !memory.shown.contains_key(cache_key(model))
    };
    let wanted: Vec<(String, String)> = memory
        .tags
        .iter()
        .filter(lacking)
        .map(|model| (cache_key(model).to_owned(), model.name.clone()))
        .take(SHOWS_PER_LOOK)
        .collect();
    for (key, name) in wanted {
        // Older versions read `name`.
        let body = json!({ "model": name, "name": name }).to_string();
        match line.post("/api/show", body, SMALL_BYTES).await {
            Ok(answer) if answer.is_ok() => _ = memory.shown.insert(key, shown(&answer.body)),
            Ok(_) | Err(Report::Refused(_)) => _ = memory.shown.insert(key, Shown::default()),
            Err(_) => {
                memory.shows_paused = true;
                return;
            }
        }
    }
}

fn not_it(line: &Line, answer: &Answer) -> Stop {
    line.verdict(answer).map_or(Stop::NotIt, Stop::Report)
}

fn cache_key(model: &Model) -> &str {
    model.digest.as_deref().unwrap_or(&model.name)
}

fn strangers(tags: &[Model], residents: &[Resident]) -> Vec<String> {
    let known: HashSet<&str> = tags.iter().map(|model| key(&model.name)).collect();
    residents.iter().map(|it| it.name.clone()).filter(|name| !known.contains(key(name))).collect()
}

fn tags(body: &[u8]) -> Option<Vec<Model>> {
    lenient::entries(body, Field::Models, |entry| {
        let name = lenient::name(entry, &["name", "model"])?;
        let nothing = Value::Null;
        let details = entry.get("details").unwrap_or(&nothing);
        let far = |field| lenient::text(entry, field).is_some();
        Some(Model {
            remote: far("remote_host")
                || far("remote_model")
                || name.ends_with(":cloud")
                || name.ends_with("-cloud"),
            digest: digest(entry),
            size_bytes: lenient::bytes(entry, "size"),
            context_tokens: lenient::tokens(details, "context_length"),
            capabilities: capabilities(entry),
            modified_at: lenient::text(entry, "modified_at"),
            family: lenient::text(details, "family"),
            parameter_size: lenient::text(details, "parameter_size"),
            quantization: lenient::text(details, "quantization_level"),
            name,
            ..Model::default()
        })
    })
    .map(lenient::unique)
}

fn ps(body: &[u8]) -> Option<Vec<Resident>> {
    lenient::entries(body, Field::Models, |entry| {
        Some(Resident {
            name: lenient::name(entry, &["name", "model"])?,
            digest: digest(entry),
            loaded_bytes: lenient::bytes(entry, "size"),
            vram_bytes: entry.get("size_vram").and_then(Value::as_u64),
            expires_at: lenient::text(entry, "expires_at"),
            context_tokens: lenient::tokens(entry, "context_length"),
        })
    })
}

fn shown(body: &[u8]) -> Shown {
    let Some(entry) = lenient::object(body) else { return Shown::default() };
    let mut capabilities = capabilities(&entry);
    let info = entry.get("model_info").and_then(Value::as_object);
    let ending = |end: &str| info.and_then(|info| info.iter().find(|(key, _)| key.ends_with(end)));
    // Before there were capabilities, Ollama took a pooling type for the mark of an embedding model (server/images.go).
    if capabilities.is_empty() && ending(".pooling_type").is_some() {
        capabilities.push(Capability::Embedding);
    }
    let arch = info.and_then(|info| info.get("general.architecture")?.as_str());
    let length = match (info, arch) {
        (Some(info), Some(arch)) => info.get(&format!("{arch}.context_length")),
        _ => ending(".context_length").map(|(_, value)| value),
    };
    let context_tokens = length.and_then(Value::as_u64).and_then(|tokens| u32::try_from(tokens).ok());
    Shown { capabilities, context_tokens: context_tokens.filter(|tokens| *tokens > 0) }
}

/// Marks what is loaded. Two names of one digest share one runner, and `/api/ps` names only one of them.
fn apply(models: &mut [Model], residents: &[Resident]) {
    let by_name: HashMap<&str, &Resident> = residents.iter().map(|it| (key(&it.name), it)).collect();
    let by_digest: HashMap<&str, &Resident> =
        residents.iter().filter_map(|it| Some((it.digest.as_deref()?, it))).collect();
    for model in models.iter_mut().filter(|model| !model.remote) {
        let resident = by_name
            .get(key(&model.name))
            .filter(|it| it.digest.is_none() || model.digest.is_none() || it.digest == model.digest)
            .or_else(|| by_digest.get(model.digest.as_deref()?));
        model.loaded = Some(resident.is_some());
        if let Some(it) = resident {
            model.loaded_bytes = it.loaded_bytes;
            model.vram_bytes = it.vram_bytes;
            model.expires_at.clone_from(&it.expires_at);
            model.context_tokens = it.context_tokens.or(model.context_tokens);
        }
    }
}

fn capabilities(entry: &Value) -> Vec<Capability> {
    lenient::words(entry, "capabilities").into_iter().filter_map(Capability::from_word).collect()
}

/// 64 hex digits, in lower case. Anything else is none: a digest is never trusted to be one.
fn digest(entry: &Value) -> Option<String> {
    let text = entry.get("digest")?.as_str()?;
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    (hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit())).then(|| hex.to_ascii_lowercase())
}

#[cfg(test)]
#[path = "ollama_tests.rs"]
mod tests;
