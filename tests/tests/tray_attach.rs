//! A gateway that runs already, or another program that holds its port; and a tray that is told a thousand things.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use lamplighter::config::fingerprint;
use lamplighter_core::{
    mode::Mode,
    snapshot::{Gateway, Level, Problem, Snapshot},
};
use lamplighter_simnode::{Profile, SimModel, SimNode};
use lamplighter_tests::{
    desktop::{
        app::{App, asks_models, free_port},
        config,
        host::TrayHost,
        menu::Icon,
        screen,
        screen::Screen,
        wait_for,
    },
    house::binary,
};
use std::{
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::watch,
};

const QUICK: Duration = Duration::from_secs(8);

/// `lamplighter serve` as a service would run it.
struct Served(Child);

impl Served {
    async fn start(screen: &Screen, config: &Path) -> Self {
        let mut command = Command::new(binary("lamplighter"));
        screen.furnish(&mut command).unwrap();
        command.arg("--config").arg(config).arg("serve").stdin(Stdio::null()).stdout(Stdio::null());
        Self(command.stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_runs_is_shown_followed_and_left_running() {
    let Some(screen) = screen("a_gateway_that_runs_is_shown_followed_and_left_running") else { return };
    let host = TrayHost::start(screen.bus()).await.unwrap();
    let nas = Profile::ollama("nas").model(SimModel::new("llama3.2:3b"));
    let nas = SimNode::start(nas).await.unwrap();
    let (config, place) = config(&screen, &[(&nas, "gpu = \"RTX 4090\"")]);
    let url = format!("http://{place}");
    let served = Served::start(&screen, &config).await;
    wait_for("the service", async || asks_models(&url).await).await;

    let mut app = App::hidden(&screen, &config);
    assert_eq!(app.ready().await, url);
    assert_ne!(app.snapshot().await.gateway.pid, app.pid());
    let icon = Icon::appear(&host).await;
    let model = icon.any_row("its model", |row| row.text.starts_with("llama3.2:3b") && row.enabled).await;
    icon.click(&model).await;
    wait_for("the model in memory", async || (!nas.loaded().is_empty()).then_some(())).await;
    icon.row("the news", |text| text == "Free nas's GPU").await;

    // It ends, and comes back with another token.
    drop(served);
    icon.row("that it is gone", |text| text == format!("Not connected: nothing answers at {place}")).await;
    let served = Served::start(&screen, &config).await;
    icon.row("that it is back", |text| text == "Free nas's GPU").await;
    let free = icon.row("the row", |text| text == "Free nas's GPU").await;
    icon.click(&free).await;
    wait_for("the memory empty", async || nas.loaded().is_empty().then_some(())).await;

    // It ends for good: this app can take its place.
    drop(served);
    let here = icon.row("the way to start it", |text| text == "Start Lamplighter here").await;
    icon.click(&here).await;
    icon.row("the nas", |text| text.starts_with("● nas")).await;
    assert_eq!(asks_models(&url).await, Some(200));
    let quit = icon.row("Quit", |text| text == "Quit Lamplighter").await;
    icon.click(&quit).await;
    assert_eq!(app.end(QUICK).await.code(), Some(0));
    assert_eq!(asks_models(&url).await, None);

    let _served = Served::start(&screen, &config).await;
    wait_for("the service", async || asks_models(&url).await).await;
    let mut app = App::hidden(&screen, &config);
    app.ready().await;
    app.terminate();
    assert_eq!(app.end(QUICK).await.code(), Some(0));
    assert_eq!(asks_models(&url).await, Some(200), "only the app has ended");
}

/// The file gives the gateway another port: its own tray follows, and so does one that is only attached, without a word of alarm.
#[tokio::test(flavor = "multi_thread")]
async fn r88_the_tray_follows_its_gateway_to_another_port() {
    for attached in [true, false] {
        let Some(screen) = screen("r88_the_tray_follows_its_gateway_to_another_port") else { return };
        let host = TrayHost::start(screen.bus()).await.unwrap();
        let (config, old) = config(&screen, &[]);
        let served = if attached { Some(Served::start(&screen, &config).await) } else { None };
        if attached {
            wait_for("the service", async || asks_models(&format!("http://{old}")).await).await;
        }
        let app = App::hidden(&screen, &config);
        app.ready().await;
        let icon = Icon::appear(&host).await;
        icon.row("the old address", |text| text == old).await;
        let new = format!("127.0.0.1:{}", free_port());
        let text = std::fs::read_to_string(&config).unwrap().replace(&old, &new);
        std::fs::write(&config, text).unwrap();
        wait_for("the new address", async || {
            let rows = icon.rows().await?;
            let alarm = rows.iter().find(|row| row.text.starts_with("Not connected"));
            assert!(alarm.is_none(), "{alarm:?}");
            rows.iter().any(|row| row.text == new).then_some(())
        })
        .await;
        assert_eq!(asks_models(&format!("http://{new}")).await, Some(200));
        wait_for("the old port closed", async || {
            asks_models(&format!("http://{old}")).await.is_none().then_some(())
        })
        .await;
        // What it copies and asks goes there too.
        let pause = icon.any_row("the pause", |row| row.text == "Pause until I resume").await;
        icon.click(&pause).await;
        icon.row("the pause", |text| text == "Paused until you resume").await;
        drop(served);
    }
}

/// A thousand snapshots at full speed, each of them different and every other one with other rows, from a gateway that is
/// only an event stream.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_changes_are_no_storm_and_leak_nothing() {
    let Some(screen) = screen("a_thousand_changes_are_no_storm_and_leak_nothing") else { return };
    let host = TrayHost::start(screen.bus()).await.unwrap();
    let (config, _) = config(&screen, &[]);
    let (tell, told) = watch::channel(Arc::new(snapshot(0)));
    let place = pretend_gateway(told).await;
    let folder = screen.home().join("run/lamplighter");
    std::fs::create_dir_all(&folder).unwrap();
    let control = serde_json::json!({ "url": place, "token": "t", "pid": std::process::id() });
    let file = folder.join(format!("control-{}.json", fingerprint(&config)));
    std::fs::write(file, control.to_string()).unwrap();

    let app = App::hidden(&screen, &config);
    let icon = Icon::appear(&host).await;
    icon.row("the first", |text| text == "Paused until you resume").await;
    let storm = async |from: u64, to: u64| {
        let start = Instant::now();
        for number in from..to {
            tell.send_replace(Arc::new(snapshot(number)));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        start.elapsed()
    };
    storm(1, 200).await;
    icon.row("the last", |text| text.ends_with(&format!("· {} active", requests_of(199)))).await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let (rebuilt, changed, before) =
        (icon.signals("LayoutUpdated"), icon.signals("ItemsPropertiesUpdated"), app.resident_bytes());

    let took = storm(200, 1_201).await;
    let last = icon.row("the last", |text| text.ends_with(&format!("· {} active", requests_of(1_200)))).await;
    let summary = format!("Paused until you resume · {} requests finish", requests_of(1_200));
    icon.row("the last summary too", |text| text == summary).await;
    assert!(last.enabled);
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let rebuilds = icon.signals("LayoutUpdated") - rebuilt;
    let seconds = usize::try_from(took.as_secs()).unwrap() + 3;
    assert!((2..=seconds).contains(&rebuilds), "{rebuilds} rebuilds in {took:?}");
    assert!(icon.signals("ItemsPropertiesUpdated") > changed, "texts change in between");
    let grown = app.resident_bytes().saturating_sub(before) / 1024;
    assert!(grown < 8 * 1024, "{grown} KiB more after a thousand changes");
}

/// How many requests are active: another number each time, and the last of a storm has one that none before it had. More would
/// make the storm a matter of how fast a debug build reads JSON.
fn requests_of(number: u64) -> usize {
    let few = usize::try_from(number % 50).unwrap();
    few + match number {
        199 => 100,
        1_200 => 200,
        _ => 0,
    }
}

/// The number differs from one to the next; every other one has two rows more, for a longer summary.
fn snapshot(number: u64) -> Snapshot {
    let gateway =
        Gateway { base_url: "http://127.0.0.1:11400".into(), mode: Mode::Paused, ..Default::default() };
    let request = serde_json::json!({ "id": "r", "client": "c", "operation": "chat_completions", "model": "m", "node": null,
        "node_model": null, "stage": "queued", "ahead": 0, "started_ms": 0, "first_byte_ms": null, "events": 0, "stream": true });
    let requests = vec![serde_json::from_value(request).unwrap(); requests_of(number)];
    let message = "something that takes a long sentence to say ".repeat(4);
    let problem = Problem { code: "x".into(), level: Level::Problem, message, hint: None, node: None };
    let problems = vec![problem; usize::from(number % 2 == 1)];
    Snapshot { seq: number, gateway, requests, problems, ..Default::default() }
}

/// Answers `snapshot` and `events`, and nothing else. Its address.
async fn pretend_gateway(told: watch::Receiver<Arc<Snapshot>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut told = told.clone();
            tokio::spawn(async move {
                let mut head = vec![0; 4_096];
                let read = stream.read(&mut head).await.unwrap();
                let asks = String::from_utf8_lossy(&head[..read]).into_owned();
                if !asks.starts_with("GET /control/v1/events ") {
                    let body = serde_json::to_string(&**told.borrow()).unwrap();
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                        body.len()
                    );
                    return stream.write_all((head + &body).as_bytes()).await;
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await?;
                told.mark_changed();
                while told.changed().await.is_ok() {
                    let data = serde_json::to_string(&**told.borrow_and_update()).unwrap();
                    stream.write_all(format!("event: snapshot\ndata: {data}\n\n").as_bytes()).await?;
                }
                Ok(())
            });
        }
    });
    place
}
