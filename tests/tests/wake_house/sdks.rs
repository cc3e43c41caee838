//! The official client libraries, unchanged, ask for models of machines that sleep: real llama-servers and simulated Ollamas, each on a
//! machine of its own.

use super::*;
use lamplighter_tests::{
    clients::{Library, Python},
    lan::Witness,
    llama::{LAMP, Llama},
};
use std::net::SocketAddr;

/// One machine for each call: a request may wake a machine once a minute.
const CALLS: [(Library, &str, &str); 6] = [
    (Library::Openai, "chat", ""),
    (Library::Openai, "chat_stream", "secure_on = \"lamp\""),
    (Library::Anthropic, "message", "secure_on = \"beacon\""),
    (Library::Anthropic, "message_stream", ""),
    (Library::Ollama, "chat", ""),
    (Library::Ollama, "chat_stream", "secure_on = \"a1:b2:c3:d4:e5:f6\""),
];

/// What the simulated Ollamas say.
const GREETING: &str = "good morning from upstairs";

struct Place {
    name: String,
    mac: String,
    model: String,
    machine: Sleeper,
    password: Vec<u8>,
}

impl Place {
    fn new(lan: &Lan, llama: &Llama, at: usize) -> Self {
        let (library, _, secure_on) = CALLS[at];
        let address: SocketAddr = format!("10.77.0.{}:{PORT}", 50 + at).parse().unwrap();
        let (mac, model) = (format!("a8:a1:59:0c:1d:{at:02x}"), format!("model-{at}"));
        let password = match secure_on {
            "" => vec![],
            text if text.contains(':') => vec![0xa1, 0xb2, 0xc3, 0xd4, 0xe5, 0xf6],
            text => text.split('"').nth(1).unwrap().into(),
        };
        let (llama, alias) = (llama.clone(), model.clone());
        let engine = move || {
            if library != Library::Ollama {
                return llama.command(address, "tiny-lamp", &alias);
            }
            let mut command = Command::new(binary("lamplighter-simnode"));
            command.args([
                "--engine",
                "ollama",
                "--ip",
                &address.ip().to_string(),
                "--port",
                &PORT.to_string(),
            ]);
            command.args(["--model", &alias, "--text", GREETING]).stdin(Stdio::null()).stdout(Stdio::null());
            command
        };
        let bmc = Bmc { password: password.clone(), ..Bmc::default() };
        let machine = Sleeper::new(lan, "home", &format!("{}/24", address.ip()), &mac, bmc, engine);
        Self { name: format!("machine-{at}"), mac, model, machine, password }
    }

    fn config(&self, at: usize) -> String {
        format!(
            "[[node]]\nname = \"{}\"\nurl = \"{}\"\n[node.wake]\nmac = \"{}\"\n{}\n",
            self.name,
            self.machine.url(PORT),
            self.mac,
            CALLS[at].2
        )
    }
}

#[test]
fn unchanged_libraries_get_whole_answers_from_machines_that_slept() {
    let test = "unchanged_libraries_get_whole_answers_from_machines_that_slept";
    let Some(lan) = Lan::or_skip(test) else { return };
    let Some(llama) = Llama::or_skip(test) else { return };
    let Some(python) = Python::or_skip(test) else { return };
    lan.plug(&lan.desk, "attic", "eth1", "10.88.0.1/24", "a8:a1:59:00:00:02");
    let (home, attic) = (Witness::on(&lan, "home"), Witness::on(&lan, "attic"));
    let places: Vec<Place> = (0..CALLS.len()).map(|at| Place::new(&lan, &llama, at)).collect();
    lan.desk.live(async {
        places.iter().for_each(|place| place.machine.press_power());
        places.iter().for_each(|place| place.machine.until_open(PORT));
        let nodes: String = places.iter().enumerate().map(|(at, place)| place.config(at)).collect();
        let gateway = Gateway::start(&format!("[server]\nlisten = [\"127.0.0.1:0\"]\n{nodes}")).await;
        gateway.until_up(CALLS.len()).await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        places.iter().for_each(|place| place.machine.sleep());
        gateway.until(|snapshot| snapshot.nodes.iter().all(|node| node.state == State::Asleep)).await;
        assert_eq!(home.seen(), []);

        let asked = places.iter().zip(CALLS).map(|(place, (library, call, _))| {
            let (python, url) = (&python, &gateway.url);
            async move { (place, call, python.run(library, url, &place.model, &["--calls", call]).await) }
        });
        for (place, call, report) in futures::future::join_all(asked).await {
            let told = report.call(call);
            let says = if place.name.ends_with(['4', '5']) { GREETING } else { LAMP };
            assert!(told.ok && told.text.trim() == says, "{}: {told:?}", place.name);
            assert!(
                !call.contains("stream") || told.more["pieces"].as_u64() > Some(1),
                "in one piece: {told:?}"
            );
            assert_eq!(place.machine.wakes(), 1, "{}", place.name);
        }
        let seen = home.seen();
        for place in &places {
            let own: Vec<Seen> = seen.iter().filter(|packet| packet.mac == place.mac).cloned().collect();
            assert!(own.len() >= 4, "{}: {own:?}", place.name);
            assert!(
                own.iter().all(|packet| packet.length == 102 + place.password.len()),
                "{}: {own:?}",
                place.name
            );
        }
        let known: Vec<&str> = places.iter().map(|place| place.mac.as_str()).collect();
        assert!(seen.iter().all(|packet| known.contains(&packet.mac.as_str())), "{seen:?}");
        assert_eq!(attic.seen(), [], "they are not on that network");
    });
}
