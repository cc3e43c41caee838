//! The one database: what must outlive the process. One SQLite file, one writer, numbered migrations.
//!
//! Writes are gathered and committed together; nothing on the path of a request waits for one. A file that is damaged, or none of
//! SQLite's, is moved aside, never written over: it holds history, and the gateway runs without it. One that only cannot be used
//! just now stays where it is.

mod nodes;
mod slots;
mod wakes;
mod writer;

pub use nodes::LastSeen;
pub use wakes::{Outcome, WakeRecord};

use sqlx::{
    AnyConnection, AnyPool, Connection, Executor,
    any::{AnyPoolOptions, install_default_drivers},
    migrate::{MigrateError, Migrator},
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use writer::Write;

static MIGRATIONS: Migrator = sqlx::migrate!();

/// Writes that may wait for the disk. When it is slower than that, the newest are dropped and said in the log: they are history.
const QUEUE: usize = 1024;
/// Somebody else (a backup) may hold the file this long.
const BUSY: Duration = Duration::from_secs(10);

/// The database.
#[derive(Debug, Clone)]
pub struct Store {
    readers: AnyPool,
    writes: mpsc::Sender<Write>,
}

/// A database that has been opened, and what there is to say about it.
#[derive(Debug)]
pub struct Opened {
    /// The database.
    pub store: Store,
    /// It could not be read and was moved here; a new one was begun.
    pub moved_aside: Option<(PathBuf, String)>,
}

impl Store {
    /// Opens the file at `path`, makes it when there is none, and brings it to today's form. The writer is a tracked task; it
    /// ends with `stop`, after what waits has been written.
    ///
    /// # Errors
    /// In words for a person: the file cannot be used just now, or is from a newer version (it is left as it is).
    pub async fn open(path: &Path, tasks: &TaskTracker, stop: &CancellationToken) -> Result<Opened, String> {
        install_default_drivers();
        let (pool, moved_aside) = match connect(path).await {
            Ok(pool) => (pool, None),
            Err(Trouble::Newer) => {
                return Err(format!(
                    "{} was written by a newer version of Lamplighter; it is left as it is, and history is not kept meanwhile",
                    path.display()
                ));
            }
            Err(Trouble::Around(why)) => return Err(format!("{} cannot be used: {why}", path.display())),
            Err(Trouble::Broken(why)) => {
                let aside = move_aside(path).map_err(|error| {
                    format!("{} is broken ({why}) and cannot be moved aside: {error}", path.display())
                })?;
                let fresh = connect(path).await.map_err(|trouble| {
                    format!("a new {} cannot be made: {}", path.display(), trouble.words())
                })?;
                (fresh, Some((aside, why)))
            }
        };
        let (writes, inbox) = mpsc::channel(QUEUE);
        tasks.spawn(writer::run(pool.clone(), inbox, stop.clone()));
        Ok(Opened { store: Self { readers: pool, writes }, moved_aside })
    }

    /// Hands a write to the writer. History may be lost when the disk is too slow, and then it is said.
    fn write(&self, write: Write) {
        if let Err(error) = self.writes.try_send(write) {
            tracing::warn!("history is lost, the disk is too slow: {error}");
        }
    }

    /// Waits until everything handed over before has been committed, or `false` when the writer has ended or takes over 10 s.
    pub async fn flushed(&self) -> bool {
        let (done, written) = tokio::sync::oneshot::channel();
        if self.writes.send(Write::Mark(done)).await.is_err() {
            return false;
        }
        matches!(tokio::time::timeout(BUSY, written).await, Ok(Ok(())))
    }
}

#[derive(Debug)]
enum Trouble {
    /// The file is from a later version of this program.
    Newer,
    /// The fault lies around the file, which may be sound: a full disk, another program, a folder without rights.
    Around(String),
    /// It is no database, or a damaged one.
    Broken(String),
}

const FULL: &str = "the disk is full: make room, and start Lamplighter again";

impl Trouble {
    fn words(&self) -> &str {
        match self {
            Self::Newer => "it was written by a newer version",
            Self::Around(why) | Self::Broken(why) => why,
        }
    }

    fn of_folder(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull => Self::Around(FULL.into()),
            _ => Self::Around(error.to_string()),
        }
    }

    /// What an error says of the file. Only SQLite's word that it is none of its own, or damaged, is a reason to move it aside.
    fn of(error: &sqlx::Error) -> Self {
        let told = error.as_database_error();
        let code = told.and_then(|told| told.code()?.parse::<u32>().ok()).map(|code| code & 0xff);
        // The codes: https://www.sqlite.org/rescode.html. The low byte is the error, the others say more of it.
        Self::Around(match code {
            Some(11 | 26) => return Self::Broken(error.to_string()),
            Some(5 | 6) => "another program holds it: end that program, and start Lamplighter again".into(),
            Some(13) => FULL.into(),
            Some(3 | 8 | 14 | 23) => {
                "it may not be written or opened: look at the rights of the file and its folder".into()
            }
            Some(10) => format!("the disk cannot be read or written, is it full? ({error})"),
            _ => error.to_string(),
        })
    }
}

