//! Draws the tray's plain data with the desktop's menus, and touches only what changed.
//!
//! An open menu survives changed texts and icons but closes, flickers or crashes its host when it is rebuilt. So a menu is
//! rebuilt only when rows come or go, and then at most once a second.

use lamplighter_core::view::{Action, Kind, Lamp, Row, Tray, same_places};
use std::time::{Duration, Instant};
use tauri::{
    AppHandle, Wry,
    image::Image,
    include_image,
    menu::{CheckMenuItem, IsMenuItem, Menu, MenuItem, PredefinedMenuItem, Submenu},
    tray::{TrayIcon, TrayIconBuilder},
};

/// At least this long between two rebuilds.
const REBUILD_EVERY: Duration = Duration::from_secs(1);

/// The tray icon on the screen, and what it shows.
pub struct Drawn {
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
    /// When there is no tray host to take it. Ask `host::ready` first: a host that hangs would hang the main thread.
    pub fn new(app: &AppHandle, tray: &Tray) -> tauri::Result<Self> {
        let (menu, items) = build(app, &tray.rows)?;
        let icon = TrayIconBuilder::with_id("lamplighter")
            .title("Lamplighter")
            .tooltip(&tray.summary)
            .icon(picture(tray.lamp))
            .menu(&menu)
            .build(app)?;
        Ok(Self { icon, shown: tray.clone(), items, rebuilt: Instant::now() })
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
    pub fn update(&mut self, app: &AppHandle, wanted: &Tray, now: Instant) -> Option<Instant> {
        if self.shown == *wanted {
            return None;
        }
        match self.try_update(app, wanted, now) {
            Ok(come_back) => come_back,
            Err(why) => {
                tracing::warn!("the tray could not be updated: {why}");
                None
            }
        }
    }

    fn try_update(&mut self, app: &AppHandle, wanted: &Tray, now: Instant) -> tauri::Result<Option<Instant>> {
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
            let (menu, items) = build(app, &wanted.rows)?;
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

/// 44 pixels: halved without loss for a panel of 22, and sharp on screens of double density.
fn picture(lamp: Lamp) -> Image<'static> {
    match lamp {
        Lamp::Alert => include_image!("../icons/png/tray/alert-44.png"),
        Lamp::Paused => include_image!("../icons/png/tray/paused-44.png"),
        Lamp::Waking => include_image!("../icons/png/tray/waking-44.png"),
        Lamp::Busy => include_image!("../icons/png/tray/busy-44.png"),
        Lamp::Lit => include_image!("../icons/png/tray/lit-44.png"),
        Lamp::Low => include_image!("../icons/png/tray/low-44.png"),
        Lamp::Dark => include_image!("../icons/png/tray/dark-44.png"),
    }
}
