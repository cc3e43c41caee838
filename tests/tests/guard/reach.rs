//! Ways around a browser's own rules: addresses that it takes for loopback, upgrades, images, and origins that are no web page's.

use super::{BODY, KEY, LISTED, ROUTES, ask, house, reached};
use lamplighter_simnode::{Profile, SimModel, SimNode};
use lamplighter_tests::{
    house::Gateway,
    socket::{self, Reply},
};
use std::{collections::BTreeMap, path::Path};

/// The "0.0.0.0 day": a browser reaches loopback under names that are not loopback's, and says nothing else about itself. Only
/// `Host` and `Origin` are believed, and they suffice.
#[tokio::test(flavor = "multi_thread")]
async fn t06_nothing_but_host_and_origin_is_believed() {
    let (node, gateway) = house().await;
    let port = gateway.authority().rsplit(':').next().unwrap();
    let own = format!("Host: {}", gateway.authority());
    for (head, status) in [
        (vec![format!("Host: 0.0.0.0:{port}")], 403),
        (vec![format!("Host: [::]:{port}")], 403),
        (vec![format!("Host: 0.0.0.0:{port}"), format!("Origin: http://0.0.0.0:{port}")], 403),
        (vec![format!("Host: 127.1:{port}"), format!("Origin: http://127.1:{port}")], 403),
        (vec![format!("Host: evil.example:{port}"), format!("Origin: http://evil.example:{port}")], 403),
        (vec![own.clone(), "Origin: http://0.0.0.0:80".into()], 403),
        (vec![own.clone(), "Origin: https://evil.example".into()], 403),
        (vec![own.clone(), "Origin: null".into()], 403),
        (vec![own.clone(), "Origin: ".into()], 403),
        (vec![own.clone(), format!("Origin: http://{}, https://evil.example", gateway.authority())], 403),
        (vec![own.clone(), format!("Origin: {LISTED}"), "Origin: https://evil.example".into()], 403),
        // What else a stranger claims makes no difference.
        (vec![own.clone(), "Origin: https://evil.example".into(), "Sec-Fetch-Site: same-origin".into()], 403),
        (
            vec![
                own.clone(),
                "Origin: https://evil.example".into(),
                "Access-Control-Request-Private-Network: true".into(),
            ],
            403,
        ),
        (
            vec![own.clone(), "Origin: https://evil.example".into(), format!("Authorization: Bearer {KEY}")],
            403,
        ),
        (
            vec![
                own.clone(),
                "Origin: https://evil.example".into(),
                format!("X-Forwarded-Host: {}", gateway.authority()),
            ],
            403,
        ),
        (vec![own.clone(), "Origin: https://evil.example".into(), "Referer: http://127.0.0.1/".into()], 403),
        // And an honest program says no more than this.
        (vec![own.clone()], 200),
    ] {
        for target in ["/v1/chat/completions", "/api/chat", "/v1/messages"] {
            let before = reached(&node);
            let lines: Vec<&str> = head.iter().map(String::as_str).collect();
            let reply =
                socket::ask(gateway.authority(), &socket::request("POST", target, &lines, BODY)).await;
            assert_eq!(reply.status, status, "{target} {head:?}: {}", reply.text());
            assert_eq!(reached(&node) - before, u64::from(status == 200), "{target} {head:?}");
        }
    }
}

/// CORS does not stop a WebSocket or an `EventSource` from being opened: the gate does.
#[tokio::test(flavor = "multi_thread")]
async fn t07_upgrades_and_event_streams_of_strangers() {
    let (_node, gateway) = house().await;
    let token = format!("Authorization: Bearer {}", gateway.token);
    let upgrade = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    for origin in ["https://evil.example", "null", "http://localhost:3000", "file://", "http://127.0.0.1:1"] {
        let origin = format!("Origin: {origin}");
        for target in
            ["/control/v1/events", "/v1/chat/completions", "/v1/responses", "/api/chat", "/", "/ui/", "/none"]
        {
            let socket = [&[origin.as_str(), token.as_str()][..], &upgrade].concat();
            let source =
                [origin.as_str(), token.as_str(), "Accept: text/event-stream", "Cache-Control: no-cache"];
            for head in [&socket[..], &source] {
                let reply = ask(&gateway, "GET", target, head).await;
                assert_eq!(reply.status, 403, "{target} {head:?}");
                let cors = reply.headers.keys().any(|name| name.as_str().starts_with("access-control"));
                assert!(!cors && reply.header("upgrade").is_empty(), "{reply:?}");
            }
        }
    }
    // Without an origin it is a program; ours has no protocol but HTTP.
    let reply = ask(&gateway, "GET", "/v1/models", &upgrade).await;
    assert_eq!((reply.status, reply.header("upgrade")), (200, ""));
}

/// Everything below a folder, with its contents.
fn files(folder: &Path, into: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            files(&entry.path(), into);
        } else if !entry.file_name().to_string_lossy().contains(".db") {
            // The history goes on by itself, whoever looks.
            into.insert(entry.path().display().to_string(), std::fs::read(entry.path()).unwrap_or_default());
        }
    }
}

