//! Which node answers, and what happens when one cannot: through the HTTP door, with simulated nodes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_core::{node::State, snapshot::Snapshot};
use lamplighter_simnode::{Fault, FaultRule, On, Profile, SimModel, SimNode};
use lamplighter_tests::{
    house::{Gateway, config},
    peers::Hole,
};
use reqwest::Response;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

async fn start(profile: Profile) -> SimNode {
    SimNode::start(profile).await.unwrap()
}

/// An Ollama node with one model `m`.
async fn ollama(name: &str, loaded: bool) -> SimNode {
    start(Profile::ollama(name).model(SimModel::new("m").loaded(loaded))).await
}

fn node_of(answer: &Response) -> String {
    assert_eq!(answer.status(), 200);
    answer.headers()["x-lamplighter-node"].to_str().unwrap().to_owned()
}

async fn refused(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Names in `GET /v1/models`.
async fn listed(gateway: &Gateway) -> Vec<String> {
    let url = format!("{}/v1/models", gateway.url);
    let list: Value = gateway.http.get(url).send().await.unwrap().json().await.unwrap();
    list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

/// Names of a node's models in the snapshot.
fn models_on(snapshot: &Snapshot, node: &str) -> Vec<String> {
    let node = snapshot.nodes.iter().find(|shown| shown.name == node).unwrap();
    node.models.iter().map(|model| model.name.clone()).collect()
}

/// Loaded goes before free, whatever the order of the configuration.
#[tokio::test(flavor = "multi_thread")]
async fn loaded_first() {
    let (cold, warm) = (ollama("cold", false).await, ollama("warm", true).await);
    let gateway = Gateway::over(&[&cold, &warm], "").await;
    let answer = gateway.chat("m", false).send().await.unwrap();
    assert_eq!(answer.headers()["x-lamplighter-node"], "warm");
    assert_eq!(answer.headers()["x-lamplighter-reason"], "loaded, with a free place");
    assert_eq!((cold.stats().generations_started, warm.stats().generations_started), (0, 1));
}

/// Among equals the order of the configuration decides, unless a priority says otherwise; what is loaded goes before both.
#[tokio::test(flavor = "multi_thread")]
async fn priority_then_config_order() {
    let (first, second) = (ollama("first", false).await, ollama("second", false).await);
    let gateway = Gateway::over(&[&first, &second], "").await;
    assert_eq!(node_of(&gateway.chat("m", false).send().await.unwrap()), "first");

    let (first, second, third) =
        (ollama("first", false).await, ollama("second", false).await, ollama("third", true).await);
    let text = config(&[(&first, ""), (&second, "priority = 10"), (&third, "priority = -1")], "");
    let gateway = Gateway::start(&text).await;
    gateway.until_up(3).await;
    assert_eq!(node_of(&gateway.chat("m", false).send().await.unwrap()), "third");
    third.kill().await;
    assert_eq!(node_of(&gateway.chat("m", false).send().await.unwrap()), "second", "found out by asking");
}

/// A free place elsewhere goes before waiting for a loaded model.
#[tokio::test(flavor = "multi_thread")]
async fn a_free_place_goes_before_a_full_one() {
    let (warm, cold) = (ollama("warm", true).await, ollama("cold", false).await);
    let gateway = Gateway::over(&[&warm, &cold], "").await;
    warm.set_fault(FaultRule::from(Fault::Gray).on(On::Generation));
    let held = gateway.chat("m", true).send();
    let held = tokio::spawn(held);
    gateway.until(|s| s.nodes[0].active == 1).await;
    assert_eq!(node_of(&gateway.chat("m", false).send().await.unwrap()), "cold");
    held.abort();
}

/// `model@node` and the header choose the node; the node sees the bare name.
#[tokio::test(flavor = "multi_thread")]
async fn pins() {
    let (warm, cold) = (ollama("warm", true).await, ollama("cold", false).await);
    let gateway = Gateway::over(&[&warm, &cold], "[[alias]]\nname = \"here\"\nmodels = [\"m@cold\"]\n").await;
    let by_name = gateway.chat("m@cold", false).send().await.unwrap();
    assert_eq!(by_name.headers()["x-lamplighter-reason"], "pinned to this node");
    assert_eq!(node_of(&by_name), "cold");
    // Probes go on in between.
    let last = || cold.seen().into_iter().rfind(|seen| seen.path == "/v1/chat/completions").unwrap();
    let seen = last();
    assert_eq!(serde_json::from_slice::<Value>(&seen.body).unwrap()["model"], "m");
    let by_header = gateway.chat("m", false).header("x-lamplighter-node", "cold").send().await.unwrap();
    assert_eq!(node_of(&by_header), "cold");
    assert!(last().headers.get("x-lamplighter-node").is_none());
    assert_eq!(node_of(&gateway.chat("here", false).send().await.unwrap()), "cold");
    assert_eq!(warm.stats().generations_started, 0);
}

/// Models are called `name@word` too. Only where a node is called so, and no model, it is a pin.
#[tokio::test(flavor = "multi_thread")]
async fn a_models_name_may_look_like_a_pin() {
    let names = ["qwen3-4b@4bit", "qwen3-4b@8bit", "qwen3-4b@nas", "qwen3-4b"];
    let add = |profile: Profile, name: &str| profile.model(SimModel::new(name).loaded(true));
    let studio = start(names.into_iter().fold(Profile::lmstudio("studio"), add)).await;
    let nas = start(Profile::ollama("nas").model(SimModel::new("other").loaded(true))).await;
    let small = "[[alias]]\nname = \"small\"\nmodels = [\"qwen3-4b@4bit\", \"qwen3-4b@studio\"]\n";
    let gateway = Gateway::over(&[&studio, &nas], small).await;
    let asked = async |gateway: &Gateway, name: &str| {
        let answer = gateway.chat(name, false).send().await.unwrap();
        let (status, node) = (answer.status().as_u16(), node_of(&answer));
        assert_eq!((status, node.as_str()), (200, "studio"), "{name}: {}", answer.text().await.unwrap());
        let seen = studio.seen().into_iter().rfind(|seen| seen.path == "/v1/chat/completions").unwrap();
        serde_json::from_slice::<Value>(&seen.body).unwrap()["model"].as_str().unwrap().to_owned()
    };
    for name in names {
        assert_eq!(asked(&gateway, name).await, name, "as it is listed");
    }
    assert_eq!(asked(&gateway, "qwen3-4b@studio").await, "qwen3-4b", "a pin");
    assert_eq!(asked(&gateway, "qwen3-4b@4bit@studio").await, "qwen3-4b@4bit", "both");
    assert_eq!(asked(&gateway, "small").await, "qwen3-4b@4bit");
    let (status, _) = refused(gateway.chat("other@4bit", false)).await;
    assert_eq!(status, 404);
    let any = "[[alias]]\nname = \"qwen*\"\nmodels = [\"qwen3-4b@8bit\"]\n";
    let gateway = Gateway::over(&[&studio], any).await;
    assert_eq!(asked(&gateway, "qwen-anything").await, "qwen3-4b@8bit");
}

/// A pinned node that cannot serve is an error with the reason, never a fallback.
#[tokio::test(flavor = "multi_thread")]
async fn a_pin_that_cannot_be_met_is_an_error() {
    let able = ollama("able", true).await;
    let other = start(Profile::ollama("other").model(SimModel::new("else"))).await;
    let gone = ollama("gone", true).await;
    let alias = "[[alias]]\nname = \"pinned\"\nmodels = [\"m@gone\"]\n";
    let gateway = Gateway::over(&[&able, &other, &gone], alias).await;
    gone.kill().await;
    // A request that finds it gone has it looked at once.
    assert_eq!(gateway.chat("m@gone", false).send().await.unwrap().status(), 503);
    gateway.until(|s| !s.nodes[2].state.takes_requests()).await;
    let started = able.stats().generations_started;
    for (request, why) in [
        (gateway.chat("m", false).header("x-lamplighter-node", "nobody"), "there is no node of that name"),
        (gateway.chat("m@other", false), "does not have it"),
        (gateway.chat("m", false).header("x-lamplighter-node", "other"), "does not have it"),
        // Now and then one request tries it against belief, and meets what there is.
        (gateway.chat("m@gone", true), "down|gone: no connection"),
        (gateway.chat("m", true).header("x-lamplighter-node", "gone"), "down|gone: no connection"),
        (gateway.chat("pinned", false), "down|gone: no connection"),
    ] {
        let (status, body) = refused(request).await;
        assert_eq!(status, 503, "{body}");
        let message = body["error"]["message"].as_str().unwrap();
        assert!(why.split('|').any(|why| message.contains(why)), "{why}: {message}");
    }
    let (_, body) = refused(gateway.chat("m@other", false)).await;
    assert_eq!(body["error"]["code"], "pinned_node_unavailable");
    let (status, body) = refused(gateway.chat("m@nobody", false)).await;
    assert_eq!((status, &body["error"]["code"]), (404, &json!("model_not_found")));
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains("no node lists it, and there is no node 'nobody'"), "{message}");
    assert_eq!(able.stats().generations_started, started, "nobody else was asked");
}

/// A later model of an alias only when nobody can serve an earlier one: a busy one is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn alias_order() {
    let big = start(Profile::ollama("big").model(SimModel::new("large").loaded(true))).await;
    let little = start(Profile::ollama("little").model(SimModel::new("small").loaded(true))).await;
    let alias = "[[alias]]\nname = \"coder\"\nmodels = [\"large\", \"small\"]\n";
    let gateway = Gateway::over(&[&little, &big], alias).await;
    let answer = gateway.chat("coder", false).send().await.unwrap();
    assert_eq!(answer.headers()["x-lamplighter-model"], "large");
    assert_eq!(node_of(&answer), "big");

    // Somebody else holds the only place: the next one waits for it, and is not served by the small model.
    big.set_fault(FaultRule::from(Fault::Gray).on(On::Generation).times(1));
    let holder = tokio::spawn(gateway.chat("coder", true).bearer_auth("ann").send());
    gateway.until(|s| s.nodes[1].active == 1).await;
    let waiter = tokio::spawn(gateway.chat("coder", false).bearer_auth("bob").send());
    gateway.until(|s| s.nodes[1].waiting == 1).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiter.is_finished());
    holder.abort();
    assert_eq!(node_of(&waiter.await.unwrap().unwrap()), "big");
    assert_eq!(little.stats().generations_started, 0);

    big.kill().await;
    let answer = gateway.chat("coder", false).send().await.unwrap();
    assert_eq!(
        (answer.headers()["x-lamplighter-model"].to_str().unwrap(), node_of(&answer).as_str()),
        ("small", "little")
    );
}

