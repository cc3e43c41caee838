//! Past wakes: what each was for, how far it came, and when. They are kept in the order in which they happened, which is not
//! always that of their times: people and networks set clocks.

use super::{Store, writer::Write};
use serde::Serialize;
use sqlx::{AnyConnection, Row};

/// Wakes kept of one node; the oldest are forgotten.
const KEPT: i64 = 500;

/// How a wake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The node serves.
    Ready,
    /// It does not; the reason says why.
    Failed,
    /// Nobody waited any more, or somebody ended it.
    Cancelled,
    /// The gateway ended meanwhile.
    Interrupted,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Ready, Self::Failed, Self::Cancelled, Self::Interrupted];

    /// The word that is kept.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }
}

/// One wake. Written when it starts and again as it goes on, so that even a killed gateway leaves a whole history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WakeRecord {
    /// The node.
    pub node: String,
    /// When it started, milliseconds since 1970.
    pub started_ms: u64,
    /// What started it: `person` or `request`.
    pub cause: String,
    /// The program that asked, and for which model.
    pub asked_by: Option<String>,
    /// How it ended; `None` while it goes on.
    pub outcome: Option<Outcome>,
    /// Why it failed, in words.
    pub reason: Option<String>,
    /// Rounds of packets.
    pub rounds: u32,
    /// Milliseconds from the start until the machine answered on the network.
    pub reachable_ms: Option<u64>,
    /// … until the engine's API answered.
    pub api_ms: Option<u64>,
    /// … until it served.
    pub ready_ms: Option<u64>,
    /// … until the end, however it ended.
    pub ended_ms: Option<u64>,
}

impl Store {
    /// Keeps a wake as far as it has come. Written behind.
    pub fn woke(&self, wake: WakeRecord) {
        self.write(Write::Wake(Box::new(wake)));
    }

    /// The last `limit` wakes of a node, newest first; of every node when `None`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn wakes(&self, node: Option<&str>, limit: u32) -> Result<Vec<WakeRecord>, String> {
        let rows = sqlx::query(
            "SELECT node, started_ms, cause, asked_by, outcome, reason, rounds, reachable_ms, api_ms, ready_ms, ended_ms
             FROM wakes WHERE node = $1 OR $2 = 1 ORDER BY seq DESC LIMIT $3",
        )
        .bind(node.unwrap_or_default())
        .bind(i64::from(node.is_none()))
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(|error| error.to_string())?;
        rows.iter().map(|row| read(row).map_err(|error| error.to_string())).collect()
    }

    /// Wakes that were under way when the gateway ended: they end now.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn end_interrupted_wakes(&self) -> Result<(), String> {
        for mut wake in self.wakes(None, 100).await?.into_iter().filter(|wake| wake.outcome.is_none()) {
            wake.outcome = Some(Outcome::Interrupted);
            wake.reason = Some("Lamplighter ended meanwhile".into());
            self.woke(wake);
        }
        Ok(())
    }
}

fn read(row: &sqlx::any::AnyRow) -> Result<WakeRecord, sqlx::Error> {
    let ms = |at: &str| -> Result<Option<u64>, sqlx::Error> {
        Ok(row.try_get::<Option<i64>, _>(at)?.and_then(|ms| u64::try_from(ms).ok()))
    };
    let outcome: Option<String> = row.try_get("outcome")?;
    Ok(WakeRecord {
        node: row.try_get("node")?,
        started_ms: ms("started_ms")?.unwrap_or_default(),
        cause: row.try_get("cause")?,
        asked_by: row.try_get("asked_by")?,
        outcome: outcome.and_then(|word| Outcome::ALL.into_iter().find(|outcome| outcome.word() == word)),
        reason: row.try_get("reason")?,
        rounds: ms("rounds")?.and_then(|rounds| u32::try_from(rounds).ok()).unwrap_or_default(),
        reachable_ms: ms("reachable_ms")?,
        api_ms: ms("api_ms")?,
        ready_ms: ms("ready_ms")?,
        ended_ms: ms("ended_ms")?,
    })
}

pub(super) async fn write(connection: &mut AnyConnection, wake: &WakeRecord) -> Result<(), sqlx::Error> {
    let ms = |ms: Option<u64>| ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
    let started_ms = ms(Some(wake.started_ms));
    sqlx::query(
        "INSERT INTO wakes (node, started_ms, cause, asked_by, outcome, reason, rounds, reachable_ms, api_ms, ready_ms, ended_ms, seq)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, (SELECT COALESCE(MAX(seq), 0) + 1 FROM wakes))
         ON CONFLICT (node, started_ms) DO UPDATE SET outcome = excluded.outcome, reason = excluded.reason,
           rounds = excluded.rounds, reachable_ms = excluded.reachable_ms, api_ms = excluded.api_ms,
           ready_ms = excluded.ready_ms, ended_ms = excluded.ended_ms",
    )
    .bind(wake.node.as_str())
    .bind(started_ms)
    .bind(wake.cause.as_str())
    .bind(wake.asked_by.as_deref())
    .bind(wake.outcome.map(Outcome::word))
    .bind(wake.reason.as_deref())
    .bind(i64::from(wake.rounds))
    .bind(ms(wake.reachable_ms))
    .bind(ms(wake.api_ms))
    .bind(ms(wake.ready_ms))
    .bind(ms(wake.ended_ms))
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "DELETE FROM wakes WHERE node = $1 AND seq <
           (SELECT MIN(seq) FROM (SELECT seq FROM wakes WHERE node = $1 ORDER BY seq DESC LIMIT $2) AS kept)",
    )
    .bind(wake.node.as_str())
    .bind(KEPT)
    .execute(connection)
    .await
    .map(drop)
}
