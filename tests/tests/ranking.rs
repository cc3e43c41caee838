//! Who goes first and why: conversations, contents, measured speed, and what `explain` says of it; through the HTTP door.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use futures::StreamExt;
use lamplighter_core::node::State;
use lamplighter_simnode::{Fault, FaultRule, On, Profile, SimModel, SimNode};
use lamplighter_tests::house::Gateway;
use reqwest::Response;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

async fn start(profile: Profile) -> SimNode {
    SimNode::start(profile).await.unwrap()
}

/// An Ollama node that has `m` in memory.
async fn ollama(name: &str) -> SimNode {
    start(Profile::ollama(name).model(SimModel::new("m").loaded(true))).await
}

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    assert_eq!(answer.status(), 200);
    answer.headers()[name].to_str().unwrap()
}

fn node_of(answer: &Response) -> String {
    header(answer, "x-lamplighter-node").to_owned()
}

/// Takes the only place of a node: a generation that says nothing until it is dropped.
struct Taken<'a> {
    gateway: &'a Gateway,
    node: &'a SimNode,
    request: JoinHandle<()>,
}

impl<'a> Taken<'a> {
    async fn of(gateway: &'a Gateway, node: &'a SimNode) -> Self {
        node.set_fault(FaultRule::from(Fault::Gray).on(On::Generation).times(1));
        let body = json!({ "model": format!("m@{}", node.name()), "stream": true,
            "messages": [{ "role": "user", "content": "take the place" }] });
        let request = gateway.post("/v1/chat/completions", &body).header("user-agent", "somebody else");
        let request = tokio::spawn(async move { drop(request.send().await) });
        let taken = Self { gateway, node, request };
        taken.until_active(1).await;
        taken
    }

    async fn until_active(&self, active: u32) {
        let name = self.node.name();
        self.gateway.until(|s| s.nodes.iter().any(|it| it.name == name && it.active == active)).await;
    }

    async fn give_back(self) {
        self.request.abort();
        self.until_active(0).await;
    }
}

/// One turn of a conversation, in one of the dialects. `turns` alternate between the user and the model.
async fn turn(gateway: &Gateway, path: &str, turns: &[&str]) -> Response {
    let roles = ["user", "assistant"].into_iter().cycle();
    let mut messages: Vec<Value> =
        roles.zip(turns).map(|(role, text)| json!({ "role": role, "content": text })).collect();
    // Every conversation begins with the same long instructions.
    let instructions = "You are a helpful agent. ".repeat(400);
    let mut body = json!({ "model": "m", "max_tokens": 5, "stream": false });
    match path {
        "/v1/messages" => body["system"] = json!(instructions),
        _ => messages.insert(0, json!({ "role": "system", "content": instructions })),
    }
    body["messages"] = json!(messages);
    gateway.post(path, &body).send().await.unwrap()
}

/// A conversation goes on where it began, also when the place that it did not get then is free again. Another one that begins with
/// the same system prompt is not drawn along.
#[tokio::test(flavor = "multi_thread")]
async fn affinity_of_openai_anthropic_and_ollama_conversations() {
    let (first, second) = (ollama("first").await, ollama("second").await);
    let gateway = Gateway::over(&[&first, &second], "").await;
    for path in ["/v1/chat/completions", "/v1/messages", "/api/chat"] {
        let taken = Taken::of(&gateway, &first).await;
        assert_eq!(node_of(&turn(&gateway, path, &["fix the tests"]).await), "second", "{path}");
        taken.give_back().await;

        let again = turn(&gateway, path, &["fix the tests", "done", "and now the docs"]).await;
        assert_eq!(node_of(&again), "second", "{path}");
        assert_eq!(header(&again, "x-lamplighter-reason"), "this conversation was there before", "{path}");
        let other = turn(&gateway, path, &["write a poem"]).await;
        assert_eq!(node_of(&other), "first", "{path}: another conversation");

        // Its node is busy: nobody waits while another one is free.
        let taken = Taken::of(&gateway, &second).await;
        let began = Instant::now();
        let elsewhere = turn(&gateway, path, &["fix the tests", "done", "and the changelog"]).await;
        assert_eq!(node_of(&elsewhere), "first", "{path}");
        assert!(began.elapsed() < Duration::from_secs(10), "{path}: {:?}", began.elapsed());
        taken.give_back().await;
        let there = turn(&gateway, path, &["fix the tests", "done", "and the licence"]).await;
        assert_eq!(node_of(&there), "first", "{path}: it lives there now");
    }
}