/// A committed wake or node survives a power cut; readers never wait for the writer.
const PRAGMAS: [&str; 5] = [
    "PRAGMA busy_timeout = 10000",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA cache_size = -512",
    "PRAGMA wal_autocheckpoint = 256",
];

async fn set_up(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    for pragma in PRAGMAS {
        connection.execute(pragma).await?;
    }
    Ok(())
}

async fn connect(path: &Path) -> Result<AnyPool, Trouble> {
    make_private(path).map_err(|error| Trouble::of_folder(&error))?;
    let url = url(path);
    // Looked at by a connection of its own: a pool would try a broken file again and again.
    let mut connection = AnyConnection::connect(&url).await.map_err(|error| Trouble::of(&error))?;
    let looked_at = examine(&mut connection).await;
    // What cannot be closed cleanly is closed all the same.
    let _ = connection.close().await;
    looked_at?;
    AnyPoolOptions::new()
        .max_connections(2)
        .idle_timeout(Duration::from_secs(60))
        .acquire_timeout(BUSY)
        .after_connect(|connection, _| Box::pin(set_up(connection)))
        .connect_lazy(&url)
        .map_err(|error| Trouble::of(&error))
}

/// Is it sound, and of today's form?
async fn examine(connection: &mut AnyConnection) -> Result<(), Trouble> {
    let trouble = |error: sqlx::Error| Trouble::of(&error);
    set_up(connection).await.map_err(trouble)?;
    let sound: String =
        sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut *connection).await.map_err(trouble)?;
    if sound != "ok" {
        return Err(Trouble::Broken(sound));
    }
    // Not `run`: behind its bounds the compiler cannot see that whoever waits for this may be on another thread.
    MIGRATIONS.run_direct(None, connection, false).await.map_err(|error| match error {
        MigrateError::VersionMissing(_) => Trouble::Newer,
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => Trouble::of(&error),
        other => Trouble::Around(other.to_string()),
    })
}

/// Makes the file before SQLite does, so that only its owner can ever read it; its companions take over its rights.
fn make_private(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// Moves the file and its companions aside, under a name that says when.
fn move_aside(path: &Path) -> std::io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let aside = path.with_file_name(format!("{name}.broken-{}", crate::clock::wall_ms()));
    std::fs::rename(path, &aside)?;
    for companion in ["-wal", "-shm"] {
        let from = path.with_file_name(format!("{name}{companion}"));
        if from.exists() {
            std::fs::rename(
                from,
                aside.with_file_name(format!(
                    "{}{companion}",
                    aside.file_name().unwrap_or_default().to_string_lossy()
                )),
            )?;
        }
    }
    Ok(aside)
}

/// The address of a file, every byte that could mean something else encoded.
fn url(path: &Path) -> String {
    let mut url = "sqlite:".to_owned();
    for byte in path.to_string_lossy().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => url.push(char::from(byte)),
            other => url.push_str(&format!("%{other:02X}")),
        }
    }
    url
}

#[cfg(test)]
mod tests;
