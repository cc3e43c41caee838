//! `[node.wake]`, `[node.sleep]`, `[wake]` and an alias's `wake`: what arrives, and what is said about mistakes.

use super::{broken::says, *};
use lamplighter_core::{
    config::{HeaderValue, KeepAwake, Macs, Method, NodeCommand, Nudge, Relay, WakeConfig},
    mac::Mac,
    wake::WakePolicy,
};

fn node(fields: &str) -> String {
    format!("[[node]]\nname = \"nas\"\nurl = \"nas:11434\"\n{fields}\n")
}

fn config(text: &str) -> Config {
    parse(text.as_bytes(), Path::new("c")).unwrap().config
}

#[test]
fn every_field_of_waking_arrives() {
    let Config { nodes, aliases, wake, .. } = config(GOOD);
    assert_eq!(
        (wake.default, wake.quiet_hours.unwrap().to_string().as_str()),
        (WakePolicy::Ask, "23:00-07:00")
    );
    assert_eq!((aliases[0].wake, aliases[1].wake), (None, Some(WakePolicy::Fallback)));
    assert!(nodes[0].wake.is_none() && nodes[0].sleep.is_none());
    let attic = &nodes[2];
    assert_eq!(attic.presence, Presence::Sleeps, "what can be woken sleeps, if nothing else is written");
    let wake = attic.wake.as_ref().unwrap();
    let mac = |last| Mac([0xa8, 0xa1, 0x59, 0x0c, 0x1d, last]);
    assert_eq!(wake.mac, Macs::Written(vec![mac(0x2e), mac(0x2f)]));
    assert_eq!(wake.secure_on.as_ref().unwrap().bytes(), [0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff]);
    let targets: Vec<String> = wake.broadcast.iter().map(ToString::to_string).collect();
    assert_eq!(targets, ["192.168.1.255", "127.0.0.1:40009"]);
    assert_eq!((wake.broadcast[0].port, wake.timeout_ms), (None, 90_000));
    let Some(Relay::Hook(hook)) = &wake.relay else { panic!("{wake:?}") };
    assert_eq!((hook.url.as_str(), hook.method), ("http://nas:8123/api/wake", Method::Post));
    assert!(
        hook.headers
            .contains(&("Authorization".into(), HeaderValue::Kept(Secret::Env("HOME_ASSISTANT".into()))))
    );
    assert!(hook.headers.contains(&("X-Room".into(), HeaderValue::Plain("attic".into()))));
    let ssh = NodeCommand::Ssh { target: "me@192.168.1.60".into(), command: "systemctl suspend".into() };
    assert_eq!(attic.sleep, Some(ssh));
}

#[test]
fn the_empty_table_makes_a_node_wakeable() {
    let nodes = config(&node("[node.wake]")).nodes;
    assert_eq!((nodes[0].wake.as_ref(), nodes[0].presence), (Some(&WakeConfig::default()), Presence::Sleeps));
    let nodes = config(&node("presence = \"comes-and-goes\"\n[node.wake]\nrelay = \"tailscale\"")).nodes;
    assert_eq!(nodes[0].presence, Presence::ComesAndGoes, "what is written counts");
    assert_eq!(nodes[0].wake.as_ref().unwrap().relay, Some(Relay::Tailscale));
    assert!(nodes[0].requests_wake(), "it may come and go, and is woken all the same");
    says(
        node("presence = \"always-on\"\n[node.wake]"),
        &[
            "config.toml:4:12: warning: what is always on is not woken by requests, only by a click: leave `presence` out, or write \"sleeps\"",
        ],
    );
    assert_eq!(config("[wake]\nquiet_hours = \"\"").wake, lamplighter_core::config::WakeRules::default());
}

#[test]
fn passwords_of_both_lengths_in_all_forms() {
    let bytes = |typed: &str| {
        let nodes = config(&node(&format!("[node.wake]\nsecure_on = \"{typed}\""))).nodes;
        nodes[0].wake.as_ref().unwrap().secure_on.as_ref().unwrap().bytes().to_vec()
    };
    assert_eq!(bytes("aa-bb-cc-dd-ee-ff"), [0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff]);
    assert_eq!(bytes("aabbccdd"), [0xaa, 0xbb, 0xcc, 0xdd]);
    assert_eq!(bytes("lamp"), *b"lamp");
    assert_eq!(bytes("beacon"), *b"beacon");
    assert_eq!(bytes("aabbcc"), *b"aabbcc", "six characters: three bytes are no password");
}

