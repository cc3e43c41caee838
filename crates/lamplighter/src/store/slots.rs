//! Availability: a node's time in slots of fifteen minutes.

use super::{Store, writer::Write};
use lamplighter_core::availability::{SLOT_MS, Slot};
use sqlx::{AnyConnection, Row};

impl Store {
    /// Adds a node's time to its slots. Written behind.
    pub fn spent(&self, node: &str, parts: Vec<(u64, Slot)>) {
        if !parts.is_empty() {
            self.write(Write::Time(node.to_owned(), parts));
        }
    }

    /// The slots `from..=to` of every node that has any: node, slot, what is known of it. In order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn slots(&self, from: u64, to: u64) -> Result<Vec<(String, u64, Slot)>, String> {
        let rows = sqlx::query(
            "SELECT node, slot, up_ms, asleep_ms, away_ms, down_ms, answered FROM availability
             WHERE slot >= $1 AND slot <= $2 ORDER BY node, slot",
        )
        .bind(signed(from))
        .bind(signed(to))
        .fetch_all(&self.readers)
        .await
        .map_err(|error| error.to_string())?;
        rows.iter().map(|row| read(row).map_err(|error| error.to_string())).collect()
    }
}

fn read(row: &sqlx::any::AnyRow) -> Result<(String, u64, Slot), sqlx::Error> {
    let number = |at: &str| -> Result<u32, sqlx::Error> {
        Ok(u32::try_from(row.try_get::<i64, _>(at)?).unwrap_or_default())
    };
    let slot = Slot {
        up_ms: number("up_ms")?,
        asleep_ms: number("asleep_ms")?,
        away_ms: number("away_ms")?,
        down_ms: number("down_ms")?,
        answered: number("answered")?,
    };
    let at = u64::try_from(row.try_get::<i64, _>("slot")?).unwrap_or_default();
    Ok((row.try_get("node")?, at, slot))
}

pub(super) async fn write(
    connection: &mut AnyConnection,
    node: &str,
    parts: &[(u64, Slot)],
) -> Result<(), sqlx::Error> {
    for (at, part) in parts {
        // Two readings of one slot never hold more than the slot has.
        sqlx::query(
            "INSERT INTO availability (node, slot, up_ms, asleep_ms, away_ms, down_ms, answered)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (node, slot) DO UPDATE SET
               up_ms = CASE WHEN availability.up_ms + excluded.up_ms > $8 THEN $8 ELSE availability.up_ms + excluded.up_ms END,
               asleep_ms = CASE WHEN availability.asleep_ms + excluded.asleep_ms > $8 THEN $8 ELSE availability.asleep_ms + excluded.asleep_ms END,
               away_ms = CASE WHEN availability.away_ms + excluded.away_ms > $8 THEN $8 ELSE availability.away_ms + excluded.away_ms END,
               down_ms = CASE WHEN availability.down_ms + excluded.down_ms > $8 THEN $8 ELSE availability.down_ms + excluded.down_ms END,
               answered = availability.answered + excluded.answered",
        )
        .bind(node)
        .bind(signed(*at))
        .bind(i64::from(part.up_ms))
        .bind(i64::from(part.asleep_ms))
        .bind(i64::from(part.away_ms))
        .bind(i64::from(part.down_ms))
        .bind(i64::from(part.answered))
        .bind(signed(SLOT_MS))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
