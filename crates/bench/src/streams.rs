//! Streams: time to the first event, delay of each event, bursts, and many streams held open.

use crate::{
    events::{Reader, now_ns},
    load::{self, Target, cpu, spent},
    spread::Spread,
    wire::Connection,
};
use serde::Serialize;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

/// 50 events a second: a fast model.
const GAP_US: u64 = 20_000;
/// Events of one burst stream: about 4 MB.
const BURST_EVENTS: u64 = 20_000;
/// No stream of a measurement may stand still for longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Streams at the rate of a fast model.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Steady {
    /// From the node's sending of an event to its arrival.
    pub delay: Spread,
    /// Of the target's process, per event.
    pub cpu_us: f64,
}

/// Streams as fast as they can be.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Burst {
    /// Events per second, all streams together.
    pub per_second: f64,
    /// Of the target's process, per event.
    pub cpu_us: f64,
}

/// Time to the first event, one stream after the other on one connection.
pub async fn first_events(target: Target, count: usize) -> Result<Spread, String> {
    let request = load::to(target.address, &load::stream(2, 500));
    let mut connection = Connection::open(target.address).await.map_err(|e| e.to_string())?;
    let mut samples = Vec::with_capacity(count);
    for at in 0..count + 10 {
        let asked = Instant::now();
        let mut first = None;
        read_stream(&mut connection, &request, &mut |_| {
            first.get_or_insert_with(|| asked.elapsed().as_nanos() as u64);
        })
        .await?;
        // The first few open connections and warm caches.
        samples.extend(first.filter(|_| at >= 10));
    }
    Ok(Spread::of(samples))
}

/// `count` streams at once, measured for `length`.
pub async fn steady(target: Target, count: usize, length: Duration) -> Result<Steady, String> {
    let opening = Duration::from_millis(400);
    let events = (length + opening * 2).as_micros() as u64 / GAP_US;
    let request: Arc<[u8]> = load::to(target.address, &load::stream(events, GAP_US)).into();
    let counts = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for _ in 0..count {
        let (request, counts) = (request.clone(), counts.clone());
        clients.spawn(async move {
            let mut connection = Connection::open(target.address).await.map_err(|e| e.to_string())?;
            let mut samples = Vec::with_capacity(events as usize);
            read_stream(&mut connection, &request, &mut |sent_ns| {
                if counts.load(Relaxed) {
                    samples.push(now_ns().saturating_sub(sent_ns));
                }
            })
            .await?;
            Ok::<_, String>(samples)
        });
    }
    sleep(opening).await;
    let before = cpu(target)?;
    counts.store(true, Relaxed);
    sleep(length).await;
    counts.store(false, Relaxed);
    let spent = spent(target, before)?;
    let mut samples = Vec::new();
    while let Some(client) = clients.join_next().await {
        samples.extend(client.map_err(|error| error.to_string())??);
    }
    let cpu_us = spent.us / samples.len().max(1) as f64;
    Ok(Steady { delay: Spread::of(samples), cpu_us })
}

/// `count` connections, each with one burst after the other for `length`.
pub async fn burst(target: Target, count: usize, length: Duration) -> Result<Burst, String> {
    let request: Arc<[u8]> = load::to(target.address, &load::stream(BURST_EVENTS, 0)).into();
    let (events, started, before) = (Arc::new(AtomicU64::new(0)), Instant::now(), cpu(target)?);
    let mut clients = JoinSet::new();
    for _ in 0..count {
        let (request, events) = (request.clone(), events.clone());
        clients.spawn(async move {
            let mut connection = Connection::open(target.address).await.map_err(|e| e.to_string())?;
            while started.elapsed() < length {
                read_stream(&mut connection, &request, &mut |_| {
                    events.fetch_add(1, Relaxed);
                })
                .await?;
            }
            Ok::<_, String>(())
        });
    }
    while let Some(client) = clients.join_next().await {
        client.map_err(|error| error.to_string())??;
    }
    let count = events.load(Relaxed).max(1) as f64;
    Ok(Burst {
        per_second: count / started.elapsed().as_secs_f64(),
        cpu_us: spent(target, before)?.us / count,
    })
}

/// Streams that are open until this is dropped.
pub struct Open {
    _clients: JoinSet<()>,
}

/// Opens `count` slow streams and waits until each has had its first event.
pub async fn hold(target: Target, count: usize) -> Result<Open, String> {
    let request: Arc<[u8]> = load::to(target.address, &load::stream(1_000, 500_000)).into();
    let begun = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    for at in 0..count {
        let (request, begun) = (request.clone(), begun.clone());
        clients.spawn(async move {
            // Not all at once: a queue of connections is not what is measured.
            sleep(Duration::from_millis(at as u64 / 2)).await;
            let Ok(mut connection) = Connection::open(target.address).await else { return };
            let mut first = true;
            let _ = read_stream(&mut connection, &request, &mut |_| {
                if std::mem::take(&mut first) {
                    begun.fetch_add(1, Relaxed);
                }
            })
            .await;
        });
    }
    let until = Instant::now() + PATIENCE;
    while begun.load(Relaxed) < count as u64 {
        if Instant::now() >= until || clients.try_join_next().is_some() {
            return Err(format!("only {} of {count} streams could be opened", begun.load(Relaxed)));
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(Open { _clients: clients })
}

async fn read_stream(
    connection: &mut Connection,
    request: &[u8],
    on_event: &mut impl FnMut(u64),
) -> Result<(), String> {
    let mut reader = Reader::default();
    let all = async {
        let status = connection.ask(request).await?;
        while !connection.some(&mut |piece| reader.push(piece, on_event)).await? {}
        Ok::<_, std::io::Error>(status)
    };
    // A stream that lives on is held for its whole length; each one has far fewer events than this time allows.
    match timeout(Duration::from_secs(600), all).await {
        Ok(Ok(200)) if reader.ended_well() => Ok(()),
        Ok(Ok(status)) => Err(format!("a stream ended badly (status {status})")),
        Ok(Err(error)) => Err(format!("a stream broke: {error}")),
        Err(_) => Err("a stream stood still".into()),
    }
}
