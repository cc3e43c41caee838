//! The running app: gateway, tray and signals wired together, and the one orderly way out.

use crate::{
    clipboard::Clipboard,
    clock,
    face::{Face, Showing},
    gateway::Gateway,
    host, menu,
};
use lamplighter_core::{snapshot::Snapshot, view};
use std::{
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};
use tauri::{AppHandle, RunEvent};
use tokio::{
    runtime::Runtime,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{sleep_until, timeout},
};

/// Longest that running requests may take to finish: the gateway's own 30 s for them, and a little for the rest.
const DRAIN_LIMIT: Duration = Duration::from_secs(32);
/// Longest that the desktop's libraries may take to come down after that.
const EXIT_LIMIT: Duration = Duration::from_secs(3);
/// Clicks waiting to be handled; more are dropped, since nobody clicks that fast.
const CLICKS: usize = 16;
/// A tray that could not be drawn is tried again after this.
const DRAW_AGAIN: Duration = Duration::from_secs(5);
/// The menu is looked over this often even when nothing happens, so that `today` turns into `yesterday`.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// Runs the app until it is told to quit. Takes the main thread, as desktops demand.
pub fn run(runtime: &Runtime, config: Option<PathBuf>) -> ExitCode {
    tauri::async_runtime::set(runtime.handle().clone());
    let (clicked, clicks) = mpsc::channel(CLICKS);
    let built = tauri::Builder::default()
        // Once, on the app: handlers given to a tray icon pile up each time one is drawn.
        .on_menu_event(move |_, event| drop(clicked.try_send(event.id().0.clone())))
        .build(tauri::generate_context!());
    let app = match built {
        Ok(app) => app,
        Err(why) => {
            eprintln!("lamplighter-desktop: the desktop app could not start: {why}");
            return ExitCode::FAILURE;
        }
    };
    let house = House::new(app.handle().clone(), clicks);
    let (on, lives) = (runtime.handle().clone(), house.live(config));
    // A thread of its own: menu calls wait for the main thread, and no request may ever wait for those.
    let thread = std::thread::Builder::new().name("tray".into()).spawn(move || on.block_on(lives));
    if let Err(why) = thread {
        eprintln!("lamplighter-desktop: could not start a thread: {why}");
        return ExitCode::FAILURE;
    }
    let code = app.run_return(|_, event| {
        // Without a code it means "no windows left", which is this app's everyday state.
        if let RunEvent::ExitRequested { api, code: None, .. } = event {
            api.prevent_exit();
        }
    });
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// All that changes while the app runs.
struct House {
    app: AppHandle,
    clicks: mpsc::Receiver<String>,
    clipboard: Clipboard,
    face: Face,
    drawn: Option<menu::Drawn>,
}

/// What ended a wait.
enum Event {
    Started(Result<Gateway, String>),
    Snapshot,
    Click(String),
    Signal,
    HostReady,
    Drained,
    Time,
}

impl House {
    fn new(app: AppHandle, clicks: mpsc::Receiver<String>) -> Self {
        Self { app, clicks, clipboard: Clipboard::default(), face: Face::default(), drawn: None }
    }

    async fn live(mut self, config: Option<PathBuf>) {
        let mut starting = Some(tokio::spawn(Gateway::start(config)));
        let mut gateway: Option<Gateway> = None;
        let mut snapshots: Option<watch::Receiver<Arc<Snapshot>>> = None;
        let mut drained: Option<JoinHandle<()>> = None;
        let mut signals = Signals::listen();
        let mut host_ready = Box::pin(host::ready(Duration::ZERO));
        loop {
            let look_again = self.show();
            let event = tokio::select! {
                started = started(&mut starting) => Event::Started(started),
                () = changed(&mut snapshots) => Event::Snapshot,
                Some(id) = self.clicks.recv() => Event::Click(id),
                () = signals.next() => Event::Signal,
                () = &mut host_ready, if self.drawn.is_none() => Event::HostReady,
                () = finished(&mut drained) => Event::Drained,
                () = sleep_until(look_again.into()) => Event::Time,
            };
            match event {
                Event::Started(Ok(started)) => {
                    snapshots = Some(started.snapshots());
                    gateway = Some(started);
                }
                Event::Started(Err(why)) => {
                    tracing::error!("{why}");
                    self.face.showing = Showing::Failed(why);
                }
                Event::Snapshot | Event::Time => {}
                Event::HostReady => {
                    if !self.draw() {
                        host_ready = Box::pin(host::ready(DRAW_AGAIN));
                    }
                }
                Event::Click(id) if id == view::COPY_BASE_URL => self.copy_base_url().await,
                Event::Click(id) if id != view::QUIT => {}
                Event::Click(_) | Event::Signal => match gateway.take() {
                    Some(gateway) => {
                        self.face.ending = true;
                        drained = Some(drain(gateway));
                    }
                    // Nothing runs, or it was said twice.
                    None => return self.leave(),
                },
                Event::Drained => return self.leave(),
            }
            if let Some(snapshots) = &mut snapshots {
                self.face.showing = Showing::House(snapshots.borrow_and_update().clone());
            }
        }
    }

    /// Brings the tray up to date; says when to look again at the latest.
    fn show(&mut self) -> Instant {
        let now = Instant::now();
        let (wanted, next) = self.face.wanted(clock::now(), now);
        let deferred = self.drawn.as_mut().and_then(|drawn| drawn.update(&self.app, &wanted, now));
        [next, deferred].into_iter().flatten().fold(now + LOOK_AGAIN, Instant::min)
    }

    fn draw(&mut self) -> bool {
        let (wanted, _) = self.face.wanted(clock::now(), Instant::now());
        match menu::Drawn::new(&self.app, &wanted) {
            Ok(drawn) => self.drawn = Some(drawn),
            Err(why) => tracing::warn!("the tray could not be drawn: {why}"),
        }
        self.drawn.is_some()
    }

    async fn copy_base_url(&mut self) {
        let Showing::House(snapshot) = &self.face.showing else { return };
        match self.clipboard.copy(snapshot.gateway.base_url.clone()).await {
            Ok(()) => self.face.copied_at = Some(Instant::now()),
            Err(why) => tracing::warn!("the base URL could not be copied: {why}"),
        }
    }

    /// Ends the process: politely, and a moment later in any case.
    fn leave(self) {
        self.clipboard.hand_over();
        self.app.exit(0);
        std::thread::sleep(EXIT_LIMIT);
        tracing::warn!("the desktop's libraries did not let go; leaving anyway");
        std::process::exit(0);
    }
}

/// Lets running requests finish, for a while.
fn drain(gateway: Gateway) -> JoinHandle<()> {
    tokio::spawn(async move {
        if timeout(DRAIN_LIMIT, gateway.shutdown()).await.is_err() {
            tracing::warn!("requests were still running after {} s and were cut", DRAIN_LIMIT.as_secs());
        }
    })
}

async fn started(task: &mut Option<JoinHandle<Result<Gateway, String>>>) -> Result<Gateway, String> {
    let Some(running) = task else { return std::future::pending().await };
    let result = running.await;
    *task = None;
    result.unwrap_or_else(|why| Err(format!("the gateway stopped while it started: {why}")))
}

/// Waits for the next snapshot; for ever when there will be none.
async fn changed(snapshots: &mut Option<watch::Receiver<Arc<Snapshot>>>) {
    let Some(receiver) = snapshots else { return std::future::pending().await };
    if receiver.changed().await.is_err() {
        *snapshots = None;
    }
}

async fn finished(drained: &mut Option<JoinHandle<()>>) {
    match drained {
        Some(task) => drop(task.await),
        None => std::future::pending().await,
    }
}

/// The ways in which a system asks a process to end.
struct Signals {
    #[cfg(unix)]
    caught: Vec<tokio::signal::unix::Signal>,
}

impl Signals {
    #[cfg(unix)]
    fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        Self { caught: kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect() }
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        if self.caught.is_empty() {
            return std::future::pending().await;
        }
        let each = self.caught.iter_mut().map(|signal| Box::pin(signal.recv()));
        futures::future::select_all(each).await;
    }

    #[cfg(not(unix))]
    fn listen() -> Self {
        Self {}
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
