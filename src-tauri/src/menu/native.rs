//! macOS and Windows: the system's own icons and menus, by way of tauri. Only what changed is touched.

use super::{REBUILD_EVERY, picture};
use crate::house::Wish;
use lamplighter_core::view::{Action, Kind, Row, Tray, same_places};
use std::time::Instant;
use tauri::{
    AppHandle, Builder, Wry,
    menu::{CheckMenuItem, IsMenuItem, Menu, MenuItem, PredefinedMenuItem, Submenu},
    tray::{MouseButton, MouseButtonState, TrayIcon, TrayIconBuilder, TrayIconEvent},
};
use tokio::sync::mpsc;

/// Hears clicks. Once, on the app: handlers given to a tray icon pile up each time one is drawn.
pub fn listen(builder: Builder<Wry>, wish: &mpsc::Sender<Wish>) -> Builder<Wry> {
    let (on_menu, on_icon) = (wish.clone(), wish.clone());
    builder
        .on_menu_event(move |_, event| drop(on_menu.try_send(Wish::Click(event.id().0.clone()))))
        .on_tray_icon_event(move |_, event| {
            let TrayIconEvent::Click { button, button_state, .. } = event else { return };
            // The menu opens with the click.
            let _ = on_icon.try_send(Wish::MenuOpens);
            if (button, button_state) == (MouseButton::Left, MouseButtonState::Up) {
                let _ = on_icon.try_send(Wish::Open);
            }
        })
}

/// The tray icon on the screen, and what it shows.
pub struct Drawn {
    app: AppHandle,
    icon: TrayIcon<Wry>,
    shown: Tray,
    items: Vec<Item>,
    rebuilt: Instant,
}

/// A row on the screen, in the shape of [`Kind`].
enum Item {
    Text(MenuItem<Wry>),
    Check(CheckMenuItem<Wry>),
    Separator(PredefinedMenuItem<Wry>),
    Submenu(Submenu<Wry>, Vec<Item>),
}

impl Drawn {
    /// Puts the icon into the tray.
    ///
    /// # Errors
    /// When the system does not take it.
    #[allow(clippy::unused_async, reason = "as on Linux, where a bus is asked")]
    pub async fn new(app: &AppHandle, tray: &Tray, _: mpsc::Sender<Wish>) -> Result<Self, String> {
        Self::put(app, tray).map_err(|why| why.to_string())
    }

    fn put(app: &AppHandle, tray: &Tray) -> tauri::Result<Self> {
        let (menu, items) = build(app, &tray.rows)?;
        let icon = TrayIconBuilder::with_id("lamplighter")
            .title("Lamplighter")
            .tooltip(&tray.summary)
            .icon(picture(tray.lamp))
            .menu(&menu)
            .build(app)?;
        Ok(Self { app: app.clone(), icon, shown: tray.clone(), items, rebuilt: Instant::now() })
    }

    /// What a click on the row of this id does, as the row reads on the screen.
    ///
    /// Some hosts turn a check mark when it is clicked; it is set back, since only the gateway knows what came of it.
    pub fn clicked(&self, id: &str) -> Option<Action> {
        let row = self.shown.row(id)?;
        if let Kind::Check(on) = row.kind
            && let Some(item) = Item::find(&self.items, id)
            && let Err(why) = item.set_checked(on)
        {
            tracing::warn!("a mark in the tray could not be set: {why}");
        }
        row.action.clone()
    }

    /// Makes the screen show `wanted`. Says when to come back when rows came or went too soon after the last time.
    ///
    /// # Errors
    /// None: what the system does not take now is wanted again with the next change.
    #[allow(clippy::unused_async, reason = "as on Linux, where a bus is told")]
    pub async fn update(&mut self, wanted: &Tray, now: Instant) -> Result<Option<Instant>, String> {
        if self.shown == *wanted {
            return Ok(None);
        }
        Ok(self.try_update(wanted, now).unwrap_or_else(|why| {
            tracing::warn!("the tray could not be updated: {why}");
            None
        }))
    }

