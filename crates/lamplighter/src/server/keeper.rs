//! Keeps the door as the configuration file wants it, while we run: the new listeners open before the old ones close, and what
//! cannot be opened leaves the old ones as they were.

use super::{Door, Guard, Keyring, Open, Taken, Unbound, bind, in_the_way};
use crate::{
    control::{Control, OfTheDoor, Place},
    control_file::{self, ControlFile},
    holder::Held,
    secrets,
};
use lamplighter_core::{
    config::ServerConfig,
    snapshot::{Level, Problem},
};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The code of what there is to say of listeners.
const LISTEN: &str = "listen";

/// The one who hangs the door.
#[derive(Debug)]
pub struct Keeper {
    /// The door.
    pub door: Arc<Door>,
    /// Shows where we are.
    pub control: Arc<Control>,
    /// Relative paths in the configuration start here.
    pub base_dir: PathBuf,
    /// What is in force.
    pub in_force: ServerConfig,
    /// How others find us.
    pub file: ControlFile,
    /// Where that stands.
    pub place: PathBuf,
}

/// The gate for these settings.
///
/// # Errors
/// When the key cannot be read.
pub fn guard(server: &ServerConfig, base_dir: &Path, addresses: &[SocketAddr]) -> Result<Guard, String> {
    let key = server.key.as_ref().map(|key| secrets::resolve(key, base_dir)).transpose();
    let key = key.map_err(|why| format!("the `key` of [server] cannot be read: {why}"))?;
    let keyring = Keyring::new(key.as_ref());
    let guard = Guard::new(addresses, server.allowed_hosts.clone(), server.allowed_origins.clone(), keyring);
    Ok(guard.managing(server.manage))
}

/// Where we are for those who look. Apps are told IPv4's loopback where it is open, since every client and the window understand
/// it.
#[must_use]
pub fn place(addresses: &[SocketAddr]) -> Place {
    let best = addresses.iter().min_by_key(|address| (!address.ip().is_loopback(), !address.is_ipv4()));
    let address = best.map_or_else(String::new, |address| {
        if address.ip().is_unspecified() {
            format!("127.0.0.1:{}", address.port())
        } else {
            address.to_string()
        }
    });
    let listening = addresses.iter().map(|address| format!("http://{address}")).collect();
    Place { base_url: format!("http://{address}"), listening }
}

/// What there is to say of listeners that were not opened although the door stands.
pub async fn say(warnings: &[String], taken: Vec<Taken>, base_url: &str) -> Vec<OfTheDoor> {
    let notices = warnings.iter().map(|warning| of_the_door(Level::Notice, warning, None));
    let mut said: Vec<OfTheDoor> = notices.collect();
    for taken in taken {
        let held = Held::ask(taken.address, taken.program).await;
        let (message, hint) = held.beside(base_url);
        tracing::warn!("{message} {hint}");
        let problem = of_the_door(Level::Problem, &message, Some(hint));
        said.push(OfTheDoor { offer: held.offer(), ..problem });
    }
    said
}

fn of_the_door(level: Level, message: &str, hint: Option<String>) -> OfTheDoor {
    let problem = Problem { code: LISTEN.into(), level, message: message.into(), hint, node: None };
    OfTheDoor { problem, offer: None }
}

impl Keeper {
    /// Follows the settings until `stop`.
    pub async fn run(mut self, mut wanted: watch::Receiver<ServerConfig>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = wanted.changed() => if changed.is_err() { return },
            }
            let server = wanted.borrow_and_update().clone();
            let said = self.hang(server).await;
            self.control.say_of_door(said);
        }
    }

    /// Makes the door as these settings want it; what there is to say then.
    async fn hang(&mut self, wanted: ServerConfig) -> Vec<OfTheDoor> {
        let open = self.door.open_now();
        let here: Vec<SocketAddr> = open.iter().map(|open| open.address).collect();
        // A key that cannot be read must not leave the door open: nothing changes at all then.
        if let Err(why) = guard(&wanted, &self.base_dir, &here) {
            return vec![self.stays(&why)];
        }
        if wanted.listen == self.in_force.listen {
            return self.decide(wanted, &here).map_or_else(|why| vec![self.stays(&why)], |()| Vec::new());
        }
        let blocking = in_the_way(&wanted, &open);
        let given_up: Vec<Open<()>> =
            open.iter().filter(|open| blocking.contains(&open.address)).copied().collect();
        self.door.close(&blocking).await;
        let bound = match bind(&wanted, &self.door.open_now()) {
            Ok(bound) => bound,
            Err(unbound) => return self.keep(wanted, unbound, &given_up, &here).await,
        };
        if let Err(why) = self.decide(wanted, &bound.addresses) {
            return vec![self.stays(&why)];
        }
        self.door.open(bound.opened);
        let place = place(&bound.addresses);
        self.file.url.clone_from(&place.base_url);
        if let Err(error) = control_file::rewrite(&self.place, &self.file) {
            tracing::error!(%error, "the control file cannot be written: others look for us at the old address");
        }
        tracing::info!(url = place.base_url, "the door has moved");
        self.control.moved(place.clone());
        here.iter().filter(|old| !bound.addresses.contains(old)).for_each(|old| {
            tracing::info!(%old, "closed; what runs there may finish");
        });
        let closed: Vec<SocketAddr> = here.into_iter().filter(|old| !bound.addresses.contains(old)).collect();
        self.door.close(&closed).await;
        say(&bound.warnings, bound.taken, &place.base_url).await
    }

    /// From the next request on these settings decide who may come in.
    fn decide(&mut self, wanted: ServerConfig, addresses: &[SocketAddr]) -> Result<(), String> {
        self.door.guard(guard(&wanted, &self.base_dir, addresses)?);
        self.in_force = wanted;
        Ok(())
    }

    /// The new listeners could not be opened: the old ones stay, all else counts.
    async fn keep(
        &mut self,
        wanted: ServerConfig,
        unbound: Unbound,
        given_up: &[Open<()>],
        here: &[SocketAddr],
    ) -> Vec<OfTheDoor> {
        if let Err(error) = self.door.reopen(given_up) {
            tracing::error!(%error, "a listener that was closed for a moment cannot be opened again");
        }
        let listen = self.in_force.listen.clone();
        if let Err(why) = self.decide(ServerConfig { listen, ..wanted }, here) {
            return vec![self.stays(&why)];
        }
        match unbound {
            Unbound::Otherwise(why) => vec![self.stays(&why)],
            Unbound::Taken(taken) => {
                let held = Held::ask(taken.address, taken.program).await;
                let stays = self.stays(&held.beside(&self.control.base_url()).0);
                vec![OfTheDoor { offer: held.offer(), ..stays }]
            }
        }
    }

    fn stays(&self, why: &str) -> OfTheDoor {
        let url = self.control.base_url();
        let message = format!("[server] has changed, and cannot be followed: Lamplighter stays at {url}.");
        tracing::error!("{message} {why}");
        of_the_door(Level::Problem, &message, Some(why.to_owned()))
    }
}
