//! Listeners that come and go while we run: each is accepted on until it is closed, and what came in by it drains.

use super::{
    accept::{Limits, Shared, connection},
    bind::{self, Open},
    guard::Guard,
};
use axum::Router;
use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A listener that is closed goes on accepting until nobody has come for this long: who is in its backlog is not turned away.
const LAST_CALL: Duration = Duration::from_millis(50);
/// But no longer than this in all.
const LAST_CALLS: Duration = Duration::from_millis(500);

/// The door: listeners that may come and go while we run, and the connections that came in by them.
pub struct Door {
    shared: Arc<Shared>,
    listeners: Mutex<Vec<Listener>>,
    connections: TaskTracker,
}

/// An open listener. Its socket is closed when its task has ended.
struct Listener {
    place: Open<()>,
    closing: CancellationToken,
    task: JoinHandle<()>,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("open", &self.open_now()).finish_non_exhaustive()
    }
}

impl Door {
    /// A door with no listener yet. It is closed by `stop`.
    #[must_use]
    pub fn new(router: Router, guard: Guard, limits: Limits, stop: CancellationToken) -> Self {
        let places = Arc::new(Semaphore::new(limits.connections));
        let (guard, cut) = (RwLock::new(Arc::new(guard)), CancellationToken::new());
        let shared = Arc::new(Shared { router, guard, limits, places, stop, cut });
        Self { shared, listeners: Mutex::default(), connections: TaskTracker::new() }
    }

    /// Accepts on these too.
    pub fn open(&self, opened: Vec<Open<TcpListener>>) {
        let mut listeners = self.listeners();
        for Open { entry, address, listener } in opened {
            let closing = self.shared.stop.child_token();
            let accepting = accept(listener, self.shared.clone(), closing.clone(), self.connections.clone());
            let task = tokio::spawn(accepting);
            listeners.push(Listener { place: Open { entry, address, listener: () }, closing, task });
        }
    }

    /// Where it is open now.
    #[must_use]
    pub fn open_now(&self) -> Vec<Open<()>> {
        self.listeners().iter().map(|listener| listener.place).collect()
    }

    /// Closes these, and returns when nobody can come in there any more. Whoever is in may finish: each connection ends with the
    /// answer that it is waiting for, streams to their end.
    pub async fn close(&self, addresses: &[SocketAddr]) {
        let mut closed = Vec::new();
        {
            let mut listeners = self.listeners();
            closed.extend(listeners.extract_if(.., |l| addresses.contains(&l.place.address)));
        }
        for listener in &closed {
            listener.closing.cancel();
        }
        for listener in closed {
            // An error would be a panic of that task: then its socket is closed too.
            let _ = listener.task.await;
        }
    }

    /// Opens again what was closed a moment ago.
    ///
    /// # Errors
    /// Those of the system.
    pub fn reopen(&self, places: &[Open<()>]) -> io::Result<()> {
        for place in places {
            let listener = bind::listen(place.address)?;
            self.open(vec![Open { entry: place.entry, address: place.address, listener }]);
        }
        Ok(())
    }

    /// From the next request on, this is who decides.
    pub fn guard(&self, guard: Guard) {
        *self.shared.guard.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(guard);
    }

    /// Serves until it is told to stop. Then it drains: idle connections close at once, what runs has `limits.grace`; after that
    /// `end_all` is called, so that streams end in their dialect's error, and what is left is cut. Returns how many were cut.
    pub async fn serve(self: Arc<Self>, end_all: impl FnOnce()) -> usize {
        let Shared { limits, stop, cut, .. } = &*self.shared;
        stop.cancelled().await;
        let open: Vec<SocketAddr> = self.open_now().iter().map(|open| open.address).collect();
        self.close(&open).await;
        let connections = &self.connections;
        connections.close();
        if timeout(limits.grace, connections.wait()).await.is_ok() {
            return 0;
        }
        end_all();
        if timeout(limits.farewell, connections.wait()).await.is_ok() {
            return 0;
        }
        let left = connections.len();
        cut.cancel();
        connections.wait().await;
        left
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Listener>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accepts until `closing`, and then only who is on the way in already.
async fn accept(
    listener: TcpListener,
    door: Arc<Shared>,
    closing: CancellationToken,
    connections: TaskTracker,
) {
    let mut last_call: Option<Instant> = None;
    loop {
        if last_call.is_none() && closing.is_cancelled() {
            last_call = Some(Instant::now() + LAST_CALLS);
        }
        if door.stop.is_cancelled() {
            return;
        }
        let place = tokio::select! {
            () = door.stop.cancelled() => return,
            place = door.places.clone().acquire_owned() => match place { Ok(place) => place, Err(_) => return },
            () = closed_for_good(last_call) => return,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = door.stop.cancelled() => return,
            () = closing.cancelled(), if last_call.is_none() => continue,
            () = tokio::time::sleep(LAST_CALL), if last_call.is_some() => return,
            () = closed_for_good(last_call) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                connections.spawn(connection(stream, peer, door.clone(), closing.clone(), place));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // Out of file descriptors, most likely: wait for places instead of spinning.
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

async fn closed_for_good(last_call: Option<Instant>) {
    match last_call {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | ConnectionRefused)
}
