//! Who may talk to us at all: names, web pages and keys, judged before any route. Every case goes through a plain socket.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod keys;
mod pages;
mod reach;

use lamplighter_simnode::{Profile, SimModel, SimNode};
use lamplighter_tests::{
    house::Gateway,
    socket::{self, Reply},
};
use std::fmt::Write;

const LISTED: &str = "https://chat.example";
const BODY: &str = r#"{"model":"m","max_tokens":8,"messages":[{"role":"user","content":"hi"}]}"#;
const KEY: &str = "open-sesame-0123456789";
/// Every route that a client may know, with a method that it serves.
const ROUTES: [(&str, &str); 48] = [
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
    ("POST", "/api/pull"),
    ("POST", "/api/copy"),
    ("POST", "/api/create"),
    ("POST", "/api/push"),
    ("DELETE", "/api/delete"),
    ("POST", "/api/blobs/sha256:0"),
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
    ("DELETE", "/control/v1/requests/req_1"),
    ("PUT", "/control/v1/route"),
    ("POST", "/control/v1/look"),
    ("POST", "/control/v1/identify"),
    ("POST", "/control/v1/nodes"),
    ("PATCH", "/control/v1/nodes/nas"),
    ("DELETE", "/control/v1/nodes/nas"),
    ("POST", "/control/v1/nodes/nas/load"),
    ("POST", "/control/v1/nodes/nas/unload"),
    ("GET", "/control/v1/config"),
    ("PUT", "/control/v1/config"),
    ("POST", "/control/v1/once"),
    ("POST", "/control/v1/session"),
    ("GET", "/ui/"),
    ("GET", "/ui/none.js"),
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
