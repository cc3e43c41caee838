//! The desktop around us: can it draw at all, and does its tray answer?
//!
//! Linux has no tray of its own; a panel offers one on the session bus, late, never, or hanging. So it is asked before an icon
//! registers there.

use std::time::Duration;

/// Returns when the tray's host answers, asking first after `pause`. Never gives up.
pub async fn ready(pause: Duration) {
    tokio::time::sleep(pause).await;
    #[cfg(target_os = "linux")]
    linux::ready().await;
}

/// Asks the tray's host once.
///
/// # Errors
/// Why there is no tray.
pub async fn answers() -> Result<(), String> {
    #[cfg(target_os = "linux")]
    return linux::answers().await;
    #[cfg(not(target_os = "linux"))]
    Ok(())
}

/// Is there a display to draw on? To be asked on the main thread, before anything is drawn.
pub fn can_draw() -> bool {
    #[cfg(target_os = "linux")]
    return linux::can_draw();
    #[cfg(not(target_os = "linux"))]
    true
}

#[cfg(target_os = "linux")]
mod linux {
    use futures::StreamExt;
    use std::time::Duration;
    use tokio::time::{sleep, timeout};
    use zbus::{Connection, fdo::DBusProxy};

    /// Every panel that shows icons of this kind owns this name (freedesktop.org, StatusNotifierItem).
    const WATCHER: &str = "org.kde.StatusNotifierWatcher";
    const PATH: &str = "/StatusNotifierWatcher";
    /// Longest that a bus or a host may take to answer.
    const ANSWER: Duration = Duration::from_secs(2);
    /// Longest between two questions when nothing was seen to change.
    const ASK_AGAIN: Duration = Duration::from_secs(10);
    /// Between two questions when the bus cannot even be watched.
    const NO_BUS: Duration = Duration::from_secs(3);
    /// A host that has just taken its name is given this long to export its object.
    const SETTLE: Duration = Duration::from_millis(300);

    pub fn can_draw() -> bool {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        (set("DISPLAY") || set("WAYLAND_DISPLAY")) && gtk::init().is_ok()
    }

    pub async fn ready() {
        let mut said = String::new();
        while let Err(why) = answers().await {
            if said != why {
                tracing::info!("no tray yet: {why}");
                said = why;
            }
            if timeout(ASK_AGAIN, appears()).await == Ok(None) {
                sleep(NO_BUS).await;
            }
        }
    }

    async fn bus() -> Result<Connection, String> {
        let connecting = timeout(ANSWER, Connection::session()).await;
        connecting.map_err(|_| "the session bus is silent")?.map_err(|why| format!("no session bus: {why}"))
    }

    pub async fn answers() -> Result<(), String> {
        let bus = bus().await?;
        let question = (WATCHER, "IsStatusNotifierHostRegistered");
        let asking =
            bus.call_method(Some(WATCHER), PATH, Some("org.freedesktop.DBus.Properties"), "Get", &question);
        match timeout(ANSWER, asking).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(why)) => Err(format!("the desktop has no tray: {why}")),
            Err(_) => Err("the desktop's tray does not answer".into()),
        }
    }

    /// Returns when a host takes its name; `None` when that cannot be watched.
    async fn appears() -> Option<()> {
        let bus = bus().await.ok()?;
        let dbus = DBusProxy::new(&bus).await.ok()?;
        let mut changes = dbus.receive_name_owner_changed_with_args(&[(0, WATCHER)]).await.ok()?;
        // It may have come between the question and the watch.
        if dbus.name_has_owner(WATCHER.try_into().ok()?).await.ok()? && answers().await.is_ok() {
            return Some(());
        }
        while let Some(change) = changes.next().await {
            if change.args().ok()?.new_owner().is_some() {
                sleep(SETTLE).await;
                return Some(());
            }
        }
        None
    }
}
