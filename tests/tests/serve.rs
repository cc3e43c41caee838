//! `lamplighter serve` and the file by which it is found.

#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(unix)]

use lamplighter_simnode::{Profile, SimNode};
use lamplighter_tests::{
    card::free_port,
    house::{Gateway, binary, command, run, signal},
    spoken::Spoken,
};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

const CONFIG: &str = "[server]\nlisten = [\"127.0.0.1:0\"]\n";

fn written(config: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("config.toml"), config).unwrap();
    home
}

fn mode(path: &Path) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions()) & 0o7777
}

/// One line of JSON when it serves; a private file with the token as long as it does; nothing after, by either signal.
#[tokio::test(flavor = "multi_thread")]
async fn serve_says_where_it_is_and_tidies_up() {
    for with in ["TERM", "INT"] {
        let home = written(CONFIG);
        let mut serve = Spoken::start(command(home.path(), &["serve"]));
        let ready = serve.ready().await;
        let fields: Vec<&str> = ready.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["control", "pid", "url"]);
        assert_eq!(ready["pid"], serve.child.id());
        let url = ready["url"].as_str().unwrap();
        assert!(url.starts_with("http://127.0.0.1:") && !url.ends_with(":0"), "{url}");
        let control = PathBuf::from(ready["control"].as_str().unwrap());
        let folder = control.parent().unwrap();
        assert_eq!(folder, home.path().join("runtime/lamplighter"));
        assert_eq!((mode(&control), mode(folder)), (0o600, 0o700));
        let name = control.file_name().unwrap().to_str().unwrap();
        let hash = name.strip_prefix("control-").and_then(|name| name.strip_suffix(".json")).unwrap();
        assert!(hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
        let file: Value = serde_json::from_slice(&std::fs::read(&control).unwrap()).unwrap();
        assert_eq!((&file["url"], &file["pid"]), (&ready["url"], &ready["pid"]));
        assert!(file["token"].as_str().unwrap().len() >= 32);
        signal(serve.child.id(), with);
        let (code, said) = serve.end();
        assert_eq!((code, serve.said().lines().count()), (Some(0), 1), "{said}");
        assert!(!control.exists(), "{with}: the file stays behind");
        assert!(!said.contains(file["token"].as_str().unwrap()));
    }
}

/// A gateway that was killed leaves its file behind; nobody is misled by it, and the next one takes its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_gateways_file_is_stale() {
    let home = written(CONFIG);
    let mut serve = Spoken::start(command(home.path(), &["serve"]));
    let control = serve.ready().await["control"].as_str().unwrap().to_owned();
    signal(serve.child.id(), "KILL");
    let _ = serve.end();
    assert!(Path::new(&control).exists());
    let (code, out, err) = run(home.path(), &["status"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.starts_with("lamplighter: no Lamplighter is running"), "{err}");
    let mut serve = Spoken::start(command(home.path(), &["serve"]));
    assert_eq!(serve.ready().await["control"], control);
    assert_eq!(run(home.path(), &["status"]).0, 0);
    // A third one with the same file takes over; the second one's end does not take the file away from it.
    let mut third = Spoken::start(command(home.path(), &["serve"]));
    let url = third.ready().await["url"].as_str().unwrap().to_owned();
    signal(serve.child.id(), "TERM");
    assert_eq!(serve.end().0, Some(0));
    assert!(run(home.path(), &["status"]).1.starts_with(&url));
    signal(third.child.id(), "TERM");
    assert_eq!(third.end().0, Some(0));
    assert!(!Path::new(&control).exists());
}

