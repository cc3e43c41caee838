//! `Notifications`: which sorts of news are told.

use super::{Action, News, Row, Tray};
use std::collections::BTreeSet;

/// The row that others stand before.
const BEFORE: &str = "connect";

impl Tray {
    /// Adds the menu that switches notifications on and off.
    pub fn with_notifications(&mut self, off: &BTreeSet<News>) {
        let rows = News::ALL.into_iter().map(|news| {
            let on = !off.contains(&news);
            Row::check(format!("tell/{}", news.word()), news.title(), on, Some(Action::Tell(news, !on)))
        });
        let row = Row::submenu("notifications", "Notifications", rows.collect());
        let at = self.rows.iter().position(|row| row.id == BEFORE).unwrap_or(self.rows.len());
        self.rows.insert(at, row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        snapshot::Snapshot,
        view::{Clock, Kind, tray},
    };

    #[test]
    fn each_sort_can_be_switched() {
        let mut tray = tray(&Snapshot::default(), Clock { now_ms: 0, utc_offset_min: 0 });
        tray.with_notifications(&BTreeSet::from([News::Awake]));
        let row = tray.row("tell/awake").unwrap();
        assert_eq!(
            (&row.kind, row.action.clone()),
            (&Kind::Check(false), Some(Action::Tell(News::Awake, true)))
        );
        assert_eq!(tray.row("tell/down").unwrap().kind, Kind::Check(true));
        let at = |id| tray.rows.iter().position(|row| row.id == id).unwrap();
        assert_eq!(at("notifications") + 1, at("connect"));
    }
}
