//! An Ollama holds a port that we were told to use: it is called by its name, left alone, and one click from being a node.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use lamplighter_core::snapshot::{Level, Snapshot};
use lamplighter_simnode::{Profile, SimModel, SimNode};
use lamplighter_tests::desktop::{
    app::{App, asks_models, chat, free_port},
    host::TrayHost,
    menu::Icon,
    screen, wait_for,
};
use std::time::Duration;

const QUICK: Duration = Duration::from_secs(8);

async fn ollama() -> SimNode {
    let profile = Profile::ollama("local").model(SimModel::new("llama3.2:3b").loaded(true));
    SimNode::start(profile.port(free_port())).await.unwrap()
}

async fn snapshot(app: &App, wanted: impl Fn(&Snapshot) -> bool) -> Snapshot {
    wait_for("the house as wanted", async || Some(app.snapshot().await).filter(|house| wanted(house))).await
}

/// It holds the only port there is: the gateway cannot start. One click, and it stands behind one that has a port of its own.
#[tokio::test(flavor = "multi_thread")]
async fn t15_an_ollama_on_our_port_becomes_a_node_by_one_click() {
    let test = "t15_an_ollama_on_our_port_becomes_a_node_by_one_click";
    let Some(screen) = screen(test) else { return };
    let host = TrayHost::start(screen.bus()).await.unwrap();
    let ollama = ollama().await;
    let place = ollama.addr();
    // A second engine here, which would be found by itself as long as no node is written down.
    let other = SimNode::start(Profile::llamacpp("other").model(SimModel::new("qwen3-4b"))).await.unwrap();
    let text = format!("# my house\n[server]\nlisten = [\"{place}\"] # one door\n");
    let config = screen.file("config.toml", &text);
    let args = ["--hidden", "--config", &config.to_string_lossy()].map(str::to_owned);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut app = App::start(&screen, &args, |command| {
        command.env("LAMPLIGHTER_LOOK", other.addr().port().to_string());
    })
    .unwrap();
    let icon = Icon::appear(&host).await;
    let said = icon.row("who it is", |text| text.starts_with("An Ollama (version ")).await;
    assert!(said.text.contains(&format!("holds {place}")) && !said.enabled, "{}", said.text);
    assert!(app.output().is_empty(), "nothing serves yet: {}", app.output());

    let offer = format!("Use the Ollama at {place} as a node");
    let offer = icon.row("the way out", |text| text == offer).await;
    icon.click(&offer).await;
    let url = app.ready().await;
    icon.row("the Ollama as a node", |text| text.starts_with("● ollama — ")).await;
    icon.row("the other engine, kept", |text| text.starts_with("● llama")).await;
    // Which address apps should use stands below the summary, and is what the menu copies.
    let own = url.strip_prefix("http://").unwrap();
    icon.row("our own address", |text| text == own).await;
    let port: u16 = own.rsplit(':').next().unwrap().parse().unwrap();
    assert!((11_400..11_500).contains(&port), "{url}");
    assert!(chat(&url, "llama3.2:3b").await.unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(asks_models(&format!("http://{place}")).await, Some(200), "the Ollama is left alone");

    let written = std::fs::read_to_string(&config).unwrap();
    let expected = text.replace(&place.to_string(), own);
    assert!(written.starts_with(&expected), "comments and all: {written}");
    for (name, url) in [("ollama", place), ("llamacpp", other.addr())] {
        assert!(written.contains(&format!("name = \"{name}\"\nurl = \"")), "{written}");
        assert!(written.contains(&url.to_string()), "{written}");
    }
    app.terminate();
    assert_eq!(app.end(QUICK).await.code(), Some(0));
}

/// It holds a further port: the gateway runs on its own one, says who stands in the way, and offers it.
#[tokio::test(flavor = "multi_thread")]
async fn t15_an_ollama_on_a_further_port_is_told_and_offered() {
    let Some(screen) = screen("t15_an_ollama_on_a_further_port_is_told_and_offered") else { return };
    let host = TrayHost::start(screen.bus()).await.unwrap();
    let (ollama, nas) = (ollama().await, SimNode::start(Profile::ollama("nas")).await.unwrap());
    let (place, own) = (ollama.addr(), format!("127.0.0.1:{}", free_port()));
    let both = format!("\"{own}\", \"{place}\", \"[::1]:{}\"", place.port());
    let node = format!("[[node]]\nname = \"nas\" # upstairs\nurl = \"{}\"\n", nas.url());
    let config = screen.file("config.toml", &format!("[server]\nlisten = [{both}]\n{node}"));
    let app = App::hidden(&screen, &config);
    assert_eq!(app.ready().await, format!("http://{own}"));
    let icon = Icon::appear(&host).await;
    let said = icon.row("who it is", |text| text.starts_with(&format!("Ollama itself holds {place}"))).await;
    assert!(!said.enabled);
    let house = snapshot(&app, |house| !house.offers.is_empty()).await;
    assert_eq!(house.offers[0].url, place.to_string());
    // A port is one door: its other family is left alone too, or clients of `localhost` would get now one and now the other.
    assert_eq!(house.gateway.listening, [format!("http://{own}")]);

    let offer = format!("Use the Ollama at {place} as a node");
    icon.click(&icon.row("the offer", |text| text == offer).await).await;
    icon.row("the Ollama as a node", |text| text.starts_with("● ollama — ")).await;
    let house = snapshot(&app, |house| house.offers.is_empty()).await;
    assert!(house.problems.iter().all(|problem| problem.level == Level::Notice), "{:#?}", house.problems);
    wait_for("the offer to go", async || {
        icon.rows().await?.iter().all(|row| !row.text.starts_with("Use the Ollama")).then_some(())
    })
    .await;
    let written = std::fs::read_to_string(&config).unwrap();
    assert!(written.contains("name = \"nas\" # upstairs") && written.contains(&both), "{written}");
    assert!(chat(&app.ready().await, "llama3.2:3b@ollama").await.unwrap().starts_with("HTTP/1.1 200"));
}
