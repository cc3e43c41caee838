//! By asking for a model that a sleeping machine has.

use super::*;
use futures::future::join_all;
use lamplighter_tests::lan::Witness;
use std::time::Instant;

/// One of the simulated engine's counters.
fn counted(machine: &Sleeper, counter: &str) -> u64 {
    let stats: serde_json::Value = machine.space.live(async {
        let url = format!("http://127.0.0.1:{CONTROL}/stats");
        lamplighter_tests::house::http().get(url).send().await.unwrap().json().await.unwrap()
    });
    stats[counter].as_u64().unwrap()
}

/// Rounds in the first `within` of the first, counted by the packets to one place.
fn rounds(seen: &[Seen], within: Duration) -> usize {
    let Some(first) = seen.first().map(|packet| packet.at) else { return 0 };
    let to_one_place = |packet: &&Seen| packet.port == 9 && packet.to.to_string() == "10.77.0.255";
    seen.iter().filter(to_one_place).filter(|packet| packet.at.duration_since(first) < within).count()
}

#[test]
fn r46_five_hundred_requests_share_one_wake() {
    let Some(lan) = Lan::or_skip("r46") else { return };
    let home = Witness::on(&lan, "home");
    let bmc = Bmc {
        network_after: Duration::from_secs(1),
        engine_after: Some(Duration::from_secs(3)),
        ..Bmc::default()
    };
    let machine = workstation(&lan, bmc, &["--parallel", "4", "--tokens", "8", "--text", "good morning"]);
    lan.desk.live(async {
        let text = written("").replace("[node.wake]", "max_concurrent = 4\n[node.wake]");
        let gateway = after_a_day_of_work(&machine, &text).await;
        let began = Instant::now();
        let answers = join_all((0..500).map(|i| {
            let request = gateway.chat("qwen:7b", i % 2 == 0);
            async move {
                let answer = request.send().await.unwrap();
                (answer.status().as_u16(), answer.text().await.unwrap())
            }
        }))
        .await;
        for (status, text) in &answers {
            assert!(*status == 200 && text.contains("morning"), "{status}: {text}");
        }
        assert_eq!((answers.len(), machine.wakes()), (500, 1), "after {:?}", began.elapsed());
        let seen = home.seen();
        assert!((1..=3).contains(&rounds(&seen, Duration::from_secs(5))), "{seen:?}");
        assert_only_for(&seen, MAC, 102);
        assert_eq!(counted(&machine, "generations_started"), 500);
        let peak = counted(&machine, "in_flight_peak");
        assert!(peak <= 4 + 2, "never more than its places, and a probe: {peak}");
    });
}

#[test]
fn r47_a_machine_that_never_wakes_is_told_and_not_called_again() {
    let Some(lan) = Lan::or_skip("r47") else { return };
    let home = Witness::on(&lan, "home");
    let machine = workstation(&lan, Bmc { heeds: false, ..Bmc::default() }, &[]);
    lan.desk.live(async {
        let gateway = after_a_day_of_work(&machine, &written("timeout = \"6s\"")).await;
        let began = Instant::now();
        let answer = gateway.chat("qwen:7b", false).send().await.unwrap();
        let waited = began.elapsed();
        assert_eq!(answer.status().as_u16(), 503);
        let again_s: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&again_s), "{again_s}");
        assert!(answer.text().await.unwrap().contains("did not wake"), "it says why");
        assert!(waited > Duration::from_secs(5), "{waited:?}");
        let packets = home.seen().len();
        assert!(packets > 0);
        let began = Instant::now();
        let answer = gateway.chat("qwen:7b", false).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 503);
        assert!(began.elapsed() < Duration::from_secs(3), "at once: {:?}", began.elapsed());
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(home.seen().len(), packets, "no packet more");
        let failure = gateway.node("workstation").await.sleep.failure.unwrap();
        assert_eq!(failure.code, "never_answered", "{failure:?}");
    });
}

