//! One address for every model in the house: the running gateway.
//!
//! [`Lamplighter::start`] is the wiring, on one page. Who owns what, and which module may name which, stands in
//! ARCHITECTURE.md and is kept by the house-rules test.

pub mod answer;
pub mod aside;
pub mod attempt;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod control_file;
pub mod conversations;
pub mod demo;
pub mod dialects;
pub mod discovery;
pub mod engines;
pub mod history;
pub mod holder;
pub mod hooks;
pub mod interfaces;
pub mod live;
pub mod meter;
pub mod models;
pub mod neighbours;
pub mod packet;
pub mod places;
pub mod proxy;
pub mod registry;
pub mod reload;
pub mod secrets;
pub mod server;
pub mod sessions;
pub mod settings;
pub mod speeds;
pub mod steering;
pub mod store;
pub mod suspend;
pub mod upstream;
pub mod vigil;
pub mod waker;

use config::{Broken, Loaded, Origin};
use control::{CONFIG, Control, Parts, Place};
use control_file::{ControlFile, Whose};
use conversations::Conversations;
use demo::Demo;
use history::{History, Keeping};
use lamplighter_core::{
    config::without_doubles,
    mode::Mode,
    patience::Patience,
    snapshot::{Gateway, Level, Offer, Problem, Snapshot},
};
use live::Requests;
use places::Places;
use proxy::{Proxy, Retries};
use registry::{Around, Registry};
use server::{Door, House, Limits, Unbound};
use settings::Settings;
use speeds::Measured;
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};
use steering::Steering;
use tokio::sync::{Notify, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use vigil::Vigils;
use waker::{Courier, Waker};

/// How to start.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The configuration file; the platform's own place when `None`.
    pub config: Option<PathBuf>,
    /// Start without nodes when the file is broken and no good copy exists: the app does, `serve` does not.
    pub tolerate_broken: bool,
    /// The simulated fleet alone: `config` is not looked at.
    pub demo: bool,
    /// The door's limits.
    pub limits: Limits,
    /// How long silence is borne, and how long what was found out counts.
    pub patience: Patience,
}

impl Options {
    /// The configuration file that is meant.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(config::default_path)
    }

    /// Whose gateway it is, for the control file.
    #[must_use]
    pub fn whose(&self) -> Whose {
        match (&self.config, self.demo) {
            (_, true) => Whose::Demo,
            // The default file by its name is the default.
            (Some(config), false) if config::same_file(config, &config::default_path()) => Whose::Default,
            (Some(config), false) => Whose::Config(config.clone()),
            (None, false) => Whose::Default,
        }
    }

    /// Who holds our port may be the very gateway that is to be started.
    fn told_apart(&self, held: holder::Held) -> holder::Held {
        let held = if self.demo { held.for_the_demo() } else { held };
        match control_file::find(&self.whose()) {
            Some(running) => held.or_runs_already(running.pid, &running.url),
            None => held,
        }
    }
}

/// Why the gateway did not start.
#[derive(Debug)]
pub enum StartError {
    /// The configuration is broken.
    Config(Broken),
    /// Somebody holds our port.
    Held(Box<holder::Held>),
    /// A listener cannot be opened, or a key cannot be read.
    Door(String),
}

