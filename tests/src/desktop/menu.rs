//! A tray icon as a panel sees it: its rows, its tooltip, its picture, and the signals of its changes.

use super::{host::TrayHost, wait_for};
use futures::StreamExt;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use zbus::{
    Connection, MatchRule, MessageStream,
    message::Type,
    zvariant::{OwnedValue, Structure, Value},
};

const ITEM: &str = "/StatusNotifierItem";
const MENU: &str = "/MenuBar";
const MENU_INTERFACE: &str = "com.canonical.dbusmenu";

/// One row on the screen.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its number on the bus.
    pub id: i32,
    /// Its text, as drawn.
    pub text: String,
    /// Can it be clicked?
    pub enabled: bool,
    /// Set, clear, or without a check mark.
    pub checked: Option<bool>,
    /// Rows that open from it.
    pub rows: Vec<Row>,
}

/// How the bus carries a row: number, properties, rows below.
type Wire = (i32, HashMap<String, OwnedValue>, Vec<OwnedValue>);

/// An icon that registered itself.
pub struct Icon {
    bus: Connection,
    name: String,
    signals: Arc<Mutex<HashMap<String, usize>>>,
    listener: tokio::task::JoinHandle<()>,
}

impl Drop for Icon {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Icon {
    /// Waits until an icon registers, and starts to count its signals.
    ///
    /// # Panics
    /// When none comes.
    pub async fn appear(host: &TrayHost) -> Self {
        let name = wait_for("an icon in the tray", async || host.icon()).await;
        let bus = host.bus().clone();
        let rule = MatchRule::builder().msg_type(Type::Signal).sender(name.clone()).expect("a name").build();
        let mut stream = MessageStream::for_match_rule(rule, &bus, Some(4_096)).await.expect("a match rule");
        let signals = Arc::<Mutex<HashMap<String, usize>>>::default();
        let counts = Arc::clone(&signals);
        let listener = tokio::spawn(async move {
            while let Some(message) = stream.next().await {
                let Ok(message) = message else { continue };
                let Some(member) = message.header().member().map(ToString::to_string) else { continue };
                *counts.lock().unwrap_or_else(PoisonError::into_inner).entry(member).or_default() += 1;
            }
        });
        Self { bus, name, signals, listener }
    }

    /// How often a signal came, for example `LayoutUpdated`.
    #[must_use]
    pub fn signals(&self, member: &str) -> usize {
        self.signals.lock().unwrap_or_else(PoisonError::into_inner).get(member).copied().unwrap_or_default()
    }

    /// The rows now; `None` while the icon does not answer.
    pub async fn rows(&self) -> Option<Vec<Row>> {
        let question = (0_i32, -1_i32, Vec::<String>::new());
        let asked = self.bus.call_method(
            Some(self.name.as_str()),
            MENU,
            Some(MENU_INTERFACE),
            "GetLayout",
            &question,
        );
        let answer = asked.await.ok()?;
        let (_revision, root): (u32, Wire) = answer.body().deserialize().ok()?;
        Some(row(root)?.rows)
    }

    /// Waits until a row of the menu itself reads as `matches` says, and returns it.
    ///
    /// # Panics
    /// When none does.
    pub async fn row(&self, what: &str, matches: impl Fn(&str) -> bool) -> Row {
        wait_for(what, async || self.rows().await?.into_iter().find(|row| matches(&row.text))).await
    }

    /// Waits until a row reads as `matches` says, also among those that open from others, and returns it.
    ///
    /// # Panics
    /// When none does.
    pub async fn any_row(&self, what: &str, matches: impl Fn(&Row) -> bool) -> Row {
        wait_for(what, async || {
            let rows = self.rows().await?;
            rows.iter()
                .flat_map(|row| std::iter::once(row).chain(&row.rows))
                .find(|row| matches(row))
                .cloned()
        })
        .await
    }

    /// Opens the menu, as a panel says before it draws it.
    ///
    /// # Panics
    /// When the icon does not hear it.
    pub async fn open(&self) {
        let name = Some(self.name.as_str());
        let told = self.bus.call_method(name, MENU, Some(MENU_INTERFACE), "AboutToShow", &0_i32).await;
        told.expect("the icon hears that its menu opens");
    }

    /// Clicks the icon itself.
    ///
    /// # Panics
    /// When the icon does not take it.
    pub async fn activate(&self) {
        let name = Some(self.name.as_str());
        let interface = Some("org.kde.StatusNotifierItem");
        let clicked = self.bus.call_method(name, ITEM, interface, "Activate", &(0_i32, 0_i32)).await;
        clicked.expect("the icon takes a click");
    }

    /// Clicks a row. That the app ends before it has answered is no fault of the click.
    ///
    /// # Panics
    /// When the icon does not take it.
    pub async fn click(&self, row: &Row) {
        let event = (row.id, "clicked", Value::from(0_i32), 0_u32);
        let name = Some(self.name.as_str());
        let clicked = self.bus.call_method(name, MENU, Some(MENU_INTERFACE), "Event", &event).await;
        if let Err(why) = clicked {
            let ended = matches!(&why, zbus::Error::MethodError(name, ..) if name.ends_with(".NoReply"));
            assert!(ended, "`{}` could not be clicked: {why}", row.text);
        }
    }

    /// Title and text of the tooltip.
    pub async fn tooltip(&self) -> Option<(String, String)> {
        type Pixels = Vec<(i32, i32, Vec<u8>)>;
        let (_icon, _pixels, title, text): (String, Pixels, String, String) =
            self.property("ToolTip").await?.try_into().ok()?;
        Some((title, text))
    }

    /// The picture: width, height and pixels.
    pub async fn picture(&self) -> Option<(i32, i32, Vec<u8>)> {
        let pictures: Vec<(i32, i32, Vec<u8>)> = self.property("IconPixmap").await?.try_into().ok()?;
        pictures.into_iter().next()
    }

    async fn property(&self, property: &str) -> Option<OwnedValue> {
        let question = ("org.kde.StatusNotifierItem", property);
        let name = Some(self.name.as_str());
        let interface = Some("org.freedesktop.DBus.Properties");
        let answer = self.bus.call_method(name, ITEM, interface, "Get", &question).await.ok()?;
        answer.body().deserialize::<OwnedValue>().ok()
    }
}

fn row((id, mut properties, rows): Wire) -> Option<Row> {
    let text = properties.remove("label").and_then(|label| String::try_from(label).ok()).unwrap_or_default();
    let enabled = properties.remove("enabled").and_then(|on| bool::try_from(on).ok()).unwrap_or(true);
    let has_check = properties.contains_key("toggle-type");
    let state = properties.remove("toggle-state").and_then(|state| i32::try_from(state).ok());
    let rows = rows.into_iter().map(|below| {
        let below = Structure::try_from(below).ok()?;
        row(Wire::try_from(below).ok()?)
    });
    Some(Row {
        id,
        text: drawn(&text),
        enabled,
        checked: has_check.then_some(state == Some(1)),
        rows: rows.collect::<Option<Vec<_>>>()?,
    })
}

/// A label as a panel draws it: `_` marks a shortcut, `__` is an underscore.
fn drawn(label: &str) -> String {
    label.split("__").map(|part| part.replace('_', "")).collect::<Vec<_>>().join("_")
}
