//! A notification server for tests: shows nothing, writes down what it is given, and presses buttons.
//!
//! It behaves as dunst does: a button that was pressed takes its notification away (Desktop Notifications Specification 1.2).

use super::wait_for;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use zbus::{Connection, connection::Builder, zvariant::OwnedValue};

const NAME: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";
/// Why a notification went: a person took it away, a program did.
const BY_PERSON: u32 = 2;
const BY_PROGRAM: u32 = 3;

/// One notification, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its number on the bus.
    pub id: u32,
    /// The first line.
    pub title: String,
    /// The rest.
    pub body: String,
    /// Key and title of each button, `default` (the notification itself) left out.
    pub buttons: Vec<(String, String)>,
    /// Still on the screen?
    pub shown: bool,
}

impl Told {
    /// The titles of its buttons.
    #[must_use]
    pub fn titles(&self) -> Vec<&str> {
        self.buttons.iter().map(|(_, title)| title.as_str()).collect()
    }
}

type All = Arc<Mutex<Vec<Told>>>;

/// The server. It leaves the bus when it is dropped.
pub struct Notifications {
    bus: Connection,
    all: All,
}

struct Server {
    all: All,
    bus: Connection,
}

fn gone(all: &All, id: u32) -> bool {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    let told = all.iter_mut().find(|told| told.id == id && told.shown);
    told.map(|told| told.shown = false).is_some()
}

#[zbus::interface(name = "org.freedesktop.Notifications")]
impl Server {
    #[allow(clippy::too_many_arguments, reason = "the specification's")]
    fn notify(
        &self,
        _app: String,
        replaces: u32,
        _icon: String,
        title: String,
        body: String,
        actions: Vec<String>,
        _hints: HashMap<String, OwnedValue>,
        _timeout: i32,
    ) -> u32 {
        let pairs = actions.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()));
        let buttons = pairs.filter(|(key, _)| key != "default").collect();
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = u32::try_from(all.len()).unwrap_or_default() + 1;
        let id = if replaces == 0 { fresh } else { replaces };
        all.iter_mut().filter(|told| told.id == id).for_each(|told| told.shown = false);
        all.push(Told { id, title, body, buttons, shown: true });
        id
    }

    async fn close_notification(&self, id: u32) {
        if gone(&self.all, id) {
            // The test that drops its server does not wait for this.
            let _ = closed(&self.bus, id, BY_PROGRAM).await;
        }
    }

    fn get_capabilities(&self) -> Vec<String> {
        vec!["actions".into(), "body".into()]
    }

    fn get_server_information(&self) -> (String, String, String, String) {
        ("lamplighter-tests".into(), "lamplighter".into(), "1".into(), "1.2".into())
    }
}

async fn closed(bus: &Connection, id: u32, why: u32) -> zbus::Result<()> {
    bus.emit_signal(None::<&str>, PATH, NAME, "NotificationClosed", &(id, why)).await
}

impl Notifications {
    /// Takes the place of the desktop's own server.
    ///
    /// # Errors
    /// When the bus does not let it in.
    pub async fn start(bus: &str) -> zbus::Result<Self> {
        let all = All::default();
        let connection = Builder::address(bus)?.build().await?;
        let server = Server { all: all.clone(), bus: connection.clone() };
        connection.object_server().at(PATH, server).await?;
        connection.request_name(NAME).await?;
        Ok(Self { bus: connection, all })
    }

    /// All that came, the first first.
    #[must_use]
    pub fn all(&self) -> Vec<Told> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Titles of those on the screen now.
    #[must_use]
    pub fn on_screen(&self) -> Vec<String> {
        self.all().into_iter().filter(|told| told.shown).map(|told| told.title).collect()
    }

    /// Waits until one with this title is on the screen.
    ///
    /// # Panics
    /// When none comes.
    pub async fn told(&self, title: &str) -> Told {
        wait_for(&format!("the notification `{title}`"), async || {
            self.all().into_iter().rev().find(|told| told.shown && told.title == title)
        })
        .await
    }

    /// Presses a button of it.
    ///
    /// # Panics
    /// When it has no such button, or is not on the screen any more.
    pub async fn press(&self, told: &Told, button: &str) {
        let found = told.buttons.iter().find(|(_, title)| title == button);
        let (key, _) = found.unwrap_or_else(|| panic!("no button `{button}`: {told:?}"));
        let invoked = self.bus.emit_signal(None::<&str>, PATH, NAME, "ActionInvoked", &(told.id, key)).await;
        invoked.expect("the signal is sent");
        assert!(gone(&self.all, told.id), "it is not on the screen: {told:?}");
        closed(&self.bus, told.id, BY_PERSON).await.expect("the signal is sent");
    }
}
