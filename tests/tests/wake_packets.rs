//! Wake packets on real networks: three machines with addresses of their own, witnesses on every network, and nothing leaves.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use futures::executor::block_on;
use lamplighter::packet::{self, Call, Guard};
use lamplighter_tests::{
    house::binary,
    lan::{Bmc, Lan, Sleeper, Witness},
};
use std::{
    net::IpAddr,
    process::Command,
    time::{Duration, Instant},
};

fn engine(ip: &'static str) -> impl Fn() -> Command + Send + 'static {
    move || {
        let mut command = Command::new(binary("lamplighter-simnode"));
        command.args(["--engine", "ollama", "--ip", ip, "--port", "11434", "--model", "qwen:7b"]);
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        command
    }
}

#[test]
fn r54_packets_leave_by_the_networks_that_hold_the_machine_and_name_nobody_else() {
    let Some(lan) = Lan::or_skip("r54") else { return };
    lan.plug(&lan.desk, "attic", "eth1", "10.88.0.1/22", "a8:a1:59:00:00:02");
    lan.plug(&lan.desk, "containers", "docker0", "172.17.0.1/16", "a8:a1:59:00:00:03");
    let [home, attic, containers] = ["home", "attic", "containers"].map(|network| Witness::on(&lan, network));
    let mac = "a8:a1:59:0c:1d:2e";
    let sleeper = Sleeper::new(&lan, "home", "10.77.0.50/24", mac, Bmc::default(), engine("10.77.0.50"));
    let other = Sleeper::new(
        &lan,
        "home",
        "10.77.0.51/24",
        "a8:a1:59:0c:1d:2f",
        Bmc::default(),
        engine("10.77.0.51"),
    );
    let call = |last_ip: Option<IpAddr>, password: Option<&str>| Call {
        macs: vec![mac.parse().unwrap()],
        secure_on: password.map(|text| text.parse().unwrap()),
        last_ip,
        ..Call::default()
    };
    let send = |call: &Call| lan.desk.within(|| packet::send(call, &Guard::from_env()));

    let round = send(&call(Some(sleeper.ip), None));
    assert_eq!(
        (round.sent, round.failed.as_slice()),
        (6, &[][..]),
        "four broadcasts, and two for its last address"
    );
    let seen = home.seen();
    let mut places: Vec<String> =
        seen.iter().map(|packet| format!("{}:{}", packet.to, packet.port)).collect();
    places.sort();
    assert_eq!(places, ["10.77.0.255:7", "10.77.0.255:9", "255.255.255.255:7", "255.255.255.255:9"]);
    assert!(
        seen.iter().all(|packet| packet.mac == mac
            && packet.length == 102
            && packet.from.to_string() == "10.77.0.1"),
        "{seen:?}"
    );
    assert_eq!((attic.seen(), containers.seen()), (vec![], vec![]), "no other network hears of it");
    sleeper.until_open(11_434);
    assert_eq!((sleeper.wakes(), other.wakes()), (1, 0), "and nobody else wakes");

    // Nobody knows where it was: every network that could be meant, each with its own broadcast address.
    for (password, length) in [(None, 102), (Some("lamp"), 106), (Some("beacon"), 108)] {
        let before = [&home, &attic].map(|witness| witness.seen().len());
        assert_eq!(send(&call(None, password)).sent, 8);
        for ((witness, before), broadcast) in
            [&home, &attic].into_iter().zip(before).zip(["10.77.0.255", "10.88.3.255"])
        {
            let seen = &witness.seen()[before..];
            assert_eq!(seen.len(), 4, "{seen:?}");
            assert!(seen.iter().all(|packet| packet.length == length && packet.mac == mac), "{seen:?}");
            assert_eq!(
                seen.iter().filter(|packet| packet.to.to_string() == broadcast).count(),
                2,
                "{seen:?}"
            );
        }
    }
    assert_eq!(containers.seen(), [], "what looks like a container's network is left alone");
}

#[test]
fn t29_a_password_is_needed_where_one_is_set_and_a_network_that_is_down_stops_no_other() {
    let Some(lan) = Lan::or_skip("t29_password") else { return };
    let bmc = Bmc { password: b"beacon".to_vec(), ..Bmc::default() };
    let mac = "a8:a1:59:0c:1d:2e";
    let sleeper = Sleeper::new(&lan, "home", "10.77.0.50/24", mac, bmc, engine("10.77.0.50"));
    let call = |password: Option<&str>, only: &[&str]| Call {
        macs: vec![mac.parse().unwrap(), "a8:a1:59:0c:1d:99".parse().unwrap()],
        secure_on: password.map(|text| text.parse().unwrap()),
        only: only.iter().map(|text| text.parse().unwrap()).collect(),
        ..Call::default()
    };
    let send = |call: &Call| lan.desk.within(|| packet::send(call, &Guard::from_env()));
    assert_eq!(send(&call(None, &[])).sent, 8, "two addresses to four places");
    assert_eq!(send(&call(Some("basket"), &[])).sent, 8);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((sleeper.wakes(), sleeper.heard().len()), (0, 16));
    // No route leads to the first place.
    let round = send(&call(Some("beacon"), &["192.168.200.255:9", "10.77.0.255:9"]));
    assert_eq!((round.sent, round.failed.len()), (2, 1), "{round:?}");
    assert!(round.failed[0].starts_with("192.168.200.255:9: "), "{round:?}");
    sleeper.until_open(11_434);
    assert_eq!(sleeper.wakes(), 1);
}

#[test]
fn a_machine_is_learned_while_it_is_up_and_the_router_is_not_taken_for_it() {
    let Some(lan) = Lan::or_skip("learned") else { return };
    let bmc = Bmc { network_after: Duration::ZERO, engine_after: Some(Duration::ZERO), ..Bmc::default() };
    let mac = "a8:a1:59:0c:1d:2e";
    let sleeper = Sleeper::new(&lan, "home", "10.77.0.50/24", mac, bmc, engine("10.77.0.50"));
    let learn = |ip: IpAddr| lan.desk.within(|| block_on(lamplighter::neighbours::learn(ip)));
    let knock = |ip: IpAddr| {
        lan.desk.within(|| {
            let _ = std::net::TcpStream::connect_timeout(&(ip, 11_434).into(), Duration::from_millis(500));
        });
    };
    knock(sleeper.ip);
    assert!(learn(sleeper.ip).unwrap_err().contains("neighbour table"), "asleep it answers nobody");
    let call = Call { macs: vec![mac.parse().unwrap()], ..Call::default() };
    assert!(lan.desk.within(|| packet::send(&call, &Guard::from_env())).failed.is_empty());
    sleeper.until_open(11_434);
    // The kernel asks for a neighbour once a second while nobody answers.
    let began = Instant::now();
    while learn(sleeper.ip).is_err() && began.elapsed() < Duration::from_secs(10) {
        knock(sleeper.ip);
    }
    assert_eq!(learn(sleeper.ip), Ok(mac.parse().unwrap()));
    let found = lan.desk.within(|| block_on(lamplighter::neighbours::find(sleeper.ip))).unwrap();
    assert!(found.confirmed_ms.unwrap() < 10_000, "{found:?}");
    // It becomes the way out: then its address says which network this is, and is nobody's to wake.
    assert_eq!(lan.desk.within(|| block_on(lamplighter::neighbours::gateway())), None);
    lan.desk.sh("ip route add default via 10.77.0.50");
    knock(sleeper.ip);
    assert_eq!(lan.desk.within(|| block_on(lamplighter::neighbours::gateway())), Some(mac.parse().unwrap()));
    assert!(learn(sleeper.ip).unwrap_err().contains("router"));
}
