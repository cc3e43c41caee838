//! Configurations as people break them: every one is told by file, line and column, and none is written over.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_simnode::{Profile, SimModel, SimNode};
use lamplighter_tests::{
    apart::{self, Apart},
    house::{self, Gateway, PATIENCE, run, skip},
    socket::{self, Reply},
    spoken::Spoken,
};
use serde_json::{Value, json};
use std::{net::TcpListener, path::Path, process::Command, time::Duration};
use tempfile::TempDir;

const SERVER: &str = "[server]\nlisten = [\"127.0.0.1:0\"]\n";
const NODE: &str = "[[node]]\nname = \"nas\"\nurl = \"127.0.0.1:9\"\n";

fn written(config: impl AsRef<[u8]>) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("config.toml"), config).unwrap();
    home
}

/// Everything in the folder but the files that were there before.
fn left_behind(home: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(home.join("runtime/lamplighter"))
        .into_iter()
        .chain(std::fs::read_dir(home.join("state/lamplighter")))
        .flatten()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The broken ones of the list, and some that people write: exit code 2, the place, and what was meant.
#[test]
fn broken_configurations_are_told_and_kept() {
    let node = |lines: &str| format!("{SERVER}{NODE}{lines}");
    let alias = |name: &str, model: &str| format!("[[alias]]\nname = \"{name}\"\nmodels = [\"{model}\"]\n");
    let cases: &[(&str, String, &str, &[&str])] = &[
        ("empty", String::new(), "", &["the file is empty (0 bytes)", "restore it, or delete it"]),
        ("cut in a text", format!("{SERVER}[[node]]\nname = \"na"), ":4:11", &["the text is not closed"]),
        ("cut in a header", format!("{SERVER}{NODE}[[nod"), ":6:6", &["`]]`"]),
        ("cut in a list", "[server]\nlisten = [\"127.0.0.1:0\",".into(), ":2:", &["]"]),
        ("cut after a key", format!("{SERVER}{NODE}prio"), ":6:5", &["`=`"]),
        ("NUL", node("gpu = \"RTX\0\"\n"), ":6:11", &["NUL", "the file is damaged"]),
        ("zeros", "\0".repeat(512), ":1:1", &["NUL", "the file is damaged"]),
        (
            "unknown field",
            node("max_concurent = 2\n"),
            ":6:1",
            &["\"max_concurent\"", "did you mean \"max_concurrent\""],
        ),
        ("unknown table", format!("{SERVER}[[nodes]]\nname = \"nas\"\n"), ":3:3", &["\"nodes\"", "node"]),
        ("unknown server field", "[server]\nport = 11400\n".into(), ":2:1", &["\"port\"", "listen"]),
        ("wrong type", node("max_concurrent = \"two\"\n"), ":6:18", &["expected a whole number", "\"two\""]),
        ("no list", "[server]\nlisten = \"127.0.0.1:0\"\n".into(), ":2:10", &["expected a list"]),
        ("wrong word", node("presence = \"sometimes\"\n"), ":6:12", &["always-on", "comes-and-goes"]),
        ("wrong engine", node("engine = \"olama\"\n"), ":6:10", &["ollama"]),
        ("negative", node("max_concurrent = -1\n"), ":6:18", &["max_concurrent"]),
        (
            "duplicate name",
            format!("{SERVER}{NODE}[[node]]\nname = \"nas\"\nurl = \"10.0.0.5\"\n"),
            ":7:8",
            &["another node called \"nas\"", "unique"],
        ),
        (
            "bad name",
            format!("{SERVER}[[node]]\nname = \"The NAS\"\nurl = \"nas\"\n"),
            ":4:8",
            &["a-z, 0-9 and -"],
        ),
        ("no url", format!("{SERVER}[[node]]\nname = \"nas\"\n"), ":3:1", &["url"]),
        ("alias cycle", node(&(alias("a", "b") + &alias("b", "a"))), ":8:10", &["circle", "a → b → a"]),
        ("alias to itself", node(&alias("a", "a")), ":8:10", &["circle"]),
        ("bad port", format!("{SERVER}[[node]]\nname = \"nas\"\nurl = \"nas:99999\"\n"), ":5:7", &["port"]),
        ("bad url", format!("{SERVER}[[node]]\nname = \"nas\"\nurl = \"ftp://nas\"\n"), ":5:7", &["http://"]),
        (
            "a space in a url",
            format!("{SERVER}[[node]]\nname = \"nas\"\nurl = \"my nas\"\n"),
            ":5:7",
            &["write it like"],
        ),
        ("a key in the file", node("api_key = \"sk-live-12345\"\n"), ":6:11", &["env:NAME", "file:PATH"]),
        ("no quotes", node("gpu = RTX\n"), ":6:7", &["quotes"]),
        ("a colon", node("priority: 3\n"), ":6:", &["="]),
        ("twice", node("priority = 1\npriority = 2\n"), ":7:1", &["priority", "twice"]),
        ("JSON", "{\"server\": {}}".into(), ":1:1", &["JSON", "TOML"]),
        ("UTF-16 of Windows", "\u{feff}[server]".into(), "", &["UTF-8"]),
        ("Latin-1", node("gpu = \"f\u{fffd}r\"\n"), ":6:9", &["not UTF-8"]),
        (
            "open to the network",
            "[server]\nlisten = [\"0.0.0.0:11400\"]\n".into(),
            ":2:11",
            &["set `key` in [server]"],
        ),
        ("every page", "[server]\nallowed_origins = [\"*\"]\n".into(), ":2:20", &["every page you visit"]),
    ];
    for (what, text, place, said) in cases {
        let bytes = match *what {
            "UTF-16 of Windows" => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            "Latin-1" => {
                text.replace('\u{fffd}', "\x01").bytes().map(|b| if b == 1 { 0xfc } else { b }).collect()
            }
            _ => text.as_bytes().to_vec(),
        };
        let home = written(&bytes);
        let (code, out, err) = run(home.path(), &["serve"]);
        assert_eq!((code, out.as_str()), (2, ""), "{what}: {err}");
        let place = format!("{}{place}", home.path().join("config.toml").display());
        assert!(err.contains(&place), "{what} is not at {place}: {err}");
        for word in *said {
            assert!(err.contains(word), "{what} does not say {word:?}: {err}");
        }
        assert!(!err.contains("12345") && !err.contains("panicked"), "{what}: {err}");
        assert_eq!(std::fs::read(home.path().join("config.toml")).unwrap(), bytes, "{what}: written over");
        assert_eq!(left_behind(home.path()), [""; 0], "{what}");
    }
}

/// All that is wrong is told at once.
#[test]
fn every_complaint_at_once() {
    let home = written(format!(
        "{SERVER}lisen = []\n[[node]]\nname = \"A\"\nurl = \"ftp://x\"\npriority = \"high\"\n"
    ));
    let (code, _, err) = run(home.path(), &["serve"]);
    assert_eq!((code, err.matches(": error: ").count()), (2, 4), "{err}");
}

/// Notepad's byte order mark and line ends are no fault.
#[tokio::test(flavor = "multi_thread")]
async fn a_byte_order_mark_is_no_fault() {
    let node = SimNode::start(Profile::ollama("nas").model(SimModel::new("m"))).await.unwrap();
    let text =
        format!("\u{feff}{SERVER}[[node]]\nname = \"nas\"\nurl = \"{}\"\n", node.url()).replace('\n', "\r\n");
    let gateway = Gateway::start(&text).await;
    let snapshot = gateway.until_up(1).await;
    assert_eq!((snapshot.nodes[0].name.as_str(), snapshot.problems.len()), ("nas", 0));
    assert_eq!(std::fs::read(gateway.home.path().join("config.toml")).unwrap(), text.as_bytes());
}

/// It may be on a machine that is away, so it is worth a word and no more.
#[tokio::test(flavor = "multi_thread")]
async fn an_alias_to_an_unknown_model_is_a_warning() {
    let node = SimNode::start(Profile::ollama("nas").model(SimModel::new("m"))).await.unwrap();
    let alias = "[[alias]]\nname = \"coder\"\nmodels = [\"qwen9:1b\", \"m\"]\n";
    let gateway = Gateway::over(&[&node], alias).await;
    let snapshot = gateway.until(|snapshot| !snapshot.problems.is_empty()).await;
    let problem = &snapshot.problems[0];
    assert!(problem.message.contains("\"coder\"") && problem.message.contains("\"qwen9:1b\""), "{problem:?}");
    assert_eq!(snapshot.problems.len(), 1, "the model that is there is no problem: {snapshot:?}");
    let (code, out, _) = gateway.cli(&["status"]);
    assert!(code == 0 && out.contains("qwen9:1b") && out.contains("Pull the model"), "{out}");
    assert_eq!(gateway.chat("coder", false).send().await.unwrap().status(), 200);
}

/// Serves in a folder that outlives it, and says where.
async fn serve(folder: &Path) -> (Spoken, String) {
    let serving = Spoken::start(house::command(folder, &["serve"]));
    let url = serving.ready().await["url"].as_str().unwrap().to_owned();
    (serving, url)
}

/// Ends it. What it has logged.
fn end(mut serving: Spoken) -> String {
    house::signal(serving.child.id(), "TERM");
    let (code, said) = serving.end();
    assert_eq!(code, Some(0), "{said}");
    said
}

/// A file that worked once and is broken now does not take the house down.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_good_copy_is_used_and_named() {
    let good = format!("{SERVER}{NODE}");
    let home = written(&good);
    let path = home.path().join("config.toml");
    end(serve(home.path()).await.0);
    for (broken, place) in
        [(&*good.replace("url", "ulr"), ":5:1"), ("", "the file is empty"), ("\0\0", ":1:1")]
    {
        std::fs::write(&path, broken).unwrap();
        let (child, url) = serve(home.path()).await;
        // The file is looked at again soon after the start: what is used does not change by that.
        tokio::time::sleep(Duration::from_millis(800)).await;
        let (code, out, err) = run(home.path(), &["status"]);
        assert_eq!(code, 0, "{err}");
        assert!(out.contains(&url) && out.contains("○ nas"), "{out}");
        assert!(
            out.contains("last good copy") && out.contains("config.toml") && out.contains(place),
            "{out}"
        );
        let said = end(child);
        assert!(said.contains("last good copy") && said.contains(place), "{said}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), broken, "it is not ours to repair");
    }
    // Another file has no good copy: this one's is not used for it.
    std::fs::write(home.path().join("other.toml"), "").unwrap();
    let mut other = house::command(home.path(), &["serve"]);
    let args: Vec<_> =
        other.get_args().map(|arg| arg.to_string_lossy().replace("config.toml", "other.toml")).collect();
    other = {
        let mut again = Command::new(other.get_program());
        again.args(args).env("XDG_STATE_HOME", home.path().join("state")).env("HOME", home.path());
        again
    };
    assert_eq!(other.output().unwrap().status.code(), Some(2));
    // Repaired, it counts again.
    std::fs::write(&path, good.replace("\"nas\"", "\"attic\"")).unwrap();
    let (child, _) = serve(home.path()).await;
    let (_, out, _) = run(home.path(), &["status"]);
    assert!(out.contains("attic") && !out.contains("last good copy"), "{out}");
    end(child);
}

/// A gateway without nodes, in a network of its own: on this one somebody may run an engine, which it would find.
fn without_nodes(test: &str, config: Option<&str>) -> Option<(Apart, String)> {
    if let Some(why) = apart::impossible() {
        skip(test, &format!("no network of its own: {why}"));
        return None;
    }
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("config.toml");
    if let Some(text) = config {
        std::fs::write(&path, text).unwrap();
    }
    let gateway = Apart::start(home, "");
    Some((gateway, path.display().to_string()))
}

/// None, or one that says nothing, is a house without machines; every dialect says so, and where to add one.
#[test]
fn no_configuration_is_an_empty_house() {
    for config in
        [None, Some("# [[node]]\n\n\t# url = \"nas\"\n"), Some("\n"), Some("\u{feff}# nothing yet\r\n")]
    {
        let Some((gateway, path)) = without_nodes("no_configuration_is_an_empty_house", config) else {
            return;
        };
        assert_eq!(gateway.url, "http://127.0.0.1:11400", "the port of a configuration that names none");
        let ask = |method: &str, target: &str, head: &[&str], body: &str| -> Reply {
            let mut lines = vec!["Host: localhost:11400"];
            lines.extend_from_slice(head);
            gateway.ask("127.0.0.1", &socket::request(method, target, &lines, body))
        };
        let list = ask("GET", "/v1/models", &[], "");
        assert_eq!((list.status, list.json()), (200, json!({ "object": "list", "data": [] })));
        assert_eq!(ask("GET", "/api/tags", &[], "").json(), json!({ "models": [] }));
        let list = ask("GET", "/v1/models", &["anthropic-version: 2023-06-01"], "").json();
        assert_eq!((&list["data"], &list["has_more"]), (&json!([]), &json!(false)));
        if config.is_some() {
            continue;
        }
        let body = r#"{"model":"m","max_tokens":1,"prompt":"hi","messages":[{"role":"user","content":"hi"}],"input":"x"}"#;
        for target in [
            "/v1/chat/completions",
            "/v1/completions",
            "/v1/embeddings",
            "/v1/responses",
            "/v1/messages",
            "/v1/messages/count_tokens",
            "/api/chat",
            "/api/generate",
            "/api/embed",
            "/api/show",
        ] {
            let reply = ask("POST", target, &[], body);
            assert_eq!(
                (reply.status, reply.header("x-should-retry")),
                (503, "false"),
                "{target}: {}",
                reply.text()
            );
            let said = reply.json();
            let message = match target {
                target if target.starts_with("/v1/messages") => {
                    assert_eq!(said["type"], "error");
                    &said["error"]["message"]
                }
                target if target.starts_with("/v1") => {
                    assert_eq!(said["error"]["code"], "no_nodes");
                    &said["error"]["message"]
                }
                _ => &said["error"],
            };
            let message = message.as_str().unwrap();
            assert!(
                message.contains("no nodes configured") && message.contains(&path),
                "{target}: {message}"
            );
        }
        let (code, out, err) = gateway.cli(&["status"]);
        assert!(code == 0 && out.contains("No machines yet") && out.contains(&path), "{out}{err}");
        let (code, out, err) = gateway.cli(&["explain", "m"]);
        assert!(code == 1 && out.contains("no nodes configured") && out.contains(&path), "{out}{err}");
    }
}

/// A file that is named and is not there is told, and written with the first machine.
#[test]
fn a_named_file_that_is_not_there_is_told_and_comes_with_the_first_machine() {
    let test = "a_named_file_that_is_not_there_is_told_and_comes_with_the_first_machine";
    let Some((gateway, path)) = without_nodes(test, None) else { return };
    let told = format!("- {path} is not there: it is written when the first machine is added.\n");
    let (code, out, err) = gateway.cli(&["status"]);
    assert!(code == 0 && out.contains(&told), "{out}{err}");
    let runtime = gateway.home.path().join("runtime/lamplighter");
    let control = std::fs::read_dir(runtime).unwrap().next().unwrap().unwrap().path();
    let control: Value = serde_json::from_slice(&std::fs::read(control).unwrap()).unwrap();
    let token = format!("Authorization: Bearer {}", control["token"].as_str().unwrap());
    let node = json!({ "name": "nas", "url": "127.0.0.1:9" }).to_string();
    let lines = ["Host: localhost:11400", &token];
    let add = socket::request("POST", "/control/v1/nodes", &lines, &node);
    assert_eq!(gateway.ask("127.0.0.1", &add).status, 201);
    assert!(std::fs::read_to_string(&path).unwrap().contains("nas"));
    let (_, out, _) = gateway.cli(&["status"]);
    assert!(out.contains("nas") && !out.contains(&told), "{out}");

    let Some((empty, _)) = without_nodes(test, Some("# nothing yet\n")) else { return };
    assert!(!empty.cli(&["status"]).1.contains("is not there"), "it is there and says nothing");
}

/// A port that somebody holds: which one, and who.
#[test]
fn a_taken_port_is_told_with_its_holder() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(mine) = TcpListener::bind(address) else {
            skip("a_taken_port_is_told_with_its_holder", "this machine has no [::1]");
            continue;
        };
        let port = mine.local_addr().unwrap().port();
        let config = format!("[server]\nlisten = [\"127.0.0.1:{port}\", \"[::1]:{port}\"]\n");
        let home = written(&config);
        let (code, out, err) = run(home.path(), &["serve"]);
        assert_eq!((code, out.as_str()), (1, ""), "{err}");
        assert!(err.contains(&mine.local_addr().unwrap().to_string()), "which address: {err}");
        assert!(err.contains("`listen`"), "what to do: {err}");
        #[cfg(target_os = "linux")]
        {
            let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
            let holder = format!("{} (process {})", comm.trim(), std::process::id());
            assert!(err.contains(&holder), "held by {holder}: {err}");
        }
        assert_eq!(left_behind(home.path()).iter().filter(|name| name.starts_with("control")).count(), 0);
    }
}