/// A wildcard catches every name that fits; an alias hides a model of its name.
#[tokio::test(flavor = "multi_thread")]
async fn wildcard_and_hiding_aliases() {
    let profile = Profile::ollama("node").model(SimModel::new("m:latest")).model(SimModel::new("other:7b"));
    let node = start(profile).await;
    let aliases = "[[alias]]\nname = \"claude-*\"\nmodels = [\"m\"]\n[[alias]]\nname = \"m\"\nmodels = [\"other:7b@node\"]\n";
    let gateway = Gateway::over(&[&node], aliases).await;
    let model_sent = || {
        let seen = node.seen().into_iter().rfind(|seen| seen.method == "POST").unwrap();
        serde_json::from_slice::<Value>(&seen.body).unwrap()["model"].clone()
    };
    assert_eq!(node_of(&gateway.chat("m", false).send().await.unwrap()), "node");
    assert_eq!(model_sent(), "other:7b", "the alias hides the model");
    let body = json!({ "model": "claude-opus-5", "max_tokens": 5, "messages": [{ "role": "user", "content": "hi" }] });
    assert_eq!(gateway.post("/v1/messages", &body).send().await.unwrap().status(), 200);
    assert_eq!(model_sent(), "other:7b", "an alias may name an alias");
    assert_eq!(listed(&gateway).await, ["m", "other:7b"], "listed once, as the alias; patterns are not");
    let (status, _) = refused(gateway.chat("claud", false)).await;
    assert_eq!(status, 404);
}

