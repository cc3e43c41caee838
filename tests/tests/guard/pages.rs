//! Pages in a browser: the one next door, the listed one, and the window of the desktop.

use super::{LISTED, ROUTES, ask, house, reached};
use lamplighter_tests::{
    house::skip,
    socket::{self, Reply},
};
use std::fmt::Write;

/// The rule of the matrix, written once more and on purpose not as the gate has it: may this come in, and as what?
fn may(method: &str, kind: Option<&str>, origin: Option<&str>, site: Option<&str>) -> u16 {
    let page_of_ours_or_no_page = match (origin, site) {
        (Some(origin), _) => origin == LISTED,
        (None, Some("cross-site" | "same-site")) => false,
        (None, _) => true,
    };
    if !page_of_ours_or_no_page {
        return 403;
    }
    // The route serves POST; a browser's question before a request is none.
    if method != "POST" {
        return 405;
    }
    let by_a_browser = origin.is_some() || site == Some("same-origin");
    if by_a_browser && kind != Some("application/json") { 400 } else { 200 }
}

/// What a page in the browser next door can send: 750 kinds of requests. Those of strangers end at the gate.
#[tokio::test(flavor = "multi_thread")]
async fn pages_t03() {
    let (node, gateway) = house().await;
    let methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"];
    let kinds = [
        None,
        Some("application/json"),
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/form-data; boundary=x"),
    ];
    let origins = [
        None,
        Some("null"),
        Some("https://evil.example"),
        Some("chrome-extension://abcdefghijklmnopabcdefghijklmnop"),
        Some(LISTED),
    ];
    let sites = [None, Some("same-origin"), Some("same-site"), Some("cross-site"), Some("none")];
    let (mut cases, mut served, mut wrong) = (0, 0, String::new());
    for method in methods {
        for kind in kinds {
            for origin in origins {
                for site in sites {
                    let head: Vec<String> =
                        [("Content-Type", kind), ("Origin", origin), ("Sec-Fetch-Site", site)]
                            .iter()
                            .filter_map(|(name, value)| Some(format!("{name}: {}", (*value)?)))
                            .collect();
                    let head: Vec<&str> = head.iter().map(String::as_str).collect();
                    let reply = ask(&gateway, method, "/v1/chat/completions", &head).await;
                    let wanted = may(method, kind, origin, site);
                    (cases, served) = (cases + 1, served + u64::from(wanted == 200));
                    let shown = reply.header("access-control-allow-origin");
                    let to_be_shown = if wanted != 403 && origin == Some(LISTED) { LISTED } else { "" };
                    if reply.status != wanted || shown != to_be_shown || reached(&node) != served {
                        writeln!(
                            wrong,
                            "{method} {head:?}: {}, not {wanted}; shown to {shown:?}",
                            reply.status
                        )
                        .unwrap();
                        served = reached(&node);
                    }
                    if wanted == 403 && method != "HEAD" && !reply.text().contains("allowed_origins") {
                        writeln!(wrong, "{method} {head:?} names no setting: {}", reply.text()).unwrap();
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert_eq!((cases, served), (750, 16));
}

/// Ollama's own documentation posts JSON with `curl -d`, which calls it a form.
#[tokio::test(flavor = "multi_thread")]
async fn honest_tools_t04() {
    let (_node, gateway) = house().await;
    for kind in ["Content-Type: application/x-www-form-urlencoded", "Content-Type: text/plain", "Accept: */*"]
    {
        for target in ["/api/generate", "/api/chat", "/v1/chat/completions", "/v1/messages"] {
            let body =
                r#"{"model":"m","prompt":"hi","max_tokens":8,"messages":[{"role":"user","content":"hi"}]}"#;
            let host = format!("Host: {}", gateway.authority());
            let request = socket::request("POST", target, &[&host, kind], body);
            let reply = socket::ask(gateway.authority(), &request).await;
            assert_eq!(reply.status, 200, "{kind} {target}: {}", reply.text());
        }
    }
    let url = format!("{}/api/generate", gateway.url);
    let args = ["-sS", "--noproxy", "*", &url, "-d", r#"{"model": "m", "prompt": "hi", "stream": false}"#];
    match std::process::Command::new("curl").args(args).output() {
        Err(error) => skip("honest_tools_t04", &format!("no curl: {error}")),
        Ok(output) => {
            let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!((&said["model"], &said["done"]), (&"m".into(), &true.into()), "{said}");
        }
    }
}

fn no_cors(reply: &Reply) {
    let shown: Vec<_> =
        reply.headers.keys().filter(|name| name.as_str().starts_with("access-control")).collect();
    assert!(shown.is_empty(), "{shown:?} in {reply:?}");
}

const PREFLIGHT: &str = "Access-Control-Request-Method: POST";

/// Listed pages get exactly their own name back; nobody else gets a word, on any route.
#[tokio::test(flavor = "multi_thread")]
async fn cors_t05() {
    let (node, gateway) = house().await;
    let token = gateway.token.clone();
    for (method, target) in ROUTES {
        for origin in
            ["https://evil.example", "null", "http://localhost:3000", "https://chat.example.evil.example"]
        {
            let origin = format!("Origin: {origin}");
            for (method, more) in [(method, "X-A: b"), ("OPTIONS", PREFLIGHT)] {
                let with_token = format!("Authorization: Bearer {token}");
                let reply = ask(&gateway, method, target, &[&origin, &with_token, more]).await;
                assert_eq!(reply.status, 403, "{method} {target} {origin}");
                no_cors(&reply);
                assert!(!reply.text().contains(&token) && !format!("{:?}", reply.headers).contains(&token));
            }
        }
        if target.starts_with("/control/") {
            let reply = ask(&gateway, "OPTIONS", target, &[&format!("Origin: {LISTED}"), PREFLIGHT]).await;
            assert_eq!(reply.status, 403, "a page of the API is none of the control API: {target}");
            no_cors(&reply);
            continue;
        }
        let reply = ask(&gateway, "OPTIONS", target, &[&format!("Origin: {LISTED}"), PREFLIGHT]).await;
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (204, LISTED), "{target}");
        assert_eq!(reply.header("vary"), "Origin, Access-Control-Request-Headers");
        assert!(reply.header("access-control-allow-methods").contains("POST"));
        for name in ["authorization", "content-type", "x-api-key", "anthropic-version"] {
            assert!(reply.header("access-control-allow-headers").contains(name), "{name}");
        }
        let all = format!("{:?}", reply.headers);
        assert!(!all.contains("credentials") && !all.contains('*'), "{all}");
        let reply = ask(&gateway, method, target, &[&format!("Origin: {LISTED}")]).await;
        assert_eq!(reply.header("access-control-allow-origin"), LISTED, "{method} {target}");
        assert!(reply.headers.get_all("vary").iter().any(|vary| vary == "Origin"), "{method} {target}");
    }
    assert_eq!(node.stats().paths.get("/v1/chat/completions"), None, "a page must say that its JSON is JSON");
}

/// Official clients in a page send headers of their own, and other ones with their next version.
#[tokio::test(flavor = "multi_thread")]
async fn a_listed_page_may_send_what_its_client_sends() {
    let (_node, gateway) = house().await;
    let origin = format!("Origin: {LISTED}");
    let ask_for = async |names: &str| {
        let wanted = format!("Access-Control-Request-Headers: {names}");
        let reply = ask(&gateway, "OPTIONS", "/v1/messages", &[&origin, PREFLIGHT, &wanted]).await;
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (204, LISTED));
        reply.header("access-control-allow-headers").to_owned()
    };
    let sdks = "anthropic-dangerous-direct-browser-access,authorization,content-type,openai-beta,x-lamplighter-class,\
        x-lamplighter-node,x-session-id,x-stainless-arch,x-stainless-retry-count";
    assert_eq!(ask_for(sdks).await, sdks);
    // What is no list of names is not repeated, and gets what everybody gets.
    let long = vec!["x-stainless-lang"; 200].join(",");
    for odd in ["*, a b", "x-a,,x-b", "x-a: b", &long, "", "x-\u{e9}"] {
        let granted = ask_for(odd).await;
        assert!(granted.starts_with("authorization, content-type,"), "{odd:?}: {granted:?}");
    }
}

/// A link in somebody's chat opens our pages, as what the person looks at; nothing else of ours, and in no frame.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_from_another_page_opens_ours() {
    let (_node, gateway) = house().await;
    let ask = async |target: &str, mode: &str, dest: &str| {
        let head = [
            "Sec-Fetch-Site: cross-site",
            &format!("Sec-Fetch-Mode: {mode}"),
            &format!("Sec-Fetch-Dest: {dest}"),
        ]
        .map(str::to_owned);
        let reply = ask(&gateway, "GET", target, &head.each_ref().map(String::as_str)).await;
        no_cors(&reply);
        (reply.status, reply.header("x-frame-options").to_owned())
    };
    assert_eq!(ask("/ui/", "navigate", "document").await, (200, "DENY".into()));
    assert_eq!(ask("/ui", "navigate", "document").await.0, 308);
    for (target, mode, dest) in [
        ("/ui/", "navigate", "iframe"),
        ("/ui/", "no-cors", "document"),
        ("/ui/", "cors", "empty"),
        ("/v1/models", "navigate", "document"),
        ("/control/v1/snapshot", "navigate", "document"),
        ("/uix/", "navigate", "document"),
    ] {
        assert_eq!(ask(target, mode, dest).await.0, 403, "{target} {mode} {dest}");
    }
}

/// The desktop window's origins open the control API and nothing else; it sees our refusals too.
#[tokio::test(flavor = "multi_thread")]
async fn the_window_and_nobody_else_sees_the_control_api() {
    let (_node, gateway) = house().await;
    let token = format!("Authorization: Bearer {}", gateway.token);
    for window in ["tauri://localhost", "http://tauri.localhost", "https://tauri.localhost"] {
        let origin = &*format!("Origin: {window}");
        let reply = ask(&gateway, "OPTIONS", "/control/v1/snapshot", &[origin, PREFLIGHT]).await;
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (204, window));
        assert!(reply.header("access-control-allow-headers").contains("authorization"));
        for (target, head, status) in [
            ("/control/v1/snapshot", &[origin, &token][..], 200),
            ("/control/v1/health", &[origin], 200),
            ("/control/v1/snapshot", &[origin], 401),
            ("/control/v1/snapshot", &[origin, "Authorization: Bearer wrong"], 401),
            ("/control/v1/explain", &[origin, &token], 400),
            ("/control/v1/none", &[origin, &token], 404),
        ] {
            let reply = ask(&gateway, "GET", target, head).await;
            assert_eq!(reply.status, status, "{target}: {}", reply.text());
            assert_eq!(reply.header("access-control-allow-origin"), window, "{target} {status}");
            assert!(reply.headers.get_all("vary").iter().any(|vary| vary == "Origin"));
            assert!(reply.header("access-control-allow-credentials").is_empty());
        }
        for target in ["/v1/models", "/api/tags", "/", "/control", "/control/v2/snapshot", "/controlled"] {
            let reply = ask(&gateway, "GET", target, &[origin]).await;
            assert_eq!(reply.status, 403, "{target}");
            no_cors(&reply);
        }
    }
    // Our own pages, under the name by which they were reached.
    let own = format!("Origin: {}", gateway.url);
    let reply = ask(&gateway, "GET", "/control/v1/snapshot", &[&own, &token]).await;
    assert_eq!(reply.status, 200);
    no_cors(&reply);
    let reply = ask(&gateway, "GET", "/control/v1/snapshot", &["Origin: http://127.0.0.1:1", &token]).await;
    assert_eq!(reply.status, 403);
}
