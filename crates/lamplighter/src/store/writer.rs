//! The one writer: takes what has gathered, commits it together, and answers after the commit.

use super::{LastSeen, WakeRecord, nodes, slots, wakes};
use lamplighter_core::availability::Slot;
use sqlx::{AnyConnection, AnyPool};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Writes in one transaction, at most.
const BATCH: usize = 256;

/// One thing to write.
#[derive(Debug)]
pub enum Write {
    /// What was seen of a node.
    Seen(Box<LastSeen>),
    /// A wake, as far as it has come: the same wake is written again as it goes on.
    Wake(Box<WakeRecord>),
    /// Time of a node in slots, to be added to what stands there.
    Time(String, Vec<(u64, Slot)>),
    /// A node goes by another name now.
    Renamed {
        /// Its name until now.
        from: String,
        /// Its name from now on.
        to: String,
    },
    /// Answered when everything before it has been committed.
    Mark(oneshot::Sender<()>),
}

/// Writes until `stop`, and then what still waits.
pub async fn run(pool: AnyPool, mut inbox: mpsc::Receiver<Write>, stop: CancellationToken) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => {
                inbox.close();
                while inbox.recv_many(&mut batch, BATCH).await > 0 {
                    commit(&pool, &mut batch).await;
                }
                pool.close().await;
                return;
            }
            count = inbox.recv_many(&mut batch, BATCH) => {
                if count == 0 {
                    return;
                }
                commit(&pool, &mut batch).await;
            }
        }
    }
}

/// Commits a batch. When it fails as a whole, each write is tried alone, so that one that cannot be written harms no other.
async fn commit(pool: &AnyPool, batch: &mut Vec<Write>) {
    if let Err(error) = together(pool, batch).await {
        tracing::debug!("writing history together failed, each is tried alone: {error}");
        for write in batch.iter() {
            if let Err(error) = together(pool, std::slice::from_ref(write)).await {
                tracing::warn!("history cannot be written: {error}");
            }
        }
    }
    for write in batch.drain(..) {
        if let Write::Mark(done) = write {
            // Whoever asked may have left.
            let _ = done.send(());
        }
    }
}

async fn together(pool: &AnyPool, batch: &[Write]) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    for write in batch {
        one(&mut transaction, write).await?;
    }
    transaction.commit().await
}

async fn one(connection: &mut AnyConnection, write: &Write) -> Result<(), sqlx::Error> {
    match write {
        Write::Seen(seen) => nodes::write(connection, seen).await,
        Write::Wake(wake) => wakes::write(connection, wake).await,
        Write::Time(node, parts) => slots::write(connection, node, parts).await,
        Write::Renamed { from, to } => nodes::rename(connection, from, to).await,
        Write::Mark(_) => Ok(()),
    }
}
