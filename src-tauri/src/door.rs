//! The only thing that the window asks of the app: where the gateway is, and the key to it.

use crate::control::Connection;
use std::time::Duration;
use tauri::State;
use tokio::{sync::watch, time::timeout};

/// Longest that a window waits for a gateway that has not started yet.
const STARTING: Duration = Duration::from_secs(5);

/// The way in; an error says why there is none.
pub type WayIn = Result<Connection, String>;

/// The way in, as it changes.
#[derive(Debug)]
pub struct Door(pub watch::Receiver<WayIn>);

/// Where the gateway is, and the key to it.
///
/// # Errors
/// Why there is none.
#[tauri::command]
pub async fn connection(door: State<'_, Door>) -> Result<Connection, String> {
    let mut way = door.0.clone();
    if timeout(STARTING, way.wait_for(Result::is_ok)).await.is_ok_and(|known| known.is_err()) {
        return Err("the app is ending".into());
    }
    way.borrow().clone()
}
