//! Ollama's contract: routes, shapes, content types and errors.

use crate::client::{get, post, request, same_shape, send};
use lamplighter_simnode::{Profile, SimModel, SimNode};
use serde_json::{Value, json};

async fn node() -> SimNode {
    let loaded = SimModel::new("llama3.2:3b").loaded(true).size(3_000);
    SimNode::start(Profile::ollama("nas").tokens(6).model(loaded).model(SimModel::new("qwen3:8b")))
        .await
        .unwrap()
}

fn chat(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "hi there" }] })
}

#[tokio::test]
async fn probes_and_unknown_routes() {
    let node = node().await;
    let got = get(node.addr(), "/").await;
    assert_eq!((got.status, got.text()), (200, "Ollama is running"));
    assert!(got.header("content-type").unwrap().starts_with("text/plain"));
    let got = send(node.addr(), &request("HEAD", "/", "", "")).await;
    assert_eq!((got.status, got.wire.len()), (200, 0));
    let got = get(node.addr(), "/api/version").await;
    same_shape(&json!({ "version": "" }), &got.json());
    let got = get(node.addr(), "/api/nothing").await;
    assert_eq!((got.status, got.text()), (404, "404 page not found"));
    assert_eq!(got.header("content-type"), Some("text/plain"));
    let got = send(node.addr(), &request("PUT", "/api/tags", "", "")).await;
    assert_eq!((got.status, got.text()), (405, "405 method not allowed"));
    assert_eq!(get(node.addr(), "/v1/messages/count_tokens").await.status, 404);
    assert_eq!(node.stats().probes, 5);
}

#[tokio::test]
async fn lists_have_the_fields_of_their_version() {
    let details = json!({
        "parent_model": "", "format": "", "family": "", "families": [""], "parameter_size": "",
        "quantization_level": "", "context_length": 1,
    });
    let mut tag = json!({
        "name": "", "model": "", "modified_at": "", "size": 1, "digest": "", "details": details,
        "capabilities": [""],
    });
    let node = node().await;
    let got = get(node.addr(), "/api/tags").await;
    assert_eq!(got.header("content-type"), Some("application/json; charset=utf-8"));
    same_shape(&json!({ "models": [tag] }), &got.json());
    assert_eq!(got.json()["models"][0]["digest"].as_str().unwrap().len(), 64);
    let ps = get(node.addr(), "/api/ps").await.json();
    let running = json!({
        "name": "", "model": "", "size": 1, "digest": "", "details": details, "expires_at": "",
        "size_vram": 1, "context_length": 1,
    });
    same_shape(&json!({ "models": [running] }), &ps);
    assert_eq!(
        (ps["models"].as_array().unwrap().len(), &ps["models"][0]["name"]),
        (1, &json!("llama3.2:3b"))
    );

    let old = SimNode::start(Profile::ollama("old").old(true).model(SimModel::new("a:1"))).await.unwrap();
    tag.as_object_mut().unwrap().remove("capabilities");
    tag["details"].as_object_mut().unwrap().remove("context_length");
    same_shape(&json!({ "models": [tag] }), &get(old.addr(), "/api/tags").await.json());
    same_shape(&json!({ "models": [] }), &get(old.addr(), "/api/ps").await.json());
    for path in ["/v1/responses", "/v1/messages"] {
        let got = post(old.addr(), path, json!({})).await;
        assert_eq!((got.status, got.text()), (404, "404 page not found"), "{path}");
    }
}

#[tokio::test]
async fn the_door_refuses_foreign_hosts_and_origins() {
    let node = node().await;
    for (headers, status) in [
        ("Host: evil.example\r\n", 403),
        ("Host: 192.168.1.9:11434\r\n", 200),
        ("Host: nas.local\r\n", 200),
        ("Origin: https://evil.example\r\n", 403),
        ("Origin: http://localhost:3000\r\n", 200),
        ("Origin: tauri://localhost\r\n", 200),
    ] {
        let got = send(node.addr(), &request("GET", "/api/version", headers, "")).await;
        assert_eq!(got.status, status, "{headers}");
        assert!(status == 200 || got.body.is_empty());
    }
}

#[tokio::test]
async fn native_streams_end_with_their_metrics() {
    let node = node().await;
    let got = post(node.addr(), "/api/chat", chat("llama3.2:3b")).await;
    assert_eq!(got.header("content-type"), Some("application/x-ndjson"));
    assert!(got.whole);
    let lines = got.lines();
    assert_eq!(lines.len(), 7);
    let message = json!({ "role": "", "content": "" });
    let piece = json!({ "model": "", "created_at": "", "message": message, "done": true });
    lines[..6].iter().for_each(|line| same_shape(&piece, line));
    let last = json!({
        "model": "", "created_at": "", "message": message, "done": true, "done_reason": "", "total_duration": 1,
        "prompt_eval_count": 1, "prompt_eval_duration": 1, "eval_count": 1, "eval_duration": 1,
    });
    same_shape(&last, &lines[6]);
    let said: String = lines.iter().map(|line| line["message"]["content"].as_str().unwrap()).collect();
    assert_eq!(said, "nas answers with llama3.2:3b: one two");

    let mut body = chat("llama3.2:3b");
    body["stream"] = json!(false);
    body["options"] = json!({ "num_predict": 2 });
    let got = post(node.addr(), "/api/chat", body).await;
    same_shape(&last, &got.json());
    assert_eq!(
        (got.json()["message"]["content"].as_str(), &got.json()["done_reason"]),
        (Some("nas answers"), &json!("length"))
    );

    let got = post(node.addr(), "/api/generate", json!({ "model": "llama3.2:3b", "prompt": "hi" })).await;
    let said: String = got.lines().iter().map(|line| line["response"].as_str().unwrap()).collect();
    assert_eq!(said, "nas answers with llama3.2:3b: one two");
}

