//! llama-server's contract, with one model and as router.

use crate::client::{get, post, request, same_shape, send};
use lamplighter_simnode::{Profile, SimModel, SimNode};
use serde_json::{Value, json};

async fn single(profile: Profile) -> SimNode {
    SimNode::start(profile.tokens(5).model(SimModel::new("tiny").context_length(50))).await.unwrap()
}

async fn router() -> SimNode {
    let models = ["alpha", "beta", "gamma"].map(SimModel::new).to_vec();
    let mut profile = Profile::llamacpp_router("box").models_max(2);
    profile.models = models;
    SimNode::start(profile).await.unwrap()
}

fn chat(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "hi there" }] })
}

#[tokio::test]
async fn health_lists_and_headers() {
    let node = single(Profile::llamacpp("box")).await;
    let got = get(node.addr(), "/health").await;
    assert_eq!((got.status, got.text()), (200, "{\"status\":\"ok\"}"));
    assert_eq!(
        (got.header("server"), got.header("access-control-allow-origin")),
        (Some("llama.cpp"), Some(""))
    );
    assert_eq!((got.header("keep-alive"), got.header("date")), (Some("timeout=5, max=100"), None));
    let got = send(node.addr(), &request("HEAD", "/health", "", "")).await;
    assert_eq!((got.status, got.wire.len()), (200, 0));
    let got = get(node.addr(), "/api/tags").await;
    let wanted = "{\"error\":{\"message\":\"File Not Found\",\"type\":\"not_found_error\",\"code\":404}}";
    assert_eq!((got.status, got.text()), (404, wanted));
    assert_eq!(got.header("connection"), Some("close"));
    let details = json!({
        "parent_model": "", "format": "", "family": "", "families": [""], "parameter_size": "",
        "quantization_level": "",
    });
    let twin = json!({
        "name": "", "model": "", "modified_at": "", "size": "", "digest": "", "type": "", "description": "",
        "tags": [""], "capabilities": [""], "parameters": "", "details": details,
    });
    let meta = json!({
        "vocab_type": 1, "n_vocab": 1, "n_ctx": 1, "n_ctx_train": 1, "n_embd": 1, "n_params": 1, "size": 1,
        "ftype": "",
    });
    let entry = json!({
        "id": "", "aliases": [""], "tags": [], "object": "",
        "architecture": { "input_modalities": [""], "output_modalities": [""] }, "created": 1, "owned_by": "",
        "meta": meta,
    });
    let wanted = json!({ "models": [twin], "object": "", "data": [entry] });
    same_shape(&wanted, &get(node.addr(), "/v1/models").await.json());
    assert_eq!(get(node.addr(), "/props").await.json()["total_slots"], 4);
    assert_eq!(get(node.addr(), "/slots").await.json().as_array().unwrap().len(), 4);
    assert!(get(node.addr(), "/metrics").await.text().contains("llamacpp:requests_processing 0\n"));
}

#[tokio::test]
async fn it_answers_503_while_it_loads() {
    let node = single(Profile::llamacpp("box").starting_ms(1200)).await;
    let wanted = json!({ "error": { "message": "Loading model", "type": "unavailable_error", "code": 503 } });
    for path in ["/health", "/v1/models"] {
        let got = get(node.addr(), path).await;
        assert_eq!((got.status, got.json()), (503, wanted.clone()), "{path}");
    }
    tokio::time::sleep(std::time::Duration::from_millis(1250)).await;
    assert_eq!(get(node.addr(), "/health").await.status, 200);
}

#[tokio::test]
async fn one_model_answers_to_every_name() {
    let node = single(Profile::llamacpp("box")).await;
    let got = post(node.addr(), "/v1/chat/completions", chat("does-not-exist")).await;
    assert_eq!(got.status, 200);
    let choice = json!({ "finish_reason": "", "index": 0, "message": { "role": "", "content": "" } });
    let timings = json!({
        "cache_n": 0, "prompt_n": 1, "prompt_ms": 1, "prompt_per_token_ms": 0.1, "prompt_per_second": 1,
        "predicted_n": 1, "predicted_ms": 1, "predicted_per_token_ms": 1, "predicted_per_second": 1,
    });
    let usage = json!({
        "completion_tokens": 1, "prompt_tokens": 1, "total_tokens": 1,
        "prompt_tokens_details": { "cached_tokens": 0 },
    });
    let wanted = json!({
        "choices": [choice], "created": 1, "model": "", "system_fingerprint": "", "object": "", "usage": usage,
        "id": "", "timings": timings,
    });
    same_shape(&wanted, &got.json());
    assert_eq!(got.json()["model"], "tiny");
}

#[tokio::test]
async fn streams_look_as_recorded() {
    let node = single(Profile::llamacpp("box")).await;
    let mut body = chat("tiny");
    body["stream"] = json!(true);
    let got = post(node.addr(), "/v1/chat/completions", body.clone()).await;
    assert_eq!(got.header("content-type"), Some("text/event-stream"));
    assert_eq!(got.header("x-accel-buffering"), Some("no"));
    let data = got.data();
    assert_eq!(data[0]["choices"][0]["delta"], json!({ "role": "assistant", "content": null }));
    assert_eq!(
        data[1]["choices"][0],
        json!({ "finish_reason": null, "index": 0, "delta": { "content": "box" } })
    );
    assert_eq!(data.last().unwrap()["choices"][0]["finish_reason"], "stop");
    assert!(data.last().unwrap()["timings"].is_object());
    assert!(got.text().ends_with("data: [DONE]\n\n"));

    body["max_tokens"] = json!(9);
    let got = post(node.addr(), "/v1/messages", body).await;
    let start = got.data()[0]["message"].clone();
    let usage = json!({ "cache_read_input_tokens": 0, "input_tokens": 1, "output_tokens": 0 });
    let wanted = json!({
        "id": "", "type": "", "role": "", "content": [], "model": "", "stop_reason": null, "stop_sequence": null,
        "usage": usage,
    });
    same_shape(&wanted, &start);

    let body = json!({ "model": "tiny", "input": "hi", "stream": true });
    let got = post(node.addr(), "/v1/responses", body).await;
    let wanted = json!({ "type": "", "response": { "id": "", "object": "", "status": "" } });
    same_shape(&wanted, &got.data()[0]);
    same_shape(&json!({ "type": "", "item_id": "", "delta": "" }), &got.data()[4]);
    assert_eq!(got.events().last().unwrap().0, "response.completed");
}

