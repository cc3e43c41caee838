//! The window: what it shows and does, when it comes and goes, and what its page may not do.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use futures::StreamExt;
use lamplighter_simnode::{Profile, SimModel, SimNode};
use lamplighter_tests::{
    apart,
    desktop::{
        app::{App, asks_models},
        config,
        host::TrayHost,
        menu::Icon,
        screen,
        screen::Screen,
        skip, wait_for,
        webdriver::Browser,
        windows::WindowManager,
    },
    house::http,
};
use serde_json::{Value, json};
use std::{path::Path, process::Command, time::Duration};

const TITLE: &str = "^Lamplighter$";
/// Quitting with nothing under way.
const QUICK: Duration = Duration::from_secs(8);

async fn house() -> (SimNode, SimNode) {
    let nas = Profile::ollama("nas").model(SimModel::new("llama3.2:3b").loaded(true)).ttft_ms(200);
    let workstation = Profile::ollama("workstation").model(SimModel::new("qwen3-coder:30b"));
    let nas = SimNode::start(nas.tok_s(5.0).tokens(300)).await.unwrap();
    (nas, SimNode::start(workstation).await.unwrap())
}

async fn browser(test: &str, screen: &Screen, args: &[&str]) -> Option<Browser> {
    match Browser::open(screen, args).await {
        Ok(browser) => Some(browser),
        Err(why) => {
            skip(test, &why);
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_through_the_port_is_seen_live_and_cancelled_by_a_click() {
    let test = "a_request_through_the_port_is_seen_live_and_cancelled_by_a_click";
    let Some(screen) = screen(test) else { return };
    let (nas, workstation) = house().await;
    let (config, place) = config(&screen, &[(&nas, ""), (&workstation, "gpu = \"RTX 4090\"")]);
    let Some(browser) = browser(test, &screen, &["--config", config.to_str().unwrap()]).await else { return };
    assert_eq!(browser.url().await, "tauri://localhost");
    browser.shows("2 of 2 machines up").await;
    browser.shows("workstation").await;
    browser.shows("RTX 4090").await;
    browser.shows("llama3.2:3b").await;

    seen_and_cancelled(&browser, &place, "llama3.2:3b").await;

    let copy = browser.element("button.base").await;
    browser.click(&copy).await;
    wait_for("the address on the clipboard", async || {
        (screen.clipboard().ok()? == format!("http://{place}")).then_some(())
    })
    .await;
}

/// Streams an answer through the port as an app does, sees it in the window, and cancels it with a click there.
async fn seen_and_cancelled(browser: &Browser, place: &str, model: &str) {
    let body = json!({ "model": model, "stream": true, "messages": [{ "role": "user", "content": "hi" }] });
    let chat =
        http().post(format!("http://{place}/v1/chat/completions")).header("user-agent", "PhoneApp/2.0");
    let mut answer = chat.json(&body).send().await.unwrap().bytes_stream();
    assert!(answer.next().await.unwrap().is_ok());
    browser.shows("PhoneApp").await;
    browser.shows("tok/s").await;
    let cancel = browser.element("button[aria-label*=PhoneApp]").await;
    browser.click(&cancel).await;
    let mut rest = String::new();
    while let Some(Ok(chunk)) = answer.next().await {
        rest.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert!(!rest.contains("[DONE]"), "a cancelled answer must not look complete: {rest}");
    browser.shows_no_more("PhoneApp").await;
}

/// In a network of its own, since the demo has a port of its own.
#[tokio::test(flavor = "multi_thread")]
async fn the_demo_fleet_is_seen_and_says_what_it_is() {
    const INSIDE: &str = "LAMPLIGHTER_TEST_INSIDE";
    let test = "the_demo_fleet_is_seen_and_says_what_it_is";
    if std::env::var_os(INSIDE).is_none() {
        if let Some(why) = apart::impossible() {
            return skip(test, &why);
        }
        let script = "ip link set lo up; exec \"$@\"";
        let mut again = Command::new("unshare");
        again.args(["--user", "--map-root-user", "--net", "sh", "-ec", script, "sh"]);
        let again =
            again.arg(std::env::current_exe().unwrap()).args(["--exact", test]).env(INSIDE, "1").status();
        return assert!(again.unwrap().success());
    }
    let Some(screen) = screen(test) else { return };
    let Some(browser) = browser(test, &screen, &["--demo"]).await else { return };
    for text in ["demo", "machines up", "workstation", "RTX 4090", "nas", "laptop", "qwen3-coder:30b"] {
        browser.shows(text).await;
    }
    // The workstation sleeps until somebody asks for it.
    browser.shows("asleep").await;
    seen_and_cancelled(&browser, "127.0.0.1:11499", "llama3.2:3b@nas").await;
    screen.window("^Lamplighter \\(demo\\)$").await;
}

/// T32: what stands between a script that got into the page and this computer.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_may_call_one_command_and_go_nowhere() {
    let test = "the_page_may_call_one_command_and_go_nowhere";
    let Some(screen) = screen(test) else { return };
    let (nas, _) = house().await;
    let (config, place) = config(&screen, &[(&nas, "")]);
    let Some(browser) = browser(test, &screen, &["--config", config.to_str().unwrap()]).await else { return };
    browser.shows("1 of 1 machine up").await;

    let invoke = async |command: &str, args: Value| {
        let script = format!(
            "window.__TAURI_INTERNALS__.invoke({command:?}, {args}).then(v => done({{ ok: v }}), e => done({{ no: String(e) }}))"
        );
        browser.run_until_done(&script).await
    };
    let known = invoke("connection", json!({})).await;
    assert_eq!(known["ok"]["url"], format!("http://{place}"), "the one command: {known}");
    for (command, args) in foreign_commands() {
        let answer = invoke(command, args).await;
        let no = answer["no"].as_str().unwrap_or_else(|| panic!("{command} was done: {answer}"));
        assert!(no.contains("not allowed") || no.contains("not found"), "{command}: {no}");
    }
    assert_eq!(browser.run("return typeof window.__TAURI__").await, "undefined");

    // Frames, foreign hosts and inline scripts are refused by the policy.
    let blocked = browser
        .run_until_done(&format!(
            "const seen = []; \
             document.addEventListener('securitypolicyviolation', e => seen.push(e.effectiveDirective)); \
             const frame = document.createElement('iframe'); frame.src = 'http://{place}/ui/'; document.body.append(frame); \
             const script = document.createElement('script'); script.textContent = 'window.pwned = 1'; document.body.append(script); \
             fetch('http://192.0.2.1/').catch(() => 0); \
             new Image().src = 'http://{place}/x.png'; \
             setTimeout(() => done({{ seen, pwned: window.pwned ?? null }}), 500)"
        ))
        .await;
    let seen = blocked["seen"].to_string();
    for directive in ["frame-src", "script-src", "connect-src", "img-src"] {
        assert!(seen.contains(directive), "{directive} was not enforced: {blocked}");
    }
    assert_eq!(blocked["pwned"], Value::Null);

    for elsewhere in [
        format!("http://{place}/ui/"),
        "http://192.0.2.1/".into(),
        "data:text/html,hi".into(),
        "file:///etc/hostname".into(),
        "tauri://elsewhere/".into(),
    ] {
        browser.run(&format!("location.href = {elsewhere:?}")).await;
        browser.run(&format!("const a = document.createElement('a'); a.href = {elsewhere:?}; a.target = '_blank'; document.body.append(a); a.click(); window.open({elsewhere:?})")).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(browser.url().await, "tauri://localhost", "{elsewhere}");
        assert_eq!(browser.windows().await, 1, "{elsewhere}");
    }
    browser.shows("1 of 1 machine up").await;
}

/// At least one of each part of the framework and of each plugin that is in the program.
fn foreign_commands() -> Vec<(&'static str, Value)> {
    let label = || json!({ "label": "main" });
    vec![
        ("plugin:app|version", json!({})),
        ("plugin:app|app_hide", json!({})),
        ("plugin:event|listen", json!({ "event": "x", "target": { "kind": "Any" }, "handler": 1 })),
        ("plugin:event|emit", json!({ "event": "x", "payload": null })),
        ("plugin:image|from_path", json!({ "path": "/etc/hostname" })),
        ("plugin:menu|new", json!({ "kind": "Menu", "options": {}, "handler": 1 })),
        ("plugin:path|resolve_directory", json!({ "directory": 21 })),
        ("plugin:resources|close", json!({ "rid": 1 })),
        ("plugin:tray|new", json!({ "options": {}, "handler": 1 })),
        ("plugin:tray|get_by_id", json!({ "id": "lamplighter" })),
        (
            "plugin:webview|create_webview_window",
            json!({ "options": { "label": "x", "url": "https://example.org" } }),
        ),
        ("plugin:webview|get_all_webviews", json!({})),
        ("plugin:webview|internal_toggle_devtools", label()),
        ("plugin:window|create", json!({ "options": { "label": "x" } })),
        ("plugin:window|close", label()),
        ("plugin:window|destroy", label()),
        ("plugin:window|set_title", json!({ "label": "main", "value": "x" })),
        ("plugin:store|load", json!({ "path": "x.json", "options": {} })),
        ("plugin:store|set", json!({ "rid": 1, "key": "x", "value": 1 })),
        ("plugin:store|get_store", json!({ "path": "window.json" })),
        ("plugin:shell|execute", json!({ "program": "id" })),
        ("quit", json!({})),
        ("Connection", json!({})),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_window_comes_goes_and_comes_back_where_it_was() {
    let Some(screen) = screen("the_window_comes_goes_and_comes_back_where_it_was") else { return };
    let host = TrayHost::start(screen.bus()).await.unwrap();
    let _manager = WindowManager::start(&screen).unwrap();
    let (nas, _) = house().await;
    let (config, _) = config(&screen, &[(&nas, "")]);
    let args = ["--config", config.to_str().unwrap()];
    let mut app = App::start(&screen, &args, |_| ()).unwrap();
    let url = app.ready().await;
    let icon = Icon::appear(&host).await;
    icon.row("the nas", |text| text.starts_with("● nas")).await;
    assert!(screen.windows(TITLE).is_empty(), "with a tray no window opens by itself");
    assert_eq!(pages(app.pid()), 0);

    icon.activate().await;
    let window = screen.window(TITLE).await;
    wait_for("a page", async || (pages(app.pid()) == 1).then_some(())).await;
    let [width, height, ..] = screen.geometry(&window);
    assert_eq!((width, height), (960, 640));
    screen.place(&window, (200, 90), (800, 560));
    let left = screen.geometry(&window);
    icon.activate().await;
    assert_eq!(screen.windows(TITLE).len(), 1, "one window is enough");

    screen.close(&window);
    screen.no_window(TITLE).await;
    wait_for("the page to be gone", async || (pages(app.pid()) == 0).then_some(())).await;
    assert_eq!(asks_models(&url).await, Some(200));

    // A second launch opens it; one that starts with the session does not.
    let mut second = App::start(&screen, &["--hidden", args[0], args[1]], |_| ()).unwrap();
    assert_eq!(second.end(QUICK).await.code(), Some(0));
    assert!(screen.windows(TITLE).is_empty());
    let mut second = App::start(&screen, &args, |_| ()).unwrap();
    assert_eq!(second.end(QUICK).await.code(), Some(0));
    let window = screen.window(TITLE).await;
    assert_eq!(screen.geometry(&window), left, "where it was left");
    screen.close(&window);
    screen.no_window(TITLE).await;

    let open = icon.row("the way to open it", |text| text == "Open Lamplighter").await;
    icon.click(&open).await;
    let window = screen.window(TITLE).await;
    let name =
        Command::new("xprop").args(["-id", &window, "WM_CLASS"]).env("DISPLAY", screen.display()).output();
    assert!(String::from_utf8_lossy(&name.unwrap().stdout).to_lowercase().contains("lamplighter"));
    let quit = icon.row("Quit", |text| text == "Quit Lamplighter").await;
    icon.click(&quit).await;
    assert_eq!(app.end(QUICK).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_tray_a_window_opens_and_closing_it_quits_unless_requests_run() {
    let test = "without_a_tray_a_window_opens_and_closing_it_quits_unless_requests_run";
    let Some(screen) = screen(test) else { return };
    let _manager = WindowManager::start(&screen).unwrap();
    let (nas, _) = house().await;
    let (config, place) = config(&screen, &[(&nas, "")]);
    let args = ["--config", config.to_str().unwrap()];
    let mut app = App::start(&screen, &args, |_| ()).unwrap();
    app.ready().await;
    let window = screen.window(TITLE).await;
    let body =
        json!({ "model": "llama3.2:3b", "stream": true, "messages": [{ "role": "user", "content": "hi" }] });
    let chat = || http().post(format!("http://{place}/v1/chat/completions")).json(&body).send();
    let mut answer =
        wait_for("an answer", async || chat().await.ok().filter(|answer| answer.status().is_success())).await;
    assert!(answer.chunk().await.unwrap().is_some());
    tokio::time::sleep(Duration::from_millis(600)).await;

    screen.close(&window);
    screen.press(&screen.window("^Quit Lamplighter$").await, "Escape");
    let window = screen.window(TITLE).await;
    assert!(answer.chunk().await.unwrap().is_some(), "nothing was cut");
    drop(answer);
    wait_for("the request to be gone", async || {
        screen.windows("^Quit Lamplighter$").is_empty().then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    screen.close(&window);
    assert_eq!(app.end(QUICK).await.code(), Some(0));
}

/// How many pages a process has open: WebKit gives each a process of its own.
fn pages(pid: u32) -> usize {
    let stats = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = stats.filter_map(|process| std::fs::read_to_string(process.path().join("stat")).ok());
    // `4711 (WebKitWebProces) S 4700 …`: name, state, parent (proc(5)).
    let parent = format!(" {pid} ");
    stats
        .filter(|stat| stat.contains("(WebKitWeb"))
        .filter(|stat| stat.split_once(") ").is_some_and(|(_, rest)| rest[1..].starts_with(&parent)))
        .count()
}

/// The configuration that the tests above rely on cannot be loosened without notice.
#[test]
fn the_windows_configuration_is_strict() {
    let shell = lamplighter_tests::project().join("src-tauri");
    let read =
        |path: &Path| -> Value { serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap() };
    let config = read(&shell.join("tauri.conf.json"));
    assert_eq!(config["app"]["withGlobalTauri"], false);
    assert_eq!(config["app"]["windows"], json!([]), "windows are made when they are opened");
    assert_eq!(
        config["build"],
        json!({ "frontendDist": "../ui/dist" }),
        "a devUrl would be shown instead of our pages"
    );
    let security = &config["app"]["security"];
    assert_eq!(security["capabilities"], json!(["main"]));
    assert!(!config.to_string().contains("dangerous") && security.get("assetProtocol").is_none());
    assert!(security.get("devCsp").is_none());
    let policy = security["csp"].as_str().unwrap();
    assert!(!policy.contains("unsafe") && !policy.contains("ws:"), "{policy}");
    let directives: Vec<Vec<&str>> =
        policy.split(';').map(|part| part.split_whitespace().collect()).collect();
    let sources = |name: &str| {
        directives.iter().find(|directive| directive[0] == name).map(|directive| &directive[1..])
    };
    for name in ["default-src", "frame-src", "object-src", "base-uri", "form-action", "frame-ancestors"] {
        assert_eq!(sources(name), Some(&["'none'"][..]), "{name}");
    }
    for name in ["script-src", "style-src", "font-src"] {
        assert_eq!(sources(name), Some(&["'self'"][..]), "{name}");
    }
    assert_eq!(
        sources("connect-src"),
        Some(&["'self'", "ipc:", "http://ipc.localhost", "http://127.0.0.1:*"][..])
    );

    let files: Vec<_> = std::fs::read_dir(shell.join("capabilities")).unwrap().flatten().collect();
    assert_eq!(files.len(), 1, "one window, one capability");
    let capability = read(&files[0].path());
    assert_eq!(capability["windows"], json!(["main"]));
    assert_eq!(capability["permissions"], json!(["allow-connection"]));
    for field in ["remote", "webviews", "platforms", "local"] {
        assert!(capability.get(field).is_none(), "{field}");
    }
}
