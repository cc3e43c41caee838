//! The command line as a person and a script meet it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_core::snapshot::Snapshot;
use lamplighter_simnode::{Profile, SimModel, SimNode};
use lamplighter_tests::{
    house::{Gateway, PATIENCE, binary, command, run, signal},
    spoken::Spoken,
};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

const CONFIG: &str = "[server]\nlisten = [\"127.0.0.1:0\"]\n";

fn written(config: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("config.toml"), config).unwrap();
    home
}

async fn two_nodes() -> (Vec<SimNode>, Gateway) {
    let nas = Profile::ollama("nas")
        .model(SimModel::new("llama3.2:3b").loaded(true))
        .model(SimModel::new("coder:30b"));
    let shed = Profile::ollama("shed").model(SimModel::new("coder:30b"));
    let nodes = vec![SimNode::start(nas).await.unwrap(), SimNode::start(shed).await.unwrap()];
    let aliases = "[[alias]]\nname = \"fast\"\nmodels = [\"llama3.2:3b\", \"coder:30b@shed\"]\n";
    let gateway = Gateway::over(&nodes.iter().collect::<Vec<_>>(), aliases).await;
    (nodes, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_every_machine() {
    let (nodes, gateway) = two_nodes().await;
    let (code, out, err) = gateway.cli(&["status"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], format!("{}  idle", gateway.url));
    assert!(
        lines[1].starts_with("● nas   up") && lines[1].contains("2 models  loaded: llama3.2:3b"),
        "{out}"
    );
    assert!(lines[2].starts_with("● shed  up") && lines[2].ends_with("1 model"), "{out}");
    assert_eq!(lines.len(), 3, "{out}");
    let (code, out, _) = gateway.cli(&["status", "--json"]);
    let snapshot: Snapshot = serde_json::from_str(&out).unwrap();
    assert_eq!((code, snapshot.nodes.len(), snapshot.gateway.pid), (0, 2, gateway.pid()));
    nodes[1].kill().await;
    gateway.until(|snapshot| !snapshot.problems.is_empty()).await;
    let (_, out, _) = gateway.cli(&["status"]);
    assert!(out.contains("shed  down") && out.contains("! shed is down: nothing listens at"), "{out}");
}

/// The first snapshot at once, then each change, until the gateway ends.
#[tokio::test(flavor = "multi_thread")]
async fn status_goes_on_watching() {
    let (nodes, gateway) = two_nodes().await;
    let home = gateway.home.path().to_owned();
    let mut watch = Spoken::start(command(&home, &["status", "--watch"]));
    let mut json = Spoken::start(command(&home, &["status", "--watch", "--json"]));
    watch.until("the first snapshot", |said| said.contains("● shed")).await;
    json.until("the first snapshot", |said| said.contains("\"shed\"")).await;
    let began = Instant::now();
    nodes[1].kill().await;
    watch.until("the change", |said| said.contains("shed  down")).await;
    json.until("the change", |said| said.contains("\"state\":\"down\"")).await;
    // Longer than any single question may take.
    while began.elapsed() < Duration::from_secs(3) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for line in json.said().lines() {
        assert_eq!(serde_json::from_str::<Snapshot>(line).unwrap().nodes.len(), 2);
    }
    assert!(
        watch.child.try_wait().unwrap().is_none() && json.child.try_wait().unwrap().is_none(),
        "still watching"
    );
    gateway.stop(PATIENCE);
    for mut watching in [watch, json] {
        assert_eq!(watching.end(), (Some(1), "lamplighter: Lamplighter has ended\n".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_listed_with_their_machines() {
    let (_nodes, gateway) = two_nodes().await;
    let (code, out, err) = gateway.cli(&["models"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let rows =
        "fast         → llama3.2:3b, coder:30b@shed\ncoder:30b    nas, shed\nllama3.2:3b  nas (loaded)\n";
    assert_eq!(out, rows);
    let list: Value = serde_json::from_str(&gateway.cli(&["models", "--json"]).1).unwrap();
    assert_eq!(
        (&list["models"][0]["name"], &list["aliases"][0]["name"]),
        (&"coder:30b".into(), &"fast".into())
    );
    let empty = Gateway::start(CONFIG).await;
    assert_eq!(empty.cli(&["models"]).1, "No models: no machine that is up lists one.\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_names_the_machine_and_the_reason() {
    let (_nodes, gateway) = two_nodes().await;
    for (model, code, lines) in [
        (
            "llama3.2:3b",
            0,
            &[
                "1.  nas  llama3.2:3b  loaded, with a free place  0 of 1 places taken",
                "   shed  llama3.2:3b  does not have it",
            ][..],
        ),
        (
            "fast",
            0,
            &[
                "fast is an alias",
                "1.  nas   llama3.2:3b  loaded, with a free place",
                "2.  shed  coder:30b    pinned to this node",
            ],
        ),
        (
            "coder:30b@shed",
            0,
            &["1.  shed  coder:30b  pinned to this node", "   nas  coder:30b  the request is pinned to shed"],
        ),
        (
            "coder:30b@attic",
            1,
            &[
                "model 'coder:30b@attic' not found: no node lists it, and there is no node 'attic' to pin it to. \
                 Did you mean coder:30b?",
            ],
        ),
        (
            "llama3.2:3b@shed",
            1,
            &["'llama3.2:3b' is pinned to shed, which cannot serve it: it does not have it."],
        ),
        ("llama3.2", 1, &["model 'llama3.2' not found: no node lists it. Did you mean llama3.2:3b?"]),
        (
            "zephyr:70b",
            1,
            &[
                "model 'zephyr:70b' not found: no node lists it.\n  `lamplighter models` lists what can be reached.\n",
            ],
        ),
    ] {
        let (ended, out, err) = gateway.cli(&["explain", model]);
        assert_eq!((ended, err.as_str()), (code, ""), "{model}: {out}");
        for line in lines {
            assert!(out.contains(line), "{model} lacks {line:?}:\n{out}");
        }
        let (ended, out, _) = gateway.cli(&["explain", model, "--json"]);
        let said: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((ended, &said["model"]), (code, &model.into()));
        assert_eq!(said["refusal"].is_null(), code == 0, "{said}");
    }
}

/// Every question says how to start one.
#[test]
fn nobody_runs() {
    let home = written(CONFIG);
    for args in
        [&["status"][..], &["status", "--json"], &["status", "--watch"], &["models"], &["explain", "m"]]
    {
        let (code, out, err) = run(home.path(), args);
        assert_eq!((code, out.as_str()), (1, ""), "{args:?}");
        let path = home.path().join("config.toml");
        let path = path.display();
        assert_eq!(
            err,
            format!(
                "lamplighter: no Lamplighter is running with {path}: run `lamplighter serve --config {path}`\n"
            )
        );
    }
}

/// `lamplighter models | head -1`, and a terminal that is closed: no panic, and the gateway goes on.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn readers_may_leave() {
    let long = "x".repeat(150);
    let aliases: String =
        (0..1000).map(|i| format!("[[alias]]\nname = \"{long}-{i}\"\nmodels = [\"m\"]\n")).collect();
    let node = SimNode::start(Profile::ollama("nas").model(SimModel::new("m"))).await.unwrap();
    let home = written(&format!(
        "{CONFIG}[[node]]\nname = \"nas\"\nurl = \"{}\"\npresence = \"always-on\"\n{aliases}",
        node.url()
    ));
    let mut serve =
        command(home.path(), &["serve"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(serve.stdout.take().unwrap()).read_line(&mut line).unwrap();
    drop(serve.stderr.take()); // nobody reads its log any more
    let url = serde_json::from_str::<Value>(&line).unwrap()["url"].as_str().unwrap().to_owned();
    for args in ["models", "models --json", "status --json", "--help"] {
        let lamplighter =
            format!("{} --config {}/config.toml", binary("lamplighter").display(), home.path().display());
        let script = format!("{lamplighter} {args} | head -n 1; exit ${{PIPESTATUS[0]}}");
        let mut shell = command(home.path(), &[]);
        let envs: Vec<_> =
            shell.get_envs().map(|(name, value)| (name.to_owned(), value.unwrap().to_owned())).collect();
        shell = Command::new("bash");
        let output = shell.envs(envs).args(["-c", &script]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), said.as_ref()), (Some(0), ""), "{args}");
        assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1, "{args}");
    }
    node.kill().await;
    let began = Instant::now();
    while !run(home.path(), &["status"]).1.contains("nas  down") {
        assert!(began.elapsed() < PATIENCE, "{}", run(home.path(), &["status"]).1);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(run(home.path(), &["status"]).1.starts_with(&url));
    signal(serve.id(), "TERM");
    assert_eq!(serve.wait().unwrap().code(), Some(0), "what cannot be said does not stop it");
}

/// Names come from files and machines: nothing in them moves the cursor, colours a line, or turns it around.
#[tokio::test(flavor = "multi_thread")]
async fn names_cannot_steer_a_terminal() {
    let (bad, toml) =
        ("a\u{1b}[31m\u{7}\u{9b}2J\u{202e}\u{2066}b\rc", r"a\u001b[31m\u0007\u009b2J\u202e\u2066b\rc");
    let models = ["fine".to_owned(), format!("{bad}:1b"), "turned\u{202e}round".into(), "c1\u{9b}31m".into()];
    let profile = models
        .iter()
        .fold(Profile::ollama("nas"), |profile, name| profile.model(SimModel::new(name).loaded(true)));
    let node = SimNode::start(profile).await.unwrap();
    let text = format!(
        "{CONFIG}[[node]]\nname = \"nas\"\nurl = \"{}\"\ngpu = \"{toml}\"\n[[alias]]\nname = \"{toml}\"\nmodels = [\"{toml}:1b\", \"fine\"]\n",
        node.url()
    );
    let gateway = Gateway::start(&text).await;
    gateway.until_up(1).await;
    let harmless = |what: &str, text: &str| {
        let bad = text.chars().find(|&c| {
            (c.is_control() && c != '\n')
                || (matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
        });
        // A right-to-left mark inside JSON is the reader's to handle: a program reads it.
        let bad = bad.filter(|c| c.is_control() || !what.contains("--json"));
        assert_eq!(bad, None, "{what}: {text:?}");
    };
    let asked = format!("explain {bad}");
    for args in [
        "status",
        "models",
        "explain fine",
        &asked,
        "explain nobody",
        "status --json",
        "models --json",
        "explain --json fine",
    ] {
        let args: Vec<&str> = args.splitn(if args.contains("--json") { 3 } else { 2 }, ' ').collect();
        let (_, out, err) = gateway.cli(&args);
        assert!(!out.is_empty(), "{args:?}: {err}");
        harmless(&args.join(" "), &out);
        harmless(&args.join(" "), &err);
        if args.contains(&"--json") {
            serde_json::from_str::<Value>(&out).unwrap();
        }
    }
    for args in [&["status", "--watch"][..], &["status", "--watch", "--json"]] {
        let watch = Spoken::start(command(gateway.home.path(), args));
        harmless(&args.join(" "), &watch.until("a snapshot", |said| said.contains("fine")).await);
    }
    harmless("the log", &gateway.log());
}

#[test]
fn help_is_for_people() {
    let home = tempfile::tempdir().unwrap();
    let (code, out, err) = run(home.path(), &["--help"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("One address for every model in the house\n"), "{out}");
    for command in
        ["serve", "status", "models", "explain", "load", "unload", "route", "pause", "resume", "open"]
    {
        assert!(out.contains(&format!("\n  {command} ")), "{command}: {out}");
        let (code, own, _) = run(home.path(), &[command, "--help"]);
        assert!(code == 0 && own.contains(&format!("Usage: lamplighter {command}")), "{own}");
        assert!(own.lines().all(|line| line.chars().count() <= 100), "{own}");
    }
    assert!(out.contains("--config <FILE>") && out.lines().all(|line| line.chars().count() <= 100), "{out}");
    assert_eq!(run(home.path(), &["--version"]).1, format!("lamplighter {}\n", env!("CARGO_PKG_VERSION")));
    for args in [&["statuss"][..], &["status", "--jsn"], &["explain"], &[]] {
        let (code, out, err) = run(home.path(), args);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}");
        assert!(err.contains("Usage: lamplighter"), "{args:?}: {err}");
    }
}