/// `x` is `x:latest`. Where the node knows that itself it gets the client's own words, and echoes them.
#[tokio::test(flavor = "multi_thread")]
async fn latest_is_the_bare_name() {
    let ollama = start(Profile::ollama("ollama").model(SimModel::new("llama3:latest"))).await;
    let openai = start(Profile::openai("openai").model(SimModel::new("qwen"))).await;
    let gateway = Gateway::over(&[&ollama, &openai], "").await;
    for (asked, node, sent) in [
        ("llama3", "ollama", "llama3"),
        ("llama3:latest", "ollama", "llama3:latest"),
        ("qwen", "openai", "qwen"),
        ("qwen:latest", "openai", "qwen"),
    ] {
        let answer = gateway.chat(asked, false).send().await.unwrap();
        assert_eq!(node_of(&answer), node, "{asked}");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["model"], sent, "what the node was asked for, for {asked}");
    }
}

/// A model that only embeds is not offered for chat, even when it is loaded and first.
#[tokio::test(flavor = "multi_thread")]
async fn embeddings_only_models_do_not_chat() {
    let embeds = SimModel::new("m").capabilities(["embedding"]).loaded(true);
    let embedder = start(Profile::ollama("embedder").model(embeds)).await;
    let gateway = Gateway::over(&[&embedder], "").await;
    let (status, body) = refused(gateway.chat("m", false)).await;
    assert_eq!(status, 503);
    assert!(body["error"]["message"].as_str().unwrap().contains("embeddings only"), "{body}");
    let embed = gateway.post("/v1/embeddings", &json!({ "model": "m", "input": "hi" })).send().await.unwrap();
    assert_eq!(node_of(&embed), "embedder");

    let chatter = ollama("chatter", false).await;
    let gateway = Gateway::over(&[&embedder, &chatter], "").await;
    assert_eq!(node_of(&gateway.chat("m", false).send().await.unwrap()), "chatter");
}

