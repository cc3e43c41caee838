//! Servers known only by OpenAI's API, and vLLM, which is one of them with a few words more.

use super::lenient::{self, Field};
use super::line::{Answer, LIST_BYTES, Line, SMALL_BYTES};
use super::resolve::is_home;
use super::{Depth, Found, Stop};
use lamplighter_core::health::Report;
use lamplighter_core::model::Model;
use lamplighter_core::operation::Dialects;

/// Looks at a server of which only `/v1/models` is known. It does not tell what is loaded.
pub(super) async fn look(line: &Line, depth: Depth) -> Result<Found, Stop> {
    let answer = match depth {
        Depth::Full => line.get("/v1/models", LIST_BYTES).await?,
        Depth::Pulse => line.head_of("/v1/models").await?,
    };
    let models = match depth {
        Depth::Full => Some(answer.is_ok().then(|| models(&answer.body)).flatten()),
        Depth::Pulse => None,
    };
    match models {
        None if answer.is_ok() && line.verdict(&answer).is_none() => Ok(Found::default()),
        Some(Some(models)) => Ok(Found { models: Some(models), ..Found::default() }),
        _ => Err(line.verdict(&answer).map_or(Stop::NotIt, Stop::Report)),
    }
}

/// Looks at vLLM: `/health` is an empty 200, open without a key, and 503 when its engine has died.
pub(super) async fn look_vllm(line: &Line, depth: Depth) -> Result<Found, Stop> {
    if depth == Depth::Pulse {
        let answer = line.get("/health", SMALL_BYTES).await?;
        return match line.verdict(&answer) {
            Some(report) => Err(report.into()),
            None if answer.is_ok() => Ok(Found::default()),
            None => Err(Stop::NotIt),
        };
    }
    let mut found = look(line, Depth::Full).await?;
    for model in found.models.iter_mut().flatten() {
        // What vLLM serves is in memory from its start on.
        model.loaded = Some(true);
    }
    found.version = version(line).await?;
    Ok(found)
}

/// vLLM's version from `/version`; none when it does not tell.
pub(super) async fn version(line: &Line) -> Result<Option<String>, Report> {
    let answer = line.get("/version", SMALL_BYTES).await?;
    let told = answer.is_ok().then(|| lenient::object(&answer.body)).flatten();
    Ok(told.and_then(|told| lenient::version(&told, "version")))
}

/// The models of a `/v1/models` answer; `None` when it is no such answer.
pub(super) fn models(body: &[u8]) -> Option<Vec<Model>> {
    let list = lenient::entries(body, Field::Data, |entry| {
        // vLLM and SGLang say max_model_len, OpenRouter context_length, Groq context_window.
        let context = ["max_model_len", "context_length", "context_window"];
        Some(Model {
            name: lenient::name(entry, &["id"])?,
            context_tokens: context.iter().find_map(|field| lenient::tokens(entry, field)),
            ..Model::default()
        })
    });
    list.map(lenient::unique)
}

/// Which dialects it speaks: an empty object is posted to the routes, which a server that has them refuses as a bad
/// request, so nothing is ever run. A server outside the house is not tried out: it speaks OpenAI's API.
pub(super) async fn dialects(line: &Line, listing: &Answer) -> Result<Dialects, Report> {
    let mut dialects = Dialects { openai: true, ..Dialects::default() };
    if listing.peer.is_some_and(is_home) {
        dialects.responses = takes_posts(line, "/v1/responses").await?;
        dialects.anthropic = takes_posts(line, "/v1/messages").await?;
        dialects.count_tokens = dialects.anthropic && takes_posts(line, "/v1/messages/count_tokens").await?;
    }
    Ok(dialects)
}

/// 400 and 422 are said of a body that lacks its fields. 404, 405 and 501 are said of a route that is not there, and
/// LM Studio says 200 of it.
async fn takes_posts(line: &Line, path: &str) -> Result<bool, Report> {
    let answer = line.try_post(path).await?;
    Ok(matches!(answer.status, 400 | 422) || does_nothing(&answer))
}

/// Did a lenient server, instead of refusing, count the tokens or embed the texts of nothing?
pub(super) fn does_nothing(answer: &Answer) -> bool {
    let told = answer.is_ok().then(|| lenient::object(&answer.body)).flatten();
    told.is_some_and(|told| told.get("input_tokens").is_some() || told.get("data").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Recorded from vLLM 0.32.
    #[test]
    fn vllm_tells_its_context() {
        let entry = |id: &str| {
            json!({"id": id, "object": "model", "created": 1_795_159_883, "owned_by": "vllm", "root": "/srv/models/tiny-hf",
                "parent": null, "max_model_len": 2048, "permission": [{"id": "modelperm-8a1e", "group": null}]})
        };
        let list = models(
            json!({"object": "list", "data": [entry("tiny-hf"), entry("tiny-alias")]}).to_string().as_bytes(),
        );
        let list = list.unwrap();
        assert_eq!(list.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["tiny-hf", "tiny-alias"]);
        assert_eq!((list[0].context_tokens, list[0].loaded), (Some(2048), None));
    }

    #[test]
    fn other_servers_tell_less() {
        let list = models(br#"{"data":[{"id":"a"},{"id":"b","context_length":"long"},{"object":"model"}]}"#)
            .unwrap();
        assert_eq!(
            list.iter().map(|m| (m.name.as_str(), m.context_tokens)).collect::<Vec<_>>(),
            [("a", None), ("b", None)]
        );
    }
}
