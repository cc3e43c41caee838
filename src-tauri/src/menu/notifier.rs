//! Linux: an item of the StatusNotifierItem protocol on the session bus, with its menu, by `ksni`
//! (freedesktop.org, StatusNotifierItem; `com.canonical.dbusmenu`).
//!
//! Not by way of `tray-icon`, although that can speak through `ksni` too: it reads menu items with check marks from another
//! thread than theirs and counts their references there without any lock (muda 0.20 and 0.21, `snapshot.rs`,
//! `item.platform.clone()`), which ends a busy tray in a corrupted heap. Here the rows are plain data, and neither GTK nor the main
//! thread has a part in them.

use super::{REBUILD_EVERY, picture};
use crate::house::Wish;
use ksni::{
    Handle, Icon, MenuItem, ToolTip, TrayMethods,
    menu::{CheckmarkItem, StandardItem, SubMenu},
};
use lamplighter_core::view::{Action, Kind, Row, Tray, same_places};
use std::time::{Duration, Instant};
use tauri::AppHandle;
use tokio::{sync::mpsc, time::timeout};

/// Longest that the tray's host may take to have the icon, or a change of it.
const ANSWER: Duration = Duration::from_secs(5);

/// The tray icon on the screen, and what it shows.
pub struct Drawn {
    item: Handle<Item>,
    shown: Tray,
    rebuilt: Instant,
}

/// What the bus is told when it asks.
struct Item {
    tray: Tray,
    wish: mpsc::Sender<Wish>,
}

impl Drawn {
    /// Puts the icon into the tray.
    ///
    /// # Errors
    /// When there is no tray host to take it, or none that answers.
    pub async fn new(_: &AppHandle, tray: &Tray, wish: mpsc::Sender<Wish>) -> Result<Self, String> {
        let item = Item { tray: tray.clone(), wish };
        let item = timeout(ANSWER, item.spawn()).await;
        let item = item.map_err(|_| "the desktop's tray does not answer")?.map_err(|why| why.to_string())?;
        Ok(Self { item, shown: tray.clone(), rebuilt: Instant::now() })
    }

    /// What a click on the row of this id does, as the row reads on the screen.
    pub fn clicked(&self, id: &str) -> Option<Action> {
        self.shown.row(id)?.action.clone()
    }

    /// Makes the screen show `wanted`. Says when to come back when rows came or went too soon after the last time.
    ///
    /// # Errors
    /// When the icon is gone, or the bus takes nothing any more.
    pub async fn update(&mut self, wanted: &Tray, now: Instant) -> Result<Option<Instant>, String> {
        let Some((next, come_back)) = step(&self.shown, wanted, now, self.rebuilt + REBUILD_EVERY) else {
            return Ok(None);
        };
        if !same_places(&self.shown.rows, &next.rows) {
            self.rebuilt = now;
        }
        if next != self.shown {
            self.shown = next.clone();
            let told = timeout(ANSWER, self.item.update(|item| item.tray = next)).await;
            told.map_err(|_| "the session bus takes nothing")?.ok_or("the session bus has let go of it")?;
        }
        Ok(come_back)
    }
}

impl Drop for Drawn {
    fn drop(&mut self) {
        // Not waited for: it goes with the process at the latest.
        drop(self.item.shutdown());
    }
}

/// What is shown next of `wanted`, and when to come back for the rest: lamp and summary at once, rows that come or go not before
/// `rows_from`. `None` when everything is shown already.
fn step(shown: &Tray, wanted: &Tray, now: Instant, rows_from: Instant) -> Option<(Tray, Option<Instant>)> {
    if shown == wanted {
        return None;
    }
    if now >= rows_from || same_places(&shown.rows, &wanted.rows) {
        return Some((wanted.clone(), None));
    }
    let next = Tray { rows: shown.rows.clone(), ..wanted.clone() };
    Some((next, Some(rows_from)))
}

impl Item {
    fn wish(&self, wish: Wish) {
        // Full when more wishes wait than anybody could have made by hand.
        let _ = self.wish.try_send(wish);
    }
}

impl ksni::Tray for Item {
    fn id(&self) -> String {
        "lamplighter".into()
    }

    fn title(&self) -> String {
        "Lamplighter".into()
    }

    fn icon_pixmap(&self) -> Vec<Icon> {
        let picture = picture(self.tray.lamp);
        let mut data = picture.rgba().to_vec();
        // Red, green, blue, alpha; the protocol wants alpha first.
        data.chunks_exact_mut(4).for_each(|pixel| pixel.rotate_right(1));
        let side = |pixels: u32| i32::try_from(pixels).unwrap_or(0);
        vec![Icon { width: side(picture.width()), height: side(picture.height()), data }]
    }

    fn tool_tip(&self) -> ToolTip {
        ToolTip {
            title: self.title(),
            description: self.tray.summary.clone(),
            icon_pixmap: self.icon_pixmap(),
            ..ToolTip::default()
        }
    }

    fn menu(&self) -> Vec<MenuItem<Self>> {
        self.tray.rows.iter().map(row).collect()
    }

    fn menu_about_to_show(&mut self) {
        self.wish(Wish::MenuOpens);
    }

    fn activate(&mut self, _: i32, _: i32) {
        self.wish(Wish::Open);
    }
}

fn row(row: &Row) -> MenuItem<Item> {
    let (label, enabled) = (label(&row.text), row.enabled);
    let id = row.id.clone();
    let activate = Box::new(move |item: &mut Item| item.wish(Wish::Click(id.clone())));
    match &row.kind {
        Kind::Item => StandardItem { label, enabled, activate, ..StandardItem::default() }.into(),
        Kind::Check(on) => {
            CheckmarkItem { label, enabled, activate, checked: *on, ..CheckmarkItem::default() }.into()
        }
        Kind::Separator => MenuItem::Separator,
        Kind::Submenu(rows) => {
            let submenu = rows.iter().map(self::row).collect();
            SubMenu { label, enabled, submenu, ..SubMenu::default() }.into()
        }
    }
}

/// Menus read `_` as the mark of a shortcut; twice it means itself.
fn label(text: &str) -> String {
    text.replace('_', "__")
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplighter_core::{snapshot::Snapshot, view};

    fn tray(summary: &str, rows: usize) -> Tray {
        let clock = crate::clock::now();
        let mut tray = view::tray(&Snapshot::default(), clock);
        tray.rows.truncate(rows);
        tray.summary = summary.to_owned();
        tray
    }

    #[test]
    fn rows_come_and_go_once_a_second_and_the_rest_is_shown_at_once() {
        let now = Instant::now();
        let (shown, wanted) = (tray("one", 3), tray("two", 2));
        assert_eq!(step(&shown, &shown, now, now), None);
        assert_eq!(step(&shown, &wanted, now, now), Some((wanted.clone(), None)));
        let later = now + REBUILD_EVERY;
        let (next, come_back) = step(&shown, &wanted, now, later).unwrap();
        assert_eq!((next.summary.as_str(), next.rows == shown.rows), ("two", true));
        assert_eq!(come_back, Some(later));
        // Still to come, although nothing else has changed.
        assert_eq!(step(&next, &wanted, now, later).unwrap().1, Some(later));
        assert_eq!(step(&next, &wanted, later, later), Some((wanted, None)));
    }

    #[test]
    fn an_underscore_is_no_shortcut() {
        assert_eq!(label("qwen_coder & co"), "qwen__coder & co");
    }
}
