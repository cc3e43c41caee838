//! llama-server, with one model and as router, shaped after recorded answers of build 11434.

use super::ollama_compat::embedding_list;
use super::{Dialect, Plan, Reply, json};
use crate::answer::Answer;
use crate::ask::Ask;
use crate::formats::JSON_UTF8;
use crate::json::{Object, Raw, arr, obj};
use crate::node::Node;
use crate::profile::{Engine, SimModel};

pub(crate) fn reply(node: &Node, ask: &Ask) -> Reply {
    // cpp-httplib answers HEAD with its GET handlers.
    let method = if ask.method() == "HEAD" { "GET" } else { ask.method() };
    let path = ask.path();
    let open = matches!(path, "/health" | "/v1/health");
    if !open && !key_fits(node, ask) {
        return Reply::Now(error(401, "Invalid API Key"));
    }
    let router = node.profile.engine == Engine::LlamacppRouter;
    if !router && node.starting() {
        return Reply::Now(error(503, "Loading model"));
    }
    let known = match (method, path) {
        ("GET", "/health" | "/v1/health") => json(200, JSON_UTF8, obj! { "status": "ok" }),
        ("GET", "/v1/models" | "/models") => models(node),
        ("GET", "/props") => props(node),
        ("GET", "/slots") => slots(node, ask),
        ("GET", "/metrics") => metrics(node, ask),
        ("GET", "/models/sse") if router => Answer::new(200, "text/event-stream", "\n"),
        ("POST", "/models/load" | "/models/unload") if router => load(node, ask, path.ends_with("/load")),
        ("POST", _) => return with_body(node, ask),
        _ => error(404, "File Not Found"),
    };
    Reply::Now(known)
}

/// llama.cpp's error object; its keys come in another order where the server itself refuses.
pub(crate) fn error(status: u16, message: &str) -> Answer {
    let kind = match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        501 => "not_supported_error",
        503 => "unavailable_error",
        _ => "server_error",
    };
    let inner = match status {
        401 | 404 | 503 => obj! { "message": message, "type": kind, "code": status },
        _ => obj! { "code": status, "message": message, "type": kind },
    };
    json(status, JSON_UTF8, obj! { "error": inner })
}

/// True when no key is set, or the request shows it as bearer or `x-api-key`.
fn key_fits(node: &Node, ask: &Ask) -> bool {
    let Some(key) = node.profile.api_key.as_deref() else { return true };
    let bearer = ask.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    bearer == Some(key) || ask.header("x-api-key") == Some(key)
}

fn with_body(node: &Node, ask: &Ask) -> Reply {
    let path = ask.path();
    let dialect = match path {
        "/v1/chat/completions" | "/chat/completions" => Dialect::Chat,
        "/v1/completions" | "/completions" => Dialect::Completion,
        "/v1/responses" | "/responses" => Dialect::Responses,
        "/v1/messages" => Dialect::Messages,
        "/v1/messages/count_tokens"
        | "/v1/chat/completions/input_tokens"
        | "/tokenize"
        | "/v1/embeddings"
        | "/embeddings"
        | "/v1/rerank"
        | "/rerank" => Dialect::Chat,
        _ => return Reply::Now(error(404, "File Not Found")),
    };
    if !ask.json().is_some_and(serde_json::Value::is_object) {
        let message = "[json.exception.parse_error.101] parse error at line 1, column 1: syntax error while parsing \
                       value - unexpected end of input; expected '[', '{', or a literal";
        return Reply::Now(error(400, message));
    }
    let model = match wanted(node, ask) {
        Ok(model) => model,
        Err(refused) => return Reply::Now(refused),
    };
    match path {
        "/v1/messages/count_tokens" => {
            return Reply::Now(json(200, JSON_UTF8, obj! { "input_tokens": ask.prompt_tokens() }));
        }
        "/v1/chat/completions/input_tokens" => {
            let body = obj! { "input_tokens": ask.prompt_tokens(), "object": "response.input_tokens" };
            return Reply::Now(json(200, JSON_UTF8, body));
        }
        "/tokenize" => {
            let tokens: Vec<u64> = (0..ask.prompt_tokens()).map(|index| 300 + index).collect();
            return Reply::Now(json(200, JSON_UTF8, obj! { "tokens": tokens }));
        }
        "/v1/rerank" | "/rerank" => {
            let message = "This server does not support reranking. Start it with `--reranking`";
            return Reply::Now(error(501, message));
        }
        "/v1/embeddings" | "/embeddings" => return embed(node, ask, model),
        _ => {}
    }
    if let Some(refused) = malformed(ask, dialect) {
        return Reply::Now(refused);
    }
    let (prompt, context) = (ask.prompt_tokens(), model.context_length);
    if prompt > context {
        return Reply::Now(too_long(prompt, context));
    }
    // The answer says the server's own name for the model, whatever the request said.
    let shown = model.name.clone();
    Reply::Generate(Box::new(Plan::new(node, ask, dialect, model, &shown)))
}