/// What a client calls its conversation counts before how it begins: agents start many with the same words.
#[tokio::test(flavor = "multi_thread")]
async fn affinity_by_the_clients_own_name() {
    let (first, second) = (ollama("first").await, ollama("second").await);
    let gateway = Gateway::over(&[&first, &second], "").await;
    let ask = async |header: &str, session: &str| {
        node_of(&gateway.chat("m", false).header(header, session).send().await.unwrap())
    };
    let named = ["x-claude-code-session-id", "x-session-affinity", "session_id", "x-openwebui-chat-id"];
    let taken = Taken::of(&gateway, &first).await;
    for header in named {
        assert_eq!(ask(header, &format!("{header}-one")).await, "second");
    }
    taken.give_back().await;
    for header in named {
        assert_eq!(ask(header, &format!("{header}-one")).await, "second", "{header}");
        assert_eq!(ask(header, &format!("{header}-two")).await, "first", "{header}: the same words");
    }
    let keyed = async |key: &str| {
        let body = json!({ "model": "m", "prompt_cache_key": key, "messages": [{ "role": "user", "content": "hi" }] });
        node_of(&gateway.post("/v1/chat/completions", &body).send().await.unwrap())
    };
    let taken = Taken::of(&gateway, &first).await;
    assert_eq!(keyed("one").await, "second");
    taken.give_back().await;
    assert_eq!((keyed("one").await, keyed("two").await), ("second".into(), "first".into()));
}

/// An answer that is gone on from by its id is known only to the node that gave it.
#[tokio::test(flavor = "multi_thread")]
async fn affinity_of_a_response_that_goes_on() {
    let openai = |name: &str| Profile::openai(name).responses(true).model(SimModel::new("m"));
    let (first, second) = (start(openai("first")).await, start(openai("second")).await);
    let nodes = [(&first, "max_concurrent = 1"), (&second, "max_concurrent = 1")];
    let gateway = Gateway::start(&lamplighter_tests::house::config(&nodes, "")).await;
    gateway.until_up(2).await;
    for stream in [false, true] {
        let ask = async |input: &str, previous: Option<&str>| {
            let body =
                json!({ "model": "m", "input": input, "stream": stream, "previous_response_id": previous });
            let answer = gateway.post("/v1/responses", &body).send().await.unwrap();
            let node = node_of(&answer);
            let text = answer.text().await.unwrap();
            let id = text.split('"').find(|word| word.starts_with("resp_")).expect("an id").to_owned();
            (node, id)
        };
        let taken = Taken::of(&gateway, &first).await;
        let (node, id) = ask("hi", None).await;
        assert_eq!(node, "second");
        taken.give_back().await;
        let (node, next) = ask("and now", Some(&id)).await;
        assert_eq!(node, "second", "it goes on from {id}");
        assert_eq!(ask("and then", Some(&next)).await.0, "second");
        assert_eq!(ask("something else", None).await.0, "first");
    }
}

/// R18: one name, two contents: a conversation stays with the one that answered it. It waits for it, and changes only when the
/// node is gone.
#[tokio::test(flavor = "multi_thread")]
async fn r18_a_conversation_stays_on_one_digest() {
    let with = |name: &str, digit: &str| {
        Profile::ollama(name).model(SimModel::new("m").digest(digit.repeat(64)).loaded(true))
    };
    let (first, second) = (start(with("first", "a")).await, start(with("second", "b")).await);
    let gateway = Gateway::over(&[&first, &second], "").await;
    let path = "/v1/chat/completions";
    let taken = Taken::of(&gateway, &first).await;
    assert_eq!(node_of(&turn(&gateway, path, &["which one are you"]).await), "second");
    taken.give_back().await;

    let taken = Taken::of(&gateway, &second).await;
    let waits = turn(&gateway, path, &["which one are you", "b", "still"]);
    let released = async {
        gateway.until(|s| s.requests.iter().any(|request| request.ahead.is_some())).await;
        taken.give_back().await;
    };
    let (answer, ()) = tokio::join!(waits, released);
    assert_eq!(node_of(&answer), "second", "the first one was free, and is another model");
    assert_eq!(node_of(&turn(&gateway, path, &["somebody else"]).await), "first");

    second.kill().await;
    let answer = turn(&gateway, path, &["which one are you", "b", "and now"]).await;
    assert_eq!(node_of(&answer), "first", "better another one than none");
}

