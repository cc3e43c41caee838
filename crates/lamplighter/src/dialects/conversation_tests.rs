//! Which bodies belong together, and which do not.

use super::*;
use crate::dialects::envelope;
use serde_json::{Value, json};
use std::hash::DefaultHasher;

fn hash_of(body: &Value) -> Option<u64> {
    let body = body.to_string();
    let marks = envelope::read(body.as_bytes(), &["model"]).unwrap().marks;
    let mut hasher = DefaultHasher::new();
    let known = marks.known(body.as_bytes())?;
    known.hash(&mut hasher).then(|| hasher.finish())
}

fn chat(messages: Value) -> Value {
    json!({ "model": "m", "messages": messages })
}

fn system(text: &str) -> Value {
    json!({ "role": "system", "content": text })
}

fn user(text: &str) -> Value {
    json!({ "role": "user", "content": text })
}

#[test]
fn a_conversation_is_known_by_its_first_user_message() {
    let first = hash_of(&chat(json!([system("be kind"), user("hi")])));
    let second =
        json!([system("be kind"), user("hi"), { "role": "assistant", "content": "hello" }, user("and now?")]);
    assert!(first.is_some());
    assert_eq!(first, hash_of(&chat(second)));
    assert_ne!(first, hash_of(&chat(json!([system("be kind"), user("ho")]))));
    let long = "You are an agent. ".repeat(5_000);
    let (one, other) = (
        chat(json!([system(&long), user("fix the tests")])),
        chat(json!([system(&long), user("write docs")])),
    );
    assert!(
        hash_of(&one).is_some() && hash_of(&one) != hash_of(&other),
        "one system prompt, two conversations"
    );
    assert_eq!(hash_of(&chat(json!([system(&long)]))), None, "never the system prompt alone");
}

#[test]
fn the_form_of_the_message_does_not_matter() {
    let plain = hash_of(&chat(json!([user("hi")])));
    for same in [
        chat(json!([{ "content": "hi", "role": "user" }])),
        chat(
            json!([{ "role": "user", "content": [{ "type": "text", "text": "hi", "cache_control": { "type": "ephemeral" } }] }]),
        ),
        json!({ "model": "m", "input": "hi" }),
        json!({ "model": "m", "input": [{ "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "hi" }] }] }),
        json!({ "model": "m", "system": "anthropic", "messages": [user("hi")], "metadata": { "user_id": "somebody" } }),
    ] {
        assert_eq!(hash_of(&same), plain, "{same}");
    }
    for other in [
        chat(json!([])),
        chat(json!([user("")])),
        chat(Value::Null),
        json!({ "model": "m", "prompt": "hi" }),
        chat(json!(["hi", 7])),
    ] {
        assert_eq!(hash_of(&other), None, "{other}");
    }
}

#[test]
fn the_end_of_a_long_message_counts_and_its_middle_does_not() {
    let agent = |what: &str| chat(json!([user(&format!("{}{what}", "<reminder>".repeat(1_000)))]));
    assert_ne!(hash_of(&agent("fix it")), hash_of(&agent("test it")));
    let blocks = |what: &str| {
        let reminder = json!({ "type": "text", "text": "x".repeat(10_000) });
        chat(json!([{ "role": "user", "content": [reminder, { "type": "text", "text": what }] }]))
    };
    assert_ne!(hash_of(&blocks("fix it")), hash_of(&blocks("test it")));
    let picture =
        json!({ "type": "image_url", "image_url": { "url": "data:".to_owned() + &"A".repeat(1 << 20) } });
    let after =
        chat(json!([{ "role": "user", "content": [{ "type": "text", "text": "what is it" }, picture] }]));
    assert!(hash_of(&after).is_some());
}

#[test]
fn a_clients_own_name_goes_first() {
    let with = |key: &str, value: Value| {
        let mut body = chat(json!([user("hi")]));
        body[key] = value;
        hash_of(&body)
    };
    let plain = hash_of(&chat(json!([user("hi")])));
    assert_ne!(with("prompt_cache_key", json!("a")), plain);
    assert_ne!(with("prompt_cache_key", json!("a")), with("prompt_cache_key", json!("b")));
    assert_ne!(with("previous_response_id", json!("resp_1")), plain);
    let session = |id: &str| with("metadata", json!({ "user_id": format!("user_ab_account__session_{id}") }));
    assert!(session("1") != plain && session("1") != session("2"));
    for nothing in
        [Value::Null, json!(""), json!(7), json!({ "user_id": 7 }), json!({ "user_id": "somebody" })]
    {
        assert_eq!(with("metadata", nothing.clone()), plain, "{nothing}");
        assert_eq!(with("prompt_cache_key", nothing.clone()), plain, "{nothing}");
    }
}

#[test]
fn what_is_no_list_of_messages_is_refused_as_ever() {
    for (body, why) in [
        (r#"{"model":"a","messages":[{"role":"user"]}"#, "brackets"),
        (r#"{"model":"a","messages":[1 2]}"#, "missing"),
        (r#"{"model":"a","messages":[1,]}"#, "value expected"),
        (r#"{"model":"a","messages":[1}"#, "brackets"),
        (r#"{"model":"a","messages":[{"role":"user"}"#, "ends"),
    ] {
        let refused = envelope::read(body.as_bytes(), &["model"]).unwrap_err();
        assert!(refused.message().contains(why), "{body}: {}", refused.message());
    }
}