/// A node that no longer has a model it listed is passed over, and the model leaves its list: in each engine's own words.
#[tokio::test(flavor = "multi_thread")]
async fn drift_404() {
    let engines = [
        (Profile::ollama("forgetful"), 404),
        (Profile::vllm("forgetful"), 404),
        (Profile::llamacpp_router("forgetful"), 400),
        (Profile::openai("forgetful"), 404),
    ];
    futures::future::join_all(engines.map(|(profile, status)| drifts(profile, status))).await;
}

async fn drifts(profile: Profile, status: u16) {
    let engine = profile.engine;
    let models = ["m", "only"].map(|name| SimModel::new(name).loaded(true));
    let forgetful = start(models.into_iter().fold(profile, Profile::model)).await;
    let steady = ollama("steady", false).await;
    let nodes = [(&forgetful, "priority = 5\nmax_concurrent = 8"), (&steady, "")];
    let gateway = Gateway::start(&config(&nodes, "")).await;
    gateway.until_up(2).await;
    assert_eq!(node_of(&gateway.chat("m", false).send().await.unwrap()), "forgetful", "{engine:?}");
    // Probes that begin from now on bring no news: requests must find it out themselves.
    forgetful.set_fault(FaultRule::from(Fault::Silent { ms: None }).on(On::Probes));
    forgetful.set_models(vec![SimModel::new("third")]);
    let answer = gateway.chat("m", false).send().await.unwrap();
    assert_eq!(node_of(&answer), "steady", "{engine:?}");
    let gone = gateway.chat("only", false).send().await.unwrap();
    assert_eq!(gone.status(), 404, "{engine:?}");
    let text = gone.text().await.unwrap();
    assert!(
        text.contains("'only' not found") && text.contains("Did you mean m?"),
        "what there is now: {text}"
    );
    let posts = forgetful.seen().into_iter().filter(|seen| seen.method == "POST");
    let statuses: Vec<_> = posts.filter_map(|seen| seen.status).collect();
    assert_eq!(statuses[statuses.len() - 2..], [status, status], "{engine:?} was asked, and said so");
    let snapshot = gateway.until(|s| models_on(s, "forgetful").is_empty()).await;
    assert_eq!(snapshot.nodes[0].state, State::Up, "{engine:?}");
    assert_eq!(models_on(&snapshot, "steady"), ["m"]);
    assert_eq!(listed(&gateway).await, ["m"], "{engine:?}");
    forgetful.clear_fault();
    gateway.until(|s| models_on(s, "forgetful") == ["third"]).await;
}