#[tokio::test]
async fn errors() {
    let node = single(Profile::llamacpp("box")).await;
    let fields = |status: u16, message: &str, kind: &str| json!({ "error": { "code": status, "message": message, "type": kind } });
    let got = post(node.addr(), "/v1/chat/completions", json!({ "model": "tiny" })).await;
    assert_eq!(
        (got.status, got.json()),
        (400, fields(400, "'messages' is required", "invalid_request_error"))
    );
    let got = post(node.addr(), "/v1/chat/completions", json!({ "messages": "x" })).await;
    let wanted = fields(400, "Expected 'messages' to be an array", "invalid_request_error");
    assert_eq!((got.status, got.json()), (400, wanted));
    let got = post(node.addr(), "/v1/messages", json!({ "max_tokens": 64 })).await;
    assert_eq!((got.status, got.json()), (500, fields(500, "'messages' is required", "server_error")));
    let got = post(node.addr(), "/v1/embeddings", json!({ "input": "a" })).await;
    let wanted = "This server does not support embeddings. Start it with `--embeddings`";
    assert_eq!((got.status, got.json()), (501, fields(501, wanted, "not_supported_error")));
    let long = json!({ "messages": [{ "role": "user", "content": "x ".repeat(60) }] });
    let got = post(node.addr(), "/v1/chat/completions", long).await;
    let error = &got.json()["error"];
    assert_eq!(
        (got.status, &error["type"], &error["n_ctx"]),
        (400, &json!("exceed_context_size_error"), &json!(50))
    );
    let got = send(node.addr(), &request("POST", "/v1/chat/completions", "", "{\"model\":")).await;
    assert_eq!((got.status, &got.json()["error"]["type"]), (400, &json!("invalid_request_error")));
}

#[tokio::test]
async fn a_key_closes_all_but_health() {
    let node = single(Profile::llamacpp("box").api_key("secret")).await;
    let wanted =
        json!({ "error": { "message": "Invalid API Key", "type": "authentication_error", "code": 401 } });
    for path in ["/v1/models", "/props", "/metrics"] {
        let got = get(node.addr(), path).await;
        assert_eq!((got.status, got.json()), (401, wanted.clone()), "{path}");
    }
    assert_eq!(get(node.addr(), "/health").await.status, 200);
    for headers in ["Authorization: Bearer secret\r\n", "x-api-key: secret\r\n"] {
        assert_eq!(
            send(node.addr(), &request("GET", "/v1/models", headers, "")).await.status,
            200,
            "{headers}"
        );
    }
}

#[tokio::test]
async fn the_router_knows_its_models() {
    let node = router().await;
    let got = post(node.addr(), "/v1/chat/completions", chat("nope")).await;
    let inner = json!({ "code": 400, "message": "model 'nope' not found", "type": "invalid_request_error" });
    assert_eq!((got.status, got.json()), (400, json!({ "error": inner })));
    let got = post(node.addr(), "/v1/chat/completions", json!({ "messages": [] })).await;
    assert_eq!(
        (got.status, &got.json()["error"]["message"]),
        (400, &json!("model name is missing from the request"))
    );
    assert_eq!(get(node.addr(), "/props").await.json()["role"], "router");

    let states = async || {
        let listed = get(node.addr(), "/models").await.json();
        listed["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|model| model["status"]["value"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(states().await, ["unloaded", "unloaded", "unloaded"]);
    assert_eq!(post(node.addr(), "/v1/chat/completions", chat("alpha")).await.json()["model"], "alpha");
    assert_eq!(states().await, ["loaded", "unloaded", "unloaded"]);
    for model in ["beta", "gamma"] {
        let got = post(node.addr(), "/models/load", json!({ "model": model })).await;
        assert_eq!(got.json(), json!({ "success": true }));
    }
    assert_eq!(states().await, ["unloaded", "loaded", "loaded"], "the longest unused goes");
    post(node.addr(), "/models/unload", json!({ "model": "gamma" })).await;
    assert_eq!(states().await, ["unloaded", "loaded", "unloaded"]);
}

#[tokio::test]
async fn counting_tokens_and_embeddings() {
    let node = single(Profile::llamacpp("box").embeddings(true)).await;
    let counted = post(node.addr(), "/v1/messages/count_tokens", chat("tiny")).await.json();
    same_shape(&json!({ "input_tokens": 1 }), &counted);
    let got =
        post(node.addr(), "/v1/embeddings", json!({ "input": ["a", "b"], "encoding_format": "base64" }))
            .await;
    assert_eq!(got.json()["data"][1]["index"], 1);
    assert!(got.json()["data"][1]["embedding"].is_string());
}