impl StartError {
    /// What holds our port and could become a node instead: see [`holder::adopt`].
    #[must_use]
    pub fn offer(&self) -> Option<Offer> {
        match self {
            Self::Held(held) => held.offer(),
            Self::Config(_) | Self::Door(_) => None,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(broken) => f.write_str(&broken.report()),
            Self::Held(held) => f.write_str(&held.why_not_started()),
            Self::Door(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for StartError {}

/// The gateway.
#[derive(Debug)]
pub struct Lamplighter;

impl Lamplighter {
    /// Reads the configuration, opens the door and begins to watch the nodes. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`], in words for a person.
    pub async fn start(options: Options) -> Result<Handle, StartError> {
        let demo = start_demo(options.demo).await?;
        let (config_path, state) = match &demo {
            Some(demo) => (demo.config_path(), demo.state_dir()),
            None => (options.config_path(), config::state_dir()),
        };
        let (loaded, mut notices) = load(&config_path, &state, options.tolerate_broken)?;
        notices.extend(options.config.as_ref().and_then(|_| not_there(&loaded)));
        let base_dir = loaded.base_dir().to_owned();
        let server = &loaded.config.server;
        let bound = match server::bind(server, &[]) {
            Ok(bound) => bound,
            Err(Unbound::Otherwise(why)) => return Err(StartError::Door(why)),
            Err(Unbound::Taken(taken)) => {
                let held = holder::Held::ask(taken.address, taken.program).await;
                return Err(StartError::Held(Box::new(options.told_apart(held))));
            }
        };
        let guard = server::guard(server, &base_dir, &bound.addresses).map_err(StartError::Door)?;

        let (tasks, stop, changed) = (TaskTracker::new(), CancellationToken::new(), Arc::new(Notify::new()));
        let configured = without_doubles(&loaded.config.nodes);
        let nodes = configured.into_iter().map(|node| settings::watched(node, &base_dir));
        let path_text = config_path.display().to_string();
        let kept_in = state.join(format!("house-{}.db", config::fingerprint(&config_path)));
        let keeping = Keeping::open(&kept_in).await;
        let (mut memory, known) = keeping.memory().await;
        memory.extend(demo.as_ref().map(Demo::memory).unwrap_or_default());
        notices.extend(keeping.said().map(|said| notice("history", Level::Notice, said)));
        let places = Arc::new(Places::default());
        tasks.spawn(places.clone().keep_time(stop.clone()));
        let courier = Arc::new(Courier::new(engines::http_client(), base_dir.clone(), known));
        let nodes: Vec<_> = nodes.collect();
        let elsewhere = waker::learning::elsewhere_at_first(&nodes, &courier).await;
        let registry = Registry::start(
            nodes,
            loaded.config.aliases.clone(),
            path_text.clone(),
            memory,
            elsewhere,
            Around {
                changed: changed.clone(),
                places: places.clone(),
                patience: options.patience,
                tasks: tasks.clone(),
                stop: stop.clone(),
            },
        );
        let requests = Arc::new(Requests::new(changed.clone()));
        let (conversations, speeds) = (Arc::new(Conversations::default()), Arc::new(Measured::default()));

        let Place { base_url, listening } = server::place(&bound.addresses);
        let gateway = Gateway {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            started_ms: clock::wall_ms(),
            base_url,
            listening,
            config_path: path_text,
            demo: demo.is_some(),
            mode: Mode::Auto,
            paused_until_ms: None,
            found_only: false,
        };
        let kept = state.join(format!("mode-{}", config::fingerprint(&config_path)));
        let steering = Arc::new(Steering::load(Some(kept), changed.clone()));
        let token = sessions::random_token().map_err(StartError::Door)?;
        let info = ControlFile { url: gateway.base_url.clone(), token, pid: gateway.pid };
        let place = control_file::place(&options.whose());
        let written = control_file::write(&place, &info)
            .map_err(|error| StartError::Door(format!("{} cannot be written: {error}", place.display())))?;

        let settings = Arc::new(Settings::new(config_path, state, loaded.config.clone(), registry.clone()));
        tasks.spawn(waker::learning::run(registry.clone(), courier.clone(), stop.clone()));
        let history = History::new(keeping.store(), courier.clone());
        tasks.spawn(history.clone().run(registry.clone(), requests.clone(), stop.clone()));
        let waker = Waker::start(waker::Parts {
            registry: registry.clone(),
            courier: courier.clone(),
            rules: settings.wake_rules(),
            prompts: Arc::default(),
            places: places.clone(),
            store: keeping.store(),
            changed: changed.clone(),
            tasks: tasks.clone(),
            stop: stop.clone(),
        })
        .await;
        let vigils =
            Vigils::new(registry.clone(), base_dir.clone(), changed.clone(), tasks.clone(), stop.clone());
        let control = Arc::new(Control::new(Parts {
            gateway,
            token: info.token.clone(),
            registry: registry.clone(),
            places: places.clone(),
            requests: requests.clone(),
            steering: steering.clone(),
            conversations: conversations.clone(),
            speeds: speeds.clone(),
            settings: settings.clone(),
            history,
            waker: waker.clone(),
            vigils: vigils.clone(),
            notices,
            changed,
            stop: stop.clone(),
        }));
        tasks.spawn(control.clone().run());
        tasks.spawn(suspend::run(registry.clone(), courier.clone(), stop.clone()));
        let retries = Retries::new(options.patience);
        let proxy = Arc::new(Proxy {
            registry,
            places,
            requests: requests.clone(),
            steering,
            conversations,
            speeds,
            server: settings.server(),
            waker,
            vigils,
            retries,
        });
        let router = server::router(House { proxy, control: control.clone() });
        let door = Arc::new(Door::new(router, guard, options.limits, stop.clone()));
        door.open(bound.opened);
        control.say_of_door(server::say(&bound.warnings, bound.taken, &info.url).await);
        let listening = door.clone();
        let own_ports = move || listening.open_now().iter().map(|open| open.address.port()).collect();
        tasks.spawn(discovery::run(settings.clone(), own_ports, stop.clone()));
        let keeper = server::Keeper {
            door: door.clone(),
            control: control.clone(),
            base_dir,
            in_force: loaded.config.server.clone(),
            file: info.clone(),
            place: place.clone(),
        };
        tasks.spawn(keeper.run(settings.server(), stop.clone()));
        tasks.spawn(reload::run(settings, control.clone(), stop.clone()));
        let door = tokio::spawn(door.serve(move || requests.end_all()));
        if let Some(demo) = demo {
            demo.live(&info.url, &tasks, &stop);
        }
        tasks.close();
        tracing::info!(url = info.url, "ready");
        Ok(Handle { info, place, control, tasks, stop, door, keeping, _written: written })
    }
}

/// A running gateway.
#[derive(Debug)]
pub struct Handle {
    info: ControlFile,
    place: PathBuf,
    control: Arc<Control>,
    tasks: TaskTracker,
    stop: CancellationToken,
    door: tokio::task::JoinHandle<usize>,
    keeping: Keeping,
    _written: control_file::Written,
}

impl Handle {
    /// The address to point apps at.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.info.url
    }

    /// Where its control file is.
    #[must_use]
    pub fn control_place(&self) -> &Path {
        &self.place
    }

    /// Address and token of its control API.
    #[must_use]
    pub fn control_file(&self) -> &ControlFile {
        &self.info
    }

    /// What eyes need, as it changes: at most four times a second.
    #[must_use]
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.control.watch()
    }

    /// Stops: no new connections, what runs gets its grace, then everything ends. Returns how many connections were cut.
    pub async fn shutdown(self) -> usize {
        self.stop.cancel();
        let cut = self.door.await.unwrap_or(0);
        self.tasks.wait().await;
        self.keeping.end().await;
        cut
    }
}

async fn start_demo(wanted: bool) -> Result<Option<Demo>, StartError> {
    if !wanted {
        return Ok(None);
    }
    let demo = Demo::start().await;
    demo.map(Some).map_err(|error| StartError::Door(format!("the demo fleet cannot start: {error}")))
}

fn load(path: &Path, state: &Path, tolerate_broken: bool) -> Result<(Loaded, Vec<Problem>), StartError> {
    let problem = |complaint: &config::Located| notice(CONFIG, Level::Problem, &complaint.to_string());
    match config::load(path, state) {
        Ok(loaded) => {
            let mut notices: Vec<Problem> =
                loaded.complaints.iter().map(|c| notice(CONFIG, Level::Notice, &c.to_string())).collect();
            if let Origin::LastGood { broken, .. } = &loaded.origin {
                tracing::error!(
                    "the configuration is broken; the last good copy is used:\n{}",
                    loaded.report()
                );
                let using = "The configuration file is broken: its last good copy is used.";
                notices.push(notice(CONFIG, Level::Problem, using));
                notices.extend(broken.iter().map(problem));
            }
            for warning in &loaded.complaints {
                tracing::warn!("{warning}");
            }
            Ok((loaded, notices))
        }
        Err(broken) if tolerate_broken => {
            let notices = broken.complaints.iter().map(problem).collect();
            let config = lamplighter_core::config::Config::default();
            Ok((
                Loaded { config, path: path.to_owned(), complaints: vec![], origin: Origin::NoFile },
                notices,
            ))
        }
        Err(broken) => Err(StartError::Config(broken)),
    }
}

/// A file that was named and is not there is more often a slip than a wish. It is no mistake: it comes with the first machine that
/// is added.
fn not_there(loaded: &Loaded) -> Option<Problem> {
    if loaded.origin != Origin::NoFile || loaded.path.exists() {
        return None;
    }
    let said =
        format!("{} is not there: it is written when the first machine is added.", loaded.path.display());
    tracing::warn!("{said}");
    Some(notice(CONFIG, Level::Notice, &said))
}

fn notice(code: &str, level: Level, message: &str) -> Problem {
    Problem { code: code.into(), level, message: message.into(), hint: None, node: None }
}
