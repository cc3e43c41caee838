//! Watches one node: the regular look, and while requests are open and silent a ping each second.

use super::{Facts, Order, ping::Ping};
use crate::{
    clock,
    engines::{Asker, Depth, Look},
    upstream::{Upstream, Wanted},
};
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use lamplighter_core::{fleet::NodeId, health::Report};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// While requests are open, silence longer than this is looked into, each time anew without waiting for the last answer: three
/// misses are then in after 5 s.
const SILENCE_MS: u64 = 1_000;
/// Streams that have begun are given up when the node is gone and has been silent this long.
const CUT_AFTER_MS: u64 = 10_000;
/// The whole model list is fetched this often; in between only what is loaded.
const FULL_EVERY: Duration = Duration::from_secs(30);
/// A node that belongs to another network is not looked at; this is how long the watcher sleeps meanwhile.
const HELD: Duration = Duration::from_secs(3_600);
/// Pings under way at once: they take 2 s at most and go out each second.
const PINGS: usize = 3;

/// Watches one node.
pub struct Watcher {
    node: NodeId,
    asker: Option<Asker>,
    /// For when the asker is lost with a look that is given up.
    spare: Asker,
    /// Another client comes when this computer has slept: what the old one holds only looks open.
    clients: watch::Receiver<reqwest::Client>,
    ping: Ping,
    upstream: Arc<Upstream>,
    orders: mpsc::Sender<Order>,
}

impl Watcher {
    pub(super) fn new(
        node: NodeId,
        asker: Asker,
        ping: Ping,
        clients: watch::Receiver<reqwest::Client>,
        upstream: Arc<Upstream>,
        orders: mpsc::Sender<Order>,
    ) -> Self {
        let spare = asker.anew(clients.borrow().clone());
        Self { node, asker: Some(asker), spare, clients, ping, upstream, orders }
    }

    /// Watches until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut looking: Option<BoxFuture<'static, (Asker, Look)>> = None;
        let mut pings = FuturesUnordered::new();
        let mut next_look = Instant::now();
        let mut next_full = Instant::now();
        let mut last_ping_ms = 0;
        let mut engine = None;
        loop {
            self.upstream.tidy();
            let ping_in = self.ping_in(last_ping_ms);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(next_look), if looking.is_none() => {
                    if self.upstream.pulse.is_held() {
                        // Whoever lets it go asks for a look at once.
                        next_look = Instant::now() + HELD;
                        continue;
                    }
                    let Some(mut asker) = self.asker.take() else { return };
                    asker.at_work(self.upstream.pulse.open() > 0);
                    let depth = if Instant::now() >= next_full { Depth::Full } else { Depth::Pulse };
                    if depth == Depth::Full {
                        next_full = Instant::now() + FULL_EVERY;
                    }
                    looking = Some(Box::pin(async move {
                        let look = asker.look(depth).await;
                        (asker, look)
                    }));
                }
                Some((asker, look)) = maybe(&mut looking) => {
                    looking = None;
                    if look.report != Report::Answered {
                        next_full = Instant::now(); // when it is back, everything may have changed
                    }
                    engine = asker.identity().map(|identity| identity.engine);
                    let Some(next) = self.report(look, &asker).await else { return };
                    self.asker = Some(asker);
                    next_look = Instant::now() + next;
                }
                () = tokio::time::sleep(ping_in.unwrap_or_default()), if ping_in.is_some() && pings.len() < PINGS => {
                    // While it slept, a good byte may have come, or the last request gone.
                    if self.ping_in(last_ping_ms).is_none_or(|left| !left.is_zero()) {
                        continue;
                    }
                    last_ping_ms = clock::mono_ms();
                    self.cut_if_silent();
                    pings.push(self.ping.clone().ask(engine));
                }
                Some(report) = pings.next(), if !pings.is_empty() => {
                    let Some(report) = report else { continue };
                    if self.orders.send(Order::Pinged { node: self.node, report }).await.is_err() {
                        return;
                    }
                }
                Ok(()) = self.clients.changed() => {
                    // Whoever waits for an answer of before the sleep waits in vain.
                    (looking, pings) = (None, FuturesUnordered::new());
                    let http = self.clients.borrow_and_update().clone();
                    self.ping.ask_by(http.clone());
                    match &mut self.asker {
                        Some(asker) => asker.ask_by(http),
                        None => (self.asker, next_look) = (Some(self.spare.anew(http)), Instant::now()),
                    }
                }
                wanted = self.upstream.pulse.wanted() => match wanted {
                    // A request has opened: the next turn counts its silence.
                    Wanted::Nothing => {}
                    Wanted::Pulse => next_look = Instant::now(),
                    Wanted::Full => (next_look, next_full) = (Instant::now(), Instant::now()),
                },
            }
        }
    }

    /// How long until the next ping is due; `None` while no request is open.
    fn ping_in(&self, last_ping_ms: u64) -> Option<Duration> {
        let pulse = &self.upstream.pulse;
        if pulse.is_at_rest() {
            return None;
        }
        let due_ms = (pulse.last_good_ms() + SILENCE_MS).max(last_ping_ms + SILENCE_MS);
        Some(Duration::from_millis(due_ms.saturating_sub(clock::mono_ms())))
    }

    fn cut_if_silent(&self) {
        let silent_ms = clock::mono_ms().saturating_sub(self.upstream.pulse.last_good_ms());
        if silent_ms >= CUT_AFTER_MS && self.upstream.ends().gone.is_cancelled() {
            self.upstream.cut();
        }
    }

    /// Hands a look to the registry. The answer is when to look again; `None` when the registry has ended.
    async fn report(&self, look: Look, asker: &Asker) -> Option<Duration> {
        let facts =
            asker.identity().map(|identity| Facts { engine: identity.engine, dialects: identity.dialects });
        let (next_ms, next) = oneshot::channel();
        let order = Order::Looked { node: self.node, look: Box::new(look), facts, next_ms };
        self.orders.send(order).await.ok()?;
        next.await.ok().map(Duration::from_millis)
    }
}

/// The future inside, or never.
async fn maybe<T>(future: &mut Option<BoxFuture<'static, T>>) -> Option<T> {
    match future {
        Some(future) => Some(future.await),
        None => std::future::pending().await,
    }
}
