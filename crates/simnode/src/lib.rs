//! Simulated nodes: real HTTP servers that speak the contracts of real engines, with scripted faults.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use lamplighter_simnode::{Fault, Profile, SimModel, SimNode};
//! let node = SimNode::start(Profile::ollama("nas").model(SimModel::new("llama3.2:3b").loaded(true))).await?;
//! node.set_fault(Fault::Rst { after_bytes: 300 });
//! println!("{} answered {} requests", node.url(), node.stats().requests_total);
//! node.stop().await;
//! # Ok(())
//! # }
//! ```

mod activity;
mod answer;
mod ask;
mod body;
mod clock;
mod control;
mod engines;
mod fault;
mod formats;
mod gzip;
mod json;
mod node;
mod profile;
mod raw;
mod record;
mod residents;
mod script;
mod serve;
mod server;

pub use control::Control;
pub use fault::{Fault, FaultRule, On};
pub use profile::{Engine, Profile, SimModel};
pub use record::{Outcome, Seen, Stats};

use bytes::Bytes;
use node::Node;
use server::Ends;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

/// Bound of a graceful stop; what is still running then is killed.
const STOP_MAX: Duration = Duration::from_secs(5);
/// Longest that a port which was asked for is waited for, and how often it is tried.
const BIND_MAX: Duration = Duration::from_secs(3);
const BIND_AGAIN: Duration = Duration::from_millis(50);

/// A running node. Dropping it kills it.
#[derive(Debug)]
pub struct SimNode {
    node: Arc<Node>,
    addr: SocketAddr,
    ends: Ends,
    tasks: TaskTracker,
}

impl SimNode {
    /// Binds and serves.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(profile: Profile) -> io::Result<Self> {
        let listener = bind(&profile).await?;
        let addr = listener.local_addr()?;
        let (node, ends, tasks) = (Node::new(profile), Ends::default(), TaskTracker::new());
        tasks.spawn(server::listen(listener, Arc::clone(&node), ends.clone(), tasks.clone()));
        Ok(Self { node, addr, ends, tasks })
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://` and its address, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.node.profile.name
    }

    /// Replaces all faults by this one, or by a [`FaultRule`] with an aim and a count.
    pub fn set_fault(&self, fault: impl Into<FaultRule>) {
        self.node.faults.set(vec![fault.into()]);
    }

    /// Adds a fault behind those there are; the first that hits a request wins.
    pub fn add_fault(&self, fault: impl Into<FaultRule>) {
        self.node.faults.add(fault.into());
    }

    /// Ends all faults, for requests that begin from now on.
    pub fn clear_fault(&self) {
        self.node.faults.set(Vec::new());
    }

    /// Replaces its models.
    pub fn set_models(&self, models: Vec<SimModel>) {
        self.node.residents.set(models);
    }

    /// Puts a model into memory at once; false when it is unknown or busy ones leave no room.
    pub fn load(&self, model: &str) -> bool {
        self.node.residents.load(model)
    }

    /// Takes a model out of memory; false when it was not there.
    pub fn unload(&self, model: &str) -> bool {
        self.node.residents.unload(model)
    }

    /// Names of the models in memory.
    pub fn loaded(&self) -> Vec<String> {
        self.node.residents.loaded().into_iter().map(|resident| resident.model.name).collect()
    }

    /// How often a request had to bring its model into memory, where that takes time.
    pub fn loads(&self) -> usize {
        self.node.residents.loads()
    }

    /// The last 4096 requests, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        self.node.recorder.seen()
    }

    /// Body bytes sent for the latest request with this `x-request-id`, once it has ended (the first MiB of them).
    pub fn sent(&self, request_id: &str) -> Option<Bytes> {
        self.node.recorder.find_sent(|seen| seen.request_id() == Some(request_id))
    }

    /// Body bytes sent for the request of this number.
    pub fn sent_seq(&self, seq: u64) -> Option<Bytes> {
        self.node.recorder.find_sent(|seen| seen.seq == seq)
    }

    /// Body bytes of the latest request that has ended, whatever it was.
    pub fn last_sent(&self) -> Option<Bytes> {
        self.node.recorder.find_sent(|seen| seen.outcome != Outcome::Open)
    }

    /// Counters since the start.
    pub fn stats(&self) -> Stats {
        self.node.recorder.stats()
    }

    /// Opens its control server on a port of its own.
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub async fn control(&self, port: u16) -> io::Result<Control> {
        Control::start(Arc::clone(&self.node), port, self.ends.clone(), &self.tasks).await
    }

    /// Finishes what is running, for 5 s at most, and ends.
    pub async fn stop(&self) {
        self.ends.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(STOP_MAX, self.tasks.wait()).await.is_err() {
            self.kill().await;
        }
    }

    /// Drops everything at once: the listener closes, open connections are reset.
    pub async fn kill(&self) {
        self.node.recorder.killed();
        self.ends.kill.cancel();
        self.tasks.close();
        // Every task ends at the token; the bound is for a runtime that no longer runs them.
        let _ = tokio::time::timeout(STOP_MAX, self.tasks.wait()).await;
    }
}

/// A port that was asked for is waited for a little: its last owner may be just letting go, or somebody tries whether it is free.
async fn bind(profile: &Profile) -> io::Result<TcpListener> {
    let until = tokio::time::Instant::now() + BIND_MAX;
    loop {
        match TcpListener::bind((profile.ip, profile.port)).await {
            Err(why) if why.kind() == io::ErrorKind::AddrInUse && tokio::time::Instant::now() < until => {
                tokio::time::sleep(BIND_AGAIN).await;
            }
            bound => return bound,
        }
    }
}

impl Drop for SimNode {
    fn drop(&mut self) {
        self.node.recorder.killed();
        self.ends.kill.cancel();
    }
}
