//! What the control API, the tray and the command line are told: snapshots, and why a request would go where.

mod explain;
mod foretold;
mod problems;
mod sleep;
mod versions;

pub use explain::Question;
pub use problems::OfTheDoor;
pub use sleep::NotWoken;

use crate::{
    clock,
    conversations::Conversations,
    engines,
    history::History,
    live::Requests,
    models::Models,
    places::Places,
    registry::{House, Registry},
    sessions::Sessions,
    settings::Settings,
    speeds::Measured,
    steering::Steering,
    vigil::Vigils,
    waker::Waker,
};
use futures::Stream;
use lamplighter_core::snapshot::{Gateway, ListedModel, Node, Problem, Snapshot};
use sha2::{Digest, Sha256};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// Snapshots are at least this far apart.
const APART: Duration = Duration::from_millis(250);
/// While requests run their seconds and events move: a snapshot is due this often even when nothing else has changed.
const RUNNING: Duration = Duration::from_secs(1);

/// The code of notices about the configuration.
pub const CONFIG: &str = "config";

/// Where the gateway is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The address that apps are told.
    pub base_url: String,
    /// Every address it listens on.
    pub listening: Vec<String>,
}

/// What [`Control`] is made of.
pub struct Parts {
    /// What is known of the gateway itself.
    pub gateway: Gateway,
    /// The bearer token of the control API.
    pub token: String,
    /// Knows the nodes.
    pub registry: Registry,
    /// Knows who runs and waits.
    pub places: Arc<Places>,
    /// Knows what is under way.
    pub requests: Arc<Requests>,
    /// Knows the routing mode.
    pub steering: Arc<Steering>,
    /// Knows where conversations were answered.
    pub conversations: Arc<Conversations>,
    /// Knows how fast the nodes write.
    pub speeds: Arc<Measured>,
    /// Changes the configuration.
    pub settings: Arc<Settings>,
    /// Keeps what outlives the process.
    pub history: Arc<History>,
    /// Wakes machines.
    pub waker: Arc<Waker>,
    /// Keeps machines awake while they answer.
    pub vigils: Arc<Vigils>,
    /// What the start had to say.
    pub notices: Vec<Problem>,
    /// Told when something has changed that eyes would see.
    pub changed: Arc<Notify>,
    /// Ends it.
    pub stop: CancellationToken,
}

/// The one who knows all that eyes need.
#[derive(Debug)]
pub struct Control {
    gateway: Gateway,
    token: [u8; 32],
    registry: Registry,
    places: Arc<Places>,
    requests: Arc<Requests>,
    steering: Arc<Steering>,
    conversations: Arc<Conversations>,
    speeds: Arc<Measured>,
    settings: Arc<Settings>,
    models: Models,
    history: Arc<History>,
    waker: Arc<Waker>,
    vigils: Arc<Vigils>,
    http: reqwest::Client,
    /// What there is to say about the configuration and the listeners.
    notices: Mutex<Vec<Problem>>,
    place: Mutex<Place>,
    of_the_door: Mutex<Vec<OfTheDoor>>,
    sessions: Sessions,
    changed: Arc<Notify>,
    seq: AtomicU64,
    latest: watch::Sender<Arc<Snapshot>>,
    stop: CancellationToken,
}

