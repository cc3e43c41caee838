//! The official client libraries, unchanged, against simulated Ollama nodes: who answers, and what they raise.
//! `env $(cargo xtask tools) cargo test -p lamplighter-tests --test sdks`

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_simnode::{Fault, FaultRule, On, Profile, SimModel, SimNode};
use lamplighter_tests::{
    clients::{Call, Library, Python, Report},
    house::{Gateway, config},
};
use serde_json::{Value, json};
use std::time::Duration;

const SMALL: &str = "llama3.2:3b";
const LARGE: &str = "qwen3-coder:30b";
const EMBEDS: &str = "nomic-embed-text:latest";
const REST: &str = "[[alias]]\nname = \"coder\"\nmodels = [\"qwen3-coder:30b\", \"llama3.2:3b\"]\n";

/// Every call that makes text, of each library.
const OLLAMA_TEXT: &str = "chat,chat_stream,generate,generate_stream";
const OPENAI_TEXT: &str = "chat,chat_stream,completion,completion_stream,response,response_stream";
const ANTHROPIC_TEXT: &str = "message,message_stream,message_stream_helper";

/// A small machine that has its model in memory and embeds, and a large one.
async fn machines() -> (SimNode, SimNode) {
    let nas = Profile::ollama("nas")
        .model(SimModel::new(SMALL).loaded(true))
        .model(SimModel::new(EMBEDS).capabilities(["embedding"]));
    let workstation = Profile::ollama("workstation").version("0.29.1").model(SimModel::new(LARGE));
    (SimNode::start(nas).await.unwrap(), SimNode::start(workstation).await.unwrap())
}

/// The call was answered by `node`, with what its `model` says there.
fn assert_said(call: &Call, node: &str, model: &str) {
    assert!(call.ok, "{call:?}");
    assert!(call.text.starts_with(&format!("{node} answers with {model}:")), "{call:?}");
    assert_eq!(call.node(), Some(node), "{call:?}");
    assert_eq!(call.headers["x-lamplighter-model"], model, "{call:?}");
    if call.call.contains("stream") {
        assert!(call.more["pieces"].as_u64() > Some(10), "not as it came: {call:?}");
    }
}

