//! What nodes tell of themselves changes, lacks half, differs, or is far too much: through the HTTP door.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_core::{node::State, snapshot::Snapshot};
use lamplighter_simnode::{Fault, FaultRule, On, Profile, SimModel, SimNode};
use lamplighter_tests::house::{Gateway, config};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

async fn start(profile: Profile) -> SimNode {
    SimNode::start(profile).await.unwrap()
}

fn models(names: &[&str]) -> Vec<SimModel> {
    names.iter().map(|name| SimModel::new(*name).loaded(true)).collect()
}

fn profile(profile: Profile, names: &[&str]) -> Profile {
    models(names).into_iter().fold(profile, Profile::model)
}

/// Looks at every node now.
async fn look(gateway: &Gateway) {
    let url = format!("{}/control/v1/look", gateway.url);
    gateway.http.post(url).bearer_auth(&gateway.token).send().await.unwrap();
}

async fn listed(gateway: &Gateway) -> Vec<String> {
    let url = format!("{}/v1/models", gateway.url);
    let list: Value = gateway.http.get(url).send().await.unwrap().json().await.unwrap();
    list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

/// R17: a node answers its probes while its list changes under load. Whoever asks for a model that was just removed is sent on
/// once, to a node that has it; when nobody has it any more, the answer is a 404 that names what there is.
#[tokio::test(flavor = "multi_thread")]
async fn r17_lists_change_under_load() {
    let fickle = start(profile(Profile::ollama("fickle").parallel(8), &["m", "stays"])).await;
    let steady = start(profile(Profile::ollama("steady").parallel(8), &["m"])).await;
    let lines = "max_concurrent = 8";
    let gateway = Arc::new(Gateway::start(&config(&[(&fickle, lines), (&steady, lines)], "")).await);
    gateway.until_up(2).await;
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let workers = (0..6).map(|worker| {
        let (gateway, stop, answered) = (gateway.clone(), stop.clone(), answered.clone());
        tokio::spawn(async move {
            for turn in 0.. {
                if stop.load(Relaxed) {
                    return;
                }
                let messages = json!([{ "role": "user", "content": format!("{worker}, {turn}") }]);
                let body = json!({ "model": "m", "stream": turn % 2 == 0, "messages": messages });
                let answer = gateway.post("/v1/chat/completions", &body).send().await.unwrap();
                assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
                answered.fetch_add(1, Relaxed);
            }
        })
    });
    let workers: Vec<_> = workers.collect();
    for _ in 0..8 {
        fickle.set_models(models(&["stays"]));
        tokio::time::sleep(Duration::from_millis(150)).await;
        fickle.set_models(models(&["m", "stays"]));
        look(&gateway).await;
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    stop.store(true, Relaxed);
    for worker in workers {
        worker.await.unwrap();
    }
    assert!(answered.load(Relaxed) > 20, "{answered:?}");
    // Sent on once: nobody was asked twice by one request.
    for node in [&fickle, &steady] {
        let mut ids: Vec<String> = node
            .seen()
            .iter()
            .filter(|seen| seen.path == "/v1/chat/completions")
            .filter_map(|seen| seen.request_id().map(str::to_owned))
            .collect();
        let all = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), all, "{}", node.name());
    }

    fickle.set_models(models(&["stays"]));
    look(&gateway).await;
    gateway.until(|s| s.models.iter().all(|model| model.name != "m" || model.nodes == ["steady"])).await;
    steady.set_fault(FaultRule::from(Fault::Silent { ms: None }).on(On::Probes));
    steady.set_models(vec![]);
    let gone = gateway.chat("m", false).send().await.unwrap();
    assert_eq!(gone.status(), 404);
    let text = gone.text().await.unwrap();
    assert!(text.contains("'m' not found") && text.contains("stays"), "{text}");
    // What the node said goes to the registry while the client reads its answer; the list waits for no probe.
    gateway.until(|s| s.models.iter().all(|model| model.name != "m")).await;
    assert_eq!(listed(&gateway).await, ["stays"], "the list is as new as that");
}