#[test]
fn keep_awake_in_all_its_forms() {
    let read = |written: &str| config(&node(&format!("keep_awake = {written}"))).nodes.remove(0).keep_awake;
    let by_call = |every_ms| Some(KeepAwake { every_ms, by: Nudge::Call });
    assert_eq!([read("true"), read("\"2m\""), read("false")], [by_call(45_000), by_call(120_000), None]);
    let command = "systemd-inhibit --what=idle sleep 90 &";
    let by = Nudge::Command(NodeCommand::Ssh { target: "me@pc".into(), command: command.into() });
    let written = format!("{{ every = \"1m\", ssh = \"me@pc\", command = \"{command}\" }}");
    assert_eq!(read(&written), Some(KeepAwake { every_ms: 60_000, by }));
    let Some(KeepAwake { every_ms: 45_000, by: Nudge::Command(NodeCommand::Hook(hook)) }) =
        read("{ url = \"http://pc:8009/stay\", method = \"PUT\" }")
    else {
        panic!()
    };
    assert_eq!((hook.url.as_str(), hook.method), ("http://pc:8009/stay", Method::Put));
    for (written, said) in [
        (
            "3",
            "14: error: `keep_awake`: it is true, how often (\"45s\"), or { ssh = \"me@192.168.1.50\", command = \"…\" }",
        ),
        (
            "\"1s\"",
            "14: error: `keep_awake`: between 5 seconds and 30 minutes: shorter than the machine's own idle timer",
        ),
        (
            "{ every = \"1h\", url = \"http://a\" }",
            "24: error: `every`: between 5 seconds and 30 minutes: shorter than the machine's own idle timer",
        ),
        (
            "{ ssh = \"me@pc\" }",
            "14: error: keep_awake has no `command`: add a line like command = \"systemd-inhibit --what=idle sleep 90 >/dev/null 2>&1 &\"",
        ),
        (
            "{ ssh = \"me@pc\", url = \"http://a\" }",
            "14: error: keep_awake has both `ssh` and `url`: one of them is enough",
        ),
        (
            "{ evry = \"1m\", url = \"http://a\" }",
            "16: error: unknown field \"evry\" in keep_awake: did you mean \"every\"?",
        ),
    ] {
        says(node(&format!("keep_awake = {written}")), &[&format!("config.toml:4:{said}")]);
    }
    let cloud = "[[node]]\nname = \"x\"\nurl = \"https://openrouter.ai/api\"\nkeep_awake = true\n";
    says(
        cloud,
        &["config.toml:4:14: warning: this machine is not yours: nothing is called to keep it awake"],
    );
}

#[test]
fn mistakes_in_waking() {
    let at = |said: &str| format!("config.toml:5:{said}");
    for (field, said) in [
        (
            "mac = \"auot\"",
            "7: error: `mac`: \"auot\" is not a MAC address: write it like \"a8:a1:59:0c:1d:2e\"",
        ),
        ("mac = 3", "7: error: `mac`: expected \"auto\" or an address, found the number 3"),
        (
            "mac = [\"a8:a1:59:0c:1d:2e\", \"x\"]",
            "7: error: `mac`: \"x\" is not a MAC address: write it like \"a8:a1:59:0c:1d:2e\"",
        ),
        ("mac = []", "7: error: one or two addresses, or \"auto\""),
        ("mac = [\"a8:a1:59:0c:1d:2e\", \"a8a1590c1d2e\"]", "7: error: a8:a1:59:0c:1d:2e stands here twice"),
        (
            "mac = \"3e:22:fb:01:02:03\"",
            "7: warning: 3e:22:fb:01:02:03 was made up by software, like a phone's private Wi-Fi address: a packet for it will hardly wake a machine",
        ),
        (
            "mac = \"02:42:ac:11:00:02\"",
            "7: warning: 02:42:ac:11:00:02 belongs to a virtual machine or a container: a packet for it will hardly wake a machine",
        ),
        (
            "secure_on = \"hunter-2\"",
            "13: error: `secure_on`: a SecureOn password is 4 or 6 bytes, as \"aa:bb:cc:dd:ee:ff\" or as plain characters",
        ),
        (
            "broadcast = [\"nas.local\"]",
            "14: error: `broadcast`: \"nas.local\" is not an address: write it like \"192.168.1.255\" or \"192.168.1.255:9\"; names are not looked up here",
        ),
        (
            "broadcast = \"192.168.1.255\"",
            "13: error: `broadcast`: expected a list, found the text \"192.168.1.255\": put it in [ ]",
        ),
        (
            "timeout = \"1s\"",
            "11: error: `timeout`: between 5 seconds and 15 minutes: machines take from 3 s to 2 minutes to wake",
        ),
        (
            "timeout = 120",
            "11: error: `timeout`: expected text, found the number 120: write it with its unit, like \"2m\"",
        ),
        (
            "timeout = \"120\"",
            "11: error: `timeout`: \"120\" is not a duration: write it like \"20s\", \"2m\" or \"1h30m\"",
        ),
        (
            "relay = \"carrier pigeon\"",
            "9: error: `relay`: it is \"tailscale\" or { url = \"http://…\", method = \"POST\" }",
        ),
        (
            "relay = {}",
            "9: error: relay has no `url`: add a line like url = \"http://192.168.1.2:8123/api/webhook/wake\"",
        ),
        (
            "relay = { url = \"http://a\", headers = { Authorization = \"Bearer sk-123\" } }",
            "57: error: `headers`: Authorization: its value is not written here: use \"env:NAME\" or \"file:PATH\" (a file only you can read, mode 0600)",
        ),
        (
            "relay = { url = \"http://a\", method = \"DELETE\" }",
            "38: error: `method`: \"DELETE\" is no method: it is one of GET, POST, PUT",
        ),
        (
            "command = \"rm\"",
            "1: error: unknown field \"command\" in [node.wake]: it belongs below [node.sleep]",
        ),
        ("port = 9", "1: error: unknown field \"port\" in [node.wake]: did you mean \"broadcast\"?"),
    ] {
        says(node(&format!("[node.wake]\n{field}")), &[&at(said)]);
    }
}