    fn try_update(&mut self, wanted: &Tray, now: Instant) -> tauri::Result<Option<Instant>> {
        if self.shown.lamp != wanted.lamp {
            self.icon.set_icon(Some(picture(wanted.lamp)))?;
            self.shown.lamp = wanted.lamp;
        }
        if self.shown.summary != wanted.summary {
            self.icon.set_tooltip(Some(&wanted.summary))?;
            self.shown.summary.clone_from(&wanted.summary);
        }
        if !same_places(&self.shown.rows, &wanted.rows) {
            if now < self.rebuilt + REBUILD_EVERY {
                return Ok(Some(self.rebuilt + REBUILD_EVERY));
            }
            let (menu, items) = build(&self.app, &wanted.rows)?;
            self.icon.set_menu(Some(menu))?;
            (self.items, self.rebuilt) = (items, now);
        } else {
            for ((item, shown), row) in self.items.iter().zip(&self.shown.rows).zip(&wanted.rows) {
                item.become_row(shown, row)?;
            }
        }
        self.shown.rows.clone_from(&wanted.rows);
        Ok(None)
    }
}

impl Item {
    fn new(app: &AppHandle, row: &Row) -> tauri::Result<Self> {
        let (id, text) = (row.id.as_str(), label(&row.text));
        Ok(match &row.kind {
            Kind::Item => Self::Text(MenuItem::with_id(app, id, text, row.enabled, None::<&str>)?),
            Kind::Check(on) => {
                Self::Check(CheckMenuItem::with_id(app, id, text, row.enabled, *on, None::<&str>)?)
            }
            Kind::Separator => Self::Separator(PredefinedMenuItem::separator(app)?),
            Kind::Submenu(rows) => {
                let items = rows.iter().map(|row| Self::new(app, row)).collect::<tauri::Result<Vec<_>>>()?;
                let parts: Vec<_> = items.iter().map(Self::part).collect();
                Self::Submenu(Submenu::with_id_and_items(app, id, text, row.enabled, &parts)?, items)
            }
        })
    }

    /// The row with a check mark of this id.
    fn find<'a>(items: &'a [Self], id: &str) -> Option<&'a CheckMenuItem<Wry>> {
        items.iter().find_map(|item| match item {
            Self::Check(item) if item.id().as_ref() == id => Some(item),
            Self::Submenu(_, items) => Self::find(items, id),
            Self::Text(_) | Self::Check(_) | Self::Separator(_) => None,
        })
    }

    fn part(&self) -> &dyn IsMenuItem<Wry> {
        match self {
            Self::Text(item) => item,
            Self::Check(item) => item,
            Self::Separator(item) => item,
            Self::Submenu(item, _) => item,
        }
    }

    /// Changes what differs between two rows in the same place.
    fn become_row(&self, shown: &Row, wanted: &Row) -> tauri::Result<()> {
        if shown == wanted {
            return Ok(());
        }
        let text = (shown.text != wanted.text).then(|| label(&wanted.text));
        let enabled = (shown.enabled != wanted.enabled).then_some(wanted.enabled);
        match (self, &shown.kind, &wanted.kind) {
            (Self::Text(item), ..) => {
                text.map_or(Ok(()), |text| item.set_text(text))?;
                enabled.map_or(Ok(()), |enabled| item.set_enabled(enabled))
            }
            (Self::Check(item), Kind::Check(was_on), Kind::Check(on)) => {
                if was_on != on {
                    item.set_checked(*on)?;
                }
                text.map_or(Ok(()), |text| item.set_text(text))?;
                enabled.map_or(Ok(()), |enabled| item.set_enabled(enabled))
            }
            (Self::Submenu(item, items), Kind::Submenu(shown), Kind::Submenu(wanted)) => {
                text.map_or(Ok(()), |text| item.set_text(text))?;
                enabled.map_or(Ok(()), |enabled| item.set_enabled(enabled))?;
                let rows = shown.iter().zip(wanted);
                items.iter().zip(rows).try_for_each(|(item, (shown, wanted))| item.become_row(shown, wanted))
            }
            (Self::Check(_) | Self::Submenu(..) | Self::Separator(_), ..) => Ok(()),
        }
    }
}

fn build(app: &AppHandle, rows: &[Row]) -> tauri::Result<(Menu<Wry>, Vec<Item>)> {
    let items = rows.iter().map(|row| Item::new(app, row)).collect::<tauri::Result<Vec<_>>>()?;
    let parts: Vec<_> = items.iter().map(Item::part).collect();
    Ok((Menu::with_items(app, &parts)?, items))
}

/// Menus read `&` as the mark of a shortcut on every platform; twice it means itself.
fn label(text: &str) -> String {
    text.replace('&', "&&")
}