#[tokio::test]
async fn an_empty_prompt_loads_and_unloads() {
    let node = node().await;
    let got = post(node.addr(), "/api/generate", json!({ "model": "qwen3:8b" })).await.json();
    same_shape(
        &json!({ "model": "", "created_at": "", "response": "", "done": true, "done_reason": "" }),
        &got,
    );
    assert_eq!(got["done_reason"], "load");
    assert_eq!(node.loaded(), ["llama3.2:3b", "qwen3:8b"]);
    let unload = json!({ "model": "qwen3:8b", "messages": [], "keep_alive": 0 });
    let got = post(node.addr(), "/api/chat", unload).await.json();
    assert_eq!(got["done_reason"], "unload");
    assert_eq!(node.loaded(), ["llama3.2:3b"]);
}

#[tokio::test]
async fn each_api_has_its_own_errors() {
    let node = node().await;
    for path in ["/api/chat", "/api/generate", "/api/show"] {
        let got = post(node.addr(), path, chat("nope")).await;
        assert_eq!((got.status, got.json()), (404, json!({ "error": "model 'nope' not found" })), "{path}");
    }
    let mut body = chat("qwen3:8b");
    body["think"] = json!(true);
    let got = post(node.addr(), "/api/chat", body).await;
    assert_eq!((got.status, got.json()), (400, json!({ "error": "\"qwen3:8b\" does not support thinking" })));
    let got = post(node.addr(), "/api/embed", json!({ "model": "nope", "input": "a" })).await;
    let wanted = json!({ "error": "model \"nope\" not found, try pulling it first" });
    assert_eq!((got.status, got.json()), (404, wanted));
    let got = send(node.addr(), &request("POST", "/api/chat", "", "")).await;
    assert_eq!((got.status, got.json()), (400, json!({ "error": "missing request body" })));
    assert_eq!(send(node.addr(), &request("POST", "/api/chat", "", "{\"model\":")).await.status, 400);

    let got = post(node.addr(), "/v1/chat/completions", chat("nope")).await;
    let inner = json!({ "message": "model 'nope' not found", "type": "not_found_error", "param": null, "code": null });
    assert_eq!((got.status, got.json()), (404, json!({ "error": inner })));
    let got = post(node.addr(), "/v1/chat/completions", json!({ "model": "nope", "messages": [] })).await;
    assert_eq!((got.status, &got.json()["error"]["message"]), (400, &json!("[] is too short - 'messages'")));

    let mut body = chat("nope");
    assert_eq!(post(node.addr(), "/v1/messages", body.clone()).await.status, 400, "max_tokens is needed");
    body["max_tokens"] = json!(9);
    let got = post(node.addr(), "/v1/messages", body).await;
    assert_eq!(got.status, 404);
    same_shape(&json!({ "type": "", "error": { "type": "", "message": "" }, "request_id": "" }), &got.json());
    assert_eq!(got.json()["error"]["type"], "not_found_error");
}

#[tokio::test]
async fn openai_routes() {
    let node = node().await;
    let listed = get(node.addr(), "/v1/models").await.json();
    let entry = json!({ "id": "", "object": "", "created": 1, "owned_by": "" });
    same_shape(&json!({ "object": "", "data": [entry] }), &listed);
    assert_eq!(get(node.addr(), "/v1/models/llama3.2%3A3b").await.json()["id"], "llama3.2:3b");
    assert_eq!(get(node.addr(), "/v1/models/a/b").await.status, 404);
    node.set_models(vec![]);
    assert_eq!(get(node.addr(), "/v1/models").await.text(), "{\"object\":\"list\",\"data\":null}");
    assert_eq!(get(node.addr(), "/api/tags").await.text(), "{\"models\":[]}");
}

