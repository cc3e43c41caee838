//! By a person's order.

use super::*;
use lamplighter_core::node::Stage;
use lamplighter_tests::lan::Witness;
use reqwest::Method;

async fn order(gateway: &Gateway, method: Method, path: &str) -> u16 {
    let url = format!("{}/control/v1/{path}", gateway.url);
    gateway.http.request(method, url).bearer_auth(&gateway.token).send().await.unwrap().status().as_u16()
}

#[test]
fn a_machine_that_was_learned_is_woken_after_a_restart() {
    let Some(lan) = Lan::or_skip("a_machine_that_was_learned_is_woken_after_a_restart") else { return };
    lan.plug(&lan.desk, "attic", "eth1", "10.88.0.1/24", "a8:a1:59:00:00:02");
    let (home, attic) = (Witness::on(&lan, "home"), Witness::on(&lan, "attic"));
    let machine = workstation(&lan, Bmc::default(), &[]);
    lan.desk.live(async {
        let mut gateway = after_a_day_of_work(&machine, &config("mac = \"auto\"")).await;
        let folder = gateway.take_home();
        gateway.stop(Duration::from_secs(20));
        let gateway = Gateway::start_in(folder).await;
        let sleeping = gateway.until(is_asleep).await;
        assert_eq!(sleeping.models[0].asleep_on, ["workstation"], "its models are listed while it sleeps");
        assert_eq!(home.seen(), [], "nobody has called it");

        assert_eq!(order(&gateway, Method::POST, "nodes/workstation/wake").await, 202);
        gateway.until(is_up).await;
        assert_eq!(machine.wakes(), 1);
        let answer = gateway.chat("qwen:7b", false).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["x-lamplighter-node"]),
            (200, &"workstation".parse().unwrap())
        );
        let seen = home.seen();
        assert!(
            (4..=12).contains(&seen.iter().filter(|packet| packet.to.to_string() != IP).count()),
            "{seen:?}"
        );
        assert_only_for(&seen, MAC, 102);
        assert_eq!(attic.seen(), [], "the other network hears nothing of it");
    });
}

#[test]
fn r53_a_machine_that_is_just_going_to_sleep_is_called_again() {
    let Some(lan) = Lan::or_skip("r53") else { return };
    let home = Witness::on(&lan, "home");
    let bmc = Bmc { deaf: Duration::from_secs(8), ..Bmc::default() };
    let machine = workstation(&lan, bmc, &[]);
    lan.desk.live(async {
        let gateway = after_a_day_of_work(&machine, &written("")).await;
        // It is deaf from now on: this is its last moment awake.
        machine.sleep();
        assert_eq!(order(&gateway, Method::POST, "nodes/workstation/wake").await, 202);
        gateway.until(is_up).await;
        assert_eq!(machine.wakes(), 1);
        let first = home.seen()[0].at;
        let rounds: Vec<u128> = home
            .seen()
            .iter()
            .filter(|packet| packet.port == 9 && packet.to.to_string() == "10.77.0.255")
            .map(|packet| (packet.at.duration_since(first).as_millis() + 500) / 1_000)
            .collect();
        assert_eq!(rounds, [0, 1, 3, 13], "the fourth round is the one it hears");
    });
}

#[test]
fn a_machine_that_is_up_without_its_engine_is_told_as_such() {
    let Some(lan) = Lan::or_skip("a_machine_that_is_up_without_its_engine_is_told_as_such") else { return };
    let bmc = Bmc { network_after: Duration::from_secs(2), engine_after: None, ..Bmc::default() };
    let machine = workstation(&lan, bmc, &[]);
    lan.desk.live(async {
        let gateway = Gateway::start(&written("timeout = \"8s\"")).await;
        gateway.until(is_asleep).await;
        assert_eq!(order(&gateway, Method::POST, "nodes/workstation/wake").await, 202);
        let failed = gateway.until(|snapshot| snapshot.nodes[0].sleep.failure.is_some()).await;
        let failure = failed.nodes[0].sleep.failure.clone().unwrap();
        assert_eq!(failure.code, "engine_closed", "{failure:?}");
        assert!(failure.checklist.iter().any(|check| check.what.contains("starts by itself")), "{failure:?}");
        assert_eq!(machine.wakes(), 1);
        let seen = [2, 3, 4, 5].map(|second| failure.words.contains(&format!("since second {second},")));
        assert!(seen.contains(&true), "seen when its network came: {}", failure.words);

        // It is called again: that its port refused a moment ago is no sight of it now.
        machine.sleep();
        lan.desk.sh("ip neigh flush all");
        assert_eq!(order(&gateway, Method::POST, "nodes/workstation/wake").await, 202);
        let waking = gateway.until(|snapshot| snapshot.nodes[0].sleep.waking.is_some()).await;
        assert_eq!(waking.nodes[0].state, State::Waking(Stage::Packet), "nothing has been seen of it yet");
    });
}

#[test]
fn a_network_that_is_gone_is_told_as_the_reason() {
    let Some(lan) = Lan::or_skip("a_network_that_is_gone_is_told_as_the_reason") else { return };
    let machine = workstation(&lan, Bmc::default(), &[]);
    lan.desk.live(async {
        let gateway = Gateway::start(&written("timeout = \"7s\"")).await;
        gateway.until(is_asleep).await;
        lan.desk.sh("ip link set eth0 down");
        assert_eq!(order(&gateway, Method::POST, "nodes/workstation/wake").await, 202);
        let failed = gateway.until(|snapshot| snapshot.nodes[0].sleep.failure.is_some()).await;
        let failure = failed.nodes[0].sleep.failure.clone().unwrap();
        assert_eq!(failure.code, "nothing_sent", "{failure:?}");
        assert!(failure.words.contains("no packet left this computer"), "{failure:?}");
        lan.desk.sh("ip link set eth0 up");
        assert_eq!(order(&gateway, Method::POST, "nodes/workstation/wake").await, 202);
        gateway.until(is_up).await;
        assert_eq!(machine.wakes(), 1);
    });
}