/// R19: engines whose routes answer in other ways than they used to, or not at all, lose what these told and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn r19_a_changed_api_costs_the_feature_and_not_the_node() {
    let ollama = start(profile(Profile::ollama("ollama"), &["a"])).await;
    let llama = start(profile(Profile::llamacpp("llama"), &["b"])).await;
    let vllm = start(profile(Profile::vllm("vllm"), &["c"])).await;
    let old = start(profile(Profile::ollama("old").old(true), &["d"])).await;
    let nodes = [&ollama, &llama, &vllm, &old];
    let gone = |path: &str| {
        FaultRule::from(Fault::Status { status: 404, retry_after: None, body: None })
            .on(On::Path(path.into()))
    };
    let gateway = Gateway::over(&nodes, "").await;
    assert_eq!(gateway.node("vllm").await.engine_waiting, Some(0));
    ollama.add_fault(gone("/api/ps"));
    ollama.add_fault(gone("/api/show"));
    llama.add_fault(gone("/props"));
    llama.add_fault(gone("/metrics"));
    llama.add_fault(gone("/slots"));
    vllm.add_fault(gone("/metrics"));
    vllm.add_fault(gone("/version"));
    old.add_fault(gone("/api/ps"));
    for _ in 0..3 {
        look(&gateway).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        for model in ["a", "b", "c", "d"] {
            assert_eq!(gateway.chat(model, true).send().await.unwrap().status(), 200, "{model}");
        }
    }
    let snapshot =
        gateway.until(|s| s.nodes.iter().all(|it| it.name != "vllm" || it.engine_waiting.is_none())).await;
    for node in &snapshot.nodes {
        assert_eq!((node.state, &node.why), (State::Up, &None), "{}", node.name);
    }
    assert_eq!(listed(&gateway).await, ["a", "b", "c", "d"]);
    let asked = |node: &SimNode, path: &str| node.seen().iter().filter(|seen| seen.path == path).count();
    let before = asked(&vllm, "/metrics");
    look(&gateway).await;
    gateway.chat("c", false).send().await.unwrap();
    assert_eq!(asked(&vllm, "/metrics"), before, "a route that is gone is not asked for at every look");
}

/// An Ollama node whose list is exactly this text.
async fn with_list(name: &str, list: &str) -> SimNode {
    let node = start(Profile::ollama(name)).await;
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        list.len()
    );
    let whole = [head.as_bytes(), list.as_bytes()].concat();
    node.set_fault(
        FaultRule::from(Fault::Verbatim { pieces: vec![whole], forever: false })
            .on(On::Path("/api/tags".into())),
    );
    node
}