/// The model that answers: the router looks it up, a single model answers to every name.
fn wanted(node: &Node, ask: &Ask) -> Result<SimModel, Answer> {
    if node.profile.engine == Engine::Llamacpp {
        return node.residents.models().into_iter().next().ok_or_else(|| error(503, "Loading model"));
    }
    let name = ask.text("model").or_else(|| ask.query("model")).unwrap_or_default();
    if name.is_empty() {
        return Err(error(400, "model name is missing from the request"));
    }
    node.residents.find(name).ok_or_else(|| error(400, &format!("model '{name}' not found")))
}

/// What llama-server says about missing messages or a wrong type; a 500 on the Anthropic route.
fn malformed(ask: &Ask, dialect: Dialect) -> Option<Answer> {
    let key = match dialect {
        Dialect::Chat | Dialect::Messages => "messages",
        Dialect::Responses => "input",
        _ => "prompt",
    };
    let status = if dialect == Dialect::Messages { 500 } else { 400 };
    match ask.get(key) {
        None => Some(error(status, &format!("'{key}' is required"))),
        Some(value) if key == "messages" && !value.is_array() => {
            Some(error(status, "Expected 'messages' to be an array"))
        }
        Some(_) => None,
    }
}

fn too_long(prompt: u64, context: u64) -> Answer {
    let message = format!(
        "request ({prompt} tokens) exceeds the available context size ({context} tokens), try increasing it"
    );
    let inner = obj! {
        "code": 400, "message": message, "type": "exceed_context_size_error",
        "n_prompt_tokens": prompt, "n_ctx": context,
    };
    json(400, JSON_UTF8, obj! { "error": inner })
}

fn embed(node: &Node, ask: &Ask, model: SimModel) -> Reply {
    if !node.profile.embeddings {
        let message = "This server does not support embeddings. Start it with `--embeddings`";
        return Reply::Now(error(501, message));
    }
    let answer = json(200, JSON_UTF8, embedding_list(node, ask, &model.name));
    Reply::Loaded { model: Box::new(model), keep_alive_s: None, answer }
}

fn meta(model: &SimModel) -> Raw {
    obj! {
        "vocab_type": 1, "n_vocab": 32_000, "n_ctx": model.context_length, "n_ctx_train": model.context_length,
        "n_embd": 2048, "n_params": model.size / 4, "size": model.size, "ftype": model.quantization,
    }
}

/// The list: with one model it has an Ollama-like twin of empty strings, in router mode a status each.
fn models(node: &Node) -> Answer {
    let mut models = node.residents.models();
    let architecture = obj! { "input_modalities": arr!["text"], "output_modalities": arr!["text"] };
    if node.profile.engine == Engine::Llamacpp {
        models.truncate(1);
        let twins: Vec<Raw> = models.iter().map(twin).collect();
        let data: Vec<Raw> = models
            .iter()
            .map(|model| {
                obj! {
                    "id": model.name, "aliases": arr![model.name], "tags": arr![], "object": "model",
                    "architecture": architecture, "created": node.created_s, "owned_by": "llamacpp",
                    "meta": meta(model),
                }
            })
            .collect();
        return json(200, JSON_UTF8, obj! { "models": twins, "object": "list", "data": data });
    }
    let data: Vec<Raw> = models
        .iter()
        .map(|model| {
            let loaded = node.residents.is_loaded(&model.name);
            let state = if loaded { "loaded" } else { "unloaded" };
            let status = obj! {
                "value": state, "args": arr!["llama-server", "--alias", model.name],
                "preset": format!("[{}]\n", model.name),
            };
            Object::new()
                .with("id", &model.name)
                .with("aliases", &arr![])
                .with("tags", &arr![])
                .with("object", &"model")
                .with("owned_by", &"llamacpp")
                .with("created", &node.created_s)
                .with("status", &status)
                .with("architecture", &architecture)
                .with("source", &"models_dir")
                .with("can_remove", &false)
                .with_some("meta", loaded.then(|| meta(model)))
                .end()
        })
        .collect();
    json(200, JSON_UTF8, obj! { "data": data, "object": "list" })
}