/// Both families by default; one that the machine lacks is worth a word, the other serves.
#[test]
fn a_missing_family_is_a_warning() {
    if let Some(why) = apart::impossible() {
        return skip("a_missing_family_is_a_warning", &format!("no network of its own: {why}"));
    }
    let ask = |gateway: &Apart, ip: &str, host: &str| {
        gateway.ask(ip, &socket::request("GET", "/v1/models", &[&format!("Host: {host}:11400")], "")).status
    };
    let both = Apart::start(written(NODE), "");
    assert_eq!([ask(&both, "127.0.0.1", "localhost"), ask(&both, "::1", "[::1]")], [200, 200]);
    assert!(!both.cli(&["status"]).1.contains("not listening"));
    let one = Apart::start(written(NODE), "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6");
    assert_eq!(one.url, "http://127.0.0.1:11400");
    assert_eq!(ask(&one, "127.0.0.1", "localhost"), 200);
    let (_, out, _) = one.cli(&["status"]);
    assert!(out.contains("[::1]:11400") && out.contains("not listening there"), "{out}");
    // Without either there is nothing to serve.
    let none = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6";
    let home = written(format!("[server]\nlisten = [\"[::1]:11400\"]\n{NODE}"));
    let (code, _, err) = apart::run(home.path(), none, &["serve"]);
    assert!(code == 1 && err.contains("[::1]:11400"), "{code}: {err}");
    // An address of another machine is no missing family.
    let home = written("[server]\nlisten = [\"192.0.2.1:11400\"]\nkey = \"env:HOME\"\n");
    let (code, _, err) = apart::run(home.path(), "", &["serve"]);
    assert!(code == 1 && err.contains("192.0.2.1:11400 is no address of this machine"), "{code}: {err}");
}

