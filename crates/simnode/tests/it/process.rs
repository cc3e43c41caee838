//! The node as a process of its own, driven over its control port.

use crate::client::{End, get, post, read_to_end, request};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Running {
    child: Child,
    ready: Value,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_lamplighter-simnode"))
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, ready: serde_json::from_str(&line).unwrap() }
    }

    fn addr(&self, key: &str) -> SocketAddr {
        self.ready[key].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn it_serves_obeys_and_dies() {
    let arguments = "--engine ollama --name nas --model llama3.2:3b=4000,loaded --model b:1 --tokens 40 --tok-s 50 --parallel 4";
    let mut node = Running::start(&arguments.split(' ').collect::<Vec<_>>());
    assert_eq!((&node.ready["name"], &node.ready["pid"]), (&json!("nas"), &json!(node.child.id())));
    let (addr, control) = (node.addr("url"), node.addr("control"));
    let tags = get(addr, "/api/tags").await.json();
    assert_eq!((&tags["models"][0]["size"], &tags["models"][1]["name"]), (&json!(4000), &json!("b:1")));
    assert_eq!(get(control, "/loaded").await.json(), json!(["llama3.2:3b"]));

    let rule = json!({ "kind": "html200", "on": "probes", "times": 1 });
    assert_eq!(post(control, "/fault", rule).await.json(), json!({ "ok": true }));
    assert_eq!(get(addr, "/api/tags").await.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(get(addr, "/api/tags").await.status, 200);
    let refused = post(control, "/fault", json!({ "kind": "tired" })).await;
    assert_eq!(refused.status, 400);
    post(control, "/models", json!([{ "name": "c:1", "loaded": true }, { "name": "d:1", "size": 5 }])).await;
    assert_eq!(get(control, "/loaded").await.json(), json!(["c:1"]));
    post(control, "/load", json!({ "model": "d:1" })).await;
    assert_eq!(get(control, "/loaded").await.json(), json!(["c:1", "d:1"]));
    assert_eq!(get(control, "/stats").await.json()["paths"]["/api/tags"], 3);
    let seen = get(control, "/seen").await.json();
    assert_eq!(
        (&seen[0]["path"], &seen[0]["outcome"], &seen[0]["status"]),
        (&json!("/api/tags"), &json!("answered"), &json!(200))
    );

    let mut stream = TcpStream::connect(addr).await.unwrap();
    let body = json!({ "model": "c:1", "prompt": "hi" }).to_string();
    stream.write_all(request("POST", "/api/generate", "", &body).as_bytes()).await.unwrap();
    let mut some = [0; 200];
    stream.read_exact(&mut some).await.unwrap();
    node.child.kill().unwrap();
    let mut all = Vec::new();
    assert_ne!(read_to_end(&mut stream, &mut all, Duration::from_secs(3)).await, End::Quiet);
    assert!(!String::from_utf8_lossy(&all).contains("\"done\":true"));
}

#[test]
fn wrong_arguments_are_told() {
    for arguments in [["--model", "a=big"], ["--model", "a,asleep"], ["--fault", "{}"]] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_lamplighter-simnode")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(arguments[0]));
    }
}