fn twin(model: &SimModel) -> Raw {
    let details = obj! {
        "parent_model": "", "format": "gguf", "family": "", "families": arr![""], "parameter_size": "",
        "quantization_level": "",
    };
    obj! {
        "name": model.name, "model": model.name, "modified_at": "", "size": "", "digest": "", "type": "model",
        "description": "", "tags": arr![""], "capabilities": arr!["completion"], "parameters": "",
        "details": details,
    }
}

fn props(node: &Node) -> Answer {
    if node.profile.engine == Engine::LlamacppRouter {
        let body = obj! {
            "role": "router", "max_instances": node.profile.models_max.unwrap_or(4), "models_autoload": true,
            "model_alias": "llama-server", "model_path": "none",
            "default_generation_settings": obj! { "params": crate::json::Null, "n_ctx": 0 },
            "ui_settings": obj! {}, "build_info": "b11434-unknown", "cors_proxy_enabled": false,
        };
        return json(200, JSON_UTF8, body);
    }
    let model = node.residents.models().into_iter().next().unwrap_or_default();
    let settings =
        obj! { "params": obj! { "temperature": 0.8, "n_predict": -1 }, "n_ctx": model.context_length };
    let body = obj! {
        "default_generation_settings": settings, "total_slots": node.profile.parallel,
        "model_alias": model.name, "model_ftype": model.quantization,
        "model_path": format!("/models/{}.gguf", model.name),
        "modalities": obj! { "vision": false, "video": false, "audio": false },
        "endpoint_slots": true, "endpoint_props": true, "endpoint_metrics": true, "ui": false,
        "ui_settings": obj! {}, "chat_template": "{{ messages }}", "bos_token": "<s>", "eos_token": "</s>",
        "build_info": "b11434-unknown", "is_sleeping": false,
    };
    json(200, JSON_UTF8, body)
}

fn slots(node: &Node, ask: &Ask) -> Answer {
    let model = match wanted(node, ask) {
        Ok(model) => model,
        Err(refused) => return refused,
    };
    let (total, busy) = node.residents.slots(&model.name);
    let listed: Vec<Raw> = (0..total)
        .map(|id| obj! { "id": id, "n_ctx": model.context_length, "speculative": false, "is_processing": id < busy })
        .collect();
    json(200, JSON_UTF8, crate::json::text(&listed))
}

fn metrics(node: &Node, ask: &Ask) -> Answer {
    let model = match wanted(node, ask) {
        Ok(model) => model,
        Err(refused) => return refused,
    };
    let (_, busy) = node.residents.slots(&model.name);
    let stats = node.recorder.stats();
    let rows = [
        ("tokens_predicted_total", "counter", stats.generations_finished * node.profile.tokens as u64),
        ("requests_processing", "gauge", busy as u64),
        ("requests_deferred", "gauge", node.residents.waiting() as u64),
        ("n_busy_slots_per_decode", "gauge", busy as u64),
    ];
    let text: String = rows
        .iter()
        .map(|(name, kind, value)| {
            format!(
                "# HELP llamacpp:{name} Simulated.\n# TYPE llamacpp:{name} {kind}\nllamacpp:{name} {value}\n"
            )
        })
        .collect();
    Answer::new(200, "text/plain; version=0.0.4", text)
}

fn load(node: &Node, ask: &Ask, load: bool) -> Answer {
    match wanted(node, ask) {
        Ok(model) => {
            let done =
                if load { node.residents.load(&model.name) } else { node.residents.unload(&model.name) };
            if done {
                json(200, JSON_UTF8, obj! { "success": true })
            } else {
                error(400, "model is not loaded")
            }
        }
        Err(refused) => refused,
    }
}