/// A node that does not speak the caller's dialect: a clear error, and its models are not in that dialect's lists.
#[tokio::test(flavor = "multi_thread")]
async fn a_dialect_that_nobody_speaks() {
    let openai = start(Profile::openai("openai").model(SimModel::new("m"))).await;
    let ollama = start(Profile::ollama("ollama").model(SimModel::new("n"))).await;
    let gateway = Gateway::over(&[&openai, &ollama], "[[alias]]\nname = \"alias\"\nmodels = [\"m\"]\n").await;
    let chat = json!({ "model": "m", "max_tokens": 5, "messages": [{ "role": "user", "content": "hi" }] });
    let (status, body) = refused(gateway.post("/api/chat", &chat)).await;
    assert_eq!(status, 400);
    let message = body["error"].as_str().expect("Ollama's shape");
    assert!(
        message.contains("do not speak Ollama's API") && message.contains("They speak OpenAI's API"),
        "{message}"
    );
    let (status, body) = refused(gateway.post("/v1/messages", &chat)).await;
    assert_eq!((status, body["error"]["type"].as_str()), (400, Some("invalid_request_error")), "{body}");
    let (status, body) =
        refused(gateway.post("/v1/responses", &json!({ "model": "m", "input": "hi" }))).await;
    assert_eq!((status, body["error"]["code"].as_str()), (400, Some("dialect_not_spoken")));
    assert_eq!(openai.stats().generations_started, 0);

    let get = async |path: &str| -> Value {
        let request =
            gateway.http.get(format!("{}{path}", gateway.url)).header("anthropic-version", "2023-06-01");
        request.send().await.unwrap().json().await.unwrap()
    };
    assert_eq!(listed(&gateway).await, ["alias", "m", "n"]);
    let tags: Vec<Value> =
        get("/api/tags").await["models"].as_array().unwrap().iter().map(|m| m["name"].clone()).collect();
    assert_eq!(tags, ["n"]);
    let ids: Vec<Value> =
        get("/v1/models").await["data"].as_array().unwrap().iter().map(|m| m["id"].clone()).collect();
    assert_eq!(ids, ["n"], "in Anthropic's list");
    assert_eq!(get("/v1/models/m").await["type"], "error");
}

/// A node that refuses us is shown as such and left alone; another one answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_401_is_a_state_and_no_answer() {
    let (strict, open) = (ollama("strict", true).await, ollama("open", false).await);
    let gateway = Gateway::over(&[&strict, &open], "").await;
    strict.set_fault(Fault::Status { status: 401, retry_after: None, body: None });
    assert_eq!(node_of(&gateway.chat("m", false).send().await.unwrap()), "open");
    let snapshot = gateway.until(|s| s.nodes[0].state == State::Refusing).await;
    assert!(snapshot.nodes[0].why.as_deref().unwrap().contains("api_key"), "{:?}", snapshot.nodes[0].why);
    let asked = strict.seen().iter().filter(|seen| seen.method == "POST").count();
    assert_eq!(node_of(&gateway.chat("m", false).send().await.unwrap()), "open");
    assert_eq!(strict.seen().iter().filter(|seen| seen.method == "POST").count(), asked, "asked no more");

    open.kill().await;
    let (status, body) = refused(gateway.chat("m", false)).await;
    assert_eq!(status, 503, "never the node's 401, which would be about our key: {body}");
}