/// R09: a node that writes 0.2 tokens a second is no fault and is left alone, but the others go first from then on.
#[tokio::test(flavor = "multi_thread")]
async fn r09_a_slow_node_is_no_fault_and_others_go_first() {
    let (slow, quick) = (ollama("slow").await, ollama("quick").await);
    let gateway = Gateway::over(&[&slow, &quick], "").await;
    slow.set_fault(FaultRule::from(Fault::Rate { tok_per_s: 0.2 }).on(On::Generation));
    let began = Instant::now();
    let answer = gateway.chat("m", true).send().await.unwrap();
    assert_eq!(node_of(&answer), "slow", "the first in the configuration, while nobody knows better");
    let (mut events, mut body) = (0, answer.bytes_stream());
    while events < 4 {
        let chunk = body.next().await.expect("it goes on").unwrap();
        events += String::from_utf8_lossy(&chunk).matches("data: ").count();
    }
    assert!(began.elapsed() >= Duration::from_secs(10), "no stream is cut for being slow");
    drop(body);
    let snapshot = gateway.until(|s| s.nodes[0].active == 0).await;
    assert_eq!((snapshot.nodes[0].state, &snapshot.nodes[0].why), (State::Up, &None));
    assert!(snapshot.problems.is_empty(), "{:?}", snapshot.problems);

    let ask = async |text: &str| {
        let body = json!({ "model": "m", "messages": [{ "role": "user", "content": text }] });
        gateway.post("/v1/chat/completions", &body).send().await.unwrap()
    };
    for text in ["one", "two", "three"] {
        assert_eq!(node_of(&ask(text).await), "quick", "{text}");
    }
    let said: Value = gateway.control("explain?model=m").await.json().await.unwrap();
    let speed = |at: usize| {
        let rules = said["candidates"][at]["rules"].as_array().unwrap();
        rules.iter().find(|rule| rule["rule"] == "speed").unwrap()["value"].as_str().unwrap().to_owned()
    };
    assert_eq!(said["candidates"][1]["node"], "slow", "{said}");
    // The first event of four may be the role alone.
    assert!(["0.2 tok/s", "0.3 tok/s"].contains(&speed(1).as_str()), "{said}");
    assert_eq!(said["candidates"][0]["rule"], "speed", "{said}");
}

/// Every rule's value for every candidate, and which one decided; for programs and for people.
#[tokio::test(flavor = "multi_thread")]
async fn explain_prints_the_ranking() {
    let cold = |name: &str| Profile::ollama(name).model(SimModel::new("m"));
    let (shed, warm, nas) = (start(cold("shed")).await, ollama("warm").await, start(cold("nas")).await);
    let nodes = [(&shed, ""), (&warm, ""), (&nas, "priority = 5\nmax_concurrent = 3")];
    let gateway = Gateway::start(&lamplighter_tests::house::config(&nodes, "")).await;
    gateway.until_up(3).await;
    let said: Value = gateway.control("explain?model=m").await.json().await.unwrap();
    let candidates = said["candidates"].as_array().unwrap();
    let told: Vec<[&str; 3]> = candidates
        .iter()
        .map(|it| ["node", "rule", "reason"].map(|field| it[field].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ["warm", "loaded", "loaded, with a free place"],
            ["nas", "priority", "a higher priority"],
            ["shed", "only", "a free place"]
        ]
    );
    let rules = |at: usize, field: &str| -> Vec<String> {
        let all = candidates[at]["rules"].as_array().unwrap().iter();
        all.map(|rule| rule[field].as_str().unwrap().to_owned()).collect()
    };
    let names =
        ["steady", "pinned", "session", "loaded", "free", "queue", "memory", "speed", "priority", "running"];
    assert_eq!(rules(0, "rule"), names);
    assert_eq!(
        rules(1, "value"),
        ["yes", "no", "no", "no", "yes", "0", "not known", "not measured", "5", "0 of 3"]
    );

    let (code, out, err) = gateway.cli(&["explain", "m"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    for line in [
        "1.  warm  m  loaded, with a free place  0 of 1 places taken",
        "2.  nas   m  a higher priority          0 of 3 places taken",
        "what each rule sees, the strongest first:",
        "    node  steady  pinned  session  loaded  free  queue  memory     speed         priority  running",
        "1.  warm  yes     no      no       yes *   yes   0      loaded     not measured  0         0 of 1",
        "2.  nas   yes     no      no       no      yes   0      not known  not measured  5 *       0 of 3",
    ] {
        assert!(out.contains(line), "it lacks {line:?}:\n{out}");
    }

    let body = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] });
    let session = |request: reqwest::RequestBuilder| request.header("x-session-id", "my session");
    let answer = session(gateway.post("/v1/chat/completions", &body)).send().await.unwrap();
    assert_eq!(node_of(&answer), "warm");
    let (_, out, _) = gateway.cli(&["explain", "m", "--session", "my session"]);
    assert!(out.contains("1.  warm  m  this conversation was there before"), "{out}");
}
