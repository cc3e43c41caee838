//! A machine whose idle timer does not count its GPU's work: it is kept awake while it answers, and no longer; and who has not
//! asked for that hears of it when it falls asleep at work a second time.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_core::{
    node::State,
    snapshot::{KeptAwake, Problem, Snapshot},
};
use lamplighter_simnode::{Profile, SimModel, SimNode};
use lamplighter_tests::{
    card::order,
    house::{Gateway, PATIENCE},
    process::NodeProcess,
};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use std::{
    os::unix::fs::PermissionsExt,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::{sleep, timeout},
};

/// A workstation that writes for `seconds`.
async fn workstation(seconds: f64) -> SimNode {
    let tokens = 5.0 * seconds;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number")]
    let profile = Profile::ollama("workstation")
        .model(SimModel::new("m").loaded(true))
        .tok_s(5.0)
        .tokens(tokens as _)
        .parallel(4);
    SimNode::start(profile).await.unwrap()
}

async fn gateway(node: &SimNode, keep_awake: &str) -> Gateway {
    gateway_at(&node.url(), keep_awake).await
}

/// Passes every connection on to the node, and notes the first line of each.
async fn in_front_of(node: &SimNode) -> (String, Arc<Mutex<Vec<String>>>) {
    let (listener, to) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), node.addr());
    let (url, first_lines) =
        (format!("http://{}", listener.local_addr().unwrap()), Arc::<Mutex<Vec<_>>>::default());
    let noted = first_lines.clone();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let noted = noted.clone();
            tokio::spawn(async move {
                let mut head = vec![0; 4_096];
                let length = client.read(&mut head).await.unwrap_or(0);
                let line =
                    String::from_utf8_lossy(&head[..length]).lines().next().unwrap_or_default().to_owned();
                noted.lock().unwrap().push(line);
                let Ok(mut engine) = tokio::net::TcpStream::connect(to).await else { return };
                if engine.write_all(&head[..length]).await.is_ok() {
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut engine).await;
                }
            });
        }
    });
    (url, first_lines)
}

async fn gateway_at(url: &str, keep_awake: &str) -> Gateway {
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[[node]]\nname = \"workstation\"\nurl = \"{url}\"\npresence = \"sleeps\"\n\
         max_concurrent = 4\nkeep_awake = {keep_awake}\n[[alias]]\nname = \"titles\"\nmodels = [\"m\"]\nwake = \"never\"\n"
    );
    let gateway = Gateway::start(&text).await;
    gateway.until_up(1).await;
    gateway
}

async fn streamed(gateway: &Gateway, model: &str, class: &str) -> Response {
    let body = json!({ "model": model, "stream": true, "messages": [{ "role": "user", "content": "hi" }] });
    let request = gateway.post("/v1/chat/completions", &body).header("x-lamplighter-class", class);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer
}

async fn read(answer: Response) {
    let text = timeout(PATIENCE * 2, answer.text()).await.expect("it ends").unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
}

/// A machine's own helper: each call is noted and answered.
async fn helper(status: &'static str) -> (String, Arc<Mutex<Vec<(Instant, String)>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, calls) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<_>>>::default());
    let noted = calls.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.unwrap_or(0) > 0 {}
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
            let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
            noted.lock().unwrap().push((Instant::now(), line));
        }
    });
    (format!("http://{at}/stay"), calls)
}

