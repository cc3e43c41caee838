//! Ollama's native API, as its source has it (server/routes.go, api/types.go).

use super::{Dialect, Plan, Reply, guard, json, ollama_compat};
use crate::answer::Answer;
use crate::ask::Ask;
use crate::clock::{now_ns, rfc3339};
use crate::formats::lines::Lines;
use crate::formats::{JSON_UTF8, embeddings, ndjson};
use crate::json::{Null, Object, Raw, arr, obj};
use crate::node::Node;
use crate::profile::SimModel;

const PLAIN: &str = "text/plain";
const PLAIN_UTF8: &str = "text/plain; charset=utf-8";

/// Every route and its methods; the last column marks what older versions lack.
const ROUTES: &[(&str, &[&str], bool)] = &[
    ("/", &["GET", "HEAD"], false),
    ("/api/version", &["GET", "HEAD"], false),
    ("/api/status", &["GET"], true),
    ("/api/tags", &["GET", "HEAD"], false),
    ("/api/show", &["POST"], false),
    ("/api/ps", &["GET"], false),
    ("/api/generate", &["POST"], false),
    ("/api/chat", &["POST"], false),
    ("/api/embed", &["POST"], false),
    ("/api/embeddings", &["POST"], false),
    ("/api/pull", &["POST"], false),
    ("/api/push", &["POST"], false),
    ("/api/create", &["POST"], false),
    ("/api/delete", &["DELETE"], false),
    ("/api/copy", &["POST"], false),
    ("/api/blobs/", &["POST", "HEAD"], false),
    ("/api/me", &["POST"], true),
    ("/api/signout", &["POST"], true),
    ("/api/experimental/model-recommendations", &["GET"], true),
    ("/v1/chat/completions", &["POST"], false),
    ("/v1/completions", &["POST"], false),
    ("/v1/embeddings", &["POST"], false),
    ("/v1/models", &["GET"], false),
    ("/v1/models/", &["GET"], false),
    ("/v1/responses", &["POST"], true),
    ("/v1/audio/transcriptions", &["POST"], true),
    ("/v1/messages", &["POST"], true),
];

pub(crate) fn reply(node: &Node, ask: &Ask) -> Reply {
    if node.profile.host_guard {
        let host = ask.header("host").unwrap_or_default();
        if !guard::origin_allowed(ask) || !guard::host_allowed(host) {
            return Reply::Now(Answer::new(403, "", ""));
        }
    }
    let (method, path) = (ask.method(), ask.path());
    if method == "OPTIONS" && ask.header("origin").is_some() {
        return Reply::Now(Answer::new(204, "", ""));
    }
    // A route that ends in a slash takes one more path segment.
    let found = ROUTES.iter().filter(|(_, _, newer)| !(node.profile.old && *newer)).find(|(route, _, _)| {
        *route == path
            || (route.len() > 1
                && route.ends_with('/')
                && path.strip_prefix(route).is_some_and(|id| !id.contains('/') && !id.is_empty()))
    });
    let Some((route, methods, _)) = found else {
        return Reply::Now(Answer::new(404, PLAIN, "404 page not found"));
    };
    if !methods.contains(&method) {
        let refused = Answer::new(405, PLAIN, "405 method not allowed");
        return Reply::Now(refused.header("allow", &methods.join(", ")));
    }
    if path.starts_with("/v1/") {
        return ollama_compat::reply(node, ask);
    }
    let known = match *route {
        "/" => Answer::new(200, PLAIN_UTF8, "Ollama is running"),
        "/api/version" => json(200, JSON_UTF8, obj! { "version": node.profile.version }),
        "/api/status" => json(200, JSON_UTF8, obj! { "cloud": obj! { "disabled": false, "source": "none" } }),
        "/api/tags" => tags(node),
        "/api/ps" => ps(node),
        "/api/me" => {
            json(401, JSON_UTF8, obj! { "error": "unauthorized", "signin_url": "https://ollama.com/connect" })
        }
        "/api/signout" => Answer::new(200, "", ""),
        "/api/experimental/model-recommendations" => json(200, JSON_UTF8, obj! { "recommendations": arr![] }),
        // No blob is ever there; an upload is taken and forgotten.
        "/api/blobs/" if method == "HEAD" => Answer::new(404, "", ""),
        "/api/blobs/" => Answer::new(201, "", ""),
        _ => return with_body(node, ask),
    };
    Reply::Now(known)
}

