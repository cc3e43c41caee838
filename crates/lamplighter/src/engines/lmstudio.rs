//! LM Studio: its own `/api/v0/models` tells what is loaded, where `/v1/models` lists everything downloaded.
//!
//! Shapes from its documentation (REST API v0). Unknown paths answer 200 with an error object.

use super::lenient::{self, Field};
use super::line::{Answer, LIST_BYTES, Line};
use super::{Depth, Found, Stop, openai};
use lamplighter_core::model::{Capability, Model};
use serde_json::Value;

/// Looks at LM Studio; a pulse is a full look, since one call tells both. Versions without the route are asked in
/// OpenAI's dialect.
pub(super) async fn look(line: &Line) -> Result<Found, Stop> {
    let answer = line.get("/api/v0/models", LIST_BYTES).await?;
    if let Some(report) = line.verdict(&answer) {
        return Err(report.into());
    }
    match models(&answer) {
        Some(models) => Ok(Found { models: Some(models), ..Found::default() }),
        None => openai::look(line, Depth::Full).await,
    }
}

/// The models, when this is LM Studio's answer to `/api/v0/models`: all its entries have a state.
pub(super) fn models(answer: &Answer) -> Option<Vec<Model>> {
    let all = answer
        .is_ok()
        .then(|| lenient::entries(&answer.body, Field::Data, |entry| Some(model(entry))))
        .flatten()?;
    let states = all.iter().flatten().count();
    (states > 0 || all.is_empty()).then(|| lenient::unique(all.into_iter().flatten().collect()))
}

fn model(entry: &Value) -> Option<Model> {
    let name = lenient::name(entry, &["id"])?;
    let state = entry.get("state")?.as_str()?;
    let mut capabilities = match entry.get("type").and_then(Value::as_str) {
        Some("llm") => vec![Capability::Completion],
        Some("vlm") => vec![Capability::Completion, Capability::Vision],
        Some("embeddings") => vec![Capability::Embedding],
        _ => Vec::new(),
    };
    if lenient::words(entry, "capabilities").contains(&"tool_use") {
        capabilities.push(Capability::Tools);
    }
    let context = ["loaded_context_length", "max_context_length"];
    Some(Model {
        name,
        capabilities,
        loaded: Some(state == "loaded"),
        context_tokens: context.iter().find_map(|field| lenient::tokens(entry, field)),
        family: lenient::text(entry, "arch"),
        quantization: lenient::text(entry, "quantization"),
        ..Model::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Option<Vec<Model>> {
        models(&Answer { status: 200, body: body.into(), ..Answer::default() })
    }

    #[test]
    fn states_types_and_contexts() {
        let list = read(
            r#"{"object":"list","data":[
            {"id":"qwen3-4b","object":"model","type":"llm","publisher":"qwen","arch":"qwen3","compatibility_type":"gguf",
             "quantization":"Q4_K_M","state":"loaded","max_context_length":32768,"loaded_context_length":4096,"capabilities":["tool_use"]},
            {"id":"nomic","object":"model","type":"embeddings","arch":"nomic-bert","state":"not-loaded","max_context_length":2048}]}"#,
        )
        .unwrap();
        assert_eq!((list[0].loaded, list[0].context_tokens), (Some(true), Some(4096)));
        assert_eq!(list[0].capabilities, [Capability::Completion, Capability::Tools]);
        assert_eq!(
            (list[1].loaded, list[1].context_tokens, list[1].embeds_only()),
            (Some(false), Some(2048), true)
        );
    }

    #[test]
    fn an_unknown_path_is_not_a_list() {
        assert_eq!(read(r#"{"error":"Unexpected endpoint or method. (GET /api/v0/models)"}"#), None);
        assert_eq!(read(r#"{"data":[{"id":"gpt"}]}"#), None, "a list without states is another server's");
        assert_eq!(read(r#"{"data":[]}"#), Some(vec![]));
    }
}
