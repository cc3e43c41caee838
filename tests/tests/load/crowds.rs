//! Many streams at once: nothing is lost, nothing leaks, an edit of the configuration drops none, and who hardly reads harms
//! nobody else.

use crate::{
    ONE_AT_A_TIME,
    processes::{Crowd, Held, Nodes, Stalls, back_to_rest},
};
use lamplighter_tests::house::Gateway;
use std::{fs, time::Duration};
use tokio::time::{Instant, sleep, sleep_until};

const MINUTE: Duration = Duration::from_secs(60);

/// L01 and L17: 1,000 streams of 5 events a second for a minute, and 100 edits of the configuration meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn l01_a_thousand_streams_and_l17_a_hundred_edits() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let (nodes, stalls) = (Nodes::start(2), Stalls::watch());
    let gateway = nodes.gateway().await;
    let before = Held::by(gateway.pid());
    let crowd = Crowd::come(&gateway, "l01", "--streams 1000 --events 300 --gap-us 200000 --over-ms 2000");
    let all_there = gateway.until(|s| s.requests.len() == 1000).await;
    assert!(all_there.nodes.iter().all(|node| node.active > 0), "both are used: {:?}", all_there.nodes);

    let began = Instant::now();
    for edit in 0..100u32 {
        // The second node goes and comes back, with its streams; limits and aliases change.
        let text = if edit.is_multiple_of(2) { nodes.config(1, "priority = 3") } else { nodes.config(2, "") };
        save(&gateway, &format!("{text}[[alias]]\nname = \"edit-{edit}\"\nmodels = [\"bench-model\"]\n"));
        sleep_until(began + Duration::from_millis(500) * (edit + 1)).await;
    }
    let held = Held::by(gateway.pid());
    let edited = gateway.snapshot().await;
    assert_eq!((edited.nodes.len(), edited.problems.len()), (2, 0), "{:?}", edited.problems);
    assert!(held.files > 2000, "the streams are still there, two sockets each: {held:?}");

    let (gone, book) = (crowd.gone(2 * MINUTE).await, nodes.book().await);
    assert_eq!((gone.streams.len(), book.len()), (1000, 1000));
    for (id, got) in &gone.streams {
        let sent = &book[id];
        assert_eq!(
            (got.status, got.end.as_str(), sent.end.as_str()),
            (200, "whole", "whole"),
            "{id}: {got:?}"
        );
        assert_eq!((got.events, &got.sha256), (300, &sent.sha256), "{id}");
        assert_eq!(sent.events, 300);
    }
    let peak_mib = Held::by(gateway.pid()).peak_mib;
    let delay = &gone.delay;
    println!(
        "L01: {} events, delay p50 {:.1} ms, p99 {:.1} ms, max {:.0} ms; RSS {:.1} MiB idle, {:.1} MiB with 1,000 streams, peak {peak_mib:.1} MiB; L17: 100 edits, 0 dropped",
        delay.count,
        delay.p50_us / 1e3,
        delay.p99_us / 1e3,
        delay.max_us / 1e3,
        before.rss_mib,
        held.rss_mib,
    );
    assert_eq!(delay.count, 300_000);
    assert!(held.rss_mib <= 80.0, "{held:?}");
    let room_us = stalls.room().as_micros() as f64;
    assert!(delay.p99_us <= 1e6 + room_us, "{delay:?}, room {room_us} µs");
    back_to_rest(&gateway, before, 2).await;
}

/// As editors do it: a new file, moved into place.
fn save(gateway: &Gateway, text: &str) {
    let new = gateway.home.path().join(".config.toml.swp");
    fs::write(&new, text).unwrap();
    fs::rename(new, gateway.home.path().join("config.toml")).unwrap();
}

/// L11: 200 clients that read 1 KB a second of streams that never end, beside 50 honest ones.
#[tokio::test(flavor = "multi_thread")]
async fn l11_who_hardly_reads_costs_little_and_slows_nobody() {
    const HONEST: &str = "--streams 50 --events 25 --gap-us 200000 --over-ms 1000";
    let _alone = ONE_AT_A_TIME.lock().await;
    let (nodes, stalls) = (Nodes::start(2), Stalls::watch());
    let gateway = nodes.gateway().await;
    let quiet = Crowd::come(&gateway, "quiet", HONEST).gone(MINUTE).await.delay;
    let before = Held::by(gateway.pid());

    let slow = Crowd::come(
        &gateway,
        "slow",
        "--streams 200 --events 1000000000000 --gap-us 0 --bytes-per-s 1000 --over-ms 1000",
    );
    gateway.until(|s| s.requests.len() == 200).await;
    // Whatever fills up on the way is full by then.
    sleep(Duration::from_secs(3)).await;
    let beside = Crowd::come(&gateway, "beside", HONEST).gone(MINUTE).await;
    let after = Held::by(gateway.pid());
    assert!(
        beside.streams.values().all(|got| got.end == "whole" && got.events == 25),
        "{:?}",
        beside.streams
    );
    let under_way = gateway.snapshot().await.requests;
    assert_eq!(under_way.iter().filter(|request| request.events > 0).count(), 200, "all of them flow");
    println!(
        "L11: honest p99 {:.1} ms alone, {:.1} ms beside 200 slow readers; RSS {:.1} MiB before, peak {:.1} MiB",
        quiet.p99_us / 1e3,
        beside.delay.p99_us / 1e3,
        before.rss_mib,
        after.peak_mib,
    );
    assert!(after.peak_mib - before.rss_mib <= 64.0, "{before:?} {after:?}");
    let room_us = stalls.room().as_micros() as f64;
    assert!(beside.delay.p99_us <= 3.0 * quiet.p99_us + 100e3 + room_us, "{quiet:?} {:?}", beside.delay);

    drop(slow);
    nodes.book_closed_within(Duration::from_secs(10)).await;
    back_to_rest(&gateway, before, 2).await;
}
