//! The only thing that the window asks of the app: where the gateway is, and the key to it.

use crate::control::Connection;
use std::time::Duration;
use tauri::State;
use tokio::{sync::watch, time::timeout};

/// Longest that a window waits for a gateway that has not started yet.
const STARTING: Duration = Duration::from_secs(5);

/// The way in, as it changes; `None` while there is none.
#[derive(Debug)]
pub struct Door(pub watch::Receiver<Option<Connection>>);

/// Where the gateway is, and the key to it.
///
/// # Errors
/// When there is none.
#[tauri::command]
pub async fn connection(door: State<'_, Door>) -> Result<Connection, String> {
    let mut way = door.0.clone();
    let known = timeout(STARTING, way.wait_for(Option::is_some)).await;
    match known {
        Ok(Ok(known)) => known.clone().ok_or_else(|| "the gateway is gone".into()),
        Ok(Err(_)) => Err("the app is ending".into()),
        Err(_) => Err("the gateway has not started: the tray says why".into()),
    }
}