/// Ten dead nodes, closed ports and machines that never say a word: lists come from memory, at once, and nobody is asked for them.
#[tokio::test(flavor = "multi_thread")]
async fn ten_dead_nodes_cost_the_lists_nothing() {
    let alive = ollama("alive", true).await;
    let mut dead = String::new();
    let mut holes = Vec::new();
    for at in 0..5 {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let hole = Hole::open().await;
        for (kind, addr) in [("closed", closed), ("hole", hole.addr)] {
            dead.push_str(&format!("[[node]]\nname = \"{kind}-{at}\"\nurl = \"http://{addr}\"\n"));
        }
        holes.push(hole);
    }
    let gateway = Gateway::start(&config(&[(&alive, "")], &dead)).await;
    let lists = ["/v1/models", "/api/tags", "/api/ps", "/api/version", "/v1/models/m", "/"];
    let round = async || {
        let mut times = Vec::new();
        for path in lists {
            let began = Instant::now();
            let answer = gateway.http.get(format!("{}{path}", gateway.url)).send().await.unwrap();
            times.push((began.elapsed(), path, answer.status().as_u16()));
        }
        times
    };
    // From the first moment on, when nothing is known yet and every probe is still out.
    let first = round().await;
    gateway.until_up(1).await;
    let connects = || holes.iter().map(Hole::accepted).sum::<u64>() + alive.stats().connections_total;
    let mut times = first;
    let mut quiet_rounds = 0;
    // Probes go on in their own time: what counts are stretches of many lists without a single connection.
    for _ in 0..60 {
        let before = connects();
        for _ in 0..3 {
            times.extend(round().await);
        }
        quiet_rounds += u32::from(connects() == before);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        quiet_rounds >= 30,
        "only {quiet_rounds} of 60 stretches of {} lists were without a connection",
        3 * lists.len()
    );
    assert!(times.iter().skip(lists.len()).all(|(_, _, status)| *status == 200), "{times:?}");
    times.sort();
    let (median, worst) = (times[times.len() / 2].0, times[times.len() - 1].0);
    assert!(median <= Duration::from_millis(50), "median {median:?}");
    // A machine that is busy with other tests may hold one list up; a probe's 2 s must never be in it.
    assert!(worst < Duration::from_secs(1), "worst {worst:?}");
    assert_eq!(node_of(&gateway.chat("m", false).send().await.unwrap()), "alive");
}

/// R18: one name, two contents: told, once, and gone when it is mended.
#[tokio::test(flavor = "multi_thread")]
async fn r18_different_contents_under_one_name_are_told() {
    let digest = |c: &str| c.repeat(64);
    let model = |c: &str| SimModel::new("m").digest(digest(c)).loaded(true);
    let nas = SimNode::start(Profile::ollama("nas").model(model("a"))).await.unwrap();
    let gpu = SimNode::start(Profile::ollama("gpu").model(model("b"))).await.unwrap();
    let gateway = Gateway::over(&[&nas, &gpu], "").await;
    let told = gateway.until(|snapshot| snapshot.models.iter().any(|model| model.drift)).await;
    let problems: Vec<_> = told.problems.iter().filter(|problem| problem.code == "model_drift").collect();
    assert_eq!(problems.len(), 1, "{:#?}", told.problems);
    assert!(problems[0].message.contains("nas and gpu"), "{}", problems[0].message);
    nas.set_models(vec![model("b")]);
    let look = format!("{}/control/v1/look", gateway.url);
    gateway.http.post(look).bearer_auth(&gateway.token).send().await.unwrap();
    gateway.until(|snapshot| snapshot.problems.is_empty()).await;
}
