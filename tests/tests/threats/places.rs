//! Where a request goes is nobody's to say but the configuration's: not the body's, not a redirect's, not a name's.

use super::{BODY, STREAMS, asked, body, error_of, house, post, verbatim};
use lamplighter_simnode::{Profile, SimModel, SimNode};
use lamplighter_tests::{
    apart::{self, Apart},
    house::{Gateway, PATIENCE, binary, skip},
    peers::Hole,
    socket,
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Fields, headers and queries by which other gateways let a client choose the destination (LiteLLM #24952, #31467).
#[tokio::test(flavor = "multi_thread")]
async fn t39_a_request_never_says_where_it_goes() {
    let (node, gateway) = house().await;
    let hole = Hole::open().await;
    let there = format!("http://{}", hole.addr);
    let fields =
        ["api_base", "base_url", "api_base_url", "url", "endpoint", "host", "target", "proxy", "upstream"];
    let mut told = 0;
    for (path, _) in STREAMS {
        let mut plain: Value = serde_json::from_str(&body(false)).unwrap();
        for field in fields {
            plain[field] = json!(there);
        }
        plain["headers"] = json!({ "Authorization": "Bearer stolen", "X-Canary": "stolen" });
        plain["extra_headers"] = plain["headers"].clone();
        plain["extra_body"] = json!({ "api_base": there });
        plain["api_key"] = json!("stolen");
        plain["custom_llm_provider"] = json!("openai");
        plain["litellm_params"] = json!({ "api_base": there, "api_key": "stolen" });
        let lines = [
            "Helicone-Target-URL",
            "X-Portkey-Custom-Host",
            "X-Target-Url",
            "X-Forwarded-Host",
            "X-Original-URL",
            "X-Rewrite-URL",
            "X-Upstream",
            "X-HTTP-Host-Override",
            "Destination",
            "Location",
            "Referer",
        ]
        .map(|name| format!("{name}: {there}"));
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let target = format!("{path}?api_base={there}&base_url={there}&url={there}");
        let reply = post(&gateway, &target, &lines, &plain.to_string()).await;
        assert_eq!(
            (reply.status, reply.header("x-lamplighter-node")),
            (200, "nas"),
            "{path}: {}",
            reply.text()
        );
        told += 1;
        assert_eq!(asked(&node), told, "{path}");
        let seen = node.seen().into_iter().rfind(|seen| seen.path == path && seen.body_len > 2).unwrap();
        let headers = format!("{:?}", seen.headers);
        assert!(
            !headers.contains("stolen") && !headers.contains(&there) && !headers.contains("x-canary"),
            "{headers}"
        );
        assert_eq!(seen.headers["host"], node.addr().to_string(), "{path}");
    }
    assert_eq!(hole.accepted(), 0, "somebody went there");
}

/// What is no node is not taken as one: neither from the window nor from the file.
#[tokio::test(flavor = "multi_thread")]
async fn t40_addresses_that_are_no_node() {
    let (_node, gateway) = house().await;
    let port = gateway.authority().rsplit(':').next().unwrap().to_owned();
    let file = || std::fs::read_to_string(gateway.home.path().join("config.toml")).unwrap();
    let before = file();
    let order = async |method: reqwest::Method, path: &str, body: Value| {
        let url = format!("{}/control/v1/{path}", gateway.url);
        let answer =
            gateway.http.request(method, url).bearer_auth(&gateway.token).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let ours = [
        format!("http://127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("http://127.0.0.1:{port}/v1"),
        format!("https://LOCALHOST:{port}/"),
        format!(":{port}"),
        format!("0.0.0.0:{port}"),
    ];
    for url in &ours {
        let (status, said) =
            order(reqwest::Method::POST, "nodes", json!({ "name": "loop", "url": url })).await;
        assert!(status == 409 && said.contains("\"ourselves\""), "{url}: {status} {said}");
        let (status, said) = order(reqwest::Method::PATCH, "nodes/nas", json!({ "url": url })).await;
        assert!(status == 409 && said.contains("\"ourselves\""), "{url}: {status} {said}");
        let (status, said) = order(reqwest::Method::POST, "identify", json!({ "url": url })).await;
        assert!(status == 409 && said.contains("\"ourselves\""), "{url}: {status} {said}");
    }
    for url in [
        "169.254.169.254",
        "http://169.254.169.254/latest/meta-data",
        "http://[fd00:ec2::254]",
        "[::ffff:169.254.169.254]:80",
        "100.100.100.200",
        "http://a@b",
        "http://user:pw@nas",
        "http://127.0.0.1:1\\@evil.example",
        "http://nas\\.evil",
        "http://nas:80#@evil.example",
        "http://nas?x=@evil.example",
        "http://nas/%2e%2e",
        "http://nas/../x",
        "http://nas:99999",
        "file:///etc/passwd",
        "gopher://nas:70",
        "unix:/run/x.sock",
        "http://",
        "",
        "http://[::1",
        "http://[fe80::1%25eth0]",
        "http://nas\r\nX: y",
        "http://nas\u{0}",
        "http://ⓝas",
        "224.0.0.1",
        "255.255.255.255",
    ] {
        let (status, said) =
            order(reqwest::Method::POST, "nodes", json!({ "name": "bad", "url": url })).await;
        assert!((400..500).contains(&status), "{url:?}: {status} {said}");
        let (status, said) = order(
            reqwest::Method::PUT,
            "config",
            json!({ "text": format!("{before}\n[[node]]\nname = \"bad\"\nurl = {url:?}\n") }),
        )
        .await;
        assert!((400..500).contains(&status), "{url:?}: {status} {said}");
    }
    assert_eq!(file(), before, "nothing was written");
}

/// A name that led to a machine and now leads to a link-local address: nothing is sent there.
#[tokio::test(flavor = "multi_thread")]
async fn t40_a_name_that_flips_is_refused_at_connect() {
    if let Some(why) = apart::impossible() {
        return skip("t40_a_name_that_flips_is_refused_at_connect", &format!("no network of its own: {why}"));
    }
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name).display().to_string();
    let leads_to = |ip: &str| {
        std::fs::write(home.path().join("hosts"), format!("{ip} node.example.com\n127.0.0.1 localhost\n"))
            .unwrap()
    };
    let (hosts, seen) = (path("hosts"), path("seen"));
    leads_to("10.9.0.1");
    let config = "[server]\nlisten = [\"127.0.0.1:0\"]\n[[node]]\nname = \"nas\"\nurl = \"http://node.example.com:7011\"\npresence = \"always-on\"\n";
    std::fs::write(home.path().join("config.toml"), config).unwrap();
    // The machine answers under both addresses; only the name's owner has changed.
    let setup = format!(
        "ip address add 10.9.0.1/32 dev lo; ip address add 169.254.7.7/32 dev lo\n\
         mount --bind {hosts} /etc/hosts\n\
         timeout 60 {} --engine openai --ip 0.0.0.0 --port 7011 --name nas --model m,loaded --fault '{{\"kind\":\"keep_alive\",\"seconds\":0.05}}' >{seen} 2>&1 &\n\
         while ! grep -q control {seen}; do sleep 0.05; done",
        binary("lamplighter-simnode").display()
    );
    let gateway = Apart::start(home, &setup);
    let request = |line: &str| {
        let host = format!("Host: 127.0.0.1:{}", gateway.port());
        socket::request("POST", "/v1/chat/completions", &[&host, line], BODY)
    };
    let began = Instant::now();
    let answered = loop {
        let reply = gateway.ask("127.0.0.1", &request("X-A: b"));
        if reply.status == 200 || began.elapsed() > PATIENCE {
            break reply;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(answered.status, 200, "{}", answered.text());
    std::fs::write(&hosts, "169.254.7.7 node.example.com\n127.0.0.1 localhost\n").unwrap();
    // The node closes what is idle, so this is a new connection.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let reply = gateway.ask("127.0.0.1", &request("X-Request-Id: after-the-flip"));
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert!(reply.text().contains("no node"), "{}", reply.text());
    std::fs::write(&hosts, "10.9.0.1 node.example.com\n127.0.0.1 localhost\n").unwrap();
    let began = Instant::now();
    while gateway.ask("127.0.0.1", &request("X-A: b")).status != 200 {
        assert!(began.elapsed() < PATIENCE, "it comes back with its address");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Lamplighters in a ring: the request ends, at once, in the caller's own error shape.
#[tokio::test(flavor = "multi_thread")]
async fn t41_a_loop_ends_at_the_second_hop() {
    let (node, gateway) = house().await;
    for (path, _) in STREAMS {
        for lines in [
            &["Via: 1.1 lamplighter, 1.1 lamplighter"][..],
            &["Via: 1.0 fred, 1.1 lamplighter (kitchen), 1.1 example, 1.1 lamplighter"],
            &["Via: 1.1 lamplighter", "Via: 1.1 lamplighter"],
            &["X-Lamplighter-Hop: 2"],
            &["X-Lamplighter-Hop: 99999999999999999999999"],
            &["X-Lamplighter-Hop: 1", "X-Lamplighter-Hop: 2"],
            &["X-Lamplighter-Hop: two"],
        ] {
            let mut quickest = Duration::MAX;
            for _ in 0..3 {
                let began = Instant::now();
                let reply = post(&gateway, path, lines, &body(true)).await;
                quickest = quickest.min(began.elapsed());
                assert_eq!(reply.status, 508, "{path} {lines:?}: {}", reply.text());
                assert!(error_of(path, &reply).contains("Lamplighter"), "{}", reply.text());
                assert_eq!(reply.header("x-should-retry"), "false");
            }
            // One in three is not slowed by whatever else this machine does.
            assert!(quickest < Duration::from_millis(10), "{path} {lines:?}: {quickest:?}");
        }
    }
    assert_eq!(asked(&node), 0);
    for (line, hops) in [
        ("X-A: b", "1"),
        ("Via: 1.1 lamplighter", "2"),
        ("X-Lamplighter-Hop: 1", "2"),
        ("Via: 1.1 varnish", "1"),
    ] {
        let reply = post(&gateway, "/v1/chat/completions", &[line], BODY).await;
        assert_eq!(reply.status, 200, "{line}: {}", reply.text());
        let seen = node.seen().into_iter().rfind(|seen| seen.path == "/v1/chat/completions").unwrap();
        assert_eq!(seen.headers["x-lamplighter-hop"], hops, "{line}");
        assert!(seen.headers.get_all("via").iter().any(|via| via == "1.1 lamplighter"), "{:?}", seen.headers);
    }
    // Two gateways, each the other's node: named before it can turn.
    let other = Gateway::over(&[&node], "").await;
    let chain = format!("[[node]]\nname = \"other\"\nurl = \"{}\"\n", other.url);
    let chained = Gateway::start(&format!("[server]\nlisten = [\"127.0.0.1:0\"]\n{chain}")).await;
    chained.until_up(1).await;
    assert_eq!(
        chained.chat("m", false).send().await.unwrap().status(),
        200,
        "one behind the other is no loop"
    );
    let third = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[[node]]\nname = \"chained\"\nurl = \"{}\"\n",
        chained.url
    );
    let third = Gateway::start(&third).await;
    third.until_up(1).await;
    let refused = third.chat("m", false).send().await.unwrap();
    assert_eq!(refused.status(), 508, "{}", refused.text().await.unwrap());
}

/// A node that sends us elsewhere: nobody goes there, with or without a key, and the client is not sent there either.
#[tokio::test(flavor = "multi_thread")]
async fn t42_no_redirect_is_followed_and_no_key_goes_along() {
    const KEY: &str = "canary-4e1f9c";
    let node = SimNode::start(Profile::ollama("nas").model(SimModel::new("m").loaded(true)).parallel(8))
        .await
        .unwrap();
    let (elsewhere, hole) =
        (SimNode::start(Profile::ollama("x").model(SimModel::new("m"))).await.unwrap(), Hole::open().await);
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("k"), KEY).unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(home.path().join("k"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[[node]]\nname = \"nas\"\nurl = \"{}\"\npresence = \"always-on\"\napi_key = \"file:k\"\n",
        node.url()
    );
    std::fs::write(home.path().join("config.toml"), config).unwrap();
    let gateway = Gateway::start_in(home).await;
    gateway.until_up(1).await;
    let mut sent = 0;
    for status in [
        "301 Moved",
        "302 Found",
        "303 See Other",
        "307 Temporary",
        "308 Permanent",
        "300 Choices",
        "399 What",
    ] {
        for to in [
            format!("{}/v1/chat/completions", elsewhere.url()),
            format!("//{}/x", hole.addr),
            format!("http://{}/", hole.addr),
        ] {
            let answer = format!(
                "HTTP/1.1 {status}\r\nLocation: {to}\r\nRefresh: 0; url={to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            node.set_fault(verbatim(&[answer.as_bytes()], false));
            let key = format!("x-api-key: {KEY}");
            let reply =
                post(&gateway, "/v1/chat/completions", &[&key, "Authorization: Bearer client-key"], BODY)
                    .await;
            sent += 1;
            assert!(reply.status >= 500, "{status}: {}", reply.status);
            assert!(
                !format!("{:?}", reply.headers).contains(&to) && !reply.text().contains(&to),
                "{status}: {reply:?}"
            );
        }
    }
    assert!(asked(&node) >= sent);
    let ours = format!("Bearer {KEY}");
    for seen in node.seen().iter().filter(|seen| seen.path == "/v1/chat/completions" && seen.body_len > 2) {
        assert_eq!(seen.headers["authorization"], ours, "the node's own key, and not the client's");
        assert!(!seen.headers.contains_key("x-api-key"));
    }
    assert_eq!((elsewhere.stats().requests_total, hole.accepted()), (0, 0), "somebody went there");
    assert!(!gateway.log().contains(KEY), "a key stands in the log");
}
