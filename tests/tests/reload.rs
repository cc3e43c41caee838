//! A person edits the configuration file while the gateway runs.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_simnode::{Profile, SimModel, SimNode};
use lamplighter_tests::house::{Gateway, config};
use reqwest::StatusCode;
use std::{fs, path::PathBuf, time::Duration};

fn file(gateway: &Gateway) -> PathBuf {
    gateway.home.path().join("config.toml")
}

/// As editors do it: a new file, moved into place.
fn save(gateway: &Gateway, text: &str) {
    let new = gateway.home.path().join(".config.toml.swp");
    fs::write(&new, text).unwrap();
    fs::rename(new, file(gateway)).unwrap();
}

async fn node(name: &str, tok_s: f64) -> SimNode {
    SimNode::start(Profile::ollama(name).model(SimModel::new("m").loaded(true)).tok_s(tok_s).parallel(64))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_edited_counts_and_what_is_broken_does_not() {
    let (nas, gpu) = (node("nas", 500.0).await, node("gpu", 500.0).await);
    let gateway = Gateway::over(&[&nas], "").await;
    let both =
        config(&[(&nas, ""), (&gpu, "priority = 5")], "[[alias]]\nname = \"coder\"\nmodels = [\"m\"]\n");
    save(&gateway, &both);
    gateway.until_up(2).await;
    let answer = gateway.chat("coder", false).send().await.unwrap();
    assert_eq!(answer.headers()["x-lamplighter-node"], "gpu");

    // In place, and broken: what was in force stays so, and everybody is told where the mistake is.
    let broken = both.replace("priority = 5", "priorty = 5");
    fs::write(file(&gateway), &broken).unwrap();
    let told =
        gateway.until(|snapshot| snapshot.problems.iter().any(|p| p.message.contains("priorty"))).await;
    assert!(told.problems.iter().any(|p| p.message.contains("stays so")), "{:#?}", told.problems);
    assert_eq!(told.nodes.len(), 2);
    assert_eq!(gateway.chat("coder", false).send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(fs::read_to_string(file(&gateway)).unwrap(), broken, "the file is its owner's");

    save(&gateway, &both.replace("127.0.0.1:0", "127.0.0.1:1"));
    let told =
        gateway.until(|snapshot| snapshot.problems.iter().all(|p| !p.message.contains("priorty"))).await;
    assert!(told.problems.iter().any(|p| p.message.contains("`listen`") && p.message.contains("next start")));

    save(&gateway, &config(&[(&gpu, "")], ""));
    let left = gateway.until(|snapshot| snapshot.nodes.len() == 1 && snapshot.problems.is_empty()).await;
    assert_eq!(left.nodes[0].name, "gpu");
}

/// A removed node takes nothing new, and what runs there may finish: no stream is lost to an edit.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_edits_drop_no_stream() {
    let (nas, gpu) = (node("nas", 10.0).await, node("gpu", 10.0).await);
    let fast = "max_concurrent = 64";
    let gateway = Gateway::start(&config(&[(&nas, fast), (&gpu, fast)], "")).await;
    gateway.until_up(2).await;
    let streams: Vec<_> = (0..40)
        .map(|i| tokio::spawn(gateway.chat(if i % 2 == 0 { "m@nas" } else { "m@gpu" }, true).send()))
        .collect();
    gateway.until(|snapshot| snapshot.nodes.iter().map(|node| node.active).sum::<u32>() == 40).await;
    for edit in 0..100 {
        let nodes =
            if edit % 2 == 0 { vec![(&gpu, fast)] } else { vec![(&gpu, fast), (&nas, "priority = 1")] };
        save(&gateway, &config(&nodes, ""));
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    for stream in streams {
        let answer = stream.await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(answer.text().await.unwrap().ends_with("data: [DONE]\n\n"));
    }
    gateway
        .until(|snapshot| snapshot.nodes.len() == 2 && snapshot.nodes.iter().all(|node| node.active == 0))
        .await;
}
