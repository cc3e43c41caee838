//! The contracts of the servers that speak OpenAI's routes: a generic one, vLLM and LM Studio.

use crate::client::{get, post, request, same_shape, send};
use lamplighter_simnode::{Profile, SimModel, SimNode};
use serde_json::{Value, json};

fn chat(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "hi there" }] })
}

#[tokio::test]
async fn a_generic_server_has_only_openais_routes() {
    let node = SimNode::start(Profile::openai("cloud").model(SimModel::new("m")).api_key("k")).await.unwrap();
    let with_key = |path: &str| request("GET", path, "Authorization: Bearer k\r\n", "");
    let got = get(node.addr(), "/v1/models").await;
    assert_eq!((got.status, &got.json()["error"]["code"]), (401, &json!("invalid_api_key")));
    let got = send(node.addr(), &with_key("/v1/models")).await;
    assert_eq!(got.header("content-type"), Some("application/json"));
    let entry = json!({ "id": "", "object": "", "created": 1, "owned_by": "" });
    same_shape(&json!({ "object": "", "data": [entry] }), &got.json());
    for path in ["/health", "/api/tags", "/v1/responses", "/v1/messages", "/props"] {
        let got = send(node.addr(), &with_key(path)).await;
        assert_eq!(
            (got.status, &got.json()["error"]["type"]),
            (404, &json!("invalid_request_error")),
            "{path}"
        );
    }
    let body = chat("m").to_string();
    let got =
        send(node.addr(), &request("POST", "/v1/responses", "Authorization: Bearer k\r\n", &body)).await;
    assert_eq!(got.status, 404);
}

#[tokio::test]
async fn a_generic_server_answers() {
    let profile = Profile::openai("cloud")
        .model(SimModel::new("m").text("exactly this"))
        .responses(true)
        .messages(true);
    let node = SimNode::start(profile).await.unwrap();
    let got = post(node.addr(), "/v1/chat/completions", chat("nope")).await;
    assert_eq!((got.status, &got.json()["error"]["code"]), (404, &json!("model_not_found")));
    let got = post(node.addr(), "/v1/chat/completions", chat("m")).await.json();
    assert_eq!(got["choices"][0]["message"]["content"], "exactly this");
    let got = post(node.addr(), "/v1/responses", json!({ "model": "m", "input": "hi" })).await.json();
    assert_eq!(got["output"][0]["content"][0]["text"], "exactly this");
    let mut body = chat("m");
    body["max_tokens"] = json!(1);
    let got = post(node.addr(), "/v1/messages", body).await.json();
    assert_eq!((&got["content"][0]["text"], &got["stop_reason"]), (&json!("exactly"), &json!("max_tokens")));
    let got = post(node.addr(), "/v1/embeddings", json!({ "model": "m", "input": "a" })).await.json();
    assert_eq!(got["data"][0]["embedding"].as_array().unwrap().len(), 8);
    let got =
        post(node.addr(), "/v1/completions", json!({ "model": "m", "prompt": "a", "stream": true })).await;
    assert!(got.text().ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn vllm() {
    let node = SimNode::start(Profile::vllm("gpu").model(SimModel::new("m"))).await.unwrap();
    let got = get(node.addr(), "/health").await;
    assert_eq!((got.status, got.body.len(), got.header("server")), (200, 0, Some("uvicorn")));
    let got = get(node.addr(), "/nosuch").await;
    assert_eq!((got.status, got.text()), (404, "{\"detail\":\"Not Found\"}"));
    let entry = &get(node.addr(), "/v1/models").await.json()["data"][0];
    assert_eq!((&entry["max_model_len"], &entry["owned_by"]), (&json!(8192), &json!("vllm")));
    let got = post(node.addr(), "/v1/chat/completions", chat("nope")).await;
    let error = got.json()["error"].clone();
    same_shape(&json!({ "message": "", "type": "", "param": "", "code": 404 }), &error);
    assert_eq!((got.status, &error["type"]), (404, &json!("NotFoundError")));
    same_shape(&json!({ "version": "" }), &get(node.addr(), "/version").await.json());
    let counted = post(node.addr(), "/v1/messages/count_tokens", chat("m")).await.json();
    same_shape(&json!({ "input_tokens": 1, "context_management": { "original_input_tokens": 1 } }), &counted);
    assert_eq!(post(node.addr(), "/v1/embeddings", json!({ "model": "m", "input": "a" })).await.status, 404);
    assert!(get(node.addr(), "/metrics").await.text().contains("vllm:num_requests_running"));
    let mut body = chat("m");
    body["stream"] = json!(true);
    let got = post(node.addr(), "/v1/chat/completions", body).await;
    assert_eq!(got.header("content-type"), Some("text/event-stream; charset=utf-8"));
}

#[tokio::test]
async fn lmstudio() {
    let model = SimModel::new("google/gemma-3").loaded(true);
    let node = SimNode::start(Profile::lmstudio("mac").model(model).model(SimModel::new("b"))).await.unwrap();
    let listed = get(node.addr(), "/api/v0/models").await.json();
    assert_eq!(
        (&listed["data"][0]["state"], &listed["data"][1]["state"]),
        (&json!("loaded"), &json!("not-loaded"))
    );
    let got = get(node.addr(), "/api/tags").await;
    assert_eq!((got.status, got.json()["error"].is_string()), (200, true));
    assert_eq!(post(node.addr(), "/v1/chat/completions", chat("b")).await.status, 200);
    assert_eq!(node.loaded().len(), 2, "loaded on the first request");
}
