//! Somebody else sends the packet: a hook that the owner wrote down, or a peer of the tailnet.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_tests::{
    card::{asleep, free_port, machine, order},
    house::Gateway,
};
use reqwest::Method;
use serde_json::Value;
use std::{os::unix::fs::PermissionsExt, time::Duration};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// A gateway whose workstation is woken as `wake` says, in a folder with a `tailscale` of its own.
async fn gateway(port: u16, wake: &str, peers: &Value) -> Gateway {
    let home = tempfile::tempdir().unwrap();
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[[node]]\nname = \"workstation\"\nurl = \"http://127.0.0.1:{port}\"\n\
         [node.wake]\ntimeout = \"20s\"\n{wake}\n"
    );
    std::fs::write(home.path().join("config.toml"), text).unwrap();
    let path = tailscale(&home, peers);
    let gateway = Gateway::start_with(home, ("PATH", path)).await;
    gateway.until(asleep).await;
    gateway
}

/// A stand-in for `tailscale status --json`. The search path that finds it first.
fn tailscale(home: &TempDir, peers: &Value) -> String {
    let folder = home.path().join("bin");
    let program = folder.join("tailscale");
    std::fs::create_dir(&folder).unwrap();
    let status = serde_json::json!({ "BackendState": "Running", "Peer": peers });
    let script = format!("#!/bin/sh\n[ \"$*\" = \"status --json\" ] || exit 2\ncat <<'END'\n{status}\nEND\n");
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap())
}

/// Takes one request, answers it, and returns its head.
async fn asked(listener: &TcpListener, answer: &str) -> String {
    let asked = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut head).await.unwrap(), 0, "a whole head");
        }
        let answer = format!("HTTP/1.1 {answer}");
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(head).unwrap().to_lowercase()
    };
    tokio::time::timeout(Duration::from_secs(10), asked).await.expect("a call within 10 s")
}

fn json(status: &str, body: &Value) -> String {
    let body = body.to_string();
    format!(
        "{status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

const DONE: &str = "204 No Content\r\nConnection: close\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_is_called_with_its_method_headers_and_the_address() {
    let (hook, port) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), free_port());
    let wake = format!(
        "mac = \"a8:a1:59:0c:1d:2e\"\nrelay = {{ url = \"http://{}/wake/{{mac}}\", method = \"PUT\", headers = {{ X-Room = \"attic\" }} }}",
        hook.local_addr().unwrap()
    );
    let gateway = gateway(port, &wake, &Value::Null).await;
    let (answer, head) =
        tokio::join!(order(&gateway, Method::POST, "nodes/workstation/wake"), asked(&hook, DONE));
    assert_eq!(answer.0, 202, "{}", answer.1);
    assert!(head.starts_with("put /wake/a8:a1:59:0c:1d:2e http/1.1"), "{head}");
    assert!(head.contains("\r\nx-room: attic\r\n"), "{head}");
    let _machine = machine(port).await;
    gateway.until_up(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plug_needs_no_address() {
    let (plug, port) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), free_port());
    let wake = format!("relay = {{ url = \"http://{}/on\" }}", plug.local_addr().unwrap());
    let gateway = gateway(port, &wake, &Value::Null).await;
    let (answer, head) =
        tokio::join!(order(&gateway, Method::POST, "nodes/workstation/wake"), asked(&plug, DONE));
    assert_eq!(answer.0, 202, "{}", answer.1);
    assert!(head.starts_with("post /on http/1.1"), "{head}");
    let _machine = machine(port).await;
    gateway.until_up(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hook_refuses_is_told() {
    let (hook, port) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), free_port());
    let wake = format!("relay = {{ url = \"http://{}/on\" }}", hook.local_addr().unwrap());
    let gateway = gateway(port, &wake, &Value::Null).await;
    let refusing = tokio::spawn(async move {
        loop {
            asked(&hook, "401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
        }
    });
    assert_eq!(order(&gateway, Method::POST, "nodes/workstation/wake").await.0, 202);
    let failed = gateway.until(|it| it.nodes[0].sleep.failure.is_some()).await;
    let failure = failed.nodes[0].sleep.failure.clone().unwrap();
    assert_eq!(failure.code, "nothing_sent", "{failure:?}");
    assert!(failure.words.contains("the hook answered 401"), "{failure:?}");
    refusing.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_peers_of_the_tailnet_that_are_online_are_asked() {
    let (peer, off) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let port = free_port();
    let peers = serde_json::json!({
        "nodekey:a": { "HostName": "nas", "Online": true, "PeerAPIURL": [format!("http://{}", peer.local_addr().unwrap())] },
        "nodekey:b": { "HostName": "phone", "Online": false, "PeerAPIURL": [format!("http://{}", off.local_addr().unwrap())] },
        "nodekey:c": { "HostName": "old", "Online": true, "PeerAPIURL": null },
    });
    let wake = "mac = \"a8:a1:59:0c:1d:2e\"\nrelay = \"tailscale\"";
    let gateway = gateway(port, wake, &peers).await;
    let sent = json("200 OK", &serde_json::json!({ "SentTo": ["eth0"], "Errors": [] }));
    let (answer, head) =
        tokio::join!(order(&gateway, Method::POST, "nodes/workstation/wake"), asked(&peer, &sent));
    assert_eq!(answer.0, 202, "{}", answer.1);
    assert!(head.starts_with("post /v0/wol?mac=a8:a1:59:0c:1d:2e http/1.1"), "{head}");
    let nobody = tokio::time::timeout(Duration::from_millis(300), off.accept()).await;
    assert!(nobody.is_err(), "who is offline is not asked");
    let _machine = machine(port).await;
    gateway.until_up(1).await;
}