#[test]
fn r48_the_engine_is_waited_for_and_not_the_network() {
    let Some(lan) = Lan::or_skip("r48") else { return };
    let bmc = Bmc {
        network_after: Duration::from_secs(1),
        engine_after: Some(Duration::from_secs(5)),
        ..Bmc::default()
    };
    let machine = workstation(&lan, bmc, &["--text", "good morning"]);
    lan.desk.live(async {
        let gateway = after_a_day_of_work(&machine, &written("")).await;
        let answer = tokio::spawn(gateway.chat("qwen:7b", true).send());
        let mut stages = Vec::new();
        while !answer.is_finished() {
            let node = gateway.node("workstation").await;
            let stage = node.sleep.waking.map(|waking| format!("{:?}", waking.stage).to_lowercase());
            if stage.is_some() && stages.last() != stage.as_ref() {
                stages.extend(stage);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(stages[..2], ["packet", "reachable"], "{stages:?}");
        let text = answer.await.unwrap().unwrap().text().await.unwrap();
        assert!(text.contains("morning") && text.contains("[DONE]"), "{text}");
    });
}

#[test]
fn r51_a_machine_that_fell_asleep_unseen_is_noticed_and_woken() {
    let Some(lan) = Lan::or_skip("r51") else { return };
    let machine = workstation(&lan, Bmc::default(), &["--text", "good morning"]);
    lan.desk.live(async {
        machine.press_power();
        machine.until_open(PORT);
        let gateway = Gateway::start(&written("")).await;
        gateway.until(is_up).await;
        assert_eq!(gateway.chat("qwen:7b", false).send().await.unwrap().status().as_u16(), 200);
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Its kept connections look alive, and it still counts as up.
        machine.sleep();
        let began = Instant::now();
        let answer = gateway.chat("qwen:7b", false).send().await.unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert!(status == 200 && text.contains("morning"), "{status} after {:?}: {text}", began.elapsed());
        assert_eq!(machine.wakes(), 1);
    });
}

#[test]
fn r52_when_all_have_left_no_packet_follows() {
    let Some(lan) = Lan::or_skip("r52") else { return };
    let home = Witness::on(&lan, "home");
    let machine = workstation(&lan, Bmc { heeds: false, ..Bmc::default() }, &[]);
    lan.desk.live(async {
        let gateway = after_a_day_of_work(&machine, &written("")).await;
        let waiting: Vec<_> = (0..5).map(|_| tokio::spawn(gateway.chat("qwen:7b", true).send())).collect();
        gateway
            .until(|snapshot| snapshot.nodes[0].sleep.waking.as_ref().is_some_and(|w| w.waiters == 5))
            .await;
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
        let left = gateway.until(is_asleep).await;
        assert_eq!(left.nodes[0].sleep.waking, None);
        let packets = home.seen().len();
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(home.seen().len(), packets, "three rounds were due by now, and nobody waits");
    });
}

#[test]
fn lists_and_polls_wake_nothing_and_look_for_nobody() {
    let Some(lan) = Lan::or_skip("lists_and_polls_wake_nothing") else { return };
    let home = Witness::on(&lan, "home");
    let machine = workstation(&lan, Bmc::default(), &[]);
    lan.desk.live(async {
        let gateway = after_a_day_of_work(&machine, &written("")).await;
        lan.until_nothing_open_to(IP);
        let looked_for = home.looked_for(IP);
        let until = Instant::now() + Duration::from_secs(6);
        let poll = || async {
            while Instant::now() < until {
                for path in ["/v1/models", "/api/tags", "/api/ps"] {
                    let answer = gateway.http.get(format!("{}{path}", gateway.url)).send().await.unwrap();
                    assert_eq!(answer.status().as_u16(), 200, "{path}");
                }
                assert!(gateway.http.head(&gateway.url).send().await.unwrap().status().is_success());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::join!(poll(), poll(), poll());
        for body in [r####"{"model":"qwen:7b","messages":[{"role":"user","content":"### Task:\nGenerate a title"}]}"####] {
            let request = gateway.http.post(format!("{}/v1/chat/completions", gateway.url)).body(body);
            let answer = request.header("content-type", "application/json").send().await.unwrap();
            assert_eq!(answer.status().as_u16(), 503);
        }
        let background = gateway.chat("qwen:7b", false).header("x-lamplighter-class", "background");
        assert_eq!(background.send().await.unwrap().status().as_u16(), 503);
        assert_eq!((home.seen(), machine.wakes()), (vec![], 0), "no packet");
        // One look a minute, which the kernel asks for three times.
        assert!(home.looked_for(IP) - looked_for <= 3, "{} looks", home.looked_for(IP) - looked_for);
    });
}