/// The routes that read a JSON body.
fn with_body(node: &Node, ask: &Ask) -> Reply {
    let path = ask.path();
    if ask.body.is_empty() {
        return Reply::Now(error(path, 400, "missing request body"));
    }
    if !ask.json().is_some_and(serde_json::Value::is_object) {
        return Reply::Now(error(path, 400, "unexpected EOF"));
    }
    match path {
        "/api/show" => Reply::Now(show(node, ask)),
        "/api/generate" => generate(node, ask, Dialect::OllamaGenerate),
        "/api/chat" => generate(node, ask, Dialect::OllamaChat),
        "/api/embed" | "/api/embeddings" => embed(node, ask),
        "/api/pull" => pull(node, ask),
        "/api/push" => progress(node, ask, &["retrieving manifest", "pushing manifest", "success"]),
        "/api/create" => create(node, ask),
        "/api/delete" => Reply::Now(delete(node, ask)),
        _ => Reply::Now(copy(node, ask)),
    }
}

/// An error in the shape of this path's API.
pub(crate) fn error(path: &str, status: u16, message: &str) -> Answer {
    if path.starts_with("/v1/") {
        return ollama_compat::error(path, status, message);
    }
    json(status, JSON_UTF8, obj! { "error": message })
}

/// The name with its tag.
pub(crate) fn canonical(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') { name.to_owned() } else { format!("{name}:latest") }
}

/// The name of the model in a request, under `model` or the older `name`: what is empty is not set.
fn name_in(ask: &Ask) -> Option<&str> {
    ["model", "name"].into_iter().find_map(|key| ask.text(key).filter(|name| !name.is_empty()))
}

/// The model a request names.
pub(crate) fn named(node: &Node, ask: &Ask) -> Option<SimModel> {
    let name = name_in(ask)?;
    node.residents.find(&canonical(name)).or_else(|| node.residents.find(name))
}

fn generate(node: &Node, ask: &Ask, dialect: Dialect) -> Reply {
    let path = ask.path();
    let shown = ask.text("model").unwrap_or_default();
    if shown.is_empty() {
        return Reply::Now(error(path, 400, "model is required"));
    }
    let Some(model) = named(node, ask) else {
        return Reply::Now(error(path, 404, &format!("model '{shown}' not found")));
    };
    let (word, empty) = match dialect {
        Dialect::OllamaChat => ("chat", !ask.has_items("messages")),
        _ => ("generate", ask.text("prompt").unwrap_or_default().is_empty()),
    };
    if !node.profile.old && !model.capabilities.iter().any(|can| can == "completion") {
        return Reply::Now(error(path, 400, &format!("\"{shown}\" does not support {word}")));
    }
    // `false` and `null` ask for nothing.
    let think = ask.get("think").is_some_and(|think| think == true || think.is_string());
    if think && !model.capabilities.iter().any(|can| can == "thinking") {
        return Reply::Now(error(path, 400, &format!("\"{shown}\" does not support thinking")));
    }
    if !empty {
        return Reply::Generate(Box::new(Plan::new(node, ask, dialect, model, shown)));
    }
    let at = rfc3339(node.created_s * 1_000_000_000);
    let unload = ask.keep_alive_s() == Some(0);
    let object = Object::new().with("model", &shown).with("created_at", &at);
    let object = match dialect {
        Dialect::OllamaChat => object.with("message", &obj! { "role": "assistant", "content": "" }),
        _ => object.with("response", &""),
    };
    let reason = if unload { "unload" } else { "load" };
    let answer = json(200, JSON_UTF8, object.with("done", &true).with("done_reason", &reason).end());
    if unload {
        node.residents.unload(&model.name);
        return Reply::Now(answer);
    }
    Reply::Loaded { model: Box::new(model), keep_alive_s: ask.keep_alive_s(), answer }
}

