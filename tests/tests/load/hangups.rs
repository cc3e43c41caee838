//! A thousand clients that hang up, each at a moment of its own: every node is told, nothing is kept for them.

use crate::{
    ONE_AT_A_TIME,
    processes::{Crowd, Held, Nodes, Stalls, back_to_rest},
};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(1);

/// L10: before the first byte, between two events, in the middle of an event.
#[tokio::test(flavor = "multi_thread")]
async fn l10_a_thousand_clients_hang_up_at_random() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let nodes = Nodes::start(2);
    let gateway = nodes.gateway().await;
    let before = Held::by(gateway.pid());
    let (seed, stalls) = (std::process::id(), Stalls::watch());
    println!("L10: seed {seed}");
    let crowd = Crowd::come(
        &gateway,
        "l10",
        &format!(
            "--streams 1000 --events 100000 --gap-us 100000 --over-ms 4000 --wait-ms 60000 --leave-within-ms 4000 --seed {seed}"
        ),
    );
    // While they come and go, no node is blamed for it.
    let (began, mut most) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(9) {
        let snapshot = gateway.snapshot().await;
        most = most.max(snapshot.requests.len());
        assert!(snapshot.nodes.iter().all(|node| node.state.takes_requests()), "{:?}", snapshot.nodes);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let gone = crowd.gone(Duration::from_secs(60)).await;
    assert_eq!(gone.streams.len(), 1000);
    assert!(gone.streams.values().all(|got| got.end == "left"), "nobody was turned away");

    let book = nodes.book_closed_within(Duration::from_secs(5)).await;
    let mut after_ns: Vec<u64> = Vec::new();
    for (id, sent) in &book {
        assert_eq!(sent.end, "client_gone", "{id}: {sent:?}");
        after_ns.push(sent.at_ns.saturating_sub(gone.streams[id].at_ns));
    }
    after_ns.sort_unstable();
    let slowest = Duration::from_nanos(after_ns[after_ns.len() - 1]);
    let soon = SOON + stalls.room();
    let late = after_ns.iter().filter(|ns| Duration::from_nanos(**ns) > soon).count();
    println!(
        "L10: {} of 1,000 had reached a node, {most} at once; told after p50 {:.1} ms, p99 {:.1} ms, the last {slowest:.1?}; this machine stood still for {:.0?}",
        book.len(),
        after_ns[after_ns.len() / 2] as f64 / 1e6,
        after_ns[after_ns.len() * 99 / 100] as f64 / 1e6,
        stalls.room() / 3,
    );
    // Who left before the request was read never reached one.
    assert!(book.len() >= 500, "{} reached a node", book.len());
    assert!(late <= 1, "{late} were told later than after {soon:?}");
    assert!(slowest <= 5 * SOON + stalls.room(), "the last was told after {slowest:?}");
    back_to_rest(&gateway, before, 2).await;
    assert_eq!(gateway.snapshot().await.totals.failed, 0);
}
