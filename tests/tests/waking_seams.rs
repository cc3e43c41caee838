//! Waking where it meets the rest: machines that fall asleep or come up under a request, others that fail first, a person's answer,
//! and the end of the gateway.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_core::node::State;
use lamplighter_simnode::{Fault, FaultRule, On, Profile, SimModel, SimNode};
use lamplighter_tests::{
    card::{Card, asleep, config, falls_asleep, free_port, house, machine, nas, order},
    desktop::wait_for,
    house::Gateway,
};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};

/// An address whose machine is not there: whoever connects is not even refused.
async fn nobody_at(port: u16) -> (TcpListener, Vec<TcpStream>) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(([127, 0, 0, 1], port).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let mut filling = Vec::new();
    // A full backlog: the kernel drops what comes after it.
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(("127.0.0.1", port))).await
    {
        filling.push(stream);
        assert!(filling.len() < 64, "its backlog is never full");
    }
    (listener, filling)
}

fn node_of(answer: &reqwest::Response) -> &str {
    answer.headers().get("x-lamplighter-node").map_or("nobody", |node| node.to_str().unwrap())
}

async fn choose(gateway: &Gateway, choice: &str) -> u16 {
    gateway.until(|snapshot| !snapshot.prompts.is_empty()).await;
    let url = format!("{}/control/v1/prompts/workstation", gateway.url);
    let choice = json!({ "choice": choice });
    let answer = gateway.http.post(&url).bearer_auth(&gateway.token).json(&choice).send().await.unwrap();
    answer.status().as_u16()
}

/// It fell asleep a moment ago, nobody has noticed, and there is no connection left that could hang: the request finds out, and
/// wakes it.
#[tokio::test(flavor = "multi_thread")]
async fn r51_asleep_before_anybody_noticed_and_never_spoken_to() {
    // Gone from the network, and on its way down: its engine has ended, and the machine still refuses.
    for is_gone in [true, false] {
        let (card, port) = (Card::new().await, free_port());
        let awake = machine(port).await;
        let gateway = Gateway::start(&config(port, &card)).await;
        gateway.until_up(1).await;
        awake.kill().await;
        drop(awake);
        let silence = if is_gone { Some(nobody_at(port).await) } else { None };
        assert_eq!(gateway.node("workstation").await.state, State::Up, "nobody knows yet");
        let asked = gateway.chat("qwen3:8b", false).send();
        let woken = async {
            card.hears().await;
            drop(silence);
            machine(port).await
        };
        let (answer, _machine) = tokio::join!(asked, woken);
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["x-lamplighter-reason"], "woken for this request");
    }
}

/// The one that is up has the model too, and cannot answer: the one that sleeps is woken.
#[tokio::test(flavor = "multi_thread")]
async fn a_sleeping_machine_is_woken_when_the_one_that_is_up_fails() {
    for policy in ["wait", "fallback", "ask"] {
        let (card, port) = (Card::new().await, free_port());
        let both = Profile::ollama("nas").model(SimModel::new("qwen3:8b"));
        let nas = SimNode::start(both).await.unwrap();
        let gateway = house(&card, port, &nas, &format!("[wake]\ndefault = \"{policy}\"\n")).await;
        nas.set_fault(FaultRule::from(Fault::DieBeforeFirstByte).on(On::Generation));
        let asked = gateway.chat("qwen3:8b", false).send();
        let woken = async {
            card.hears().await;
            machine(port).await
        };
        let (answer, _machine) = tokio::join!(asked, woken);
        let answer = answer.unwrap();
        let node = node_of(&answer).to_owned();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert_eq!((status, node.as_str()), (200, "workstation"), "{policy}: {text}");
    }
    // Who may not wake it is told what those met who are up.
    let (card, port) = (Card::new().await, free_port());
    let nas = SimNode::start(Profile::ollama("nas").model(SimModel::new("qwen3:8b"))).await.unwrap();
    let gateway = house(&card, port, &nas, "[wake]\ndefault = \"never\"\n").await;
    nas.set_fault(FaultRule::from(Fault::DieBeforeFirstByte).on(On::Generation));
    let answer = gateway.chat("qwen3:8b", false).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    let text = answer.text().await.unwrap();
    assert!(text.contains("nas") && text.contains("connection"), "{text}");
    assert_eq!(card.more(), 0);
}

