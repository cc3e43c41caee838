//! Follows the configuration file while we run: a person edits it, and it counts.
//!
//! The parent folder is watched, not the file: editors write a new file and move it into place, and a watch on the old one
//! would hear nothing more.

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
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Editors write in several steps; this long after the last one the file is read.
const SETTLED: Duration = Duration::from_millis(200);
/// While there is no folder to watch, it is looked for this often.
const NO_FOLDER: Duration = Duration::from_secs(10);

/// Follows the file until `stop`. What it finds is told in the snapshot and in the log.
pub async fn run(settings: Arc<Settings>, control: Arc<Control>, stop: CancellationToken) {
    let touched = Arc::new(Notify::new());
    let mut watcher = None;
    loop {
        if watcher.is_none() {
            watcher = watch(settings.path(), touched.clone());
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = touched.notified() => settle(&touched).await,
            () = tokio::time::sleep(NO_FOLDER), if watcher.is_none() => continue,
        }
        match settings.reload().await {
            Reloaded::Unchanged => {}
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
    while tokio::time::timeout(SETTLED, touched.notified()).await.is_ok() {}
}

/// Watches the folders that the file and, behind a link, its contents are in. `None` when there is none yet.
fn watch(file: &Path, touched: Arc<Notify>) -> Option<notify::RecommendedWatcher> {
    let mut folders: Vec<PathBuf> = [Some(file.to_owned()), file.canonicalize().ok()]
        .into_iter()
        .flatten()
        .filter_map(|file| file.parent().map(Path::to_owned))
        .map(|folder| if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder })
        .collect();
    folders.dedup();
    let told = touched.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading the file is an event too, and one of ours.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            told.notify_one();
        }
    })
    .inspect_err(|error| tracing::warn!(%error, "the configuration file cannot be watched"))
    .ok()?;
    for folder in folders {
        watcher.watch(&folder, RecursiveMode::NonRecursive).ok()?;
    }
    // It may have changed between the start and now.
    touched.notify_one();
    Some(watcher)
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
