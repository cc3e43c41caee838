//! Who may talk to us at all: names, web pages and keys, judged before any route. Every case goes through a plain socket.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod keys;

use lamplighter_simnode::{Profile, SimModel, SimNode};
use lamplighter_tests::{
    house::{Gateway, skip},
    socket::{self, Reply},
};
use std::fmt::Write;

const LISTED: &str = "https://chat.example";
const BODY: &str = r#"{"model":"m","max_tokens":8,"messages":[{"role":"user","content":"hi"}]}"#;
const KEY: &str = "open-sesame-0123456789";
/// Every route that a client may know, with a method that it serves.
const ROUTES: [(&str, &str); 27] = [
    ("GET", "/"),
    ("HEAD", "/"),
    ("GET", "/api/version"),
    ("GET", "/api/tags"),
    ("GET", "/api/ps"),
    ("POST", "/api/show"),
    ("POST", "/api/chat"),
    ("POST", "/api/generate"),
    ("POST", "/api/embed"),
    ("POST", "/api/embeddings"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/m"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/responses"),
    ("POST", "/v1/messages"),
    ("POST", "/v1/messages/count_tokens"),
    ("GET", "/api/v1/models"),
    ("POST", "/api/v1/chat/completions"),
    ("GET", "/api/hello"),
    ("GET", "/favicon.ico"),
    ("GET", "/control/v1/health"),
    ("GET", "/control/v1/snapshot"),
    ("GET", "/control/v1/events"),
    ("GET", "/control/v1/explain?model=m"),
    ("GET", "/no/such/route"),
];

/// A node, and a gateway before it that knows a page, a name and a key.
async fn house() -> (SimNode, Gateway) {
    let node = SimNode::start(Profile::ollama("nas").model(SimModel::new("m").loaded(true))).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("key");
    std::fs::write(&key, KEY).unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nkey = \"file:key\"\nallowed_hosts = [\"models.example\"]\n\
         allowed_origins = [\"{LISTED}\"]\n[[node]]\nname = \"nas\"\nurl = \"{}\"\npresence = \"always-on\"\n",
        node.url()
    );
    std::fs::write(home.path().join("config.toml"), config).unwrap();
    let gateway = Gateway::start_in(home).await;
    gateway.until_up(1).await;
    (node, gateway)
}

/// Requests that reached the node and are no questions of ours: those look, and name a model only to `/api/show`.
fn reached(node: &SimNode) -> u64 {
    let stats = node.stats();
    stats.requests_total - stats.probes - stats.paths.get("/api/show").unwrap_or(&0)
}

async fn ask(gateway: &Gateway, method: &str, target: &str, head: &[&str]) -> Reply {
    let host = format!("Host: {}", gateway.authority());
    let mut lines = vec![host.as_str()];
    lines.extend_from_slice(head);
    let body = if method == "POST" { BODY } else { "" };
    socket::ask(gateway.authority(), &socket::request(method, target, &lines, body)).await
}

