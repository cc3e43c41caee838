//! Servers that speak OpenAI's routes: a generic one, vLLM (recorded, 0.32) and LM Studio (from its documentation).

use super::ollama_compat::{decode, embedding_list};
use super::{Dialect, Plan, Reply, json};
use crate::answer::Answer;
use crate::ask::Ask;
use crate::json::{Null, Object, Raw, arr, obj};
use crate::node::Node;
use crate::profile::{Engine, SimModel};

const JSON: &str = "application/json";

pub(crate) fn reply(node: &Node, ask: &Ask) -> Reply {
    let (method, path) = (ask.method(), ask.path());
    let engine = node.profile.engine;
    let closed = engine != Engine::Vllm || path.starts_with("/v1");
    if closed && !key_fits(node, ask) {
        return Reply::Now(unauthorised(engine));
    }
    if method == "GET" {
        return Reply::Now(read(node, path));
    }
    let dialect = match path {
        _ if method != "POST" => None,
        "/v1/chat/completions" => Some(Dialect::Chat),
        "/v1/completions" => Some(Dialect::Completion),
        "/v1/responses" if engine != Engine::Openai || node.profile.responses => Some(Dialect::Responses),
        "/v1/messages" if engine != Engine::Openai || node.profile.messages => Some(Dialect::Messages),
        _ => None,
    };
    if let Some(dialect) = dialect {
        return generate(node, ask, dialect);
    }
    match (method, path) {
        ("POST", "/v1/embeddings") if node.profile.embeddings => embed(node, ask),
        ("POST", "/v1/messages/count_tokens") if engine == Engine::Vllm => {
            let count = ask.prompt_tokens();
            let management = obj! { "original_input_tokens": count };
            Reply::Now(json(200, JSON, obj! { "input_tokens": count, "context_management": management }))
        }
        _ => Reply::Now(unknown_route(node, method, path)),
    }
}

fn read(node: &Node, path: &str) -> Answer {
    let vllm = node.profile.engine == Engine::Vllm;
    match path {
        "/v1/models" => {
            let data: Vec<Raw> = node.residents.models().iter().map(|model| entry(node, model)).collect();
            json(200, JSON, obj! { "object": "list", "data": data })
        }
        "/health" if vllm => Answer::new(200, "", ""),
        "/version" if vllm => json(200, JSON, obj! { "version": node.profile.version }),
        "/load" if vllm => json(200, JSON, obj! { "server_load": node.recorder.stats().in_flight }),
        "/metrics" if vllm => metrics(node),
        "/api/v0/models" if node.profile.engine == Engine::Lmstudio => {
            let data: Vec<Raw> =
                node.residents.models().iter().map(|model| lmstudio_entry(node, model)).collect();
            json(200, JSON, obj! { "data": data, "object": "list" })
        }
        _ => match path.strip_prefix("/v1/models/") {
            Some(id) if !vllm => match node.residents.find(&decode(id)) {
                Some(model) => json(200, JSON, entry(node, &model)),
                None => unknown_model(node, &decode(id)),
            },
            _ => unknown_route(node, "GET", path),
        },
    }
}

fn generate(node: &Node, ask: &Ask, dialect: Dialect) -> Reply {
    let key = match dialect {
        Dialect::Chat | Dialect::Messages => "messages",
        Dialect::Responses => "input",
        _ => "prompt",
    };
    let bad = |message: &str| Reply::Now(error(node, 400, message));
    if !ask.json().is_some_and(serde_json::Value::is_object) {
        return bad("We could not parse the JSON body of your request.");
    }
    if ask.get(key).is_none() {
        return bad(&format!("Missing required parameter: '{key}'."));
    }
    if key == "messages" && ask.get(key).is_some_and(|messages| !messages.is_array()) {
        return bad("Invalid type for 'messages': expected an array of objects.");
    }
    let shown = ask.text("model").unwrap_or_default();
    match node.residents.find(shown) {
        Some(model) => Reply::Generate(Box::new(Plan::new(node, ask, dialect, model, shown))),
        None => Reply::Now(unknown_model(node, shown)),
    }
}

fn embed(node: &Node, ask: &Ask) -> Reply {
    let shown = ask.text("model").unwrap_or_default();
    match node.residents.find(shown) {
        Some(model) => {
            let answer = json(200, JSON, embedding_list(node, ask, shown));
            Reply::Loaded { model: Box::new(model), keep_alive_s: None, answer }
        }
        None => Reply::Now(unknown_model(node, shown)),
    }
}