/// The same file by another way is the same gateway; without `--config` it is the one in the user's own folders.
#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_is_found_by_its_configuration() {
    let home = written(CONFIG);
    let gateway = Gateway::start_in(home).await;
    let folder = gateway.home.path();
    std::os::unix::fs::symlink(folder.join("config.toml"), folder.join("link.toml")).unwrap();
    std::fs::create_dir(folder.join("sub")).unwrap();
    let with = |config: &str| {
        let mut command = own(folder);
        command.current_dir(folder.join("sub")).args(["status", "--config", config]);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for config in ["../config.toml", "../link.toml", "../sub/../config.toml"] {
        assert_eq!(with(config), (Some(0), String::new()), "{config}");
    }
    let (code, said) = with("../other.toml");
    assert_eq!(code, Some(1));
    assert!(said.contains("with ../other.toml: run `lamplighter serve --config ../other.toml`"), "{said}");
    let said = String::from_utf8(own(folder).arg("status").output().unwrap().stderr).unwrap();
    assert_eq!(said, "lamplighter: no Lamplighter is running: start the app, or run `lamplighter serve`\n");
    // The user's own.
    std::fs::create_dir_all(folder.join("config/lamplighter")).unwrap();
    std::fs::write(folder.join("config/lamplighter/config.toml"), CONFIG).unwrap();
    for (with_runtime, place) in
        [(true, "runtime/lamplighter/control.json"), (false, "state/lamplighter/control.json")]
    {
        let mut serve = own(folder);
        let mut status = own(folder);
        if !with_runtime {
            serve.env_remove("XDG_RUNTIME_DIR");
            status.env_remove("XDG_RUNTIME_DIR");
        }
        serve.arg("serve");
        let serve = Spoken::start(serve);
        assert_eq!(serve.ready().await["control"], folder.join(place).to_str().unwrap());
        assert_eq!(mode(&folder.join(place)), 0o600);
        assert_eq!(status.arg("status").output().unwrap().status.code(), Some(0));
    }
}

/// Whoever starts it a second time hears that it runs, and where: by the same file under any name, the default one too.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_is_told_that_it_runs_already() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("config/lamplighter");
    std::fs::create_dir_all(&folder).unwrap();
    let (port, file) = (free_port(), folder.join("config.toml"));
    std::fs::write(&file, format!("[server]\nlisten = [\"127.0.0.1:{port}\"]\n")).unwrap();
    let mut first = own(home.path());
    first.arg("serve");
    let first = Spoken::start(first);
    let ready = first.ready().await;
    assert!(ready["control"].as_str().unwrap().ends_with("/control.json"), "{ready}");
    let said = format!(
        "lamplighter: Lamplighter runs already (process {}) at http://127.0.0.1:{port}\n",
        first.child.id()
    );
    let file = file.to_str().unwrap();
    for args in [&["serve"][..], &["--config", file, "serve"]] {
        let output = own(home.path()).args(args).output().unwrap();
        assert_eq!(
            (output.status.code(), String::from_utf8(output.stderr).unwrap()),
            (Some(1), said.clone())
        );
    }
    let status = own(home.path()).args(["--config", file, "status"]).output().unwrap();
    assert!(status.status.success() && status.stdout.starts_with(b"http://127.0.0.1:"), "{status:?}");

    // Another configuration that wants its port is another matter.
    let other = written(&format!("[server]\nlisten = [\"127.0.0.1:{port}\"]\n"));
    let (code, _, err) = run(other.path(), &["serve"]);
    assert!(code == 1 && err.contains("with another configuration or for another user"), "{err}");
}

/// Without a tray nobody is there to click: an Ollama on the port is named, and so are the ways out.
#[tokio::test(flavor = "multi_thread")]
async fn t15_serve_names_the_ollama_on_its_port_and_the_ways_out() {
    let ollama = SimNode::start(Profile::ollama("local")).await.unwrap();
    let place = ollama.addr();
    let home = written(&format!("[server]\nlisten = [\"{place}\"]\n"));
    let folder = home.path().to_owned();
    let serve = tokio::task::spawn_blocking(move || run(&folder, &["serve"]));
    let (code, out, err) = serve.await.unwrap();
    assert_eq!((code, out.as_str()), (1, ""));
    for word in ["An Ollama (version ", &format!("holds {place}"), "`listen`", "[[node]]", "end it"] {
        assert!(err.contains(word), "{word}: {err}");
    }
}

/// The command without `--config`.
fn own(folder: &Path) -> Command {
    let like = command(folder, &[]);
    let mut command = Command::new(binary("lamplighter"));
    for (name, value) in like.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command
}
