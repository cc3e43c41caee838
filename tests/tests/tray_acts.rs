//! Each row of the tray does what it says: seen at the nodes, on the clipboard, or in the gateway's own words.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use lamplighter_core::mode::Mode;
use lamplighter_simnode::{Fault, FaultRule, On, Profile, SimModel, SimNode};
use lamplighter_tests::desktop::{
    app::{App, chat},
    config,
    host::TrayHost,
    menu::{Icon, Row},
    screen, wait_for,
};

async fn house() -> (SimNode, SimNode) {
    let nas = Profile::ollama("nas")
        .model(SimModel::new("llama3.2:3b").loaded(true))
        .model(SimModel::new("qwen3:4b"));
    let workstation = Profile::ollama("workstation").model(SimModel::new("qwen3-coder:30b")).load_ms(1_500);
    (SimNode::start(nas).await.unwrap(), SimNode::start(workstation).await.unwrap())
}

/// A model's row, with its mark set or not.
async fn model(icon: &Icon, name: &str, on: bool) -> Row {
    let what = format!("{name} marked {on}");
    icon.any_row(&what, |row| row.text.starts_with(name) && row.checked == Some(on) && row.enabled).await
}

async fn named(icon: &Icon, text: &str) -> Row {
    icon.any_row(text, |row| row.text == text).await
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_loaded_and_unloaded_and_a_gpu_is_freed() {
    let Some(screen) = screen("models_are_loaded_and_unloaded_and_a_gpu_is_freed") else { return };
    let host = TrayHost::start(screen.bus()).await.unwrap();
    let (nas, workstation) = house().await;
    let (config, _) = config(&screen, &[(&nas, ""), (&workstation, "gpu = \"RTX 4090\"")]);
    let app = App::hidden(&screen, &config);
    app.ready().await;
    let icon = Icon::appear(&host).await;
    let holds = async |node: &SimNode, models: &[&str]| {
        wait_for(&format!("{models:?} on {}", node.name()), async || (node.loaded() == models).then_some(()))
            .await;
    };

    let coder = model(&icon, "qwen3-coder:30b", false).await;
    let rows = icon.rows().await.unwrap();
    assert!(rows.iter().all(|row| row.text != "Free workstation's GPU"), "nothing to free yet");
    icon.click(&coder).await;
    icon.row("what is being done", |text| text == "Loading qwen3-coder:30b on workstation…").await;
    holds(&workstation, &["qwen3-coder:30b"]).await;
    let coder = model(&icon, "qwen3-coder:30b", true).await;
    icon.row("the node with it", |text| text.starts_with("● workstation — 1 model, qwen3-coder:30b loaded"))
        .await;
    icon.click(&coder).await;
    holds(&workstation, &[]).await;

    icon.click(&model(&icon, "qwen3-coder:30b", false).await).await;
    let free = named(&icon, "Free workstation's GPU").await;
    icon.click(&free).await;
    holds(&workstation, &[]).await;
    wait_for("the row to go", async || {
        icon.rows().await?.iter().all(|row| row.text != "Free workstation's GPU").then_some(())
    })
    .await;

    icon.click(&model(&icon, "qwen3:4b", false).await).await;
    wait_for("both on the nas", async || (nas.loaded().len() == 2).then_some(())).await;
    model(&icon, "qwen3:4b", true).await;
    let all = icon.any_row("the row for all", |row| row.text == "Unload all models" && row.enabled).await;
    icon.click(&all).await;
    holds(&nas, &[]).await;
    icon.any_row("nothing to unload", |row| row.text == "Unload all models" && !row.enabled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_said_for_a_while_and_the_mark_stays_true() {
    let Some(screen) = screen("what_fails_is_said_for_a_while_and_the_mark_stays_true") else { return };
    let host = TrayHost::start(screen.bus()).await.unwrap();
    let (nas, workstation) = house().await;
    let (config, _) = config(&screen, &[(&nas, ""), (&workstation, "")]);
    let app = App::hidden(&screen, &config);
    app.ready().await;
    let icon = Icon::appear(&host).await;
    let coder = model(&icon, "qwen3-coder:30b", false).await;
    let before = icon.rows().await.unwrap()[0].text.clone();
    let at_rest = icon.picture().await;

    workstation.set_fault(FaultRule::from(Fault::Oom500).on(On::Path("/api/generate".into())));
    icon.click(&coder).await;
    let said = icon
        .row("what failed", |text| text.starts_with("qwen3-coder:30b was not loaded on workstation"))
        .await;
    assert!(!said.enabled);
    assert!(icon.tooltip().await.unwrap().1.starts_with("qwen3-coder:30b was not loaded on workstation"));
    assert_ne!(icon.picture().await, at_rest, "the lamp says so too");
    model(&icon, "qwen3-coder:30b", false).await;
    assert!(app.log().contains("was not loaded on workstation"), "{}", app.log());
    icon.row("the summary again", |text| text == before).await;
    wait_for("the lamp at rest", async || (icon.picture().await == at_rest).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn routing_is_steered_paused_and_resumed() {
    let Some(screen) = screen("routing_is_steered_paused_and_resumed") else { return };
    let host = TrayHost::start(screen.bus()).await.unwrap();
    let (nas, workstation) = house().await;
    let (config, place) = config(&screen, &[(&nas, ""), (&workstation, "")]);
    let app = App::hidden(&screen, &config);
    let url = app.ready().await;
    let icon = Icon::appear(&host).await;
    let mode = async |mode: Mode| {
        wait_for(mode.word(), async || Some(app.snapshot().await.gateway).filter(|now| now.mode == mode))
            .await
    };
    let marked = async |text: &str| {
        icon.any_row(text, |row| row.text == text && row.checked == Some(true)).await;
    };

    marked("Automatic").await;
    for (text, wanted) in [
        ("Only machines that are up (never wake)", Mode::NoWake),
        ("Automatic", Mode::Auto),
        ("Local only", Mode::Local),
    ] {
        icon.click(&named(&icon, text).await).await;
        mode(wanted).await;
        marked(text).await;
    }
    icon.row("the mode", |text| text == "Routing: local only").await;

    let lit = icon.picture().await;
    icon.click(&named(&icon, "Pause for 1 hour").await).await;
    let paused = mode(Mode::Paused).await;
    let now = app.snapshot().await.at_ms;
    let left_min = paused.paused_until_ms.unwrap().saturating_sub(now) / 60_000;
    assert!((58..=60).contains(&left_min), "{left_min}");
    icon.row("the pause", |text| {
        text.starts_with("Paused until ") && text.len() == "Paused until 18:00".len()
    })
    .await;
    wait_for("another lamp", async || (icon.picture().await != lit).then_some(())).await;
    assert!(chat(&url, "llama3.2:3b").await.unwrap().starts_with("HTTP/1.1 503"));

    icon.click(&named(&icon, "Resume").await).await;
    mode(Mode::Local).await;
    assert!(chat(&url, "llama3.2:3b").await.unwrap().starts_with("HTTP/1.1 200"));
    icon.click(&named(&icon, "Pause until I resume").await).await;
    assert_eq!(mode(Mode::Paused).await.paused_until_ms, None);
    icon.row("the pause", |text| text == "Paused until you resume").await;
    icon.click(&named(&icon, "Resume").await).await;
    mode(Mode::Local).await;

    let copy = named(&icon, "Copy environment block").await;
    icon.click(&copy).await;
    icon.row("the word that it was copied", |text| text == "Copied the environment block").await;
    let block = screen.clipboard().unwrap();
    assert!(block.contains(&format!("OPENAI_BASE_URL=http://{place}/v1\n")), "{block}");
    assert!(block.contains(&format!("OLLAMA_HOST=http://{place}\n")), "{block}");
    icon.click(&named(&icon, "Copy base URL").await).await;
    wait_for("the address", async || (screen.clipboard().ok()? == url).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_house_offers_the_window() {
    let Some(screen) = screen("an_empty_house_offers_the_window") else { return };
    let host = TrayHost::start(screen.bus()).await.unwrap();
    let (config, _) = config(&screen, &[]);
    let app = App::hidden(&screen, &config);
    app.ready().await;
    let icon = Icon::appear(&host).await;
    icon.row("the summary", |text| text == "No machines yet").await;
    icon.click(&named(&icon, "No machines yet: add one…").await).await;
    screen.window("^Lamplighter$").await;
}
