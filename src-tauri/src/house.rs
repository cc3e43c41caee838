//! All that changes while the app runs: gateway, tray and window wired together, and the one orderly way out.

use crate::{
    clipboard::Clipboard,
    clock, control,
    door::WayIn,
    face::{Face, Showing},
    gateway::{Gateway, NotStarted},
    host, menu,
    notify::Bell,
    quit::{self, Quitting},
    signals::Signals,
    windows,
};
use lamplighter::Options;
use lamplighter_core::view::{self, Action};
use std::{
    future::pending,
    pin::Pin,
    time::{Duration, Instant},
};
use tauri::{AppHandle, Manager};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::{sleep_until, timeout},
};

/// Longest that running requests may take to finish: the gateway's own 30 s for them, and a little for the rest.
const DRAIN_LIMIT: Duration = Duration::from_secs(32);
/// Longest that the desktop's libraries may take to come down after that.
const EXIT_LIMIT: Duration = Duration::from_secs(3);
/// A tray that could not be drawn is tried again after this.
const DRAW_AGAIN: Duration = Duration::from_secs(5);
/// A person who opens the menu again and again has the machines looked at this often at most.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// The menu is looked over this often even when nothing happens, so that `today` turns into `yesterday`.
const LOOK_AGAIN: Duration = Duration::from_secs(600);
/// Actions under way at once; nobody clicks more.
const ACTS: usize = 8;

/// What somebody wants.
#[derive(Debug)]
pub enum Wish {
    /// A row of the tray's menu was clicked: its id.
    Click(String),
    /// A button of a notification.
    Do(Action),
    /// The window.
    Open,
    /// To see the menu, as it is in this moment.
    MenuOpens,
    /// The window was closed.
    WindowGone,
    /// The answer to the question before quitting.
    Quit(Quitting),
}

/// Everything, while it runs.
pub struct House {
    app: AppHandle,
    options: Options,
    hidden: bool,
    wish: mpsc::Sender<Wish>,
    wishes: mpsc::Receiver<Wish>,
    door: watch::Sender<WayIn>,
    clipboard: Clipboard,
    face: Face,
    bell: Bell,
    drawn: Option<menu::Drawn>,
    looked: Option<Instant>,
    acts: JoinSet<Done>,
    way_out: WayOut,
}

/// An action that has ended: what was said of it, and how it went.
struct Done {
    doing: Option<String>,
    result: Result<(), String>,
}

/// How far we are on the way out.
enum WayOut {
    Not,
    /// A person was asked whether to go on although requests run.
    Asked,
    /// Requests are let finish.
    Draining(JoinHandle<()>),
}

/// The first question to the tray's host.
type FirstLook = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// What ended a wait.
enum Event {
    Started(Result<Gateway, NotStarted>),
    News,
    Wish(Wish),
    Signal,
    NoTray,
    HostReady,
    Acted(Done),
    Drained,
    Time,
}

impl House {
    /// Not alive yet. Wishes also come from the house itself, hence both ends.
    pub fn new(
        app: AppHandle,
        options: Options,
        hidden: bool,
        (wish, wishes): (mpsc::Sender<Wish>, mpsc::Receiver<Wish>),
        door: watch::Sender<WayIn>,
    ) -> Self {
        let bell = Bell::new(app.clone(), wish.clone(), !options.demo);
        let mut face = Face::default();
        face.untold = Some(bell.off().clone());
        Self {
            app,
            options,
            hidden,
            wish,
            wishes,
            door,
            clipboard: Clipboard::default(),
            face,
            bell,
            drawn: None,
            looked: None,
            acts: JoinSet::new(),
            way_out: WayOut::Not,
        }
    }