/// Only names that nobody else can point at us are answered; all others see nothing, and neither does the node.
#[tokio::test(flavor = "multi_thread")]
async fn hosts_t01() {
    let (node, gateway) = house().await;
    let port = gateway.authority().rsplit(':').next().unwrap();
    let (long, mut wrong) = (format!("{}:{port}", "a".repeat(10_240)), String::new());
    let rows: &[(u16, &[&str])] = &[
        (200, &["127.0.0.1:P", "localhost:P", "[::1]:P", "LOCALHOST:P", "LocalHost:P", "  127.0.0.1:P \t"]),
        (200, &["host.docker.internal:11400", "host.docker.internal", "Host.Docker.Internal:1"]),
        (403, &["evil.com", "evil.com:P", "127.0.0.1.evil.com:P", "localhost.evil.com:P", "sub.localhost:P"]),
        (403, &["localhost.:P", ".localhost:P", "127.1:P", "2130706433:P", "0x7f.1:P", "0177.0.0.1:P"]),
        (403, &["0.0.0.0:P", "[::]:P", "[::ffff:127.0.0.1]:P", "127.0.0.2:P", "10.0.0.5:P", "[::1%25lo]:P"]),
        (
            403,
            &[
                "printer.local:P",
                "a.internal:P",
                "host.docker.internal.evil.com:P",
                "models.example.evil.com",
            ],
        ),
        (
            403,
            &["localhost@evil.com:P", "evil.com@localhost:P", "localhost:P@evil.com", "evil.com#localhost:P"],
        ),
        (403, &["127.0.0.1:1", "localhost:11434", "127.0.0.1", "localhost", "127.0.0.1:", "127.0.0.1:99999"]),
        (
            403,
            &["127.0.0.1:P:P", "[::1:P", "[::1]P", "localhost:+P", "127.0.0.1:P, evil.com", "localhost%00:P"],
        ),
        (
            403,
            &[
                "local\thost:P",
                "",
                " ",
                ":P",
                "[]:P",
                "xn--localhost-1x6h:P",
                &long,
                "null",
                "*",
                "http://localhost:P",
            ],
        ),
        (400, &["localhost\0:P", "ⓛocalhost:P", "127。0。0。1:P", "localhost\u{7f}:P"]),
        // Known, but only with a key.
        (401, &["models.example", "models.example:P", "MODELS.example:443"]),
    ];
    for (expected, hosts) in rows {
        for host in *hosts {
            let host = if host.len() > 10_000 { (*host).to_owned() } else { host.replace('P', port) };
            for target in ["/v1/chat/completions", "/api/chat", "/v1/messages", "/no/such/route"] {
                let before = reached(&node);
                let request = socket::request("POST", target, &[&format!("Host: {host}")], BODY);
                let reply = socket::ask(gateway.authority(), &request).await;
                let is_route = target != "/no/such/route";
                let wanted = if *expected == 200 && !is_route { 404 } else { *expected };
                let passed = u64::from(*expected == 200 && is_route);
                let shown: String = host.chars().take(60).collect();
                if reply.status != wanted || reached(&node) - before != passed {
                    writeln!(wrong, "{shown:?} {target}: {}, not {wanted}: {}", reply.status, reply.text())
                        .unwrap();
                }
                if wanted == 403 && !reply.text().contains("allowed_hosts") {
                    writeln!(wrong, "{shown:?}: names no setting: {}", reply.text()).unwrap();
                }
                if wanted != 200 && reply.body.len() > 600 {
                    writeln!(wrong, "{shown:?}: the answer is {} bytes long", reply.body.len()).unwrap();
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// A missing or a second `Host`, or a request line that says something else.
#[tokio::test(flavor = "multi_thread")]
async fn one_host_t02() {
    let (node, gateway) = house().await;
    let host = format!("Host: {}", gateway.authority());
    let absolute = |authority: &str| format!("http://{authority}/v1/chat/completions");
    let own = absolute(gateway.authority());
    let rows: &[(&str, &[&str], u16)] = &[
        ("/v1/chat/completions", &[], 400),
        ("/v1/chat/completions", &[&host, &host], 400),
        ("/v1/chat/completions", &[&host, "Host: evil.com"], 400),
        ("/v1/chat/completions", &["Host: evil.com", &host], 400),
        (&absolute("evil.com"), &[&host], 400),
        (&absolute("evil.com"), &["Host: evil.com"], 403),
        (&absolute(&format!("me@{}", gateway.authority())), &[&host], 400),
        (&own, &["Host: evil.com"], 400),
        (&own, &[], 400),
        (&own, &[&host], 200),
    ];
    for (target, head, status) in rows {
        let before = reached(&node);
        let reply = socket::ask(gateway.authority(), &socket::request("POST", target, head, BODY)).await;
        assert_eq!(reply.status, *status, "{target} {head:?}: {}", reply.text());
        assert_eq!(reached(&node) - before, u64::from(*status == 200), "{target} {head:?}");
    }
    let old = format!("GET /v1/models HTTP/1.0\r\n{host}\r\n\r\n");
    let talk = socket::talk(gateway.authority(), old.as_bytes(), lamplighter_tests::house::PATIENCE).await;
    assert!(
        talk.closed && talk.bytes.starts_with(b"HTTP/1.0 200"),
        "{:?}",
        String::from_utf8_lossy(&talk.bytes)
    );
}

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
        assert_eq!(reply.header("vary"), "Origin");
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

/// No page can frame us, and none can make a script of what we answer.
#[tokio::test(flavor = "multi_thread")]
async fn headers_of_every_answer_t10() {
    let (_node, gateway) = house().await;
    let token = format!("Authorization: Bearer {}", gateway.token);
    let dressed = |reply: &Reply, what: &str| {
        assert_eq!(reply.header("x-frame-options"), "DENY", "{what}");
        assert_eq!(reply.header("x-content-type-options"), "nosniff", "{what}");
        assert!(reply.header("content-security-policy").contains("frame-ancestors 'none'"), "{what}");
        assert!(reply.header("server").is_empty() && reply.header("x-powered-by").is_empty(), "{what}");
    };
    for (method, target) in ROUTES.iter().filter(|(_, target)| !target.ends_with("/events")) {
        for head in
            [&["X-A: b"][..], &[&token], &["Origin: https://evil.example"], &["Sec-Fetch-Site: cross-site"]]
        {
            dressed(&ask(&gateway, method, target, head).await, &format!("{method} {target} {head:?}"));
        }
        dressed(&ask(&gateway, "PATCH", target, &[&token]).await, &format!("PATCH {target}"));
    }
    let evil = socket::request("GET", "/v1/models", &["Host: evil.com"], "");
    dressed(&socket::ask(gateway.authority(), &evil).await, "another name");
    let stream = gateway.chat("m", true).send().await.unwrap();
    assert_eq!(stream.headers()["x-frame-options"], "DENY");
}

/// A page cannot find out which routes or models there are: the refusal is the same, to the byte.
#[tokio::test(flavor = "multi_thread")]
async fn one_refusal_for_all_t11() {
    let (_node, gateway) = house().await;
    let pairs = [
        ("/v1/chat/completions", "/v1/chat/nothing", "/v1/models/m"),
        ("/api/chat", "/api/nothing", "/api/tags"),
        ("/v1/messages", "/v1/messages/nothing", "/v1/messages/count_tokens"),
        ("/control/v1/snapshot", "/control/v1/nothing", "/control/v1/health"),
    ];
    for (here, missing, other) in pairs {
        for head in ["Origin: https://evil.example", "Sec-Fetch-Site: cross-site"] {
            let fixed = "X-Request-Id: one";
            let first = ask(&gateway, "GET", here, &[head, fixed]).await;
            assert_eq!(first.status, 403);
            for target in [missing, other] {
                let second = ask(&gateway, "GET", target, &[head, fixed]).await;
                assert_eq!(first.body, second.body, "{target}");
                let headers = |reply: &Reply| {
                    let mut headers = reply.headers.clone();
                    headers.remove("date");
                    headers
                };
                assert_eq!(headers(&first), headers(&second), "{target}");
            }
        }
    }
}

/// Each path's own dialect tells the refusal, with the setting that would allow it.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_speak_the_callers_dialect() {
    let (_node, gateway) = house().await;
    let evil = ["Host: evil.com"];
    let page = [&format!("Host: {}", gateway.authority()), "Origin: https://evil.example"];
    let name = ["Host: models.example"];
    for (head, status, code, setting) in [
        (&evil[..], 403, "host_not_allowed", "`allowed_hosts`"),
        (&page[..], 403, "origin_not_allowed", "`allowed_origins`"),
        (&name[..], 401, "key_needed", "`key`"),
    ] {
        let said = async |target: &str| {
            let reply = socket::ask(gateway.authority(), &socket::request("GET", target, head, "")).await;
            assert_eq!(reply.status, status, "{target}");
            assert!(reply.header("content-type").starts_with("application/json"), "{target}");
            assert!(!reply.header("x-request-id").is_empty(), "{target}");
            assert_eq!(
                reply.header("www-authenticate"),
                if status == 401 { "Bearer" } else { "" },
                "{target}"
            );
            assert!(reply.text().contains(setting), "{target}: {}", reply.text());
            reply.json()
        };
        let kind = if status == 401 { "authentication_error" } else { "permission_error" };
        for target in ["/v1/models", "/api/v1/models", "/"] {
            let error = &said(target).await["error"];
            assert_eq!((&error["type"], &error["code"]), (&kind.into(), &code.into()), "{target}: {error}");
            assert!(error["message"].is_string());
        }
        for target in ["/v1/messages", "/api/v1/messages"] {
            let error = said(target).await;
            assert_eq!((&error["type"], &error["error"]["type"]), (&"error".into(), &kind.into()), "{error}");
            assert!(error["request_id"].is_string() && error["error"]["message"].is_string());
        }
        assert!(said("/api/tags").await["error"].is_string());
        let error = said("/control/v1/snapshot").await;
        assert_eq!(error["code"], code);
        assert!(error["message"].is_string() && error["hint"].is_string(), "{error}");
    }
}
