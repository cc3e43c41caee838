//! On another network: no packet, no probe, no prompt.

use super::*;
use lamplighter_core::node::Stage;
use lamplighter_tests::lan::{Space, Witness};

/// Puts a router on the network `home`, as the way out.
fn router(lan: &Lan, mac: &str) -> Space {
    let router = Space::new().unwrap();
    lan.plug(&router, "home", "eth0", "10.77.0.254/24", mac);
    lan.desk.sh("ip route replace default via 10.77.0.254; ip neigh flush dev eth0");
    touch_router(lan);
    router
}

/// Any traffic to the router brings it into the neighbour table.
fn touch_router(lan: &Lan) {
    lan.desk.within(|| {
        let _ =
            std::net::TcpStream::connect_timeout(&"10.77.0.254:1".parse().unwrap(), Duration::from_secs(2));
    });
}

/// A gateway that has seen the machine up at home, and then asleep.
async fn knows_its_home(machine: &Sleeper) -> Gateway {
    machine.press_power();
    machine.until_open(PORT);
    let gateway = Gateway::start(&written("")).await;
    gateway.until(is_up).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    machine.sleep();
    // By its probes alone: the next one is due in a minute.
    gateway.until(is_asleep).await;
    gateway
}

#[test]
fn a_strange_network_hears_nothing_until_a_person_says_that_it_is_home_too() {
    let Some(lan) = Lan::or_skip("a_strange_network_hears_nothing") else { return };
    let witness = Witness::on(&lan, "home");
    let machine = workstation(&lan, Bmc::default(), &[]);
    let home = router(&lan, "a8:a1:59:00:00:fe");
    lan.desk.live(async {
        let gateway = knows_its_home(&machine).await;
        drop(home);
        // The same addresses, another router: a hotel.
        let _hotel = router(&lan, "a8:a1:59:00:00:fd");
        let away = gateway.until(|snapshot| snapshot.nodes[0].state == State::Away).await;
        assert!(away.nodes[0].sleep.elsewhere, "{:?}", away.nodes[0]);
        lan.until_nothing_open_to(IP);
        let looked_for = witness.looked_for(IP);
        for _ in 0..3 {
            let answer = gateway.chat("qwen:7b", false).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), 503, "{:?}", answer.text().await);
        }
        let url = format!("{}/control/v1/nodes/workstation/wake", gateway.url);
        let clicked = gateway.http.post(url).bearer_auth(&gateway.token).send().await.unwrap();
        assert!(!clicked.status().is_success(), "{clicked:?}");
        tokio::time::sleep(Duration::from_secs(8)).await;
        assert_eq!((witness.seen(), machine.heard()), (vec![], vec![]), "no packet");
        assert_eq!(witness.looked_for(IP), looked_for, "and it is not looked for");

        let url = format!("{}/control/v1/nodes/workstation/home", gateway.url);
        touch_router(&lan);
        let said = gateway.http.post(url).bearer_auth(&gateway.token).send().await.unwrap();
        assert!(said.status().is_success(), "{said:?}");
        gateway.until(is_asleep).await;
    });
}

/// A click at home, the lid closed, and opened in a hotel: its network hears nothing of the wake that was under way, nor when the
/// gateway starts there.
#[test]
fn a_wake_that_was_begun_at_home_ends_on_a_strange_network() {
    let Some(lan) = Lan::or_skip("a_wake_that_was_begun_at_home") else { return };
    let witness = Witness::on(&lan, "home");
    let machine = workstation(&lan, Bmc { heeds: false, ..Bmc::default() }, &[]);
    let home = router(&lan, "a8:a1:59:00:00:fe");
    lan.desk.live(async {
        let mut gateway = knows_its_home(&machine).await;
        let url = format!("{}/control/v1/nodes/workstation/wake", gateway.url);
        let clicked = gateway.http.post(url).bearer_auth(&gateway.token).send().await.unwrap();
        assert!(clicked.status().is_success(), "{clicked:?}");
        gateway.until(|_| !machine.heard().is_empty()).await;
        drop(home);
        let hotel = router(&lan, "a8:a1:59:00:00:fd");
        let away = gateway.until(|snapshot| snapshot.nodes[0].state == State::Away).await;
        assert!(away.nodes[0].sleep.waking.is_none(), "{:?}", away.nodes[0].sleep);
        lan.until_nothing_open_to(IP);
        let (called, looked_for) = (witness.seen().len(), witness.looked_for(IP));
        // A wake calls every 10 s.
        tokio::time::sleep(Duration::from_secs(12)).await;
        assert_eq!((witness.seen().len(), witness.looked_for(IP)), (called, looked_for));

        let home = gateway.take_home();
        assert_eq!(gateway.stop(Duration::from_secs(20)).0, Some(0));
        touch_router(&lan);
        let gateway = Gateway::start_in(home).await;
        let away = gateway.until(|snapshot| snapshot.nodes[0].state == State::Away).await;
        assert!(away.nodes[0].sleep.elsewhere);
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(
            (witness.seen().len(), witness.looked_for(IP)),
            (called, looked_for),
            "from the beginning"
        );
        drop(hotel);
    });
}

/// It is on the network, and every port of it is silent: a firewall and no engine, or a card that answers for a machine that sleeps.
#[test]
fn a_machine_of_which_only_the_card_answers_is_told_as_such() {
    let Some(lan) = Lan::or_skip("a_machine_of_which_only_the_card_answers") else { return };
    let machine = Space::new().unwrap();
    // Without a way back it answers nothing but who it is.
    lan.plug(&machine, "home", "eth0", "", MAC);
    machine.sh(&format!(
        "ip addr add {IP}/32 dev eth0; ip link set eth0 down\n\
         for it in all eth0; do echo 0 >/proc/sys/net/ipv4/conf/$it/rp_filter; done"
    ));
    lan.desk.live(async {
        let gateway = Gateway::start(&written("timeout = \"8s\"")).await;
        gateway.until(is_asleep).await;
        let url = format!("{}/control/v1/nodes/workstation/wake", gateway.url);
        let clicked = gateway.http.post(url).bearer_auth(&gateway.token).send().await.unwrap();
        assert!(clicked.status().is_success(), "{clicked:?}");
        machine.sh("ip link set eth0 up");
        gateway
            .until(|it| {
                it.nodes[0].sleep.waking.as_ref().is_some_and(|waking| waking.stage == Stage::Reachable)
            })
            .await;
        let failed = gateway.until(|it| it.nodes[0].sleep.failure.is_some()).await;
        let failure = failed.nodes[0].sleep.failure.clone().unwrap();
        assert_eq!(failure.code, "card_only", "{failure:?}");
        assert!(failure.checklist.iter().any(|it| it.what.contains("firewall")), "{failure:?}");
    });
}
