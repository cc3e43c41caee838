//! Ollama's answers, in the shapes of `api/types.go`, newer and older.

use super::*;

const HEX: &str = "a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72";

#[test]
fn tags_of_a_newer_version() {
    let body = json!({"models": [{
        "name": "llama3.2:3b", "model": "llama3.2:3b", "modified_at": "2026-08-01T10:00:00.5+02:00", "size": 2_019_393_189_u64,
        "digest": HEX, "capabilities": ["completion", "tools", "mind-reading"],
        "details": {"parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"],
                    "parameter_size": "3.2B", "quantization_level": "Q4_K_M", "context_length": 131_072}
    }]});
    let models = tags(body.to_string().as_bytes()).unwrap();
    assert_eq!(
        models,
        [Model {
            name: "llama3.2:3b".into(),
            digest: Some(HEX.into()),
            size_bytes: Some(2_019_393_189),
            context_tokens: Some(131_072),
            capabilities: vec![Capability::Completion, Capability::Tools],
            modified_at: Some("2026-08-01T10:00:00.5+02:00".into()),
            family: Some("llama".into()),
            parameter_size: Some("3.2B".into()),
            quantization: Some("Q4_K_M".into()),
            ..Model::default()
        }]
    );
}

#[test]
fn wrong_types_and_false_digests_cost_only_their_field() {
    let body = json!({"models": [
        {"name": "a", "size": "big", "details": null, "capabilities": "all", "digest": "../../etc/passwd"},
        {"name": "b", "digest": format!("sha256:{}", HEX.to_uppercase()), "size": 1},
        {"name": "c", "details": {"families": null, "family": 7}},
        {"model": "only-model"},
        {"name": "a"},
    ]});
    let models = tags(body.to_string().as_bytes()).unwrap();
    assert_eq!(models.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "only-model"]);
    assert_eq!((models[0].digest.clone(), models[0].size_bytes), (None, None));
    assert_eq!(models[1].digest.as_deref(), Some(HEX));
}

#[test]
fn cloud_models_are_remote_and_never_loaded() {
    let body = json!({"models": [
        {"name": "gpt-oss:120b-cloud"}, {"name": "kimi:cloud"}, {"name": "x", "remote_host": "https://ollama.com:443"},
        {"name": "y", "remote_host": "", "remote_model": ""},
    ]});
    let mut models = tags(body.to_string().as_bytes()).unwrap();
    assert_eq!(models.iter().map(|m| m.remote).collect::<Vec<_>>(), [true, true, true, false]);
    apply(&mut models, &[]);
    assert_eq!(models.iter().map(|m| m.loaded).collect::<Vec<_>>(), [None, None, None, Some(false)]);
}

#[test]
fn what_is_loaded_comes_from_ps() {
    let body = json!({"models": [
        {"name": "llama3:latest", "digest": HEX, "size": 6_000, "size_vram": 4_000,
         "expires_at": "2026-11-20T12:00:00Z", "context_length": 4096},
        {"name": "cpu", "size": 6_000, "size_vram": 0},
    ]});
    let residents = ps(body.to_string().as_bytes()).unwrap();
    let named = |name: &str, digest: Option<&str>| Model {
        name: name.into(),
        digest: digest.map(Into::into),
        context_tokens: Some(8192),
        ..Model::default()
    };
    let mut models =
        [named("llama3", Some(HEX)), named("same", Some(HEX)), named("other", None), named("cpu", None)];
    apply(&mut models, &residents);
    assert_eq!(models.each_ref().map(|m| m.loaded), [Some(true), Some(true), Some(false), Some(true)]);
    assert_eq!((models[0].loaded_bytes, models[0].vram_bytes), (Some(6000), Some(4000)));
    assert_eq!((models[0].context_tokens, models[2].context_tokens), (Some(4096), Some(8192)));
    assert_eq!(models[3].vram_bytes, Some(0), "on the CPU alone is a fact, not a gap");
}

#[test]
fn a_tag_pulled_anew_is_not_the_one_in_memory() {
    let body = json!({"models": [{"name": "x", "digest": "b".repeat(64)}]});
    let residents = ps(body.to_string().as_bytes()).unwrap();
    let mut models = [Model { name: "x".into(), digest: Some(HEX.into()), ..Model::default() }];
    apply(&mut models, &residents);
    assert_eq!(models[0].loaded, Some(false));
}

#[test]
fn details_come_from_show() {
    let body = json!({"capabilities": ["completion", "vision"], "model_info": {
        "general.architecture": "gemma3", "gemma3.context_length": 131_072, "gemma3.vision.context_length": 1
    }});
    let got = shown(body.to_string().as_bytes());
    assert_eq!(got.capabilities, [Capability::Completion, Capability::Vision]);
    assert_eq!(got.context_tokens, Some(131_072));
    let old = json!({"model_info": {"general.architecture": "bert", "bert.pooling_type": 1, "bert.context_length": 512}});
    let got = shown(old.to_string().as_bytes());
    assert_eq!((got.capabilities, got.context_tokens), (vec![Capability::Embedding], Some(512)));
    assert_eq!(shown(b"[]"), Shown::default());
}

#[test]
fn only_a_version_in_text_is_ollama() {
    let answer = |body: &str| Answer { status: 200, body: body.into(), ..Answer::default() };
    assert_eq!(version(&answer(r#"{"version":"0.30.0"}"#)).as_deref(), Some("0.30.0"));
    for body in [
        r#"{"error":"Unexpected endpoint or method. (GET /api/version)"}"#,
        r#"{"version":1}"#,
        "{}",
        "<html>",
    ] {
        assert_eq!(version(&answer(body)), None, "{body}");
    }
}
