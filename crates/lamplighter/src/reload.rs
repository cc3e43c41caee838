//! Follows the configuration file while we run, and the files of the keys that it names: a person edits one, and it counts.
//!
//! The parent folders are watched, not the files: editors write a new file and move it into place, and a watch on the old one
//! would hear nothing more.

mod places;

use crate::{
    config::Located,
    control::{CONFIG, Control},
    settings::{Reloaded, Settings},
};
use lamplighter_core::{
    config::Severity,
    snapshot::{Level, Problem},
};
use notify::{RecursiveMode, Watcher};
use places::Places;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Editors write in several steps; this long after the last one the file is read.
const SETTLED: Duration = Duration::from_millis(200);
/// One who never comes to an end is not waited for.
const SETTLED_AT_LAST: Duration = Duration::from_secs(2);
/// While a folder that is to be watched is not there, it is looked for this often.
const NO_FOLDER: Duration = Duration::from_secs(10);

/// Follows the file until `stop`. What it finds is told in the snapshot and in the log.
pub async fn run(settings: Arc<Settings>, control: Arc<Control>, stop: CancellationToken) {
    let touched = Arc::new(Notify::new());
    let mut watched: Option<Watched> = None;
    loop {
        let mut files = settings.key_files().await;
        files.push(settings.path().to_owned());
        let places = Places::of(&files);
        let covers = |watched: &Watched| watched.is_whole && watched.places == places;
        if !watched.as_ref().is_some_and(covers) {
            let news = watch(places.clone(), touched.clone());
            // One that lacks as much as the one before would only tell us to look again.
            let helps = |old: &Watched| {
                news.as_ref().is_some_and(|new| new.folders != old.folders || new.places != old.places)
            };
            if watched.as_ref().is_none_or(helps) {
                watched = news;
                // It may have changed before it was watched.
                if watched.is_some() {
                    touched.notify_one();
                }
            }
        }
        let is_whole = watched.as_ref().is_some_and(|watched| watched.is_whole && watched.places == places);
        tokio::select! {
            () = stop.cancelled() => return,
            () = touched.notified() => settle(&touched).await,
            () = tokio::time::sleep(NO_FOLDER), if !is_whole => continue,
        }
        match settings.reload().await {
            Reloaded::Unchanged => {}
            Reloaded::OtherKeys => tracing::info!("a key has changed in its file"),
            Reloaded::Applied { warnings } => {
                tracing::info!(file = %settings.path().display(), "the configuration has changed");
                warnings.iter().for_each(log);
                control.say_of_config(warnings.iter().map(problem).collect());
            }
            // As it was at the start, which has said what is used instead.
            Reloaded::Broken(complaints) if complaints.iter().all(|c| control.has_said(&c.to_string())) => {}
            Reloaded::Broken(complaints) => {
                let file = settings.path().display();
                tracing::error!(%file, "the configuration is broken; what was in force stays so");
                complaints.iter().for_each(log);
                let using = "The configuration file is broken: what was in force before stays so.";
                let first = Problem {
                    code: CONFIG.into(),
                    level: Level::Problem,
                    message: using.into(),
                    hint: None,
                    node: None,
                };
                control.say_of_config(std::iter::once(first).chain(complaints.iter().map(problem)).collect());
            }
        }
    }
}

/// Waits until nothing has happened for a moment.
async fn settle(touched: &Notify) {
    let quiet = async { while tokio::time::timeout(SETTLED, touched.notified()).await.is_ok() {} };
    // An error only says that it goes on and on: what is there now is read, and the rest comes next.
    let _ = tokio::time::timeout(SETTLED_AT_LAST, quiet).await;
}

/// What is watched.
struct Watched {
    places: Places,
    /// The folders of `places` that are there.
    folders: Vec<PathBuf>,
    /// They are all of them.
    is_whole: bool,
    /// Watches until it is dropped.
    _watcher: notify::RecommendedWatcher,
}

/// Watches the folders in which something may happen to the files. `None` when none of them is there yet.
fn watch(places: Places, touched: Arc<Notify>) -> Option<Watched> {
    let names = places.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading the file is an event too, and one of ours.
        if event.is_ok_and(|event| !event.kind.is_access() && names.concern(&event.paths)) {
            touched.notify_one();
        }
    })
    .inspect_err(|error| tracing::warn!(%error, "the configuration file cannot be watched"))
    .ok()?;
    let there = |folder: &&PathBuf| watcher.watch(folder, RecursiveMode::NonRecursive).is_ok();
    let folders: Vec<PathBuf> = places.folders.iter().filter(there).cloned().collect();
    let is_whole = folders.len() == places.folders.len();
    (!folders.is_empty()).then_some(Watched { places, folders, is_whole, _watcher: watcher })
}

/// As at the start: whoever runs it without a window reads here what is wrong, and where.
fn log(complaint: &Located) {
    match complaint.severity {
        Severity::Error => tracing::error!("{complaint}"),
        Severity::Warning => tracing::warn!("{complaint}"),
    }
}

fn problem(complaint: &Located) -> Problem {
    let level = if complaint.severity == Severity::Error { Level::Problem } else { Level::Notice };
    Problem { code: CONFIG.into(), level, message: complaint.to_string(), hint: None, node: None }
}
