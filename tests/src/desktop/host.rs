//! A tray host for tests: takes icons in, and can be as unhelpful as real ones.

use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use zbus::{Connection, connection::Builder};

const WATCHER: &str = "org.kde.StatusNotifierWatcher";

/// A host on the bus. It leaves when it is dropped.
pub struct TrayHost {
    bus: Connection,
    registered: Arc<Mutex<Vec<String>>>,
    awake: watch::Sender<bool>,
}

struct Watcher {
    registered: Arc<Mutex<Vec<String>>>,
    awake: watch::Receiver<bool>,
}

impl Watcher {
    async fn awake(&self) {
        // An error means that the host is gone, and then nobody waits for an answer.
        let _ = self.awake.clone().wait_for(|awake| *awake).await;
    }
}

#[zbus::interface(name = "org.kde.StatusNotifierWatcher")]
impl Watcher {
    async fn register_status_notifier_item(
        &self,
        service: String,
        #[zbus(header)] header: zbus::message::Header<'_>,
    ) {
        self.awake().await;
        let sender = header.sender().map(ToString::to_string).unwrap_or_default();
        // Some send the path of their object, some their name.
        let name = if service.starts_with('/') { sender } else { service };
        self.registered.lock().unwrap_or_else(PoisonError::into_inner).push(name);
    }

    fn register_status_notifier_host(&self, _service: String) {}

    #[zbus(property)]
    async fn registered_status_notifier_items(&self) -> Vec<String> {
        self.awake().await;
        self.registered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[zbus(property)]
    async fn is_status_notifier_host_registered(&self) -> bool {
        self.awake().await;
        true
    }

    #[zbus(property)]
    fn protocol_version(&self) -> i32 {
        0
    }
}

impl TrayHost {
    /// A host that works.
    ///
    /// # Errors
    /// When the bus does not let it in.
    pub async fn start(bus: &str) -> zbus::Result<Self> {
        Self::with(bus, true).await
    }

    /// A host that owns its name and answers nothing, like a stopped panel.
    ///
    /// # Errors
    /// When the bus does not let it in.
    pub async fn start_hung(bus: &str) -> zbus::Result<Self> {
        Self::with(bus, false).await
    }

    async fn with(bus: &str, awake: bool) -> zbus::Result<Self> {
        let registered = Arc::default();
        let (awake, waking) = watch::channel(awake);
        let watcher = Watcher { registered: Arc::clone(&registered), awake: waking };
        let bus = Builder::address(bus)?
            .serve_at("/StatusNotifierWatcher", watcher)?
            .name(WATCHER)?
            .build()
            .await?;
        Ok(Self { bus, registered, awake })
    }

    /// Lets a hung host answer, also what it was asked before.
    pub fn wake_up(&self) {
        self.awake.send_replace(true);
    }

    /// The bus name of the icon that came last.
    #[must_use]
    pub fn icon(&self) -> Option<String> {
        self.registered.lock().unwrap_or_else(PoisonError::into_inner).last().cloned()
    }

    /// Its connection, to speak to icons with.
    pub fn bus(&self) -> &Connection {
        &self.bus
    }
}
