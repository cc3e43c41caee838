//! Notifications: `core::view::Crier` says what is worth one, this shows it and hears which button was pressed.
//!
//! The button is never the only way: everything can be done in tray, window and command line too, since not every desktop
//! reports buttons.

use crate::house::Wish;
use lamplighter_core::{
    snapshot::Snapshot,
    view::{Action, Crier, Heard, News, Notice},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};
use tauri::{AppHandle, Manager};
use tauri_plugin_notification::{Action as Button, ActionType, NotificationExt};
use tauri_plugin_store::StoreExt;
use tokio::sync::mpsc;

/// What is kept: which sorts are switched off. May be lost without harm.
const KEPT: &str = "notifications.json";
const OFF: &str = "off";
/// Notices that may wait for a slow desktop; more are left out.
const WAITING: usize = 16;

/// News that is held back is told after this also when no snapshot comes.
const HOLD: Duration = Duration::from_millis(Crier::HOLD_MS);

/// Notices that are on screen: what their buttons do.
type Shown = Arc<Mutex<BTreeMap<i32, Vec<(&'static str, Action)>>>>;

/// What is to be done on the screen.
enum Ring {
    Show(Notice),
    /// The notification with this key is not true any more.
    TakeAway(String),
}

/// Shows notifications.
#[derive(Debug)]
pub struct Bell {
    app: AppHandle,
    crier: Crier,
    /// Keys of what was shown, and is true as far as we know.
    told: BTreeSet<String>,
    /// When what is held back is told at the latest.
    due: Option<Instant>,
    ringer: SyncSender<Ring>,
    off: BTreeSet<News>,
    /// The demo keeps nothing.
    keeps: bool,
}

impl Bell {
    /// Listens for buttons before anything is shown: the plugin shows none while nobody would hear them
    /// (tauri-plugin-notification `desktop.rs`, `has_listeners`).
    pub fn new(app: AppHandle, wish: mpsc::Sender<Wish>, keeps: bool) -> Self {
        let shown = Shown::default();
        let pressed = shown.clone();
        let listening = app.notification().on_action(move |performed| {
            // Its fields are private; its JSON is its public form.
            let Ok(told) = serde_json::to_value(performed) else { return };
            let id = told["notification"]["id"].as_i64().and_then(|id| i32::try_from(id).ok());
            let Some(id) = id else { return };
            let button = told["actionId"].as_str().unwrap_or_default().to_owned();
            let mut shown = pressed.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(buttons) = shown.get(&id) else { return };
            // A click on the notification itself opens the window.
            let action = match buttons.iter().find(|(title, _)| *title == button) {
                Some((_, action)) => action.clone(),
                None if button == "tap" => Action::Open,
                None => return,
            };
            shown.remove(&id);
            let _ = wish.try_send(Wish::Do(action));
        });
        if let Err(why) = listening {
            tracing::warn!("buttons of notifications cannot be heard: {why}");
        }
        let off = if keeps { load(&app) } else { BTreeSet::new() };
        let (ringer, rings) = sync_channel(WAITING);
        let ringing = app.clone();
        let ring = move || ring(&ringing, &rings, &shown);
        // Ends when the bell is dropped.
        if let Err(why) = std::thread::Builder::new().name("bell".into()).spawn(ring) {
            tracing::warn!("no notifications will be shown: {why}");
        }
        Self { app, crier: Crier::default(), told: BTreeSet::new(), due: None, ringer, off, keeps }
    }

    /// Which sorts are switched off.
    pub fn off(&self) -> &BTreeSet<News> {
        &self.off
    }

    /// Switches a sort on or off.
    pub fn tell(&mut self, news: News, on: bool) {
        if on {
            self.off.remove(&news);
        } else {
            self.off.insert(news);
        }
        if !self.keeps {
            return;
        }
        let words: Vec<&str> = self.off.iter().map(|news| news.word()).collect();
        let kept = self.app.store(KEPT).map_err(|why| why.to_string()).and_then(|store| {
            store.set(OFF, serde_json::json!(words));
            store.save().map_err(|why| why.to_string())
        });
        if let Err(why) = kept {
            tracing::warn!("which notifications are wanted is not kept: {why}");
        }
    }

    /// Takes in a snapshot, and tells what is new in it.
    pub fn look(&mut self, now: &Arc<Snapshot>) {
        let Heard { outdated, news } = self.crier.hear(now);
        // Only what was shown: a house that changes all at once must not fill the line of those that are to be shown.
        for key in outdated {
            if self.told.remove(&key) {
                self.ring(Ring::TakeAway(key));
            }
        }
        self.tell_all(news);
        self.due = self.crier.holds().then(|| self.due.unwrap_or_else(|| Instant::now() + HOLD));
    }

    /// When [`Bell::settle`] has something to do at the latest.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Tells what was held back for long enough.
    pub fn settle(&mut self) {
        if self.due.take_if(|due| Instant::now() >= *due).is_some() {
            let news = self.crier.settle();
            self.tell_all(news);
        }
    }

    fn tell_all(&mut self, news: Vec<Notice>) {
        let in_front = || {
            let mut windows = self.app.webview_windows().into_values();
            windows.any(|window| window.is_focused().unwrap_or(false))
        };
        for notice in news.into_iter().filter(|notice| !self.off.contains(&notice.news)) {
            if notice.unless_seen && in_front() {
                continue;
            }
            self.told.insert(notice.key.clone());
            self.ring(Ring::Show(notice));
        }
    }

    fn ring(&self, ring: Ring) {
        if self.ringer.try_send(ring).is_err() {
            tracing::warn!("a notification was left out: the desktop does not take the earlier ones");
        }
    }
}

/// Shows notices on a thread of its own: the plugin waits for the desktop to take a notification away, which a runtime's own
/// threads may not (zbus's `block_on` panics there) and the tray must not.
fn ring(app: &AppHandle, rings: &Receiver<Ring>, shown: &Shown) {
    for ring in rings {
        match ring {
            Ring::Show(notice) => show(app, notice, shown),
            Ring::TakeAway(key) => {
                let id = id_of(&key);
                shown.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                if let Err(why) = app.notification().remove_active(vec![id]) {
                    tracing::warn!("a notification could not be taken away: {why}");
                }
            }
        }
    }
}

fn show(app: &AppHandle, notice: Notice, shown: &Shown) {
    let id = id_of(&notice.key);
    // A type holds its buttons' titles: one type for each set of them.
    let kind: String = notice.buttons.iter().map(|(title, _)| *title).collect::<Vec<_>>().join("|");
    let buttons = notice.buttons.iter().map(|(title, _)| Button::builder(*title, *title).build()).collect();
    let plugin = app.notification();
    let registered = plugin.register_action_types(vec![ActionType::builder(&kind).actions(buttons).build()]);
    // It takes the place of an earlier one about the same thing.
    let replaced = plugin.remove_active(vec![id]);
    shown.lock().unwrap_or_else(PoisonError::into_inner).insert(id, notice.buttons);
    let built = plugin.builder().id(id).title(plain(&notice.title)).body(plain(&notice.body));
    let told = built.action_type_id(kind).show();
    for result in [registered, replaced, told] {
        if let Err(why) = result {
            tracing::warn!("a notification could not be shown: {why}");
        }
    }
}

/// Most desktops read a notification as markup, and names of clients and models come from outside: nothing in them is a mark.
fn plain(text: &str) -> String {
    text.replace('&', "＆").replace('<', "‹").replace('>', "›")
}

fn load(app: &AppHandle) -> BTreeSet<News> {
    let Ok(store) = app.store(KEPT) else { return BTreeSet::new() };
    let words = store.get(OFF).unwrap_or(Value::Null);
    let off =
        |news: &News| words.as_array().is_some_and(|words| words.iter().any(|word| word == news.word()));
    News::ALL.into_iter().filter(off).collect()
}

/// A number for a key, the same each time.
fn id_of(key: &str) -> i32 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    i32::try_from(hasher.finish() & 0x7fff_ffff).unwrap_or_default()
}