    /// Lives until somebody quits.
    pub async fn live(mut self) {
        let mut starting = Some(self.start());
        let mut gateway: Option<Gateway> = None;
        let mut signals = Signals::listen();
        let mut first_look: Option<FirstLook> = Some(Box::pin(host::answers()));
        let mut host_ready = Box::pin(host::ready(Duration::ZERO));
        if !self.hidden && (self.options.demo || is_automated()) {
            self.open();
        }
        loop {
            let had_a_tray = self.drawn.is_some();
            let look_again = self.show().await;
            if had_a_tray && self.drawn.is_none() {
                host_ready = Box::pin(host::ready(DRAW_AGAIN));
            }
            let event = tokio::select! {
                started = started(&mut starting) => Event::Started(started),
                () = changed(&mut gateway) => Event::News,
                Some(wish) = self.wishes.recv() => Event::Wish(wish),
                () = signals.next() => Event::Signal,
                () = no_tray(&mut first_look) => Event::NoTray,
                () = &mut host_ready, if self.drawn.is_none() => Event::HostReady,
                Some(done) = self.acts.join_next() => Event::Acted(done.unwrap_or_else(Done::broken)),
                () = drained(&mut self.way_out) => Event::Drained,
                () = sleep_until(look_again.into()) => Event::Time,
            };
            match event {
                Event::Started(Ok(started)) => gateway = Some(started),
                Event::Started(Err(not_started)) => {
                    tracing::error!("{}", not_started.why);
                    // What it was before is of no interest.
                    let _ = self.door.send_replace(Err(not_started.why.clone()));
                    self.face.showing = Showing::Failed(not_started);
                }
                Event::News | Event::Time => {}
                // Without a tray the window is the only way in.
                Event::NoTray if !self.hidden => self.open(),
                Event::NoTray => {}
                Event::HostReady => {
                    if !self.draw().await {
                        host_ready = Box::pin(host::ready(DRAW_AGAIN));
                    }
                }
                Event::Acted(done) => self.acted(done),
                Event::Wish(Wish::Open) => self.open(),
                Event::Wish(Wish::MenuOpens) => self.look_around(gateway.as_ref()),
                Event::Wish(Wish::Do(action)) => self.act(action, gateway.as_ref()).await,
                Event::Wish(Wish::Click(id)) => {
                    match self.drawn.as_ref().and_then(|drawn| drawn.clicked(&id)) {
                        Some(Action::Quit) if self.quit(&mut gateway, true) => return self.leave(),
                        Some(Action::Quit) => {}
                        Some(Action::StartHere) if starting.is_some() => {}
                        Some(Action::StartHere) => {
                            gateway = None;
                            self.face.showing = Showing::Starting;
                            starting = Some(self.start());
                        }
                        Some(Action::Use(_)) if starting.is_some() => {}
                        Some(Action::Use(offer)) if gateway.is_none() => {
                            self.face.showing = Showing::Starting;
                            let options = self.options.clone();
                            starting = Some(tokio::spawn(Gateway::start_beside(options, offer)));
                        }
                        Some(action) => self.act(action, gateway.as_ref()).await,
                        None => {}
                    }
                }
                // With the tray the app lives on.
                Event::Wish(Wish::WindowGone) if self.drawn.is_some() => {}
                Event::Wish(Wish::WindowGone) if self.quit(&mut gateway, true) => return self.leave(),
                Event::Wish(Wish::WindowGone) => {}
                Event::Wish(Wish::Quit(Quitting::No)) => self.stay(),
                Event::Wish(Wish::Quit(Quitting::Now)) | Event::Drained => return self.leave(),
                Event::Wish(Wish::Quit(Quitting::WhenDone)) | Event::Signal => {
                    if self.quit(&mut gateway, false) {
                        return self.leave();
                    }
                }
            }
            self.look_at(&mut gateway);
        }
    }
}

impl House {
    fn start(&self) -> JoinHandle<Result<Gateway, NotStarted>> {
        tokio::spawn(Gateway::start(self.options.clone()))
    }

    /// Takes in what the gateway shows now, and how it is reached; tells what is due.
    fn look_at(&mut self, gateway: &mut Option<Gateway>) {
        self.bell.settle();
        let Some(gateway) = gateway else { return };
        self.face.showing = gateway.showing();
        if let Showing::House(snapshot) = &self.face.showing {
            self.bell.look(snapshot);
        }
        let control = gateway.control();
        self.door.send_if_modified(|known| {
            let is_new = known.as_ref() != Ok(control.connection());
            if is_new {
                *known = Ok(control.connection().clone());
            }
            is_new
        });
    }

    /// Brings the tray up to date; says when to look again at the latest.
    async fn show(&mut self) -> Instant {
        let now = Instant::now();
        let (wanted, next) = self.face.wanted(clock::now(), now);
        let deferred = match &mut self.drawn {
            Some(drawn) => drawn.update(&wanted, now).await,
            None => Ok(None),
        };
        let deferred = deferred.unwrap_or_else(|why| {
            tracing::warn!("the tray is drawn anew: {why}");
            self.drawn = None;
            None
        });
        [next, deferred, self.bell.due()].into_iter().flatten().fold(now + LOOK_AGAIN, Instant::min)
    }

    async fn draw(&mut self) -> bool {
        let (wanted, _) = self.face.wanted(clock::now(), Instant::now());
        match menu::Drawn::new(&self.app, &wanted, self.wish.clone()).await {
            Ok(drawn) => self.drawn = Some(drawn),
            Err(why) => tracing::warn!("the tray could not be drawn: {why}"),
        }
        self.drawn.is_some()
    }

    /// Has every machine looked at: those that sleep are otherwise asked once a minute, and what a person reads should be true.
    fn look_around(&mut self, gateway: Option<&Gateway>) {
        let is_soon = self.looked.is_some_and(|at| at.elapsed() < LOOK_EVERY);
        let Some(gateway) = gateway.filter(|_| !is_soon && self.acts.len() < ACTS) else { return };
        self.looked = Some(Instant::now());
        let control = gateway.control();
        self.acts.spawn(async move {
            if let Err(why) = control.look().await {
                tracing::debug!("the machines could not be looked at: {why}");
            }
            Done { doing: None, result: Ok(()) }
        });
    }

