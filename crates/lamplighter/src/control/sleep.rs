//! What people see of a node's sleep, and what they can do about it.

use super::Control;
use crate::{
    hooks,
    waker::{self, Choice, Waker},
};
use lamplighter_core::{
    config::{Macs, Nudge, WakeConfig},
    fleet::Node,
    snapshot::{Check, KeptAwake, Sleep, WakeFailure, Waking},
    wake::{Advice, Caller, Who},
};

/// Why an order about a node's sleep was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotWoken {
    /// There is no node of that name.
    NoNode(String),
    /// It has no `[node.wake]`.
    NotWakeable(String),
    /// It has no `[node.sleep]`.
    NoSleep(String),
    /// It is on another network.
    Elsewhere(String),
    /// Requests run on that machine: there, or at another node of it, which is named.
    Busy {
        /// The node that was to sleep.
        node: String,
        /// Where they run or wait.
        at_work: String,
        /// How many.
        requests: u32,
    },
    /// It did not work, in words.
    Failed(String),
}

impl Control {
    /// A person wants the node awake. False when it is up already.
    ///
    /// # Errors
    /// [`NotWoken`].
    pub fn wake(&self, name: &str) -> Result<bool, NotWoken> {
        let house = self.registry.house();
        let node = house.fleet.node(name).ok_or_else(|| NotWoken::NoNode(name.into()))?;
        if node.state.takes_requests() {
            return Ok(false);
        }
        if house.elsewhere.contains(&node.id) {
            return Err(NotWoken::Elsewhere(name.into()));
        }
        // A person is never too soon.
        let asked = self.waker.ask(node, Who::Person, None, None);
        asked.map(|_| true).ok_or_else(|| NotWoken::NotWakeable(name.into()))
    }

    /// A person ends the wake under way. False when there is none.
    ///
    /// # Errors
    /// [`NotWoken::NoNode`].
    pub fn cancel_wake(&self, name: &str) -> Result<bool, NotWoken> {
        let house = self.registry.house();
        let node = house.fleet.node(name).ok_or_else(|| NotWoken::NoNode(name.into()))?;
        Ok(self.waker.cancel(node.id))
    }

    /// Puts the node to sleep, by the hook that its owner has written. Never while anything of ours runs or waits there, or at
    /// another engine of the same machine: all of them sleep with it.
    ///
    /// # Errors
    /// [`NotWoken`].
    pub async fn put_to_sleep(&self, name: &str) -> Result<(), NotWoken> {
        let house = self.registry.house();
        let node = house.fleet.node(name).ok_or_else(|| NotWoken::NoNode(name.into()))?;
        let config = node.config.sleep.as_ref().ok_or_else(|| NotWoken::NoSleep(name.into()))?;
        let of_it = || house.fleet.nodes.iter().filter(|other| self.are_one_machine(node, other));
        let load = |node: &Node| {
            let (running, waiting) = self.places.load_of(node.id);
            running.saturating_add(u32::try_from(waiting).unwrap_or(u32::MAX))
        };
        let busy = of_it().map(|node| (node, load(node))).find(|(_, requests)| *requests > 0);
        if let Some((at_work, requests)) = busy {
            let (node, at_work) = (name.to_owned(), at_work.name().to_owned());
            return Err(NotWoken::Busy { node, at_work, requests });
        }
        let done = hooks::run(&self.http, config, self.settings.base_dir()).await;
        of_it().for_each(|node| self.registry.look_at(node.id));
        done.map_err(NotWoken::Failed)
    }

    /// Do both run on one machine? Then they have one address, or one network card. On loopback each port may lead elsewhere.
    fn are_one_machine(&self, one: &Node, other: &Node) -> bool {
        let (url, other_url) = (&one.config.url, &other.config.url);
        let cards = |node: &Node| {
            let mut cards = self.waker.courier().known(&node.config.url).macs;
            if let Some(WakeConfig { mac: Macs::Written(macs), .. }) = &node.config.wake {
                cards.extend(macs);
            }
            cards
        };
        one.id == other.id
            || url.host() == other_url.host() && !url.is_loopback()
            || cards(one).iter().any(|card| cards(other).contains(card))
    }

    /// A person answers whether a machine is woken for a request. False when nobody asks any more.
    ///
    /// The wake is the person's then: it goes on when the request does not wait for it any more.
    pub fn answer_prompt(&self, node: &str, choice: Choice) -> bool {
        let house = self.registry.house();
        let asked = self.waker.prompts().answer(node, choice, |question, model| {
            if let (Choice::Wake, Some(there)) = (choice, house.fleet.node(node)) {
                let asked_by = waker::asked_by(&question.client, &question.model);
                // What stands in the way of waking it, the request is told.
                let _ = self.waker.ask(there, Who::Person, Some(model), Some(asked_by));
            }
        });
        self.changed.notify_one();
        asked
    }

    /// A person says that the network we are on is a home of this node too.
    ///
    /// # Errors
    /// [`NotWoken::NoNode`], or when there is no telling which network it is.
    pub async fn is_home(&self, name: &str) -> Result<(), NotWoken> {
        let house = self.registry.house();
        let node = house.fleet.node(name).ok_or_else(|| NotWoken::NoNode(name.into()))?;
        if !self.waker.courier().is_home(&node.config.url).await {
            let why = "this network's gateway is not known just now: is this computer connected?";
            return Err(NotWoken::Failed(why.into()));
        }
        Ok(())
    }
}

/// What people see of a node's sleep.
pub(super) fn show(node: &Node, waker: &Waker, elsewhere: bool) -> Sleep {
    let seen = waker.seen(node.id);
    let waking = seen.as_ref().and_then(|seen| {
        let progress = seen.progress?;
        Some(Waking {
            stage: progress.stage,
            started_ms: seen.started_ms?,
            timeout_ms: progress.timeout_ms,
            rounds: progress.rounds,
            waiters: progress.waiters,
            by_person: progress.by_person,
            asked_by: seen.asked_by.clone(),
        })
    });
    let failure = seen.as_ref().and_then(|seen| seen.failure.as_ref());
    let caller = node.config.wake.as_ref().map_or(Caller::Packets, |config| {
        Caller::of(config, !waker.courier().known(&node.config.url).macs.is_empty())
    });
    let check = |advice: &Advice| Check { what: advice.check.into(), how: advice.how.into() };
    Sleep {
        can_wake: node.config.wake.is_some(),
        can_sleep: node.config.sleep.is_some(),
        waking,
        // A machine that is up again needs no advice.
        failure: failure.filter(|_| !node.state.takes_requests()).map(|failure| WakeFailure {
            code: failure.code().into(),
            words: failure.words(),
            at_ms: seen.as_ref().and_then(|seen| seen.failed_ms),
            checklist: failure.checklist(caller).iter().map(check).collect(),
        }),
        usual_ms: seen.as_ref().and_then(|seen| seen.eta_ms),
        elsewhere,
        kept_awake: match node.config.keep_awake.as_ref().map(|how| &how.by) {
            None => KeptAwake::No,
            Some(Nudge::Call) => KeptAwake::Call,
            Some(Nudge::Command(_)) => KeptAwake::Command,
        },
        naps: node.naps,
        gpu_lost: node.gpu_lost,
    }
}