#[tokio::test]
async fn openai_streams() {
    let node = node().await;
    let mut body = chat("llama3.2:3b");
    body["stream"] = json!(true);
    body["stream_options"] = json!({ "include_usage": true });
    let got = post(node.addr(), "/v1/chat/completions", body).await;
    assert_eq!(got.header("content-type"), Some("text/event-stream"));
    assert!(got.text().ends_with("data: [DONE]\n\n"));
    let data = got.data();
    assert_eq!(data.len(), 1 + 6 + 1 + 1);
    assert_eq!(data[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(data[6]["choices"][0]["delta"]["content"], " two");
    assert_eq!(
        (&data[7]["choices"][0]["delta"], &data[7]["choices"][0]["finish_reason"]),
        (&json!({}), &json!("stop"))
    );
    assert_eq!((&data[8]["choices"], &data[8]["usage"]["completion_tokens"]), (&json!([]), &json!(6)));
    assert_eq!(data[8]["system_fingerprint"], "fp_ollama");

    let body = json!({ "model": "llama3.2:3b", "prompt": "x", "max_tokens": 1 });
    let got = post(node.addr(), "/v1/completions", body).await.json();
    assert_eq!((&got["object"], &got["choices"][0]["text"]), (&json!("text_completion"), &json!("nas")));
    assert_eq!(got["choices"][0]["finish_reason"], "length");
}

#[tokio::test]
async fn anthropic_and_responses_streams() {
    let node = node().await;
    let mut body = chat("llama3.2:3b");
    body["max_tokens"] = json!(100);
    body["stream"] = json!(true);
    let got = post(node.addr(), "/v1/messages?beta=true", body).await;
    let events = got.events();
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[..2], ["message_start", "content_block_start"]);
    assert!(names[2..8].iter().all(|name| *name == "content_block_delta"));
    assert_eq!(names[8..], ["content_block_stop", "message_delta", "message_stop"]);
    assert_eq!(got.data()[9]["usage"]["output_tokens"], 6);

    let body = json!({ "model": "llama3.2:3b", "input": "hi", "stream": true });
    let got = post(node.addr(), "/v1/responses", body).await;
    let events = got.events();
    assert_eq!(
        (events[0].0.as_str(), events.last().unwrap().0.as_str()),
        ("response.created", "response.completed")
    );
    for (index, (data, (name, _))) in got.data().iter().zip(&events).enumerate() {
        assert_eq!((&data["sequence_number"], data["type"].as_str()), (&json!(index), Some(name.as_str())));
    }
    let last = &got.data()[events.len() - 1]["response"];
    assert_eq!(last["output"][0]["content"][0]["text"], "nas answers with llama3.2:3b: one two");
    assert_eq!(last["usage"]["output_tokens"], 6);
}

#[tokio::test]
async fn embeddings_in_three_shapes() {
    let node = node().await;
    let body = json!({ "model": "llama3.2:3b", "input": ["a", "b"] });
    let native = post(node.addr(), "/api/embed", body.clone()).await.json();
    let wanted = json!({
        "model": "", "embeddings": [[0.5]], "total_duration": 1, "load_duration": 1, "prompt_eval_count": 1,
    });
    same_shape(&wanted, &native);
    let old =
        post(node.addr(), "/api/embeddings", json!({ "model": "llama3.2:3b", "prompt": "a" })).await.json();
    assert_eq!(old["embedding"], native["embeddings"][0]);
    let openai = post(node.addr(), "/v1/embeddings", body).await.json();
    let entry = json!({ "object": "", "embedding": [0.5], "index": 1 });
    let usage = json!({ "prompt_tokens": 1, "total_tokens": 1 });
    same_shape(&json!({ "object": "", "data": [entry], "model": "", "usage": usage }), &openai);
    let body = json!({ "model": "llama3.2:3b", "input": "a", "dimensions": 3, "encoding_format": "base64" });
    let packed = post(node.addr(), "/v1/embeddings", body).await.json();
    // Three floats of four bytes are sixteen letters.
    assert_eq!(packed["data"][0]["embedding"].as_str().unwrap().len(), 16);
}

#[tokio::test]
async fn models_are_shown_pulled_copied_and_deleted() {
    let library = vec![SimModel::new("phi4:14b")];
    let node =
        SimNode::start(Profile::ollama("nas").library(library).model(SimModel::new("a:1"))).await.unwrap();
    let shown = post(node.addr(), "/api/show", json!({ "name": "a:1" })).await.json();
    assert_eq!(shown["model_info"]["llama.context_length"], 8192);
    let pulled = post(node.addr(), "/api/pull", json!({ "model": "phi4:14b" })).await.lines();
    assert_eq!(pulled[0], json!({ "status": "pulling manifest" }));
    same_shape(&json!({ "status": "", "digest": "", "total": 1, "completed": 1 }), &pulled[2]);
    assert_eq!(pulled.last().unwrap(), &json!({ "status": "success" }));
    let failed = post(node.addr(), "/api/pull", json!({ "model": "none" })).await;
    assert_eq!(failed.status, 200);
    assert!(failed.lines()[1]["error"].is_string());
    let copied = post(node.addr(), "/api/copy", json!({ "source": "a:1", "destination": "b" })).await;
    assert_eq!((copied.status, copied.body.len()), (200, 0));
    let deleted = send(node.addr(), &request("DELETE", "/api/delete", "", "{\"model\":\"a:1\"}")).await;
    assert_eq!((deleted.status, deleted.body.len()), (200, 0));
    let tags = get(node.addr(), "/api/tags").await.json();
    let names: Vec<_> =
        tags["models"].as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["b:latest", "phi4:14b"]);
}