#[test]
fn mistakes_in_sleeping() {
    let with = |fields: &str| node(&format!("[node.wake]\n[node.sleep]\n{fields}"));
    for (fields, said) in [
        (
            "ssh = \"-oProxyCommand=x\"\ncommand = \"true\"",
            "6:7: error: `ssh`: \"-oProxyCommand=x\" is not an SSH target: write it like \"me@192.168.1.50\"",
        ),
        (
            "ssh = \"me@nas\"",
            "5:1: error: [node.sleep] has no `command`: add a line like command = \"systemctl suspend\"",
        ),
        (
            "ssh = \"me@nas\"\nurl = \"http://nas\"",
            "5:1: error: [node.sleep] has both `ssh` and `url`: one of them is enough",
        ),
        (
            "url = \"http://nas\"\ncommand = \"true\"",
            "5:1: error: `command` in [node.sleep] goes with `ssh`, not with `url`",
        ),
        (
            "url = \"http://me:pw@nas/sleep\"",
            "6:7: error: `url`: a user name or password does not belong in the address: use `headers`",
        ),
    ] {
        says(with(fields), &[&format!("config.toml:{said}")]);
    }
    says(
        node("[node.sleep]\nssh = \"me@nas\"\ncommand = \"systemctl suspend\""),
        &[
            "config.toml:4:1: warning: this machine could be put to sleep and not be woken again: add [node.wake]",
        ],
    );
}

#[test]
fn mistakes_in_the_rules() {
    for (field, said) in [
        (
            "default = \"nver\"",
            "11: error: `default`: \"nver\" is no policy: did you mean \"never\"? It is one of wait, fallback, ask, never",
        ),
        (
            "quiet_hours = \"23-7\"",
            "15: error: `quiet_hours`: \"23-7\" is not a span of the day: write it like \"23:00-07:00\"",
        ),
        (
            "quiet_hours = \"07:00-07:00\"",
            "15: error: `quiet_hours`: it ends when it begins: write \"\" for no quiet hours, or `default = \"never\"`",
        ),
        ("mac = \"auto\"", "1: error: unknown field \"mac\" in [wake]: it belongs below [node.wake]"),
    ] {
        says(format!("[wake]\n{field}\n"), &[&format!("config.toml:2:{said}")]);
    }
    says(
        "[[alias]]\nname = \"a\"\nmodels = [\"b\"]\nwake = true\n",
        &["config.toml:4:8: error: `wake`: expected text, found true"],
    );
}

#[test]
fn a_machine_that_is_no_neighbour_needs_its_address_written() {
    for (url, why) in [
        ("127.0.0.1:11434", "the address is this computer's own"),
        ("https://gpu.example.com", "the machine is not on your own network"),
        ("100.101.102.103:11434", "the address belongs to a tailnet"),
    ] {
        let text = |more: &str| format!("[[node]]\nname = \"a\"\nurl = \"{url}\"\n[node.wake]\n{more}");
        let said =
            format!("config.toml:4:1: warning: {why}, so its MAC address cannot be learned: write it here");
        says(text(""), &[&said]);
        says(text("mac = \"a8:a1:59:0c:1d:2e\""), &[]);
        says(text("relay = { url = \"http://plug.lan/on\" }"), &[]);
        says(text("relay = { url = \"http://plug.lan/{mac}\" }"), &[&said]);
    }
}

#[test]
fn a_password_is_never_shown() {
    let home = Home::new();
    let why = home.write(node("[node.wake]\nsecure_on = \"hunter-2\"")).load().unwrap_err().report();
    assert!(!why.contains("hunter") && why.contains("secure_on = …"), "{why}");
    assert!(!format!("{:?}", config(GOOD).nodes[2].wake).contains("187"), "not in a debug line either");
}