fn embed(node: &Node, ask: &Ask) -> Reply {
    let path = ask.path();
    let old_route = path == "/api/embeddings";
    let shown = ask.text("model").unwrap_or_default();
    let Some(model) = named(node, ask) else {
        return Reply::Now(error(path, 404, &format!("model \"{shown}\" not found, try pulling it first")));
    };
    let dims = ask.limit(&["dimensions"]).unwrap_or(node.profile.embedding_dims);
    let vectors: Vec<Raw> = ask
        .inputs(if old_route { "prompt" } else { "input" })
        .iter()
        .map(|text| embeddings::written(&embeddings::vector(text, dims), false))
        .collect();
    let body = if old_route {
        obj! { "embedding": vectors.first().cloned().unwrap_or(Raw("[]".into())) }
    } else {
        obj! {
            "model": shown, "embeddings": vectors, "total_duration": 1_500_000, "load_duration": 1_000_000,
            "prompt_eval_count": ask.prompt_tokens(),
        }
    };
    Reply::Loaded {
        model: Box::new(model),
        keep_alive_s: ask.keep_alive_s(),
        answer: json(200, JSON_UTF8, body),
    }
}

fn details(node: &Node, model: &SimModel) -> Raw {
    let newer = !node.profile.old;
    Object::new()
        .with("parent_model", &"")
        .with("format", &"gguf")
        .with("family", &model.family)
        .with("families", &vec![&model.family])
        .with("parameter_size", &model.parameter_size)
        .with("quantization_level", &model.quantization)
        .with_some("context_length", newer.then_some(model.context_length))
        .end()
}

fn tags(node: &Node) -> Answer {
    let mut models = node.residents.models();
    models.sort_by_key(|model| std::cmp::Reverse(model.modified_s));
    let listed: Vec<Raw> = models
        .iter()
        .map(|model| {
            Object::new()
                .with("name", &model.name)
                .with("model", &model.name)
                .with_some("remote_host", model.remote_host.as_ref())
                .with("modified_at", &rfc3339(model.modified_s * 1_000_000_000))
                .with("size", &model.size)
                .with("digest", &model.digest)
                .with("details", &details(node, model))
                .with_some("capabilities", (!node.profile.old).then_some(&model.capabilities))
                .end()
        })
        .collect();
    json(200, JSON_UTF8, obj! { "models": listed })
}

fn ps(node: &Node) -> Answer {
    let mut loaded = node.residents.loaded();
    // Longest time left first; for ever is longest.
    loaded
        .sort_by_key(|resident| std::cmp::Reverse(resident.time_left().unwrap_or(std::time::Duration::MAX)));
    let listed: Vec<Raw> = loaded
        .iter()
        .map(|resident| {
            let model = &resident.model;
            // Ollama writes a year far ahead for ever.
            let left = resident.time_left().map_or(292 * 365 * 86_400, |left| left.as_secs());
            Object::new()
                .with("name", &model.name)
                .with("model", &model.name)
                .with("size", &model.size)
                .with("digest", &model.digest)
                .with("details", &details(node, model))
                .with("expires_at", &rfc3339(now_ns().saturating_add(left.saturating_mul(1_000_000_000))))
                .with("size_vram", &resident.size_vram)
                .with_some("context_length", (!node.profile.old).then_some(model.context_length))
                .end()
        })
        .collect();
    json(200, JSON_UTF8, obj! { "models": listed })
}

fn show(node: &Node, ask: &Ask) -> Answer {
    let Some(shown) = name_in(ask) else {
        return error(ask.path(), 400, "model is required");
    };
    let Some(model) = named(node, ask) else {
        return error(ask.path(), 404, &format!("model '{shown}' not found"));
    };
    let info = Object::new()
        .with("general.architecture", &model.family)
        .with("general.parameter_count", &(model.size * 2))
        .with(&format!("{}.context_length", model.family), &model.context_length)
        .with(&format!("{}.embedding_length", model.family), &node.profile.embedding_dims)
        .end();
    let object = Object::new()
        .with("license", &"simulated")
        .with("modelfile", &format!("FROM {}\n", model.name))
        .with("template", &"{{ .Prompt }}")
        .with("details", &details(node, &model))
        .with("model_info", &info)
        .with_some("capabilities", (!node.profile.old).then_some(&model.capabilities))
        .with("modified_at", &rfc3339(model.modified_s * 1_000_000_000));
    json(200, JSON_UTF8, object.end())
}

