//! Ollama's shapes that we write ourselves: errors, `/api/tags` and `/api/ps` (ollama `api/types.go`).

use super::{Shown, whole::is_object};
use bytes::Bytes;
use lamplighter_core::{
    fleet::{Fleet, Node},
    model::{Model, key},
    operation::Dialect,
};
use serde_json::{Value, json};

/// `{"error": "text"}`
pub fn error_body(text: &str) -> Bytes {
    json!({ "error": text }).to_string().into()
}

/// A line `{"error": "text"}` inside a stream; no `done: true` follows. The official clients raise on it.
pub fn error_event(text: &str) -> Bytes {
    format!("{}\n", json!({ "error": text })).into()
}

/// An answer in one piece as a line of a stream. Between the parts of a JSON document a line end is only space.
#[must_use]
pub fn line(body: &Bytes) -> Bytes {
    let mut line = body.trim_ascii().to_vec();
    if is_object(&line) {
        line.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    }
    line.push(b'\n');
    line.into()
}

/// `GET /api/tags`: what nodes serve in Ollama's dialect, newest first as Ollama lists it, and the aliases.
#[must_use]
pub fn tags(shown: Shown<'_>) -> Value {
    let offered = |entry| shown.offer(entry, Dialect::Ollama, None, None);
    let mut listed: Vec<Value> = shown
        .entries(Dialect::Ollama)
        .filter_map(|entry| offered(entry).map(|model| tag(model, &model.name)))
        .collect();
    listed.sort_by(|a, b| b["modified_at"].as_str().cmp(&a["modified_at"].as_str()));
    let aliases = shown.aliases(Dialect::Ollama).map(|(name, model)| tag(model, &with_tag(name)));
    json!({ "models": aliases.chain(listed).collect::<Vec<_>>() })
}

/// `GET /api/ps`: what is in memory on any Ollama node.
#[must_use]
pub fn ps(fleet: &Fleet) -> Value {
    let nodes = fleet.nodes.iter().filter(|node| node.state.takes_requests() && node.dialects.ollama);
    let models: Vec<Value> = nodes.flat_map(loaded_on).collect();
    json!({ "models": models })
}

fn loaded_on(node: &Node) -> impl Iterator<Item = Value> {
    node.models.iter().filter(|model| model.loaded == Some(true)).map(|model| {
        json!({
            "name": model.name, "model": model.name,
            "size": model.loaded_bytes.or(model.size_bytes).unwrap_or(0),
            "digest": model.digest.as_deref().unwrap_or(""),
            "details": details(model),
            "expires_at": model.expires_at.as_deref().unwrap_or("0001-01-01T00:00:00Z"),
            "size_vram": model.vram_bytes.unwrap_or(0),
            "context_length": model.context_tokens.unwrap_or(0),
        })
    })
}

fn tag(model: &Model, name: &str) -> Value {
    let mut value = json!({
        "name": name, "model": name,
        "modified_at": model.modified_at.as_deref().unwrap_or("0001-01-01T00:00:00Z"),
        "size": model.size_bytes.unwrap_or(0),
        "digest": model.digest.as_deref().unwrap_or(""),
        "details": details(model),
    });
    if !model.capabilities.is_empty() {
        value["capabilities"] = model.capabilities.iter().map(|capability| capability.word()).collect();
    }
    value
}

/// `POST /api/show`, from what was last seen of a model: what only its own machine knows (template, parameters, licence) is left
/// out, as Ollama leaves out what is empty (ollama `api/types.go`, `ShowResponse`).
#[must_use]
pub fn show(model: &Model) -> Value {
    let mut info = json!({});
    if let Some(family) = &model.family {
        info["general.architecture"] = json!(family);
        if let Some(tokens) = model.context_tokens {
            info[format!("{family}.context_length")] = json!(tokens);
        }
    }
    let mut value = json!({ "details": details(model), "model_info": info });
    if !model.capabilities.is_empty() {
        value["capabilities"] = model.capabilities.iter().map(|capability| capability.word()).collect();
    }
    if let Some(modified_at) = &model.modified_at {
        value["modified_at"] = json!(modified_at);
    }
    value
}

fn details(model: &Model) -> Value {
    let family = model.family.as_deref().unwrap_or("");
    json!({
        "parent_model": "", "format": "gguf", "family": family,
        "families": model.family.as_ref().map(|family| vec![family]),
        "parameter_size": model.parameter_size.as_deref().unwrap_or(""),
        "quantization_level": model.quantization.as_deref().unwrap_or(""),
    })
}

/// Lists always show a tag.
fn with_tag(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') { name.to_owned() } else { format!("{}:latest", key(name)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_one_piece_is_one_line() {
        let told = |body: &'static str| line(&Bytes::from(body));
        assert_eq!(told(r#"{"done":true}"#), "{\"done\":true}\n");
        assert_eq!(
            told("{\n \"a\": \"x\\n\",\r\n \"done\": true\n}\n"),
            "{  \"a\": \"x\\n\",   \"done\": true }\n"
        );
        assert_eq!(
            told("{\"done\":false}\n{\"done\":true}\n"),
            "{\"done\":false}\n{\"done\":true}\n",
            "lines already"
        );
    }
}