/// T48: a list of too many models, with names that are too long, doubles, and digests that are none; and one without an end.
#[tokio::test(flavor = "multi_thread")]
async fn t48_a_bomb_of_models_is_cut_and_everything_goes_on() {
    let entry = |name: &str, digest: &str| format!(r#"{{"name":"{name}","size":7,"digest":"{digest}"}}"#);
    let (good, upper) = ("b".repeat(64), "A".repeat(64));
    let odd = [
        entry("good:1b", &good),
        entry(&"x".repeat(257), &good),
        entry("good:1b", &good),
        entry("path:1b", "sha256:../../../../etc/passwd"),
        entry("upper:1b", &upper),
        "7".to_owned(),
        r#"{"name":["nested"]}"#.to_owned(),
    ];
    let many = (0..60_000).map(|at| entry(&format!("model-{at}:7b"), &good));
    let list = odd.into_iter().chain(many).collect::<Vec<_>>().join(",");
    let wide = with_list("wide", &format!(r#"{{"models":[{list}]}}"#)).await;
    // Longer than what is read of any list.
    let endless = with_list("endless", &format!(r#"{{"models":["{}"]}}"#, "y".repeat(17 << 20))).await;
    let plain = start(profile(Profile::ollama("plain"), &["good:1b", "m"])).await;
    let gateway = Gateway::start(&config(&[(&wide, ""), (&endless, ""), (&plain, "")], "")).await;
    let state = |s: &Snapshot, at: usize| s.nodes[at].state;
    let snapshot = gateway
        .until(|s| {
            (state(s, 0), state(s, 1), state(s, 2)) == (State::Up, State::Refusing, State::Up)
                && !s.nodes[0].models.is_empty()
        })
        .await;
    // 10,000 are kept, and of these the double is one.
    let kept = &snapshot.nodes[0].models;
    assert_eq!(kept.len(), 9_999);
    let digest = |name: &str| kept.iter().find(|model| model.name == name).unwrap().digest.clone();
    assert_eq!((digest("path:1b"), digest("upper:1b")), (None, Some("a".repeat(64))));
    assert!(kept.iter().all(|model| model.name.len() <= 256));
    let why = snapshot.nodes[1].why.as_deref().unwrap();
    assert!(why.contains("longer than 16384 KiB"), "{why}");

    let mut best = Duration::MAX;
    for _ in 0..5 {
        let began = Instant::now();
        let url = format!("{}/v1/models", gateway.url);
        let list = gateway.http.get(url).send().await.unwrap().bytes().await.unwrap();
        best = best.min(began.elapsed());
        assert!(list.len() > 500_000, "{}", list.len());
    }
    assert_eq!(listed(&gateway).await.len(), 10_000, "with the one that only the plain node has");
    // The goal is 200 ms; this is a debug build on a busy machine.
    assert!(best < Duration::from_millis(1_000), "{best:?}");
    let began = Instant::now();
    for model in ["m", "good:1b@plain"] {
        assert_eq!(gateway.chat(model, false).send().await.unwrap().status(), 200, "{model}");
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let (code, out, err) = gateway.cli(&["status"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("9999 models"), "{out}");
    println!("a merged list of 10,000 models in {best:?}");
}

/// What can be asked for has an entry of its own, also when no list names it; and a wildcard takes over no model that is listed.
#[tokio::test(flavor = "multi_thread")]
async fn every_name_that_is_answered_can_be_looked_up() {
    let nas = start(profile(Profile::ollama("nas"), &["gpt-oss:20b", "gpt-oss:120b", "m"])).await;
    let aliases = "[[alias]]\nname = \"gpt-*\"\nmodels = [\"gpt-oss:20b\"]\n[[alias]]\nname = \"coder\"\nmodels = [\"m\"]\n[[alias]]\nname = \"ghost\"\nmodels = [\"gone:1b\"]\n";
    let gateway = Gateway::over(&[&nas], aliases).await;
    assert_eq!(listed(&gateway).await, ["coder", "gpt-oss:120b", "gpt-oss:20b", "m"]);
    for (asked, id, given) in [
        ("gpt-4o", "gpt-4o", "gpt-oss:20b"),
        ("gpt-4o@nas", "gpt-4o@nas", "gpt-oss:20b"),
        ("gpt-oss:120b", "gpt-oss:120b", "gpt-oss:120b"),
        ("coder:latest", "coder", "m"),
        ("m:latest", "m", "m"),
        ("m@nas", "m@nas", "m"),
    ] {
        for anthropic in [false, true] {
            let mut request = gateway.http.get(format!("{}/v1/models/{asked}", gateway.url));
            if anthropic {
                request = request.header("anthropic-version", "2023-06-01");
            }
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 200, "{asked}");
            assert_eq!(answer.json::<Value>().await.unwrap()["id"], id, "{asked}");
        }
        // What the client wrote goes up as it is, and this engine knows no tag.
        if asked == "m:latest" {
            continue;
        }
        let answer = gateway.chat(asked, false).send().await.unwrap();
        assert_eq!(answer.headers()["x-lamplighter-model"], given, "{asked}");
    }
    let unknown = gateway.http.get(format!("{}/v1/models/nobody", gateway.url)).send().await.unwrap();
    assert_eq!(unknown.status(), 404);
    let text = gateway.chat("ghost", false).send().await.unwrap().text().await.unwrap();
    assert!(text.contains("'ghost' not found") && !text.contains("Did you mean"), "{text}");
}

/// Ollama nodes of different versions that serve the same model are named, calmly, and only as long as it is so.
#[tokio::test(flavor = "multi_thread")]
async fn versions_of_ollama_that_differ_are_named() {
    let with =
        |name: &str, version: &str, model: &str| profile(Profile::ollama(name).version(version), &[model]);
    let (nas, gpu) = (start(with("nas", "0.12.3", "m")).await, start(with("gpu", "0.30.0", "m")).await);
    let alone = start(with("alone", "0.9.0", "other")).await;
    let gateway = Gateway::over(&[&nas, &gpu, &alone], "").await;
    let snapshot = gateway.snapshot().await;
    let told: Vec<_> = snapshot.problems.iter().map(|problem| (&*problem.code, &*problem.message)).collect();
    let words = "Ollama is 0.12.3 on nas and 0.30.0 on gpu; they serve the same models, such as m.";
    assert_eq!(told, [("ollama_versions", words)], "who serves nothing that others serve is left out");
    let (_, out, _) = gateway.cli(&["status"]);
    assert!(out.contains(words), "{out}");
    nas.set_models(models(&["another"]));
    look(&gateway).await;
    gateway.until(|s| s.problems.is_empty()).await;
}