impl Control {
    /// Ready to be asked. [`Control::run`] keeps the snapshots coming.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let http = engines::http_client();
        let control = Self {
            token: Sha256::digest(parts.token.as_bytes()).into(),
            sessions: Sessions::new(parts.token),
            place: Mutex::new(Place {
                base_url: parts.gateway.base_url.clone(),
                listening: parts.gateway.listening.clone(),
            }),
            of_the_door: Mutex::default(),
            gateway: parts.gateway,
            places: parts.places,
            requests: parts.requests,
            steering: parts.steering,
            conversations: parts.conversations,
            speeds: parts.speeds,
            settings: parts.settings,
            models: Models::new(parts.registry.clone(), http.clone()),
            registry: parts.registry,
            history: parts.history,
            waker: parts.waker,
            vigils: parts.vigils,
            http,
            notices: Mutex::new(parts.notices),
            changed: parts.changed,
            seq: AtomicU64::new(0),
            latest: watch::Sender::default(),
            stop: parts.stop,
        };
        control.latest.send_replace(Arc::new(control.look()));
        control
    }

    /// The settings and their changes.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What outlives the process.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Orders about models on nodes.
    #[must_use]
    pub fn models(&self) -> &Models {
        &self.models
    }

    /// A client for asking nodes on somebody's behalf.
    #[must_use]
    pub fn http(&self) -> reqwest::Client {
        self.http.clone()
    }

    /// Is this among what there is to say about the configuration?
    #[must_use]
    pub fn has_said(&self, message: &str) -> bool {
        let notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        notices.iter().any(|notice| notice.code == CONFIG && notice.message == message)
    }

    /// What there is to say of the configuration now, in place of what was said before.
    pub fn say_of_config(&self, problems: Vec<Problem>) {
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        notices.retain(|notice| notice.code != CONFIG);
        notices.extend(problems);
        drop(notices);
        self.changed.notify_one();
    }

    /// What there is to say of the door now, in place of what was said before.
    pub fn say_of_door(&self, said: Vec<OfTheDoor>) {
        *self.of_the_door.lock().unwrap_or_else(PoisonError::into_inner) = said;
        self.changed.notify_one();
    }

    /// From now on it is there.
    pub fn moved(&self, place: Place) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
        self.changed.notify_one();
    }

    /// The address that apps are told.
    #[must_use]
    pub fn base_url(&self) -> String {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).base_url.clone()
    }

    /// A code that a browser trades for the token.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn once(&self) -> Result<String, String> {
        self.sessions.once()
    }

    /// The token for a code that has not been used.
    #[must_use]
    pub fn trade(&self, code: &str) -> Option<String> {
        self.sessions.trade(code)
    }

    /// Publishes a snapshot after each change while somebody looks. Nobody looking costs nothing.
    pub async fn run(self: Arc<Self>) {
        loop {
            let is_watched = self.latest.receiver_count() > 0;
            let running = (self.requests.count() > 0 || self.waker.is_busy()) && is_watched;
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.changed.notified() => {}
                // The last who looked has gone: nobody is asked anything from now on.
                () = self.latest.closed(), if is_watched => {}
                () = tokio::time::sleep(RUNNING), if running => {}
            }
            self.waker.audience(self.latest.receiver_count() > 0);
            if self.latest.receiver_count() > 0 {
                self.latest.send_replace(Arc::new(self.look()));
                tokio::select! {
                    () = self.stop.cancelled() => return,
                    () = tokio::time::sleep(APART) => {}
                }
            }
        }
    }

    /// Is this the token? Hashes are compared, so the time taken tells nothing about it.
    #[must_use]
    pub fn is_token(&self, presented: &str) -> bool {
        <[u8; 32]>::from(Sha256::digest(presented.as_bytes())) == self.token
    }

    /// Version of Lamplighter.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.gateway.version
    }

    /// Resolves when the gateway shuts down: then nobody needs events any more.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        self.stop.clone().cancelled_owned()
    }

    /// The snapshot of this moment, and those that follow.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        let receiver = self.latest.subscribe();
        self.waker.audience(true);
        self.changed.notify_one();
        self.latest.send_replace(Arc::new(self.look()));
        receiver
    }

    /// The same as a stream, whose items are [`APART`] also when somebody else begins to look meanwhile. It ends when the gateway
    /// has moved to another address, after the snapshot that says so: whoever looks goes there.
    pub fn snapshots(&self) -> impl Stream<Item = Arc<Snapshot>> + Send + 'static + use<> {
        let mut receiver = self.watch();
        receiver.mark_changed();
        let here = self.base_url();
        futures::stream::unfold(Some((receiver, Instant::now(), here)), |state| async move {
            let (mut receiver, not_before, here) = state?;
            tokio::time::sleep_until(not_before).await;
            receiver.changed().await.ok()?;
            let snapshot = receiver.borrow_and_update().clone();
            let is_here = snapshot.gateway.base_url == here;
            Some((snapshot, is_here.then(|| (receiver, Instant::now() + APART, here))))
        })
    }

    /// Looks now.
    #[must_use]
    pub fn look(&self) -> Snapshot {
        let house = self.registry.house();
        Snapshot {
            seq: self.seq.fetch_add(1, Relaxed) + 1,
            at_ms: clock::wall_ms(),
            gateway: self.gateway(&house),
            nodes: self.nodes(&house),
            models: models(&house),
            aliases: house.fleet.aliases.to_vec(),
            requests: self.requests.list(),
            totals: self.requests.totals(),
            problems: self.problems(&house),
            prompts: self.waker.prompts().shown(),
            offers: self.of_the_door(&house).filter_map(|said| said.offer).collect(),
        }
    }

    fn gateway(&self, house: &House) -> Gateway {
        let pause_left_ms = self.steering.pause_left_ms().flatten();
        let Place { base_url, listening } = self.place.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Gateway {
            base_url,
            listening,
            mode: self.steering.mode(),
            paused_until_ms: pause_left_ms.map(|left_ms| clock::wall_ms() + left_ms),
            found_only: !house.fleet.nodes.is_empty() && house.found_only,
            ..self.gateway.clone()
        }
    }

    fn nodes(&self, house: &House) -> Vec<Node> {
        let nodes = house.fleet.nodes.iter();
        let show = |node: &lamplighter_core::fleet::Node| {
            let (active, waiting) = self.places.load_of(node.id);
            Node {
                name: node.config.name.clone(),
                url: node.config.url.to_string(),
                engine: node.engine,
                version: node.version.clone(),
                presence: node.config.presence,
                state: node.state,
                since_ms: node.since_ms,
                why: node.why.clone(),
                gpu: node.config.gpu.clone(),
                vram_bytes: node.vram_bytes,
                vram_typed: node.config.vram_bytes.is_some(),
                dialects: node.dialects,
                slots: node.slots(),
                priority: node.config.priority,
                active,
                waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
                engine_waiting: node.told.queue.map(|queue| queue.waiting),
                models: node.models.to_vec(),
                probe_ms: node.probe_ms,
                cloud: node.config.url.is_cloud(),
                can_load: node.engine.is_some_and(|engine| engines::can_load(engine, &node.models)),
                sleep: sleep::show(node, &self.waker, house.elsewhere.contains(&node.id)),
            }
        };
        nodes.map(show).collect()
    }
}

fn models(house: &House) -> Vec<ListedModel> {
    let fleet = &house.fleet;
    let entries = fleet.catalogue.entries();
    let show = |entry: &lamplighter_core::catalogue::Entry| {
        let offers = || entry.offers.iter().map(|offer| (&fleet.nodes[offer.node], offer.model));
        ListedModel {
            name: entry.name.clone(),
            nodes: offers()
                .filter(|(node, _)| !node.sleeps())
                .map(|(node, _)| node.name().to_owned())
                .collect(),
            asleep_on: offers()
                .filter(|(node, _)| node.sleeps())
                .map(|(node, _)| node.name().to_owned())
                .collect(),
            loaded_on: offers()
                .filter(|(node, model)| !node.sleeps() && node.models[*model].loaded == Some(true))
                .map(|(node, _)| node.name().to_owned())
                .collect(),
            drift: entry.drift,
        }
    };
    entries.map(show).collect()
}
