//! Who may manage models through the port.

use super::{BODY, error_of};
use lamplighter_simnode::{Profile, SimModel, SimNode};
use lamplighter_tests::{house::Gateway, socket};

const KEY: &str = "open-sesame-0123456789";
/// What changes, gives away or deletes a node's models.
const MANAGE: [(&str, &str); 8] = [
    ("POST", "/api/create"),
    ("POST", "/api/push"),
    ("DELETE", "/api/delete"),
    ("POST", "/api/delete"),
    ("HEAD", "/api/blobs/sha256:29fdb92e57cf0827ded04ae6461b5931d01fa595843f55d36f5b275a52087dd2"),
    ("POST", "/api/blobs/sha256:29fdb92e57cf0827ded04ae6461b5931d01fa595843f55d36f5b275a52087dd2"),
    ("PUT", "/api/blobs/../../etc/passwd"),
    ("GET", "/api/create"),
];
/// What its owner may ask for on this machine.
const OWN: [(&str, &str); 2] = [("POST", "/api/pull"), ("POST", "/api/copy")];

async fn house(manage: &str) -> (SimNode, Gateway) {
    let node = SimNode::start(Profile::ollama("nas").model(SimModel::new("m").loaded(true))).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("key");
    std::fs::write(&key, KEY).unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nkey = \"file:key\"\nallowed_hosts = [\"models.example\"]\n{manage}\n\
         [[node]]\nname = \"nas\"\nurl = \"{}\"\npresence = \"always-on\"\n",
        node.url()
    );
    std::fs::write(home.path().join("config.toml"), config).unwrap();
    let gateway = Gateway::start_in(home).await;
    gateway.until_up(1).await;
    (node, gateway)
}

/// `create` and `push` together carry a machine's memory out (CVE-2026-7482): shut unless the file opens them, and then only for
/// programs on this machine.
#[tokio::test(flavor = "multi_thread")]
async fn t50_managing_models_needs_the_right() {
    let (closed_node, closed) = house("").await;
    let (open_node, open) = house("manage = true").await;
    let own = |gateway: &Gateway| format!("Host: {}", gateway.authority());
    let body = r#"{"model":"m","name":"m","source":"m","destination":"x","from":"m","stream":false}"#;
    for (gateway, is_owner, managing) in
        [(&closed, true, false), (&closed, false, false), (&open, true, true), (&open, false, true)]
    {
        let named = own(gateway);
        let key = format!("Authorization: Bearer {KEY}");
        let head = if is_owner { [named.as_str(), "X-A: b"] } else { ["Host: models.example", key.as_str()] };
        for (routes, allowed, code) in
            [(&MANAGE[..], is_owner && managing, "not allowed"), (&OWN, is_owner, "own machine")]
        {
            for (method, path) in routes {
                let reply =
                    socket::ask(gateway.authority(), &socket::request(method, path, &head, body)).await;
                let told = format!("{method} {path} owner {is_owner} manage {managing}: {}", reply.text());
                // Nothing of this is served yet; who may ask for it is told so, the others that they may not.
                assert_eq!(reply.status, if allowed { 501 } else { 403 }, "{told}");
                if *method == "HEAD" {
                    continue;
                }
                let said = error_of("/api/chat", &reply);
                assert!(said.contains(if allowed { "not served yet" } else { code }), "{told}");
                assert_eq!(said.contains("manage = true"), !allowed && code == "not allowed", "{told}");
            }
        }
        // Looking and asking are everybody's who comes in.
        for path in ["/api/show", "/api/generate", "/v1/chat/completions"] {
            let reply = socket::ask(gateway.authority(), &socket::request("POST", path, &head, BODY)).await;
            assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        }
    }
    for node in [&closed_node, &open_node] {
        let stats = node.stats();
        let paths: Vec<_> = stats.paths.keys().collect();
        let managed = |path: &str| {
            ["create", "push", "delete", "blobs", "pull", "copy"].iter().any(|word| path.contains(word))
        };
        assert!(!paths.iter().any(|path| managed(path)), "something went up: {paths:?}");
    }
    // No order from a page opens them.
    let text = std::fs::read_to_string(closed.home.path().join("config.toml")).unwrap();
    for line in ["manage = true", "manage = true # for a moment"] {
        let put =
            serde_json::json!({ "text": text.replacen("[server]\n", &format!("[server]\n{line}\n"), 1) });
        let url = format!("{}/control/v1/config", closed.url);
        let answer = closed.http.put(url).bearer_auth(&closed.token).json(&put).send().await.unwrap();
        assert_eq!(answer.status(), 403, "{line}");
    }
    assert_eq!(std::fs::read_to_string(closed.home.path().join("config.toml")).unwrap(), text);
}