fn delete(node: &Node, ask: &Ask) -> Answer {
    let shown = ask.text("model").or_else(|| ask.text("name")).unwrap_or_default();
    if node.residents.remove(&canonical(shown)) || node.residents.remove(shown) {
        return Answer::new(200, "", "");
    }
    error(ask.path(), 404, &format!("model '{shown}' not found"))
}

fn copy(node: &Node, ask: &Ask) -> Answer {
    let (source, target) =
        (ask.text("source").unwrap_or_default(), ask.text("destination").unwrap_or_default());
    let Some(mut model) = node.residents.find(&canonical(source)) else {
        return error(ask.path(), 404, &format!("model '{source}' not found"));
    };
    if target.is_empty() {
        return error(ask.path(), 400, "destination is required");
    }
    model.name = canonical(target);
    model.loaded = false;
    node.residents.add(model);
    Answer::new(200, "", "")
}

fn create(node: &Node, ask: &Ask) -> Reply {
    let name = ask.text("model").or_else(|| ask.text("name")).unwrap_or_default();
    if name.is_empty() {
        return Reply::Now(error(ask.path(), 400, "model is required"));
    }
    let base = ask.text("from").and_then(|from| node.residents.find(&canonical(from)));
    let mut model = base.unwrap_or_default();
    model.name = canonical(name);
    node.residents.add(model);
    progress(node, ask, &["using existing layer", "writing manifest", "success"])
}

/// Progress lines of these statuses.
fn progress(node: &Node, ask: &Ask, statuses: &[&str]) -> Reply {
    lines(node, ask, statuses.iter().map(|status| obj! { "status": status }).collect())
}

fn pull(node: &Node, ask: &Ask) -> Reply {
    let name = canonical(ask.text("model").or_else(|| ask.text("name")).unwrap_or_default());
    let wanted = node.profile.library.iter().find(|model| model.name == name).cloned();
    let Some(model) = wanted.or_else(|| node.residents.find(&name)) else {
        let failed = "pull model manifest: file does not exist";
        if ask.flag("stream") == Some(false) {
            return Reply::Now(error(ask.path(), 500, failed));
        }
        return lines(node, ask, vec![obj! { "status": "pulling manifest" }, obj! { "error": failed }]);
    };
    let layer = format!("pulling {}", &model.digest.get(..12).unwrap_or(&model.digest));
    let digest = format!("sha256:{}", model.digest);
    let mut all = vec![obj! { "status": "pulling manifest" }];
    for quarter in 0..=4 {
        let object = Object::new().with("status", &layer).with("digest", &digest).with("total", &model.size);
        // Nothing completed is left out, as Go's omitempty does.
        all.push(object.with_some("completed", (quarter > 0).then(|| model.size / 4 * quarter)).end());
    }
    for status in ["verifying sha256 digest", "writing manifest", "success"] {
        all.push(obj! { "status": status });
    }
    node.residents.add(model);
    lines(node, ask, all)
}

fn lines(node: &Node, ask: &Ask, objects: Vec<Raw>) -> Reply {
    let lines: Vec<_> = objects.into_iter().map(ndjson).collect();
    let tokens = vec![String::new(); lines.len().saturating_sub(1)];
    let wire = Box::new(Lines { spec: crate::formats::Spec { tokens, ..node.spec(ask) }, lines });
    Reply::Progress { wire, stream: ask.flag("stream").unwrap_or(true) }
}

/// Kept for shapes with a null list, as Go writes an empty slice that was never made.
pub(crate) fn list_or_null(items: &[Raw]) -> Raw {
    if items.is_empty() { crate::json::text(&Null) } else { crate::json::text(&items.to_vec()) }
}
