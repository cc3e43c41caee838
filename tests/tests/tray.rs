//! The tray over D-Bus: what it says, what its clicks do, and that no desktop, however broken, stops the gateway.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use lamplighter_simnode::{Profile, SimModel, SimNode};
use lamplighter_tests::desktop::{
    app::{App, asks_models, chat},
    config,
    host::TrayHost,
    menu::Icon,
    screen,
    screen::Screen,
    wait_for,
    windows::WindowManager,
};
use std::{path::Path, process::Command, time::Duration};

/// Quitting with nothing under way.
const QUICK: Duration = Duration::from_secs(8);

async fn house() -> (SimNode, SimNode) {
    let nas = Profile::ollama("nas")
        .model(SimModel::new("llama3.2:3b").loaded(true))
        .model(SimModel::new("nomic-embed-text:latest"));
    let workstation = Profile::ollama("workstation").model(SimModel::new("qwen3-coder:30b"));
    (SimNode::start(nas).await.unwrap(), SimNode::start(workstation).await.unwrap())
}

fn start(screen: &Screen, config: &Path, change: impl FnOnce(&mut Command)) -> App {
    App::start(screen, &["--config", config.to_str().unwrap()], change).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_menu_shows_the_house_and_its_clicks_work() {
    let Some(screen) = screen("the_menu_shows_the_house_and_its_clicks_work") else { return };
    let host = TrayHost::start(screen.bus()).await.unwrap();
    let (nas, workstation) = house().await;
    let (config, place) = config(&screen, &[(&nas, ""), (&workstation, "")]);
    let mut app = start(&screen, &config, |_| ());
    let url = app.ready().await;
    assert_eq!(url, format!("http://{place}"));
    let icon = Icon::appear(&host).await;

    let first = icon.row("the nas", |text| text == "● nas — 2 models, llama3.2:3b loaded").await;
    icon.row("the workstation", |text| text == "● workstation — 1 model").await;
    let rows = icon.rows().await.unwrap();
    let texts: Vec<_> = rows.iter().map(|row| row.text.as_str()).collect();
    assert_eq!(texts[1..3], [place.as_str(), ""]);
    assert_eq!(texts.last(), Some(&"Quit Lamplighter"));
    assert!(!rows[0].enabled && rows[1].enabled);
    let loaded: Vec<_> = first.rows.iter().filter(|row| row.checked == Some(true)).collect();
    assert!(matches!(loaded.as_slice(), [row] if row.text.starts_with("llama3.2:3b")), "{loaded:?}");
    assert_eq!(icon.tooltip().await, Some(("Lamplighter".into(), texts[0].into())));

    // A click copies, says so, and stops saying so; all of it in place.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let rebuilt = icon.signals("LayoutUpdated");
    icon.click(&rows[1]).await;
    let copied = icon.row("the word that it was copied", |text| text == format!("Copied {url}")).await;
    assert_eq!(screen.clipboard(), Ok(url.clone()));
    let after = icon.row("the address again", |text| text == place).await;

    // So does a node that goes away.
    let lit = icon.picture().await;
    workstation.kill().await;
    let gone = icon.row("the workstation gone", |text| text.starts_with("▲ workstation — down: ")).await;
    assert_eq!((copied.id, after.id, gone.id), (rows[1].id, rows[1].id, rows[4].id));
    assert_eq!(icon.signals("LayoutUpdated"), rebuilt, "texts change without a rebuild");
    assert!(icon.signals("ItemsPropertiesUpdated") >= 3);
    wait_for("another lamp", async || (icon.picture().await != lit).then_some(())).await;

    let quit = icon.row("Quit", |text| text == "Quit Lamplighter").await;
    icon.click(&quit).await;
    assert_eq!(app.end(QUICK).await.code(), Some(0));
    assert_eq!(asks_models(&url).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_light_the_lamp_and_quitting_lets_them_finish() {
    let Some(screen) = screen("requests_light_the_lamp_and_quitting_lets_them_finish") else { return };
    let host = TrayHost::start(screen.bus()).await.unwrap();
    let _manager = WindowManager::start(&screen).unwrap();
    let slow =
        Profile::ollama("nas").model(SimModel::new("llama3.2:3b").loaded(true)).ttft_ms(500).tokens(24);
    let nas = SimNode::start(slow.tok_s(2.0)).await.unwrap();
    let (config, place) = config(&screen, &[(&nas, "")]);
    let mut app = start(&screen, &config, |_| ());
    let url = app.ready().await;
    let icon = Icon::appear(&host).await;
    icon.row("the nas at rest", |text| text == "● nas — 1 model, llama3.2:3b loaded").await;
    let at_rest = icon.picture().await;

    // Twelve seconds of answer.
    let asked = url.clone();
    let chatting = tokio::spawn(async move { chat(&asked, "llama3.2:3b").await });
    icon.row("the nas at work", |text| text.starts_with("● nas — 1 active, llama3.2:3b")).await;
    icon.row("the count", |text| text.starts_with(&format!("{place} · 1 active"))).await;
    icon.row("the request", |text| text == "1 request · 2 tok/s on nas").await;
    let busy =
        wait_for("a busy lamp", async || Some(icon.picture().await).filter(|now| *now != at_rest)).await;

    // Quitting asks first; the answer is a key.
    let quit = icon.row("Quit", |text| text == "Quit Lamplighter").await;
    icon.click(&quit).await;
    screen.press(&screen.window("^Quit Lamplighter$").await, "alt+k");
    screen.no_window("^Quit Lamplighter$").await;
    icon.row("the nas still at work", |text| text.starts_with("● nas — 1 active, llama3.2:3b")).await;
    icon.click(&quit).await;
    screen.press(&screen.window("^Quit Lamplighter$").await, "alt+d");
    icon.row("what it waits for", |text| text == "Quitting after 1 more request…").await;
    assert_ne!(icon.picture().await, busy);
    let answer = chatting.await.unwrap().unwrap();
    assert!(answer.contains("[DONE]"), "cut short: {answer}");
    assert_eq!(app.end(QUICK).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn busy_lasts_a_little_longer_than_the_work_and_quitting_twice_does_not_wait() {
    let name = "busy_lasts_a_little_longer_than_the_work_and_quitting_twice_does_not_wait";
    let Some(screen) = screen(name) else { return };
    let host = TrayHost::start(screen.bus()).await.unwrap();
    let slow = Profile::ollama("nas").model(SimModel::new("llama3.2:3b").loaded(true)).ttft_ms(2_500);
    let nas = SimNode::start(slow).await.unwrap();
    let (config, _) = config(&screen, &[(&nas, "")]);
    let mut app = start(&screen, &config, |_| ());
    let url = app.ready().await;
    let icon = Icon::appear(&host).await;
    icon.row("the nas at rest", |text| text == "● nas — 1 model, llama3.2:3b loaded").await;
    let at_rest = icon.picture().await;
    let (first, second) = (url.clone(), url.clone());
    let chatting = tokio::spawn(async move { chat(&first, "llama3.2:3b").await });
    let busy =
        wait_for("a busy lamp", async || Some(icon.picture().await).filter(|now| *now != at_rest)).await;
    assert!(chatting.await.unwrap().unwrap().contains("[DONE]"));
    icon.row("the nas at rest", |text| text == "● nas — 1 model, llama3.2:3b loaded").await;
    assert_eq!(icon.picture().await, busy, "2 s of quiet come first");
    wait_for("the lamp at rest", async || (icon.picture().await == at_rest).then_some(())).await;

    nas.set_fault(lamplighter_simnode::Fault::Gray);
    let hanging = tokio::spawn(async move { chat(&second, "llama3.2:3b").await });
    icon.row("the nas at work", |text| text.starts_with("● nas — 1 active")).await;
    app.terminate();
    let now = icon.row("the way not to wait", |text| text == "Quit now").await;
    icon.click(&now).await;
    assert_eq!(app.end(QUICK).await.code(), Some(0));
    hanging.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tray_that_comes_late_is_used_and_one_that_hangs_stops_nothing() {
    let Some(screen) = screen("a_tray_that_comes_late_is_used_and_one_that_hangs_stops_nothing") else {
        return;
    };
    let (nas, _) = house().await;
    let (config, _) = config(&screen, &[(&nas, "")]);
    let mut app = start(&screen, &config, |_| ());
    let url = app.ready().await;
    wait_for("the word that there is no tray", async || app.log().contains("no tray yet").then_some(()))
        .await;
    assert_eq!(asks_models(&url).await, Some(200));

    let host = TrayHost::start_hung(screen.bus()).await.unwrap();
    wait_for("the word that it hangs", async || app.log().contains("does not answer").then_some(())).await;
    for _ in 0..10 {
        assert_eq!(asks_models(&url).await, Some(200));
    }

    host.wake_up();
    let icon = Icon::appear(&host).await;
    icon.row("the nas", |text| text.starts_with("● nas — 2 models")).await;
    app.terminate();
    assert_eq!(app.end(QUICK).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_session_bus_or_with_a_hung_host_it_serves_and_ends_when_told() {
    let name = "without_a_session_bus_or_with_a_hung_host_it_serves_and_ends_when_told";
    let Some(screen) = screen(name) else { return };
    let (nas, _) = house().await;
    let (config, _) = config(&screen, &[(&nas, "")]);
    let nowhere = format!("unix:path={}", screen.home().join("no-bus").display());
    let mut app = start(&screen, &config, |app| {
        app.env("DBUS_SESSION_BUS_ADDRESS", nowhere);
    });
    assert_eq!(asks_models(&app.ready().await).await, Some(200));
    app.terminate();
    assert_eq!(app.end(QUICK).await.code(), Some(0));

    let _hung = TrayHost::start_hung(screen.bus()).await.unwrap();
    let mut app = start(&screen, &config, |_| ());
    assert_eq!(asks_models(&app.ready().await).await, Some(200));
    app.terminate();
    assert_eq!(app.end(QUICK).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_said_in_the_tray() {
    let Some(screen) = screen("a_taken_port_is_said_in_the_tray") else { return };
    let host = TrayHost::start(screen.bus()).await.unwrap();
    let (config, place) = config(&screen, &[]);
    let taken = tokio::net::TcpListener::bind(&place).await.unwrap();
    let mut app = start(&screen, &config, |_| ());
    let icon = Icon::appear(&host).await;
    let said = icon.row("the reason", |text| text.starts_with(&format!("{place} is taken by"))).await;
    assert!(!said.enabled);
    assert!(icon.tooltip().await.unwrap().1.starts_with(&said.text));
    drop(taken);
    icon.click(&icon.row("another try", |text| text == "Try again").await).await;
    icon.row("the house", |text| text == "No machines yet").await;
    assert_eq!(asks_models(&format!("http://{place}")).await, Some(200));
    let quit = icon.row("Quit", |text| text == "Quit Lamplighter").await;
    icon.click(&quit).await;
    assert_eq!(app.end(QUICK).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_display_it_serves_alone_and_wrong_words_are_refused() {
    let Some(screen) = screen("without_a_display_it_serves_alone_and_wrong_words_are_refused") else {
        return;
    };
    let (nas, _) = house().await;
    let (config, _) = config(&screen, &[(&nas, "")]);
    for display in ["", ":987"] {
        let mut app = start(&screen, &config, |app| {
            app.env("DISPLAY", display);
        });
        assert_eq!(asks_models(&app.ready().await).await, Some(200));
        assert!(app.log().contains("without a tray"), "{}", app.log());
        app.terminate();
        assert_eq!(app.end(QUICK).await.code(), Some(0));
    }
    let mut app = App::start(&screen, &["--confg", "x"], |_| ()).unwrap();
    assert_eq!(app.end(QUICK).await.code(), Some(2));
    assert!(app.log().contains("--config"), "{}", app.log());
}
