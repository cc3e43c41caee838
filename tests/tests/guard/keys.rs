//! Who needs the key, where a key is needed: names from outside, and listeners that are not loopback.

use super::{BODY, KEY, LISTED, ask, house};
use lamplighter_tests::{
    apart::{self, Apart},
    house::skip,
    socket,
};

/// A proxy in front of us must not turn strangers into the owner: under another name the key is needed, also on loopback.
#[tokio::test(flavor = "multi_thread")]
async fn allowed_names_need_the_key() {
    let (node, gateway) = house().await;
    for (head, status) in [
        ("X-A: b".to_owned(), 401),
        ("Authorization: Bearer wrong".into(), 401),
        (format!("Authorization: Basic {KEY}"), 401),
        (format!("Authorization: Bearer {KEY}x"), 401),
        (format!("Cookie: key={KEY}"), 401),
        (format!("Authorization: Bearer {KEY}"), 200),
        (format!("authorization: bearer {KEY}"), 200),
        (format!("x-api-key: {KEY}"), 200),
        (format!("api-key: {KEY}"), 200),
        // Anthropic's libraries send both when both are set.
        (format!("Authorization: Bearer other\r\nx-api-key: {KEY}"), 200),
    ] {
        for host in ["models.example", "models.example:443"] {
            let request =
                socket::request("POST", "/v1/chat/completions", &[&format!("Host: {host}"), &head], BODY);
            let reply = socket::ask(gateway.authority(), &request).await;
            assert_eq!(reply.status, status, "{host} {head}: {}", reply.text());
            assert_eq!(reply.header("www-authenticate"), if status == 401 { "Bearer" } else { "" }, "{head}");
        }
    }
    let in_query = format!("/v1/models?key={KEY}");
    let request = socket::request("GET", &in_query, &["Host: models.example"], "");
    assert_eq!(
        socket::ask(gateway.authority(), &request).await.status,
        401,
        "a key in an address is in every log"
    );
    // On loopback under our own names its owner needs none; what is presented there is not ours to judge.
    assert_eq!(ask(&gateway, "GET", "/v1/models", &["Authorization: Bearer ollama"]).await.status, 200);
    // A listed page sees that a key is needed, instead of a network error.
    let head = ["Host: models.example", &format!("Origin: {LISTED}")];
    let reply = socket::ask(gateway.authority(), &socket::request("GET", "/v1/models", &head, "")).await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (401, LISTED));
    let leaked = node.seen().iter().any(|seen| format!("{:?}{:?}", seen.headers, seen.body).contains(KEY));
    assert!(!leaked, "the key stays here");
}

/// A listener that is not loopback is not opened without a key; with one, everybody but this machine must present it.
#[tokio::test(flavor = "multi_thread")]
async fn the_network_needs_the_key() {
    let home = || tempfile::tempdir().unwrap();
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:11400", "docker"] {
        let home = home();
        std::fs::write(home.path().join("config.toml"), format!("[server]\nlisten = [\"{listen}\"]\n"))
            .unwrap();
        let (code, out, said) = lamplighter_tests::house::run(home.path(), &["serve"]);
        assert_eq!((code, out.as_str()), (2, ""), "{listen}: {said}");
        assert!(
            said.contains("config.toml:2:11: error: ") && said.contains("set `key` in [server]"),
            "{said}"
        );
    }
    if let Some(why) = apart::impossible() {
        return skip("the_network_needs_the_key", &format!("no network of its own: {why}"));
    }
    let home = home();
    std::fs::write(home.path().join("key"), KEY).unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(home.path().join("key"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    std::fs::write(
        home.path().join("config.toml"),
        "[server]\nlisten = [\"0.0.0.0:0\"]\nkey = \"file:key\"\n",
    )
    .unwrap();
    let gateway = Apart::start(home, "ip address add 10.9.0.1/32 dev lo");
    let key = format!("Authorization: Bearer {KEY}");
    let port = gateway.port();
    for (ip, host, head, status) in [
        ("127.0.0.1", format!("127.0.0.1:{port}"), "X-A: b", 200),
        ("127.0.0.1", format!("10.9.0.1:{port}"), "X-A: b", 403),
        ("10.9.0.1", format!("10.9.0.1:{port}"), "X-A: b", 401),
        ("10.9.0.1", format!("10.9.0.1:{port}"), key.as_str(), 200),
        // An address can be written into a Host header by anybody on the network.
        ("10.9.0.1", format!("127.0.0.1:{port}"), "X-A: b", 401),
        ("10.9.0.1", format!("localhost:{port}"), "X-A: b", 401),
        ("10.9.0.1", "host.docker.internal:11400".into(), "X-A: b", 401),
        ("10.9.0.1", "host.docker.internal:11400".into(), key.as_str(), 200),
        ("10.9.0.1", format!("evil.com:{port}"), key.as_str(), 403),
        ("10.9.0.1", format!("10.9.0.2:{port}"), key.as_str(), 403),
    ] {
        let request = socket::request("GET", "/v1/models", &[&format!("Host: {host}"), head], "");
        let reply = gateway.ask(ip, &request);
        assert_eq!(reply.status, status, "to {ip} as {host} with {head}: {}", reply.text());
    }
}