#[tokio::test(flavor = "multi_thread")]
async fn r50_while_it_answers_it_is_called_and_not_before_or_after() {
    let node = workstation(12.0).await;
    let (url, calls) = helper("204 No Content").await;
    let gateway = gateway(&node, &format!("{{ every = \"5s\", url = \"{url}\", method = \"PUT\" }}")).await;
    assert_eq!(gateway.node("workstation").await.sleep.kept_awake, KeptAwake::Command);
    let count = || calls.lock().unwrap().len();

    // What must not wake a machine does not keep it awake either.
    for (model, class) in [("m", "background"), ("titles", "")] {
        drop(streamed(&gateway, model, class).await);
    }
    sleep(Duration::from_millis(500)).await;
    assert_eq!(count(), 0, "nobody waits for these");

    // Two at once are one reason to stay awake.
    let began = Instant::now();
    let (one, two) = tokio::join!(streamed(&gateway, "m", ""), streamed(&gateway, "m", ""));
    tokio::join!(read(one), read(two));
    let ended = Instant::now();
    sleep(Duration::from_secs(7)).await;
    let calls = calls.lock().unwrap().clone();
    assert!(calls.iter().all(|(_, line)| line == "PUT /stay HTTP/1.1"), "{calls:?}");
    // At once, after 5 s, after 10 s, and so on where the machine that runs this is slow.
    assert!(calls.len() >= 3, "{calls:?} since {began:?} until {ended:?}");
    assert!(calls[0].0 - began < Duration::from_secs(2), "{calls:?} since {began:?}");
    assert!(calls.iter().all(|(at, _)| *at < ended + Duration::from_secs(1)), "{calls:?} until {ended:?}");
    assert!(calls.windows(2).all(|pair| pair[1].0 - pair[0].0 > Duration::from_millis(4_500)), "{calls:?}");
    assert!(told(&gateway.snapshot().await, "keep_awake_failed").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn r50_without_a_helper_its_engine_is_called_on_new_connections() {
    let node = workstation(11.0).await;
    let (url, first_lines) = in_front_of(&node).await;
    let gateway = gateway_at(&url, "\"5s\"").await;
    assert_eq!(gateway.node("workstation").await.sleep.kept_awake, KeptAwake::Call);
    // Connections that begin with the question for its version: its regular looks begin with lists, and a first look is over.
    let asked =
        || first_lines.lock().unwrap().iter().filter(|line| line.starts_with("GET /api/version ")).count();
    sleep(Duration::from_millis(1_500)).await;
    let before = asked();
    let answer = streamed(&gateway, "m", "").await;
    read(answer).await;
    let calls = asked() - before;
    assert!(calls >= 2, "{calls} calls on connections of their own in 11 s");
    sleep(Duration::from_secs(6)).await;
    assert!(asked() - before <= calls + 1, "they end with the work");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_goes_over_ssh_and_what_it_says_is_told() {
    let node = workstation(2.0).await;
    let home = tempfile::tempdir().unwrap();
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[[node]]\nname = \"workstation\"\nurl = \"{}\"\npresence = \"sleeps\"\n\
         keep_awake = {{ every = \"5s\", ssh = \"me@pc\", command = \"systemd-inhibit --what=idle sleep 9 &\" }}\n",
        node.url()
    );
    std::fs::write(home.path().join("config.toml"), text).unwrap();
    let (folder, said) = (home.path().join("bin"), home.path().join("said"));
    std::fs::create_dir(&folder).unwrap();
    // A stand-in that notes what it is told, and fails as ssh does until it is helped.
    let script = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$@\" >>'{0}'\n[ -e '{0}.helped' ] && exit 0\n\
         echo 'me@pc: Permission denied (publickey).' >&2\nexit 255\n",
        said.display()
    );
    std::fs::write(folder.join("ssh"), script).unwrap();
    std::fs::set_permissions(folder.join("ssh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let gateway = Gateway::start_with(home, ("PATH", path)).await;
    gateway.until_up(1).await;

    read(streamed(&gateway, "m", "").await).await;
    let shown = gateway.until(|it| told(it, "keep_awake_failed").is_some()).await;
    let problem = told(&shown, "keep_awake_failed").unwrap();
    assert_eq!(
        problem.message,
        "workstation cannot be kept awake while it answers: ssh me@pc failed: me@pc: Permission denied (publickey)."
    );
    assert_eq!(problem.node.as_deref(), Some("workstation"));
    let words = std::fs::read_to_string(&said).unwrap();
    assert!(words.contains("BatchMode=yes\n"), "it never asks anything: {words}");
    assert!(words.ends_with("--\nme@pc\nsystemd-inhibit --what=idle sleep 9 &\n"), "{words}");

    std::fs::write(format!("{}.helped", said.display()), "").unwrap();
    sleep(Duration::from_secs(5)).await;
    read(streamed(&gateway, "m", "").await).await;
    gateway.until(|it| told(it, "keep_awake_failed").is_none()).await;
}

fn told<'a>(snapshot: &'a Snapshot, code: &str) -> Option<&'a Problem> {
    snapshot.problems.iter().find(|problem| problem.code == code)
}

/// A machine of which nothing is written but that it sleeps.
async fn sleeper() -> (NodeProcess, Gateway) {
    let machine = NodeProcess::start("workstation", &["--model", "m", "--tok-s", "5", "--tokens", "2000"]);
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n# the loud one\n[[node]]\nname = \"workstation\"\nurl = \"{}\"\npresence = \"sleeps\"\n",
        machine.url
    );
    let gateway = Gateway::start(&text).await;
    gateway.until_up(1).await;
    (machine, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn r50_sleep_while_nothing_runs_is_what_it_is_for() {
    let (machine, gateway) = sleeper().await;
    for (signal, state) in [("STOP", State::Asleep), ("CONT", State::Up), ("STOP", State::Asleep)] {
        machine.signal(signal);
        looked_at(&gateway, state).await;
    }
    let shown = gateway.snapshot().await;
    assert!(!shown.nodes[0].sleep.naps && told(&shown, "naps").is_none(), "{shown:#?}");
    machine.signal("CONT");
}

#[tokio::test(flavor = "multi_thread")]
async fn r50_the_second_sleep_at_work_is_told_with_what_helps() {
    let (machine, gateway) = sleeper().await;
    let naps = async |is_second: bool| {
        gateway.until_up(1).await;
        let mut answer = streamed(&gateway, "m", "").await;
        answer.chunk().await.unwrap().expect("it has begun");
        machine.signal("STOP");
        let shown = gateway.until(|it| it.nodes[0].state == State::Asleep).await;
        assert_eq!(shown.nodes[0].sleep.naps, is_second);
        assert_eq!(told(&shown, "naps").is_some(), is_second, "{:?}", shown.problems);
        timeout(PATIENCE * 2, async { while let Ok(Some(_)) = answer.chunk().await {} })
            .await
            .expect("it ends");
    };
    naps(false).await;
    machine.signal("CONT");
    looked_at(&gateway, State::Up).await;
    naps(true).await;

    let shown = gateway.snapshot().await;
    let problem = told(&shown, "naps").unwrap();
    assert_eq!(problem.message, "workstation fell asleep twice within ten minutes while it was answering.");
    assert!(problem.hint.as_deref().unwrap().contains("kept awake while it answers"), "{problem:?}");
    let (code, said, _) = gateway.cli(&["status"]);
    assert!(code == 0 && said.contains("fell asleep twice"), "{said}");

    // One click.
    let (status, _) = patch(&gateway, &json!({ "keep_awake": true })).await;
    assert_eq!(status, 200);
    gateway.until(|it| told(it, "naps").is_none() && it.nodes[0].sleep.kept_awake == KeptAwake::Call).await;
    let file = std::fs::read_to_string(gateway.home.path().join("config.toml")).unwrap();
    assert!(file.contains("# the loud one\n") && file.contains("\nkeep_awake = true\n"), "{file}");
    let (status, _) = patch(&gateway, &json!({ "keep_awake": false })).await;
    assert_eq!(status, 200);
    gateway.until(|it| it.nodes[0].sleep.kept_awake == KeptAwake::No).await;

    // A command is the file's own affair.
    let (status, said) =
        patch(&gateway, &json!({ "keep_awake": { "ssh": "me@pc", "command": "true" } })).await;
    assert_eq!(status, 400, "{said}");
    let (_, config) = order(&gateway, Method::GET, "config").await;
    assert!(!config.to_string().contains("me@pc"), "{config}");
    machine.signal("CONT");
}

/// With somebody who opens the menu again and again, so that it is looked at more often than a sleeping machine is.
async fn looked_at(gateway: &Gateway, until: State) {
    let began = Instant::now();
    while gateway.node("workstation").await.state != until {
        assert!(began.elapsed() < PATIENCE, "not seen as {until:?}");
        order(gateway, Method::POST, "look").await;
        sleep(Duration::from_millis(500)).await;
    }
}

async fn patch(gateway: &Gateway, change: &Value) -> (u16, Value) {
    let url = format!("{}/control/v1/nodes/workstation", gateway.url);
    let answer = gateway.http.patch(url).bearer_auth(&gateway.token).json(change).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}