/// Every path that the door's source names, with something in place of what varies: also those that this test has not been told of.
fn paths_in_source() -> Vec<String> {
    let server = lamplighter_tests::project().join("crates/lamplighter/src/server");
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(&server).unwrap().flatten().filter(|entry| entry.path().is_file()) {
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let prefix = if entry.file_name() == "control.rs" { "/control/v1" } else { "" };
        for route in text.split(".route(\"").skip(1) {
            let path = route.split('"').next().unwrap();
            let fixed: Vec<&str> =
                path.split('/').map(|part| if part.starts_with('{') { "nas" } else { part }).collect();
            paths.push(format!("{prefix}{}", fixed.join("/")));
        }
    }
    assert!(paths.len() >= 40, "{paths:?}");
    paths
}

/// An `<img>` sends a GET, with nobody asked: no GET and no HEAD changes anything, anywhere, also with the token.
#[tokio::test(flavor = "multi_thread")]
async fn t08_looking_changes_nothing() {
    let (node, gateway) = house().await;
    let token = format!("Authorization: Bearer {}", gateway.token);
    let state = async || {
        let mut on_disk = BTreeMap::new();
        files(gateway.home.path(), &mut on_disk);
        let snapshot = gateway.snapshot().await;
        let nodes: Vec<String> =
            snapshot.nodes.iter().map(|node| format!("{} {}", node.name, node.url)).collect();
        (on_disk, nodes, format!("{:?}", snapshot.gateway.mode), node.loaded())
    };
    let (before, upstream) = (state().await, reached(&node));
    let in_source = paths_in_source();
    let mut paths: Vec<&str> = ROUTES.iter().map(|(_, target)| *target).collect();
    paths.extend(in_source.iter().map(String::as_str));
    paths.extend([
        "/control/v1/nodes?name=x&url=http://127.0.0.1:9",
        "/control/v1/route?mode=pause",
        "/control/v1/config?text=",
        "/control/v1/nodes/nas",
        "/control/v1/look?now=1",
        "/control/v1/once?",
        "/api/generate?model=m",
        "/v1/chat/completions?model=m&prompt=hi",
        "/api/delete?name=m",
        "/api/pull?name=m",
    ]);
    paths.sort_unstable();
    paths.dedup();
    for target in paths.iter().filter(|target| !target.ends_with("/events")) {
        for method in ["GET", "HEAD"] {
            for head in [
                &["X-A: b"][..],
                &[&token],
                &[&token, "X-HTTP-Method-Override: DELETE", "X-Method-Override: POST"],
            ] {
                let reply: Reply = ask(&gateway, method, target, head).await;
                assert_ne!(reply.status, 201, "{method} {target}");
                assert!(reply.status < 500 || reply.status == 501, "{method} {target}: {}", reply.status);
            }
        }
    }
    assert_eq!(state().await, before, "something has changed");
    assert_eq!(reached(&node), upstream, "somebody was asked");
}

/// Origins that are no web page's are strangers too, until their owner lists them, each by itself.
#[tokio::test(flavor = "multi_thread")]
async fn t09_other_origins_one_by_one() {
    let strangers = [
        "null",
        "file://",
        "vscode-webview://1f2e3d4c5b6a",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
        "moz-extension://0a1b2c3d-1111-2222-3333-444455556666",
        "safari-web-extension://ABCD",
        "app://obsidian.md",
        "capacitor://localhost",
        "ionic://localhost",
        "devtools://devtools",
        "about:blank",
        "data:",
        "blob:null",
        "http://localhost",
        "https://localhost",
        "http://127.0.0.1",
        "resource://pdf.js",
        "tauri://localhost",
        "https://chat.example:443",
        "http://chat.example",
        "https://CHAT.example",
        "https://chat.example/",
    ];
    let (node, gateway) = house().await;
    for origin in strangers {
        for target in ["/v1/models", "/api/tags", "/v1/chat/completions"] {
            let method = if target.ends_with("completions") { "POST" } else { "GET" };
            let reply = ask(
                &gateway,
                method,
                target,
                &[&format!("Origin: {origin}"), "Content-Type: application/json"],
            )
            .await;
            assert_eq!(reply.status, 403, "{origin} {target}: {}", reply.text());
        }
    }
    assert_eq!(reached(&node), 0);
    for (added, sibling) in [
        ("vscode-webview://1f2e3d4c5b6a", "vscode-webview://1f2e3d4c5b6b"),
        (
            "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
            "chrome-extension://bbcdefghijklmnopabcdefghijklmnop",
        ),
        ("app://obsidian.md", "app://obsidian.md.evil"),
        ("http://localhost:3000", "http://localhost:3001"),
    ] {
        let node =
            SimNode::start(Profile::ollama("nas").model(SimModel::new("m").loaded(true))).await.unwrap();
        let config = format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\nallowed_origins = [{added:?}]\n[[node]]\nname = \"nas\"\nurl = \"{}\"\n",
            node.url()
        );
        let gateway = Gateway::start(&config).await;
        gateway.until_up(1).await;
        let post = async |origin: &str| {
            let head = [&format!("Origin: {origin}"), "Content-Type: application/json"];
            ask(&gateway, "POST", "/v1/chat/completions", &head).await
        };
        let welcome = post(added).await;
        assert_eq!(
            (welcome.status, welcome.header("access-control-allow-origin")),
            (200, added),
            "{}",
            welcome.text()
        );
        let refused = post(sibling).await;
        assert_eq!((refused.status, refused.header("access-control-allow-origin")), (403, ""), "{sibling}");
    }
}