    fn open(&mut self) {
        if let Err(why) = windows::open(&self.app, self.options.demo) {
            self.fail(format!("The window cannot be opened: {why}"));
        }
    }

    /// Does what a click asked for; the gateway's part of it in the background.
    async fn act(&mut self, action: Action, gateway: Option<&Gateway>) {
        let base_url = match &self.face.showing {
            Showing::House(snapshot) => snapshot.gateway.base_url.clone(),
            Showing::Starting | Showing::Failed(_) | Showing::Gone(_) => String::new(),
        };
        match action {
            Action::Open => self.open(),
            Action::Tell(news, on) => {
                self.bell.tell(news, on);
                self.face.untold = Some(self.bell.off().clone());
            }
            Action::CopyBaseUrl => self.copy(base_url.clone(), &base_url).await,
            Action::CopyEnvironment => {
                self.copy(view::environment(&base_url), "the environment block").await;
            }
            action => {
                let Some(gateway) = gateway.filter(|_| self.acts.len() < ACTS) else { return };
                let (control, doing) = (gateway.control(), control::doing(&action));
                self.face.doing.extend(doing.clone());
                self.acts.spawn(async move { Done { result: control.act(&action).await, doing } });
            }
        }
    }

    async fn copy(&mut self, text: String, name: &str) {
        match self.clipboard.copy(text).await {
            Ok(()) => self.face.copied = Some((name.to_owned(), Instant::now())),
            Err(why) => self.fail(format!("Not copied: {why}")),
        }
    }

    fn acted(&mut self, done: Done) {
        if let Some(at) = self.face.doing.iter().position(|doing| Some(doing) == done.doing.as_ref()) {
            self.face.doing.remove(at);
        }
        if let Err(why) = done.result {
            self.fail(why);
        }
    }

    fn fail(&mut self, why: String) {
        tracing::warn!("{why}");
        self.face.failed = Some((why, Instant::now()));
    }

    /// Begins to quit; true when nothing has to be waited for. With `ask` a person is asked first when requests run.
    fn quit(&mut self, gateway: &mut Option<Gateway>, ask: bool) -> bool {
        let running = match &self.face.showing {
            Showing::House(snapshot) => snapshot.requests.len(),
            Showing::Starting | Showing::Failed(_) | Showing::Gone(_) => 0,
        };
        let Some(own) = gateway.take_if(|gateway| gateway.is_own()) else { return true };
        if ask && running > 0 && matches!(self.way_out, WayOut::Not) {
            *gateway = Some(own);
            self.way_out = WayOut::Asked;
            quit::ask(&self.app, running, self.wish.clone(), Wish::Quit);
        } else {
            self.face.ending = true;
            self.way_out = WayOut::Draining(drain(own));
        }
        false
    }

    /// The person would rather not quit. Without tray and window nothing would be left to see, so the window comes back.
    fn stay(&mut self) {
        if matches!(self.way_out, WayOut::Asked) {
            self.way_out = WayOut::Not;
            if self.drawn.is_none() {
                self.open();
            }
        }
    }

    /// Ends the process: politely, and a moment later in any case.
    fn leave(self) {
        if let Some(window) = self.app.get_webview_window(windows::MAIN).filter(|_| !self.options.demo) {
            // Not waited for: the main thread may hang.
            let _ = self.app.run_on_main_thread(move || windows::remember(&window.as_ref().window()));
        }
        self.clipboard.hand_over();
        self.app.exit(0);
        std::thread::sleep(EXIT_LIMIT);
        tracing::warn!("the desktop's libraries did not let go; leaving anyway");
        std::process::exit(0);
    }
}

impl Done {
    fn broken(why: tokio::task::JoinError) -> Self {
        Self { doing: None, result: Err(format!("It could not be done: {why}")) }
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

/// Driven by WebDriver, which waits for a window.
fn is_automated() -> bool {
    std::env::var("TAURI_WEBVIEW_AUTOMATION").as_deref() == Ok("true")
}

async fn started(task: &mut Option<JoinHandle<Result<Gateway, NotStarted>>>) -> Result<Gateway, NotStarted> {
    let Some(running) = task else { return pending().await };
    let result = running.await;
    *task = None;
    result.unwrap_or_else(|why| {
        Err(NotStarted { why: format!("the gateway stopped while it started: {why}"), offer: None })
    })
}

/// Waits for news; for ever when there will be none.
async fn changed(gateway: &mut Option<Gateway>) {
    match gateway {
        Some(gateway) => gateway.changed().await,
        None => pending().await,
    }
}

async fn drained(way_out: &mut WayOut) {
    match way_out {
        WayOut::Draining(task) => drop(task.await),
        WayOut::Not | WayOut::Asked => pending().await,
    }
}

/// Returns when the first look finds no tray; never when it finds one, or was made.
async fn no_tray(first_look: &mut Option<FirstLook>) {
    let Some(look) = first_look else { return pending().await };
    let answer = look.await;
    *first_look = None;
    if answer.is_ok() {
        pending().await
    }
}
