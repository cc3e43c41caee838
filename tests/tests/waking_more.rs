//! The lamp over a longer time: nobody is woken by looking, a sleeping machine survives the gateway's restarts and is woken after
//! them, and what goes wrong around a sleep is borne and told.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_core::{node::State, snapshot::Snapshot};
use lamplighter_simnode::{Profile, SimModel, SimNode};
use lamplighter_tests::{
    card::{Card, asleep, config, falls_asleep, free_port, house, machine, nas, order, profile},
    house::{Gateway, PATIENCE, signal},
    process::NodeProcess,
};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, time::timeout};

/// A machine's address while it sleeps: who connects is counted, and nobody is answered.
async fn counted_silence(port: u16) -> Arc<AtomicUsize> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let connects = Arc::new(AtomicUsize::new(0));
    let count = connects.clone();
    tokio::spawn(async move {
        let mut held = vec![];
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Relaxed);
            held.push(stream);
        }
    });
    connects
}

async fn get(gateway: &Gateway, path: &str) -> String {
    let answer = gateway.http.get(format!("{}{path}", gateway.url)).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    answer.text().await.unwrap()
}

/// Three clients that poll, twenty times a second together. The ten hours are in `core` (`must3_ten_hours_…`), in virtual time.
#[tokio::test(flavor = "multi_thread")]
async fn must3_polls_wake_nothing() {
    // A minute by hand; the whole suite has other things to do, and a probe for each poll would be seen in a second.
    let for_long = Duration::from_secs(if std::env::var_os("CI").is_some() { 20 } else { 60 });
    let (card, port, nas) = (Card::new().await, free_port(), nas().await);
    let gateway = house(&card, port, &nas, "").await;
    let connects = counted_silence(port).await;
    let began = Instant::now();
    let client = async |name: &str| {
        let mut every = tokio::time::interval(Duration::from_millis(150));
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut polls = 0;
        while began.elapsed() < for_long {
            every.tick().await;
            let path = ["/v1/models", "/api/tags", "/api/ps", "/"][polls % 4];
            let method = if path == "/" { Method::HEAD } else { Method::GET };
            let request = gateway.http.request(method, format!("{}{path}", gateway.url));
            let answer = request.header("user-agent", name).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{path}");
            let text = answer.text().await.unwrap();
            let is_list = path == "/v1/models" || path == "/api/tags";
            assert!(!is_list || text.contains("qwen3:8b"), "it stays listed in {path}: {text}");
            polls += 1;
        }
        polls
    };
    let (one, two, three) = tokio::join!(client("OpenWebUI"), client("PhoneApp"), client("Editor"));
    let polls = one + two + three;
    assert!(polls as u64 >= 5 * for_long.as_secs(), "only {polls} polls: that shows nothing");
    assert_eq!(card.more(), 0, "packets for {polls} polls");
    let looks = connects.load(Relaxed);
    assert!(looks <= 1, "{looks} connections to a sleeping machine in {for_long:?}");
    let node = gateway.node("workstation").await;
    assert_eq!((node.state, node.sleep.waking), (State::Asleep, None));

    // The same eyes see what there is to see: a click sends packets and looks.
    order(&gateway, Method::POST, "nodes/workstation/wake").await;
    card.hears().await;
    let began = Instant::now();
    while connects.load(Relaxed) == looks {
        assert!(began.elapsed() < PATIENCE, "it is not looked at");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Both ways of answering, to a machine that is woken for them.
async fn both_are_answered(gateway: &Gateway, card: &Card, port: u16) -> SimNode {
    let whole = gateway.chat("qwen3:8b", false).send();
    let streamed = gateway.chat("qwen3:8b", true).send();
    let woken = async {
        card.hears().await;
        machine(port).await
    };
    let (whole, streamed, machine) = tokio::join!(whole, streamed, woken);
    let (whole, streamed): (Response, Response) = (whole.unwrap(), streamed.unwrap());
    assert_eq!([whole.status(), streamed.status()], [200, 200]);
    let whole: Value = whole.json().await.unwrap();
    let said = whole["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(said.starts_with("workstation answers"), "{whole}");
    let text = streamed.text().await.unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    machine
}

async fn wakes(gateway: &Gateway) -> Vec<Value> {
    let (_, past) = order(gateway, Method::GET, "nodes/workstation/wakes").await;
    past["wakes"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn must4_restart_while_asleep() {
    let (card, port, nas) = (Card::new().await, free_port(), nas().await);
    let mut gateway = house(&card, port, &nas, "").await;
    let home = gateway.take_home();
    assert_eq!(gateway.stop(PATIENCE).0, Some(0));
    let gateway = Gateway::start_in(home).await;
    let sleeping = gateway.until(asleep).await;
    assert!(sleeping.nodes[0].models.iter().any(|model| model.name == "qwen3:8b"), "{sleeping:#?}");
    for path in ["/v1/models", "/api/tags"] {
        let text = get(&gateway, path).await;
        assert!(text.contains("qwen3:8b"), "{path} after a restart: {text}");
    }
    assert_eq!(card.more(), 0, "nobody has asked for it yet");
    let _machine = both_are_answered(&gateway, &card, port).await;
    let past = wakes(&gateway).await;
    assert_eq!((past.len(), &past[0]["cause"]), (1, &json!("request")), "one wake for both: {past:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn must4_kill_9_during_a_wake() {
    let (card, port, nas) = (Card::new().await, free_port(), nas().await);
    let mut gateway = house(&card, port, &nas, "").await;
    // One wake that goes well.
    order(&gateway, Method::POST, "nodes/workstation/wake").await;
    card.hears().await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let awake = machine(port).await;
    gateway.until_up(2).await;
    falls_asleep(awake, &gateway).await;
    let earlier = wakes(&gateway).await;
    assert_eq!((earlier.len(), &earlier[0]["outcome"]), (1, &json!("ready")), "{earlier:?}");

    // And one that is cut in the middle, while a request waits for it too.
    card.more();
    let (status, _) = order(&gateway, Method::POST, "nodes/workstation/wake").await;
    assert_eq!(status, 202);
    card.hears().await;
    let asked = tokio::spawn(gateway.chat("qwen3:8b", true).send());
    gateway.until(|it| it.nodes[0].sleep.waking.as_ref().is_some_and(|waking| waking.waiters == 1)).await;
    let began = Instant::now();
    while wakes(&gateway).await.len() < 2 {
        assert!(began.elapsed() < PATIENCE, "the wake is not written down");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let home = gateway.take_home();
    signal(gateway.pid(), "KILL");
    drop(gateway);
    let cut = timeout(PATIENCE, asked).await.expect("the client is not left hanging").unwrap();
    assert!(cut.is_err() || cut.unwrap().text().await.is_err(), "its connection broke");

    let gateway = Gateway::start_in(home).await;
    let sleeping = gateway.until(asleep).await;
    assert_eq!(sleeping.nodes[0].sleep.waking, None, "nothing goes on by itself");
    let past = wakes(&gateway).await;
    assert_eq!(past.len(), 2, "{past:?}");
    assert_eq!(past[0]["outcome"], "interrupted", "{past:?}");
    assert_eq!(past[1], earlier[0], "the earlier one is as it was");
    assert!(get(&gateway, "/v1/models").await.contains("qwen3:8b"));

    card.more();
    let (status, _) = order(&gateway, Method::POST, "nodes/workstation/wake").await;
    assert_eq!(status, 202, "a click may at once");
    card.hears().await;
    let _machine = machine(port).await;
    gateway.until_up(2).await;
}

/// A question of its own each time, so that no conversation draws it anywhere.
async fn ask(gateway: &Gateway, model: &str, text: &str) -> String {
    let body = json!({ "model": model, "messages": [{ "role": "user", "content": text }] });
    let answer = gateway.post("/v1/chat/completions", &body).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{text}");
    let node = answer.headers()["x-lamplighter-node"].to_str().unwrap().to_owned();
    answer.bytes().await.unwrap();
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn r49_without_its_gpu() {
    let (card, port) = (Card::new().await, free_port());
    let nas = Profile::ollama("nas").model(SimModel::new("qwen3:8b"));
    let nas = SimNode::start(nas).await.unwrap();
    let mut with_gpu = profile(port);
    with_gpu.models[0].loaded = true;
    let awake = SimNode::start(with_gpu.clone()).await.unwrap();
    let text = format!(
        "{}[[node]]\nname = \"nas\"\nurl = \"{}\"\npresence = \"always-on\"\n",
        config(port, &card),
        nas.url()
    );
    let text = text.replace("name = \"workstation\"", "name = \"workstation\"\npriority = 10");
    let gateway = Gateway::start(&text).await;
    let uses_gpu =
        |it: &Snapshot| it.nodes[0].models.iter().any(|model| model.vram_bytes.is_some_and(|b| b > 0));
    gateway.until(uses_gpu).await;
    gateway.until_up(2).await;
    assert_eq!(ask(&gateway, "qwen3:8b", "before the sleep").await, "workstation");
    assert!(!gateway.node("workstation").await.sleep.gpu_lost);
    falls_asleep(awake, &gateway).await;

    // It wakes, and its driver does not.
    order(&gateway, Method::POST, "nodes/workstation/wake").await;
    card.hears().await;
    let cpu_only = SimNode::start(profile(port).vram(0)).await.unwrap();
    gateway.until_up(2).await;
    assert!(!gateway.node("workstation").await.sleep.gpu_lost, "nothing is loaded, nothing is known");
    assert_eq!(ask(&gateway, "qwen3:8b@workstation", "the first load tells").await, "workstation");
    gateway.until(|it| it.nodes[0].sleep.gpu_lost).await;
    for text in ["one", "two", "three"] {
        assert_eq!(
            ask(&gateway, "qwen3:8b", text).await,
            "nas",
            "loaded there and preferred, but on the CPU"
        );
    }
    let (code, said, _) = gateway.cli(&["explain", "qwen3:8b"]);
    assert_eq!(code, 0);
    assert!(said.contains("woke without its GPU"), "{said}");

    // Somebody has helped it: it is seen at work on the GPU.
    cpu_only.kill().await;
    drop(cpu_only);
    let _healed = SimNode::start(with_gpu).await.unwrap();
    gateway.until(|it| it.nodes[0].state.takes_requests() && !it.nodes[0].sleep.gpu_lost).await;
    let (_, said, _) = gateway.cli(&["explain", "qwen3:8b"]);
    assert!(!said.contains("without its GPU"), "{said}");
    nas.unload("qwen3:8b");
    gateway.until(|it| it.nodes[1].models[0].loaded == Some(false)).await;
    assert_eq!(ask(&gateway, "qwen3:8b", "after it was mended").await, "workstation");
}

#[tokio::test(flavor = "multi_thread")]
async fn r50_falls_asleep_in_the_middle_of_an_answer() {
    let (card, port) = (Card::new().await, free_port());
    let port_text = port.to_string();
    let args =
        ["--port", &port_text, "--model", "qwen3:8b", "--tok-s", "5", "--tokens", "2000", "--parallel", "4"];
    let machine = NodeProcess::start("workstation", &args);
    let text = config(port, &card).replace("[node.wake]", "max_concurrent = 4\n[node.wake]");
    let gateway = Gateway::start(&text).await;
    gateway.until_up(1).await;
    let hi = json!([{ "role": "user", "content": "hi" }]);
    let body = json!({ "model": "qwen3:8b", "stream": true, "max_tokens": 2000, "messages": hi });
    let mut streams = vec![];
    for path in ["/v1/chat/completions", "/v1/messages", "/api/chat"] {
        let mut answer = gateway.post(path, &body).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let first = answer.chunk().await.unwrap().expect("it has begun");
        streams.push((path, answer, first.to_vec()));
    }
    // It is there no more, and its network card says nothing about it.
    machine.signal("STOP");
    let mut ends = vec![];
    for (path, mut answer, mut text) in streams {
        let rest = async {
            while let Ok(Some(chunk)) = answer.chunk().await {
                text.extend_from_slice(&chunk);
            }
            String::from_utf8(text).unwrap()
        };
        ends.push((path, timeout(PATIENCE * 2, rest).await.expect("it ends")));
    }
    for (path, text) in ends {
        let (error, whole) = match path {
            "/v1/messages" => ("event: error", "message_stop"),
            "/api/chat" => ("{\"error\":", "\"done\":true"),
            _ => ("data: {\"error\":", "[DONE]"),
        };
        let last = &text[text.len().saturating_sub(400)..];
        assert!(text.contains(error), "{path} ends in its own words: {last}");
        assert!(!text.contains(whole), "{path} must not look complete: {last}");
    }
    gateway.until(asleep).await;

    card.more();
    let body = json!({ "model": "qwen3:8b", "stream": true, "max_tokens": 5, "messages": hi });
    let asked = gateway.post("/v1/chat/completions", &body).send();
    let woken = async {
        card.hears().await;
        machine.signal("CONT");
    };
    let (answer, ()) = tokio::join!(asked, woken);
    let answer = answer.unwrap();
    assert_eq!(answer.status(), 200);
    let text = timeout(PATIENCE, answer.text()).await.unwrap().unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
}

/// The span of the day around this computer's own time, as `[wake] quiet_hours` wants it.
fn around_now() -> String {
    let output = std::process::Command::new("date").arg("+%H").output().unwrap();
    let hour: u32 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    format!("{:02}:00-{:02}:00", (hour + 22) % 24, (hour + 3) % 24)
}

#[tokio::test(flavor = "multi_thread")]
async fn in_quiet_hours_no_request_wakes_and_a_click_does() {
    let (card, port, nas) = (Card::new().await, free_port(), nas().await);
    let gateway = house(&card, port, &nas, &format!("[wake]\nquiet_hours = \"{}\"\n", around_now())).await;
    for stream in [false, true] {
        let refused = gateway.chat("qwen3:8b", stream).send().await.unwrap();
        assert_eq!(refused.status(), 503);
        let said: Value = refused.json().await.unwrap();
        assert_eq!(said["error"]["code"], "node_asleep", "{said}");
        assert!(said["error"]["message"].as_str().unwrap().contains("quiet hours"), "{said}");
        let listed = gateway.http.get(format!("{}/v1/models", gateway.url)).send().await.unwrap();
        assert!(!listed.text().await.unwrap().contains("qwen3:8b"), "nobody can get it now");
    }
    assert_eq!(card.more(), 0);
    assert!(asleep(&gateway.snapshot().await));

    let (status, _) = order(&gateway, Method::POST, "nodes/workstation/wake").await;
    assert_eq!(status, 202);
    card.hears().await;
    let _machine = machine(port).await;
    gateway.until_up(2).await;
    assert_eq!(gateway.chat("qwen3:8b", false).send().await.unwrap().status(), 200, "awake, it answers");
}

/// In a network of its own, since the demo has a port of its own.
#[cfg(target_os = "linux")]
#[test]
fn the_demos_workstation_sleeps_and_is_woken_by_a_real_packet() {
    use lamplighter_tests::{
        apart,
        house::{command, skip},
    };
    use std::{
        io::{BufRead, BufReader},
        process::{Command, Stdio},
    };
    const INSIDE: &str = "LAMPLIGHTER_TEST_INSIDE";
    let test = "the_demos_workstation_sleeps_and_is_woken_by_a_real_packet";
    if std::env::var_os(INSIDE).is_none() {
        if let Some(why) = apart::impossible() {
            return skip(test, &why);
        }
        let mut again = Command::new("unshare");
        let script = "ip link set lo up; exec \"$@\"";
        again.args(["--user", "--map-root-user", "--net", "sh", "-ec", script, "sh"]);
        again.arg(std::env::current_exe().unwrap()).args(["--exact", test]).env(INSIDE, "1");
        return assert!(again.status().unwrap().success());
    }
    let home = tempfile::tempdir().unwrap();
    // The usual command names a configuration, and the demo reads none.
    let demo = |args: &[&str]| {
        let usual = command(home.path(), args);
        let mut demo = Command::new(usual.get_program());
        demo.arg("--demo").args(args).stdin(Stdio::null());
        for (name, value) in usual.get_envs() {
            demo.env(name, value.unwrap_or_default());
        }
        demo
    };
    let mut serve = demo(&["serve"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(serve.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said = |args: &[&str]| {
        let output = demo(args).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    };
    let state = || {
        let (_, text) = said(&["status", "--json"]);
        let snapshot: Snapshot =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let node = snapshot.nodes.iter().find(|node| node.name == "workstation").cloned().unwrap();
        (node.state, node.models.len())
    };
    let shown = std::panic::catch_unwind(|| {
        assert!(line.contains("11499"), "its own port: {line}");
        let began = Instant::now();
        while state().0 != State::Asleep {
            assert!(began.elapsed() < PATIENCE, "{:?}", state());
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(state().1, 4, "its models are known while it sleeps");
        let (_, models) = said(&["models"]);
        assert!(models.contains("qwen3-coder:30b"), "{models}");
        let began = Instant::now();
        let (is_awake, text) = said(&["wake", "workstation", "--wait"]);
        assert!(is_awake, "{text}");
        assert!(began.elapsed() < Duration::from_secs(20), "after {:?}: {text}", began.elapsed());
        assert_eq!(state().0, State::Up);
    });
    let _ = serve.kill();
    let _ = serve.wait();
    shown.unwrap();
}

/// A model that only embeds wakes its machine by an alias that says so, and by its own name it is not to be had.
#[tokio::test(flavor = "multi_thread")]
async fn a_sleeping_model_that_only_embeds_is_listed_by_who_can_get_it() {
    let (card, port) = (Card::new().await, free_port());
    let embeds = SimModel::new("nomic:v1").capabilities(["embedding"]);
    let profile = Profile::ollama("workstation").port(port).model(SimModel::new("m:1b")).model(embeds);
    let machine = SimNode::start(profile).await.unwrap();
    let alias = "[[alias]]\nname = \"embed\"\nmodels = [\"nomic:v1\"]\nwake = \"wait\"\n";
    let gateway = Gateway::start(&format!("{}{alias}", config(port, &card))).await;
    gateway.until_up(1).await;
    let lists = async || {
        let list = gateway.http.get(format!("{}/v1/models", gateway.url)).send().await.unwrap();
        let list: serde_json::Value = list.json().await.unwrap();
        let ids =
            list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(lists().await, ["embed", "m:1b", "nomic:v1"]);
    falls_asleep(machine, &gateway).await;
    assert_eq!(lists().await, ["embed", "m:1b"]);
}