/// A key that cannot be read closes the door, with the reason and never with the key.
#[test]
fn a_key_that_cannot_be_read_is_told() {
    for (key, said) in [
        ("env:LAMPLIGHTER_NO_SUCH", "LAMPLIGHTER_NO_SUCH"),
        ("file:missing", "missing"),
        ("file:open", "chmod 600"),
    ] {
        let home = written(format!("[server]\nlisten = [\"127.0.0.1:0\"]\nkey = \"{key}\"\n"));
        std::fs::write(home.path().join("open"), "secret-12345").unwrap();
        let (code, out, err) = run(home.path(), &["serve"]);
        assert_eq!((code, out.as_str()), (1, ""), "{err}");
        assert!(err.contains("`key`") && err.contains(said) && !err.contains("12345"), "{err}");
    }
}

/// What is no file at all.
#[test]
fn what_is_no_file_is_told() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("config.toml")).unwrap();
    let (code, _, err) = run(home.path(), &["serve"]);
    assert!(code == 2 && err.contains("is a folder"), "{code}: {err}");
    let began = std::time::Instant::now();
    let home = tempfile::tempdir().unwrap();
    let made = Command::new("mkfifo").arg(home.path().join("config.toml")).status();
    if made.is_ok_and(|status| status.success()) {
        let (code, _, err) = run(home.path(), &["serve"]);
        assert!(code == 2 && err.contains("regular file") && began.elapsed() < PATIENCE, "{code}: {err}");
    }
}
