//! llama-server's answers, cut down from records of build b11434.

use super::*;
use serde_json::json;

const COMPLETES: Flavour = Flavour::Single { embeds: Some(false) };

fn single(architecture: &Value) -> Vec<u8> {
    json!({
        "models": [{"name": "tiny", "model": "tiny", "modified_at": "", "size": "", "digest": "", "capabilities": ["completion"]}],
        "object": "list",
        "data": [{"id": "tiny", "aliases": ["tiny", "small"], "object": "model", "architecture": architecture, "owned_by": "llamacpp",
                  "meta": {"vocab_type": 1, "n_ctx": 8192, "n_ctx_train": 32768, "n_params": 1_748_736, "size": 6_994_944, "ftype": "all F32"}}]
    })
    .to_string()
    .into_bytes()
}

#[test]
fn a_single_model_with_its_other_names() {
    let list = models(&single(&json!({"input_modalities": ["text"]})), COMPLETES, &Props::default()).unwrap();
    assert_eq!(
        list,
        [Model {
            name: "tiny".into(),
            aliases: vec!["small".into()],
            size_bytes: Some(6_994_944),
            context_tokens: Some(8192),
            capabilities: vec![Capability::Completion],
            loaded: Some(true),
            quantization: Some("all F32".into()),
            ..Model::default()
        }]
    );
}

#[test]
fn what_it_can_is_told_in_four_places() {
    let body = single(&json!({"input_modalities": ["text", "image", "audio"]}));
    let props = Props { tools: true, asleep: true, ..Props::default() };
    let list = models(&body, COMPLETES, &props).unwrap();
    let all = [Capability::Completion, Capability::Tools, Capability::Vision, Capability::Audio];
    assert_eq!((list[0].capabilities.as_slice(), list[0].loaded), (all.as_slice(), Some(false)));
    let list = models(&body, Flavour::Single { embeds: Some(true) }, &props).unwrap();
    assert!(list[0].embeds_only());
    let list = models(&single(&Value::Null), Flavour::Single { embeds: None }, &props).unwrap();
    assert_eq!(list[0].capabilities, []);
}

#[test]
fn a_router_tells_what_is_loaded() {
    let entry = |id: &str, state: &str, args: Value, meta: Value| {
        json!({"id": id, "aliases": [], "object": "model", "owned_by": "llamacpp", "status": {"value": state, "args": args},
               "architecture": {"input_modalities": ["text"]}, "source": "models_dir", "meta": meta})
    };
    let body = json!({"data": [
        entry("alpha", "loaded", json!(["--ctx-size", "4096"]), json!({"n_ctx": 4096, "size": 601_344})),
        entry("beta", "unloaded", json!(null), json!(null)),
        entry("gamma", "sleeping", json!(["--embeddings"]), json!({})),
        {"id": "delta"},
    ], "object": "list"});
    let list = models(body.to_string().as_bytes(), Flavour::Router, &Props::default()).unwrap();
    assert_eq!(
        list.iter().map(|m| m.loaded).collect::<Vec<_>>(),
        [Some(true), Some(false), Some(false), None]
    );
    assert_eq!((list[0].context_tokens, list[1].context_tokens), (Some(4096), None));
    assert!(list[0].capabilities.is_empty() && list[2].embeds_only());
}

#[test]
fn props_of_both_kinds() {
    let props = read_props(br#"{"total_slots":2,"model_alias":"tiny","build_info":"b11434-unknown","is_sleeping":false,"chat_template_caps":{"supports_tools":true}}"#);
    assert_eq!((props.router, props.slots, props.tools, props.asleep), (false, Some(2), true, false));
    assert_eq!(props.version.as_deref(), Some("b11434-unknown"));
    let props = read_props(
        br#"{"role":"router","max_instances":2,"model_alias":"llama-server","build_info":"b11434-unknown"}"#,
    );
    assert_eq!((props.router, props.slots, props.models_max), (true, None, Some(2)));
    assert_eq!(read_props(b"{\"total_slots\":\"two\"}"), Props::default());
}

#[test]
fn known_by_its_header_or_its_list() {
    let listing = |server: Option<&str>, body: &[u8]| Answer {
        status: 200,
        server: server.map(Into::into),
        body: body.to_vec(),
        ..Answer::default()
    };
    assert!(is_it(&listing(Some("llama.cpp"), b"{\"data\":[]}")));
    assert!(is_it(&listing(Some("nginx"), &single(&Value::Null))));
    assert!(!is_it(&listing(Some("uvicorn"), b"{\"data\":[{\"id\":\"a\",\"owned_by\":\"vllm\"}]}")));
}