/// Its engine answers before the disk with its models is there: those who wait go on waiting, and are told when it does not come.
#[tokio::test(flavor = "multi_thread")]
async fn up_without_its_model() {
    let (card, port, nas) = (Card::new().await, free_port(), nas().await);
    let gateway = house(&card, port, &nas, "").await;
    let ask = || gateway.chat("qwen3:8b", false).send();
    let woken = async {
        card.hears().await;
        let bare = SimNode::start(Profile::ollama("workstation").port(port)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(4)).await;
        bare.set_models(vec![SimModel::new("qwen3:8b")]);
        bare
    };
    let (first, second, third, bare) = tokio::join!(ask(), ask(), ask(), woken);
    for answer in [first, second, third] {
        assert_eq!(answer.unwrap().status(), 200);
    }
    // The last of it is written down while the answers are on their way.
    wait_for("the wake written down", async || {
        let (_, past) = order(&gateway, reqwest::Method::GET, "nodes/workstation/wakes").await;
        (past["wakes"][0]["outcome"] == "ready").then_some(())
    })
    .await;

    falls_asleep(bare, &gateway).await;
    // The next request may begin a wake a minute after the last one; a person may at once.
    let (status, _) = order(&gateway, reqwest::Method::POST, "nodes/workstation/wake").await;
    assert_eq!(status, 202);
    gateway.until(|snapshot| matches!(snapshot.nodes[0].state, State::Waking(_))).await;
    let woken = async {
        card.hears().await;
        SimNode::start(Profile::ollama("workstation").port(port)).await.unwrap()
    };
    let (answer, _bare) = tokio::join!(ask(), woken);
    let answer = answer.unwrap();
    assert!(matches!(answer.status().as_u16(), 404 | 503), "{}", answer.status());
}

/// A person says *Wake*: then the wake is theirs, and goes on when the app that had asked has gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_persons_answer_is_a_persons_wake() {
    let (card, port, nas) = (Card::new().await, free_port(), nas().await);
    let alias = "[[alias]]\nname = \"coder\"\nmodels = [\"qwen3:8b\"]\nwake = \"ask\"\n";
    let gateway = house(&card, port, &nas, alias).await;
    let mut events = gateway.control("events").await;
    events.chunk().await.unwrap();
    let asked = tokio::spawn(gateway.chat("coder", true).send());
    assert_eq!(choose(&gateway, "wake").await, 204);
    card.hears().await;
    let waking = gateway.until(|snapshot| snapshot.nodes[0].sleep.waking.is_some()).await;
    assert!(waking.nodes[0].sleep.waking.as_ref().unwrap().by_person);
    asked.abort();
    gateway.until(|snapshot| snapshot.requests.is_empty()).await;
    assert!(gateway.node("workstation").await.sleep.waking.is_some(), "nobody has ended it");
    let _machine = machine(port).await;
    gateway.until_up(2).await;
}

/// While a person thinks, somebody else wakes the machine: there is nothing left to ask.
#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_has_answered_itself() {
    let (card, port, nas) = (Card::new().await, free_port(), nas().await);
    let alias = "[[alias]]\nname = \"coder\"\nmodels = [\"qwen3:8b\"]\nwake = \"ask\"\n";
    let gateway = house(&card, port, &nas, alias).await;
    let mut events = gateway.control("events").await;
    events.chunk().await.unwrap();
    let began = Instant::now();
    let asked = gateway.chat("coder", false).send();
    let by_hand = async {
        gateway.until(|snapshot| !snapshot.prompts.is_empty()).await;
        let machine = machine(port).await;
        order(&gateway, reqwest::Method::POST, "nodes/workstation/wake").await;
        machine
    };
    let (answer, _machine) = tokio::join!(asked, by_hand);
    assert_eq!(answer.unwrap().status(), 200);
    // A question stands for 20 s.
    assert!(began.elapsed() < Duration::from_secs(18), "{:?}", began.elapsed());
    // Nobody looks any more: nobody is asked.
    falls_asleep(_machine, &gateway).await;
    drop(events);
    gateway.until(|snapshot| snapshot.requests.is_empty()).await;
}

/// Who waits for a wake that a person ends is told so.
#[tokio::test(flavor = "multi_thread")]
async fn a_wake_that_somebody_has_ended() {
    let (card, port, nas) = (Card::new().await, free_port(), nas().await);
    let gateway = house(&card, port, &nas, "").await;
    let asked = gateway.chat("qwen3:8b", false).send();
    let ended = async {
        gateway
            .until(|snapshot| snapshot.nodes[0].sleep.waking.as_ref().is_some_and(|it| it.waiters == 1))
            .await;
        order(&gateway, reqwest::Method::DELETE, "nodes/workstation/wake").await
    };
    let (answer, (status, _)) = tokio::join!(asked, ended);
    assert_eq!(status, 204);
    let answer = answer.unwrap();
    assert_eq!(answer.status(), 503);
    let text = answer.text().await.unwrap();
    assert!(text.contains("somebody has ended its wake"), "{text}");
}

/// A hook that does not answer holds up nobody who wants to go.
#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_ends_while_a_hook_hangs() {
    let (hook, port) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), free_port());
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[[node]]\nname = \"workstation\"\nurl = \"http://127.0.0.1:{port}\"\n\
         [node.wake]\nmac = [\"a8:a1:59:0c:1d:2e\", \"a8:a1:59:0c:1d:2f\"]\nrelay = {{ url = \"http://{}/wake/{{mac}}\" }}\n",
        hook.local_addr().unwrap()
    );
    let gateway = Gateway::start(&text).await;
    gateway.until(asleep).await;
    let (status, _) = order(&gateway, reqwest::Method::POST, "nodes/workstation/wake").await;
    assert_eq!(status, 202);
    let _hanging = hook.accept().await.unwrap();
    let (code, took) =
        tokio::task::spawn_blocking(move || gateway.stop(Duration::from_secs(40))).await.unwrap();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(15), "{took:?}");
}
