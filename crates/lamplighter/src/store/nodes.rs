//! What was last seen of each node: enough to list its models and to wake it after a restart.

use super::{Store, writer::Write};
use lamplighter_core::{model::Model, node::Engine, operation::Dialects};
use sqlx::{AnyConnection, Row};

/// What was last seen of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct LastSeen {
    /// Its name in the configuration.
    pub name: String,
    /// Its address there. Under another address what is kept does not count: it may be another machine.
    pub url: String,
    /// The engine that answered.
    pub engine: Option<Engine>,
    /// Its version.
    pub version: Option<String>,
    /// What it speaks natively.
    pub dialects: Dialects,
    /// Its models.
    pub models: Vec<Model>,
    /// Addresses of its network cards, learned while it was up: `aa:bb:cc:dd:ee:ff`.
    pub macs: Vec<String>,
    /// The IP address it last answered from.
    pub address: Option<String>,
    /// The networks it was seen in: each the MAC of that network's default gateway.
    pub networks: Vec<String>,
    /// The largest amount of video memory seen in use, bytes.
    pub vram_bytes: Option<u64>,
    /// When it was seen, milliseconds since 1970.
    pub seen_ms: u64,
}

impl Store {
    /// Keeps what was seen of a node. Written behind.
    pub fn saw(&self, seen: LastSeen) {
        self.write(Write::Seen(Box::new(seen)));
    }

    /// A node goes by another name now: what is kept of it goes along. Written behind.
    pub fn renamed(&self, from: &str, to: &str) {
        self.write(Write::Renamed { from: from.to_owned(), to: to.to_owned() });
    }

    /// What was last seen of every node. A row that cannot be read is left out, and said in the log.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn last_seen(&self) -> Result<Vec<LastSeen>, String> {
        let rows = sqlx::query(
            "SELECT name, url, engine, version, dialects, models, macs, address, networks, vram_bytes, seen_ms FROM nodes",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(|error| error.to_string())?;
        let read = rows.iter().filter_map(|row| {
            read(row).map_err(|error| tracing::warn!("a node's history cannot be read: {error}")).ok()
        });
        Ok(read.collect())
    }
}

fn read(row: &sqlx::any::AnyRow) -> Result<LastSeen, String> {
    let text = |at: &str| row.try_get::<Option<String>, _>(at).map_err(|error| error.to_string());
    let number = |at: &str| row.try_get::<Option<i64>, _>(at).map_err(|error| error.to_string());
    let needed = |at: &str| text(at)?.ok_or_else(|| format!("{at} is missing"));
    let engine =
        text("engine")?.and_then(|word| Engine::ALL.into_iter().find(|engine| engine.word() == word));
    Ok(LastSeen {
        name: needed("name")?,
        url: needed("url")?,
        engine,
        version: text("version")?,
        dialects: serde_json::from_str(&needed("dialects")?).map_err(|error| error.to_string())?,
        models: serde_json::from_str(&needed("models")?).map_err(|error| error.to_string())?,
        macs: words(&needed("macs")?),
        address: text("address")?,
        networks: words(&needed("networks")?),
        vram_bytes: number("vram_bytes")?.and_then(|bytes| u64::try_from(bytes).ok()),
        seen_ms: number("seen_ms")?.and_then(|ms| u64::try_from(ms).ok()).unwrap_or_default(),
    })
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

pub(super) async fn write(connection: &mut AnyConnection, seen: &LastSeen) -> Result<(), sqlx::Error> {
    let not_json = |error: serde_json::Error| sqlx::Error::Encode(error.into());
    let models = serde_json::to_string(&seen.models).map_err(not_json)?;
    let dialects = serde_json::to_string(&seen.dialects).map_err(not_json)?;
    sqlx::query(
        "INSERT INTO nodes (name, url, engine, version, dialects, models, macs, address, networks, vram_bytes, seen_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (name) DO UPDATE SET url = excluded.url, engine = excluded.engine, version = excluded.version,
           dialects = excluded.dialects, models = excluded.models, macs = excluded.macs, address = excluded.address, networks = excluded.networks,
           vram_bytes = excluded.vram_bytes, seen_ms = excluded.seen_ms",
    )
    .bind(seen.name.as_str())
    .bind(seen.url.as_str())
    .bind(seen.engine.map(Engine::word))
    .bind(seen.version.as_deref())
    .bind(dialects.as_str())
    .bind(models.as_str())
    .bind(seen.macs.join(" "))
    .bind(seen.address.as_deref())
    .bind(seen.networks.join(" "))
    .bind(seen.vram_bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)))
    .bind(i64::try_from(seen.seen_ms).unwrap_or(i64::MAX))
    .execute(connection)
    .await
    .map(drop)
}

pub(super) async fn rename(connection: &mut AnyConnection, from: &str, to: &str) -> Result<(), sqlx::Error> {
    // What an earlier node of the new name left behind makes room.
    for statement in [
        "DELETE FROM nodes WHERE name = $2 AND $1 <> $2",
        "DELETE FROM wakes WHERE node = $2 AND $1 <> $2",
        "DELETE FROM availability WHERE node = $2 AND $1 <> $2",
        "UPDATE nodes SET name = $2 WHERE name = $1",
        "UPDATE wakes SET node = $2 WHERE node = $1",
        "UPDATE availability SET node = $2 WHERE node = $1",
    ] {
        sqlx::query(statement).bind(from).bind(to).execute(&mut *connection).await?;
    }
    Ok(())
}
