//! Sleeping machines on networks of their own: a real gateway on one machine, real engines on others that start when their network
//! card hears a packet, and witnesses who read every frame. It needs root; nothing leaves these networks.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod away;
mod clicks;
mod requests;
mod sdks;

use lamplighter_core::{node::State, snapshot::Snapshot};
use lamplighter_tests::{
    house::{Gateway, binary},
    lan::{Bmc, Lan, Seen, Sleeper},
};
use std::{
    process::{Command, Stdio},
    time::Duration,
};

/// The workstation's card.
const MAC: &str = "a8:a1:59:0c:1d:2e";
/// Its address.
const IP: &str = "10.77.0.50";
/// Its engine's port.
const PORT: u16 = 11_434;
/// The simulated engine's control port, on its own loopback.
const CONTROL: u16 = 11_999;

/// A simulated Ollama with `qwen:7b`, to be started by the machine itself.
fn ollama(ip: &'static str, more: &'static [&'static str]) -> impl Fn() -> Command + Send + 'static {
    move || {
        let mut command = Command::new(binary("lamplighter-simnode"));
        command.args(["--engine", "ollama", "--ip", ip, "--port", &PORT.to_string()]);
        command.args(["--control-port", &CONTROL.to_string(), "--model", "qwen:7b"]).args(more);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }
}

/// The workstation, asleep on the network `home`.
fn workstation(lan: &Lan, bmc: Bmc, more: &'static [&'static str]) -> Sleeper {
    Sleeper::new(lan, "home", &format!("{IP}/24"), MAC, bmc, ollama(IP, more))
}

/// A gateway's configuration with the workstation, woken as `wake` says.
fn config(wake: &str) -> String {
    format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[[node]]\nname = \"workstation\"\nurl = \"{IP}:{PORT}\"\n[node.wake]\n{wake}\n"
    )
}

/// The configuration with the workstation's card written down.
fn written(more: &str) -> String {
    config(&format!("mac = \"{MAC}\"\n{more}"))
}

fn is_asleep(snapshot: &Snapshot) -> bool {
    snapshot.nodes[0].state == State::Asleep
}

fn is_up(snapshot: &Snapshot) -> bool {
    snapshot.nodes[0].state == State::Up
}

/// A gateway that has seen the workstation awake, so that it knows its models, and now believes it asleep.
async fn after_a_day_of_work(machine: &Sleeper, text: &str) -> Gateway {
    machine.press_power();
    machine.until_open(PORT);
    let gateway = Gateway::start(text).await;
    gateway.until(is_up).await;
    // It is learned from, and what is known of it is written down.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    machine.sleep();
    // A request that is not answered has the machine looked at every second; one like this wakes nothing.
    let asked = gateway.chat("qwen:7b", false).header("x-lamplighter-class", "background").send();
    let asked = tokio::spawn(asked);
    gateway.until(is_asleep).await;
    asked.abort();
    gateway
}

/// Every packet names the workstation and nobody else, is as long as it must be, and went where it should.
fn assert_only_for(seen: &[Seen], mac: &str, length: usize) {
    for packet in seen {
        assert_eq!((packet.mac.as_str(), packet.length), (mac, length), "{packet:?}");
        assert!(
            ["10.77.0.255", "255.255.255.255", IP].contains(&packet.to.to_string().as_str()),
            "{packet:?}"
        );
        assert!([7, 9].contains(&packet.port), "{packet:?}");
    }
}