fn entry(node: &Node, model: &SimModel) -> Raw {
    let owner = match node.profile.engine {
        Engine::Vllm => "vllm",
        Engine::Lmstudio => "organization_owner",
        _ => "simnode",
    };
    let object = Object::new().with("id", &model.name).with("object", &"model");
    match node.profile.engine {
        Engine::Vllm => object
            .with("created", &node.created_s)
            .with("owned_by", &owner)
            .with("root", &model.name)
            .with("parent", &Null)
            .with("max_model_len", &model.context_length)
            .with("permission", &arr![])
            .end(),
        Engine::Lmstudio => object.with("owned_by", &owner).end(),
        _ => object.with("created", &model.modified_s).with("owned_by", &owner).end(),
    }
}

fn lmstudio_entry(node: &Node, model: &SimModel) -> Raw {
    let kind = if model.capabilities.iter().any(|can| can == "embedding") { "embeddings" } else { "llm" };
    let state = if node.residents.is_loaded(&model.name) { "loaded" } else { "not-loaded" };
    obj! {
        "id": model.name, "object": "model", "type": kind, "publisher": "simnode", "arch": model.family,
        "compatibility_type": "gguf", "quantization": model.quantization, "state": state,
        "max_context_length": model.context_length,
    }
}

fn key_fits(node: &Node, ask: &Ask) -> bool {
    let Some(key) = node.profile.api_key.as_deref() else { return true };
    let bearer = ask.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    bearer == Some(key) || ask.header("x-api-key") == Some(key)
}

fn unauthorised(engine: Engine) -> Answer {
    if engine == Engine::Vllm {
        return json(401, JSON, obj! { "error": "Unauthorized" });
    }
    let inner = obj! {
        "message": "Incorrect API key provided.", "type": "invalid_request_error", "param": Null,
        "code": "invalid_api_key",
    };
    json(401, JSON, obj! { "error": inner })
}

/// An error of this status in the engine's shape.
pub(crate) fn error(node: &Node, status: u16, message: &str) -> Answer {
    if node.profile.engine == Engine::Vllm {
        let kind = match status {
            400 => "BadRequestError",
            404 => "NotFoundError",
            _ => "InternalServerError",
        };
        let inner = obj! { "message": message, "type": kind, "param": Null, "code": status };
        return json(status, JSON, obj! { "error": inner });
    }
    let kind = match status {
        401 | 403 => "authentication_error",
        429 => "rate_limit_error",
        400..500 => "invalid_request_error",
        _ => "server_error",
    };
    json(
        status,
        JSON,
        obj! { "error": obj! { "message": message, "type": kind, "param": Null, "code": Null } },
    )
}

fn unknown_model(node: &Node, name: &str) -> Answer {
    let inner = if node.profile.engine == Engine::Vllm {
        let message = format!("The model `{name}` does not exist.");
        obj! { "message": message, "type": "NotFoundError", "param": "model", "code": 404 }
    } else {
        let message = format!("The model `{name}` does not exist or you do not have access to it.");
        obj! { "message": message, "type": "invalid_request_error", "param": Null, "code": "model_not_found" }
    };
    json(404, JSON, obj! { "error": inner })
}

fn unknown_route(node: &Node, method: &str, path: &str) -> Answer {
    match node.profile.engine {
        Engine::Vllm => {
            let posts = ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"];
            let wrong_method = path == "/v1/models" || posts.contains(&path);
            let (status, detail) =
                if wrong_method { (405, "Method Not Allowed") } else { (404, "Not Found") };
            json(status, JSON, obj! { "detail": detail })
        }
        // LM Studio answers 200 to what it does not know.
        Engine::Lmstudio => {
            json(200, JSON, obj! { "error": format!("Unexpected endpoint or method. ({method} {path})") })
        }
        _ => error(node, 404, &format!("Invalid URL ({method} {path})")),
    }
}

fn metrics(node: &Node) -> Answer {
    let stats = node.recorder.stats();
    let waiting = node.residents.waiting();
    let text = format!(
        "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{{engine=\"0\"}} {}.0\n\
         # TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting{{engine=\"0\"}} {waiting}.0\n",
        stats.in_flight.saturating_sub(1)
    );
    Answer::new(200, "text/plain; version=1.0.0; charset=utf-8", text)
}