fn models(report: &Report, call: &str) -> Vec<String> {
    let listed = report.call(call).more["models"].as_array().expect("a list");
    let mut names: Vec<_> = listed.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

async fn explained(gateway: &Gateway, model: &str, operation: &str) -> Value {
    let path = format!("explain?model={model}&operation={operation}");
    let told: Value = gateway.control(&path).await.json().await.unwrap();
    told["candidates"][0]["node"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ollama_client_sees_one_ollama_with_the_models_of_all() {
    let Some(python) = Python::or_skip("the_ollama_client_sees_one_ollama_with_the_models_of_all") else {
        return;
    };
    let (nas, workstation) = machines().await;
    let gateway = Gateway::over(&[&nas, &workstation], REST).await;
    let args = ["--embed-model", EMBEDS];
    let (small, large, alias) = tokio::join!(
        python.run(Library::Ollama, &gateway.url, SMALL, &args),
        python.run(Library::Ollama, &gateway.url, LARGE, &args),
        python.run(Library::Ollama, &gateway.url, "coder", &["--calls", OLLAMA_TEXT]),
    );
    for (report, node, model) in [(&small, "nas", SMALL), (&large, "workstation", LARGE)] {
        for call in OLLAMA_TEXT.split(',') {
            assert_said(report.call(call), node, model);
            assert_eq!(report.call(call).more["done"], true);
            assert_eq!(report.call(call).more["finish"], "stop");
        }
        let shown = report.call("show");
        assert_eq!((shown.ok, shown.node()), (true, Some(node)), "{shown:?}");
        assert_eq!(shown.more["capabilities"], json!(["completion", "tools"]));
        for (call, sizes) in [("embed", json!([8, 8])), ("embeddings", json!([8]))] {
            let embedded = report.call(call);
            assert_eq!((embedded.node(), &embedded.more["sizes"]), (Some("nas"), &sizes), "{embedded:?}");
        }
        assert_eq!(report.call("version").text, "0.29.1", "what holds on each of them");
        // Lists show an alias with a tag, as they show everything.
        assert_eq!(models(report, "tags"), ["coder:latest", SMALL, EMBEDS, LARGE]);
        assert!(models(report, "ps").contains(&SMALL.to_owned()));
        for operation in ["ollama_chat", "ollama_generate", "ollama_show"] {
            assert_eq!(explained(&gateway, model, operation).await, node);
        }
    }
    assert_eq!(explained(&gateway, EMBEDS, "ollama_embed").await, "nas");
    for call in OLLAMA_TEXT.split(',') {
        assert_said(alias.call(call), "workstation", LARGE);
    }
    assert!(models(&large, "ps").contains(&SMALL.to_owned()), "in memory on nas from the start");
}

#[tokio::test(flavor = "multi_thread")]
async fn openais_and_anthropics_clients_are_answered_by_ollamas() {
    let Some(python) = Python::or_skip("openais_and_anthropics_clients_are_answered_by_ollamas") else {
        return;
    };
    let (nas, workstation) = machines().await;
    let gateway = Gateway::over(&[&nas, &workstation], REST).await;
    for (asked, node, model) in
        [(SMALL, "nas", SMALL), (LARGE, "workstation", LARGE), ("coder", "workstation", LARGE)]
    {
        let chosen = format!("models,{OPENAI_TEXT},embeddings");
        let (openai_args, anthropic_args) = (
            ["--calls", chosen.as_str(), "--embed-model", EMBEDS],
            ["--calls", &format!("models,{ANTHROPIC_TEXT}")],
        );
        let (openai, anthropic) = tokio::join!(
            python.run(Library::Openai, &gateway.url, asked, &openai_args),
            python.run(Library::Anthropic, &gateway.url, asked, &anthropic_args),
        );
        OPENAI_TEXT.split(',').for_each(|call| assert_said(openai.call(call), node, model));
        ANTHROPIC_TEXT.split(',').for_each(|call| assert_said(anthropic.call(call), node, model));
        let embedded = openai.call("embeddings");
        assert_eq!((embedded.ok, embedded.node()), (true, Some("nas")), "{embedded:?}");
        assert_eq!(embedded.more["different"], true);
        assert_eq!(models(&openai, "models"), ["coder", SMALL, EMBEDS, LARGE]);
        assert_eq!(models(&anthropic, "models"), ["coder", SMALL, EMBEDS, LARGE]);
        for operation in ["chat_completions", "completions", "responses", "messages"] {
            assert_eq!(explained(&gateway, asked, operation).await, node);
        }
    }

    // Ollama has Anthropic's messages and does not count their tokens: that is said, by nobody's node.
    let report = python.run(Library::Anthropic, &gateway.url, SMALL, &["--calls", "count_tokens"]).await;
    let refused = report.call("count_tokens");
    assert!(refused.raised("BadRequestError"), "{refused:?}");
    assert_eq!(refused.node(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_model_raises_not_found_with_our_words() {
    let Some(python) = Python::or_skip("an_unknown_model_raises_not_found_with_our_words") else { return };
    let (nas, workstation) = machines().await;
    let gateway = Gateway::over(&[&nas, &workstation], REST).await;
    let openai = format!("{OPENAI_TEXT},embeddings");
    let anthropic = format!("{ANTHROPIC_TEXT},count_tokens");
    let ollama = format!("show,{OLLAMA_TEXT},embed,embeddings");
    let cases = [
        (Library::Openai, openai.as_str(), "NotFoundError"),
        (Library::Anthropic, anthropic.as_str(), "NotFoundError"),
        (Library::Ollama, ollama.as_str(), "ResponseError"),
    ];
    for (library, calls, kind) in cases {
        let report = python.run(library, &gateway.url, "nope:7b", &["--calls", calls]).await;
        for call in &report.calls {
            assert!(call.raised(kind), "{library:?}: {call:?}");
            assert_eq!(call.status, Some(404));
            assert!(call.error.contains("model 'nope:7b' not found: no node lists it"), "{call:?}");
        }
        assert_eq!(report.calls.len(), calls.split(',').count());
    }
    let mistyped = python.run(Library::Openai, &gateway.url, "llama3.2", &["--calls", "model,chat"]).await;
    assert!(mistyped.call("model").raised("NotFoundError"));
    assert!(mistyped.call("chat").error.contains(SMALL), "{:?}", mistyped.call("chat"));
    assert_eq!((nas.stats().generations_started, workstation.stats().generations_started), (0, 0));
}

/// R37: 200, some of the answer, and then a failure: no client returns a short answer as if it were whole.
#[tokio::test(flavor = "multi_thread")]
async fn r37_a_stream_that_is_cut_raises_in_each_client() {
    let Some(python) = Python::or_skip("r37_a_stream_that_is_cut_raises_in_each_client") else { return };
    let (nas, _) = machines().await;
    let gateway = Gateway::over(&[&nas], "").await;
    let streams = [
        (Library::Openai, "chat_stream,completion_stream,response_stream", "APIError"),
        (Library::Anthropic, "message_stream,message_stream_helper", "APIError"),
        (Library::Ollama, "chat_stream,generate_stream", "ResponseError"),
    ];
    let cuts = [
        (Fault::Close { after_events: 6 }, "nas ended its answer before it was complete"),
        (Fault::Rst { after_bytes: 1500 }, "nas broke the connection in the middle of its answer"),
        // The node's own words, passed on.
        (Fault::InBandError { after_events: 6 }, "the runner stopped: simulated fault"),
    ];
    for (fault, words) in cuts {
        nas.set_fault(FaultRule::from(fault.clone()).on(On::Generation));
        for (library, calls, kind) in streams {
            let report = python.run(library, &gateway.url, SMALL, &["--calls", calls]).await;
            for call in &report.calls {
                // A node's own `response.failed` is the end of a stream, and no exception in OpenAI's client.
                if fault == (Fault::InBandError { after_events: 6 }) && call.call == "response_stream" {
                    assert_eq!(call.more["finish"], "response.failed", "{call:?}");
                    continue;
                }
                assert!(call.raised(kind), "{fault:?} {library:?}: {call:?}");
                assert!(call.error.contains(words), "{fault:?} {library:?}: {call:?}");
            }
            assert_eq!(report.calls.len(), calls.split(',').count());
        }
    }
    nas.clear_fault();
    let whole = python.run(Library::Ollama, &gateway.url, SMALL, &["--calls", "chat_stream"]).await;
    assert_said(whole.call("chat_stream"), "nas", SMALL);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_room_says_when_to_come_back_and_the_client_does() {
    let Some(python) = Python::or_skip("a_full_room_says_when_to_come_back_and_the_client_does") else {
        return;
    };
    let (nas, _) = machines().await;
    let gateway = Gateway::start(&config(&[(&nas, "max_concurrent = 1")], "")).await;
    gateway.until_up(1).await;
    nas.set_fault(FaultRule::from(Fault::Gray).on(On::Generation));
    // One client holds the only place, 64 others fill the room: of a single one's 64, one would make room for a newcomer.
    let mut held = tokio::task::JoinSet::new();
    held.spawn(gateway.chat(SMALL, true).bearer_auth("first").send());
    gateway.until(|snapshot| snapshot.nodes[0].active == 1).await;
    for at in 0..64 {
        held.spawn(gateway.chat(SMALL, true).bearer_auth(format!("waiter-{at}")).send());
    }
    gateway.until(|snapshot| snapshot.nodes[0].waiting == 64).await;

    let before = gateway.snapshot().await.totals.requests;
    let chat = ["--calls", "chat"];
    let (openai, ollama, patient) = tokio::join!(
        python.run(Library::Openai, &gateway.url, SMALL, &chat),
        python.run(Library::Ollama, &gateway.url, SMALL, &chat),
        python.run(Library::Anthropic, &gateway.url, SMALL, &["--calls", "message", "--max-retries", "1"]),
    );
    for (report, call, kind) in [
        (&openai, "chat", "RateLimitError"),
        (&ollama, "chat", "ResponseError"),
        (&patient, "message", "RateLimitError"),
    ] {
        let refused = report.call(call);
        assert!(refused.raised(kind), "{refused:?}");
        assert_eq!(refused.status, Some(429), "{refused:?}");
        assert!(refused.error.contains("64 requests are waiting for nas already"), "{refused:?}");
    }
    assert_eq!(openai.call("chat").headers["retry-after"], "5");
    assert_ne!(openai.call("chat").headers.get("x-should-retry").map(String::as_str), Some("false"));
    // It came back once, and not before it was told to.
    let took_ms = patient.call("message").more["took_ms"].as_u64().unwrap();
    assert!(took_ms >= 4_500, "it came back after {took_ms} ms");
    assert_eq!(gateway.snapshot().await.totals.requests - before, 4);
    assert_eq!(nas.stats().generations_started, 1, "nobody who waited was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_asks_again_when_nothing_will_change_by_itself() {
    let Some(python) = Python::or_skip("nobody_asks_again_when_nothing_will_change_by_itself") else {
        return;
    };
    let (nas, workstation) = machines().await;
    let gateway = Gateway::over(&[&nas, &workstation], REST).await;
    workstation.kill().await;
    gateway.until(|snapshot| !snapshot.nodes[1].state.takes_requests()).await;
    let before = gateway.snapshot().await.totals.requests;
    let eager = |calls| ["--calls", calls, "--max-retries", "5"];
    for (model, words) in
        [(LARGE, "workstation is down"), ("llama3.2:3b@workstation", "pinned to workstation")]
    {
        let (openai_args, anthropic_args) = (eager("chat,chat_stream"), eager("message"));
        let (openai, anthropic) = tokio::join!(
            python.run(Library::Openai, &gateway.url, model, &openai_args),
            python.run(Library::Anthropic, &gateway.url, model, &anthropic_args),
        );
        for call in openai.calls.iter().chain(&anthropic.calls) {
            assert!(call.raised("APIStatusError"), "{call:?}");
            assert_eq!(call.status, Some(503), "{call:?}");
            assert_eq!(call.headers["x-should-retry"], "false", "{call:?}");
            assert!(call.error.contains(words), "{call:?}");
        }
    }
    // Three calls for each of two models, and not one retry.
    assert_eq!(gateway.snapshot().await.totals.requests - before, 6);
    // An alias has a second model, and goes on.
    let second = python.run(Library::Openai, &gateway.url, "coder", &["--calls", "chat"]).await;
    assert_said(second.call("chat"), "nas", SMALL);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_says_no_is_asked_once_and_its_own_words_are_passed_on() {
    let test = "a_node_that_says_no_is_asked_once_and_its_own_words_are_passed_on";
    let Some(python) = Python::or_skip(test) else { return };
    let (nas, _) = machines().await;
    let gateway = Gateway::over(&[&nas], "").await;
    // Later than anybody waits for here.
    let no = Fault::Status { status: 429, retry_after: Some("45".into()), body: None };
    nas.set_fault(FaultRule::from(no).on(On::Generation));
    let asked = nas.stats().paths.get("/v1/chat/completions").copied().unwrap_or(0);
    let report = python.run(Library::Openai, &gateway.url, SMALL, &["--calls", "chat"]).await;
    let refused = report.call("chat");
    assert!(refused.raised("RateLimitError"), "{refused:?}");
    assert_eq!((refused.node(), refused.headers["retry-after"].as_str()), (Some("nas"), "45"));
    assert_eq!(nas.stats().paths["/v1/chat/completions"] - asked, 1);
    // The same of a node that breaks: one request, one try on each node there is.
    let broken = Fault::Status { status: 500, retry_after: None, body: None };
    nas.set_fault(FaultRule::from(broken).on(On::Generation));
    let report = python.run(Library::Ollama, &gateway.url, SMALL, &["--calls", "chat"]).await;
    assert!(report.call("chat").raised("ResponseError"), "{:?}", report.call("chat"));
    assert_eq!(report.call("chat").status, Some(500));
    assert_eq!(nas.stats().paths["/api/chat"], 1);
    tokio::time::timeout(Duration::from_secs(5), nas.stop()).await.unwrap();
}
