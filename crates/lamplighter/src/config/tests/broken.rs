//! Broken files, each with exactly what is said about it and where.

use super::*;

/// Only this is said, in this order; the file is not used unless all of it are warnings.
pub(super) fn says(bytes: impl AsRef<[u8]>, expected: &[&str]) {
    let home = Home::new();
    assert_eq!(home.said(&bytes), expected);
    let all_warnings = expected.iter().all(|line| line.contains(": warning: "));
    assert_eq!(home.load().is_ok(), all_warnings);
    if !all_warnings {
        assert!(!home.state().exists(), "a broken file is not kept as a good one");
    }
}

fn node(fields: &str) -> String {
    format!("[[node]]\nname = \"nas\"\nurl = \"nas:11434\"\n{fields}\n")
}

#[test]
fn empty() {
    says(
        "",
        &[
            "config.toml: error: the file is empty (0 bytes), so it is probably damaged: restore it, or delete it to start without nodes",
        ],
    );
}

#[test]
fn truncated() {
    let cut = |at: &str| &GOOD[..GOOD.find(at).unwrap()];
    says(cut("4GB"), &["config.toml:17:10: error: the text is not closed, expected `\"`"]);
    says(cut("ram ="), &["config.toml:17:2: error: key with no value, expected `=`"]);
    says(cut(" \"RTX"), &["config.toml:16:6: error: the value is missing"]);
    says(cut(", \"llama"), &["config.toml:25:28: error: unclosed array, expected `]`"]);
    says(
        cut("url = \"http"),
        &["config.toml:19:1: error: [[node]] has no `url`: add a line like url = \"192.168.1.50:11434\""],
    );
}

#[test]
fn nul() {
    let message =
        "error: byte 29 is NUL (0x00): the file is damaged, perhaps by a crash while it was written";
    says(b"[[node]]\nname = \"nas\"\nurl = \"\0\0\0\0\"\n", &[&format!("config.toml:3:8: {message}")]);
    let all = "error: byte 0 is NUL (0x00): the file is damaged, perhaps by a crash while it was written";
    says([0; 4096], &[&format!("config.toml:1:1: {all}")]);
}

#[test]
fn bom() {
    says(format!("\u{feff}{GOOD}"), &[]);
    says(
        "\u{feff}nod = 1",
        &["config.toml:1:1: error: unknown field \"nod\" at the top of the file: did you mean [[node]]?"],
    );
    says(b"\xff\xfe[\0", &["config.toml: error: this is UTF-16 text: save the file as UTF-8"]);
}

#[test]
fn unknown_field() {
    says(
        node("priorty = 1"),
        &["config.toml:4:1: error: unknown field \"priorty\" in [[node]]: did you mean \"priority\"?"],
    );
    says(
        node("Max-Concurrent = 1"),
        &[
            "config.toml:4:1: error: unknown field \"Max-Concurrent\" in [[node]]: did you mean \"max_concurrent\"?",
        ],
    );
    says(
        node("[node.power]\nplug = \"x\""),
        &[
            "config.toml:4:7: error: unknown table \"power\" in [[node]]: known are name, url, engine, presence, max_concurrent, priority, api_key, gpu, vram, wake, sleep, keep_awake",
        ],
    );
    says(
        "[[nodes]]\nname = \"a\"\n",
        &["config.toml:1:3: error: unknown field \"nodes\" at the top of the file: did you mean [[node]]?"],
    );
    says(
        "listen = []\n",
        &[
            "config.toml:1:1: error: unknown field \"listen\" at the top of the file: it belongs below [server]",
        ],
    );
    says(
        "[server]\nport = 80\n",
        &["config.toml:2:1: error: unknown field \"port\" in [server]: did you mean \"listen\"?"],
    );
}

#[test]
fn wrong_type() {
    let at = |message: &str| format!("config.toml:4:{message}");
    for (field, said) in [
        (
            "max_concurrent = \"two\"",
            "18: error: `max_concurrent`: expected a whole number, found the text \"two\"",
        ),
        (
            "max_concurrent = \"2\"",
            "18: error: `max_concurrent`: expected a whole number, found the text \"2\": leave out the quotes",
        ),
        (
            "max_concurrent = 1.5",
            "18: error: `max_concurrent`: expected a whole number, found the number 1.5",
        ),
        (
            "max_concurrent = -1",
            "18: error: `max_concurrent`: expected a whole number, found the number -1: that is too small",
        ),
        (
            "max_concurrent = 0",
            "18: error: 0 would send this node nothing: leave the line out, or write 1 or more",
        ),
        (
            "priority = 0xfffffffff",
            "12: error: `priority`: expected a whole number, found the number 0xfffffffff: that is too large",
        ),
        ("priority = true", "12: error: `priority`: expected a whole number, found true"),
        ("gpu = 4090", "7: error: `gpu`: expected text, found the number 4090: put it in quotes"),
        ("gpu = [\"a\"]", "7: error: `gpu`: expected text, found a list"),
        (
            "vram = 24",
            "8: error: `vram`: expected text, found the number 24: write it with its unit, like \"24GB\"",
        ),
        (
            "vram = \"24 parsecs\"",
            "8: error: `vram`: \"24 parsecs\" is not a size: write it like \"24GB\" or \"512MB\"",
        ),
        ("vram = \"24\"", "8: error: that is less than a megabyte: write it with its unit, like \"24GB\""),
        (
            "engine = \"Ollama\"",
            "10: error: `engine`: \"Ollama\" is no engine: did you mean \"ollama\"? It is one of ollama, vllm, llamacpp, lmstudio, openai",
        ),
        (
            "presence = \"never\"",
            "12: error: `presence`: \"never\" is no presence: it is one of always-on, sleeps, comes-and-goes",
        ),
        (
            "api_key = \"sk-123\"",
            "11: error: `api_key`: a key is not written here: use \"env:NAME\" or \"file:PATH\" (a file only you can read, mode 0600)",
        ),
    ] {
        says(node(field), &[&at(said)]);
    }
    says("node = \"nas\"", &["config.toml:1:8: error: expected tables [[node]], found the text \"nas\""]);
    says(
        "[node]\nname = \"a\"\nurl = \"b\"",
        &["config.toml:1:1: error: write [[node]], in double brackets: there can be several"],
    );
    says("[[server]]", &["config.toml:1:1: error: there is only one [server], in single brackets"]);
    says(
        "[[alias]]\nname = \"a\"\nmodels = \"b\"",
        &["config.toml:3:10: error: `models`: expected a list, found the text \"b\": put it in [ ]"],
    );
}

#[test]
fn duplicate_name() {
    let text = "[[node]]\nname = \"nas\"\nurl = \"a\"\n[[node]]\nname = \"nas\"\nurl = \"b\"\n";
    says(text, &["config.toml:5:8: error: there is another node called \"nas\": names must be unique"]);
}

#[test]
fn alias_cycle() {
    let text =
        "[[alias]]\nname = \"a\"\nmodels = [\"x\", \"b\"]\n[[alias]]\nname = \"b\"\nmodels = [\"a\"]\n";
    says(text, &["config.toml:3:10: error: these aliases lead in a circle: a → b → a"]);
}

#[test]
fn bad_url() {
    for (url, said) in [
        ("nas:99999", "\"nas:99999\" is not an address: the port is a number from 1 to 65535"),
        ("ftp://nas", "ftp:// is not understood: use http:// or https://"),
        ("http://me:pw@nas", "a user name or password does not belong in the address: use `api_key`"),
        ("", "the address is empty: write it like 192.168.1.50:11434"),
    ] {
        says(
            format!("[[node]]\nname = \"nas\"\nurl = \"{url}\"\n"),
            &[&format!("config.toml:3:7: error: `url`: {said}")],
        );
    }
}

#[test]
fn an_alias_to_a_model_that_nobody_lists_is_found_out_later() {
    says("[[alias]]\nname = \"a\"\nmodels = [\"never-heard-of\"]\n", &[]);
    let pinned = node("[[alias]]\nname = \"a\"\nmodels = [\"x\", \"x@nowhere\"]");
    says(
        pinned,
        &[
            "config.toml:6:16: warning: \"x@nowhere\": there is no node of that name, \"nowhere\": it stands for a model of the whole name",
        ],
    );
}

#[test]
fn a_listener_that_cannot_be_read_moves_no_complaint_about_another() {
    says(
        "[server]\nlisten = [\"127.0.0.1\", \"127.0.0.1:1\", \"0.0.0.0:1\"]\n",
        &[
            "config.toml:2:11: error: `listen`: \"127.0.0.1\" is not an address to listen on: the port is missing: write \"127.0.0.1:11400\"",
            "config.toml:2:39: error: 0.0.0.0:1 is reachable from the network: set `key` in [server] first",
        ],
    );
}

#[test]
fn the_door() {
    for (field, said) in [
        (
            "listen = [\"0.0.0.0:11400\"]",
            "11: error: 0.0.0.0:11400 is reachable from the network: set `key` in [server] first",
        ),
        (
            "listen = [\"127.0.0.1:1\", \"docker\"]",
            "26: error: docker is reachable from every container: set `key` in [server] first",
        ),
        (
            "listen = [\"127.0.0.1\"]",
            "11: error: `listen`: \"127.0.0.1\" is not an address to listen on: the port is missing: write \"127.0.0.1:11400\"",
        ),
        ("listen = []", "10: error: an empty list would listen nowhere: leave the line out"),
        ("listen = [\"[::1]:1\", \"[::1]:1\"]", "22: error: [::1]:1 stands here twice"),
        (
            "allowed_hosts = [\"http://a.example\"]",
            "18: error: `allowed_hosts`: \"http://a.example\" is not a host name: leave out the scheme: write it like \"models.example\"",
        ),
        (
            "allowed_hosts = [\"a.example\"]",
            "17: warning: requests under these names need `key` in [server]; without it they are refused",
        ),
        (
            "allowed_origins = [\"*\"]",
            "20: error: `allowed_origins`: \"*\" is not a web page's origin: a wildcard would let every page you visit use your models: list each one",
        ),
        (
            "key = 1",
            "7: error: `key`: a key is not written here: use \"env:NAME\" or \"file:PATH\" (a file only you can read, mode 0600)",
        ),
    ] {
        says(format!("[server]\n{field}\n"), &[&format!("config.toml:2:{said}")]);
    }
    says("[server]\nlisten = [\"0.0.0.0:0\", \"docker\"]\nkey = \"env:KEY\"\n", &[]);
}

#[test]
fn the_same_server_twice_is_a_warning() {
    let text = format!("{}[[node]]\nname = \"again\"\nurl = \"http://NAS:11434/v1\"\n", node(""));
    says(
        text,
        &[
            "config.toml:7:7: warning: http://nas:11434 is the same server as node \"nas\": it counts once, under that name",
        ],
    );
}

#[test]
fn all_complaints_come_at_once_in_the_order_of_the_file_and_nothing_is_said_twice() {
    let text = "\
[server]
listn = []
[[node]]
url = \"x y\"
engine = 3
[[node]]
name = \"nas\"
url = \"nas\"
prio = 1
[[alias]]
name = \"a\"
models = [1, \"b@nas\", \"b@workstation\"]
[[alias]]
models = [\"b\"]
";
    says(
        text,
        &[
            "config.toml:2:1: error: unknown field \"listn\" in [server]: did you mean \"listen\"?",
            "config.toml:3:1: error: [[node]] has no `name`: add a line like name = \"workstation\"",
            "config.toml:4:7: error: `url`: \"x y\" is not an address: write it like 192.168.1.50:11434 or nas.local:11434",
            "config.toml:5:10: error: `engine`: expected text, found the number 3: put it in quotes",
            "config.toml:9:1: error: unknown field \"prio\" in [[node]]: did you mean \"priority\"?",
            "config.toml:12:11: error: `models`: expected text, found the number 1: put it in quotes",
            "config.toml:12:23: warning: \"b@workstation\": there is no node of that name, \"workstation\": it stands for a model of the whole name",
            "config.toml:13:1: error: [[alias]] has no `name`: add a line like name = \"coder\"",
        ],
    );
}

#[test]
fn slips_of_the_pen_are_told_apart_and_bring_no_echo() {
    let text = "[[node]]\nname = nas\nname = \"b\"\nurl: \"x\"\n[server\nkey = \"env:K\"\n[[alias]]\nmodels = [\"a\"\n[[node]]\nnam = 1\n";
    says(
        text,
        &[
            "config.toml:2:8: error: text stands in quotes: \"…\"",
            "config.toml:3:1: error: `name` stands here twice",
            "config.toml:4:6: error: a field and its value are joined by =, not by a colon",
            "config.toml:5:8: error: unclosed table, expected `]`",
            "config.toml:9:1: error: the list above is not closed: `]` is missing",
        ],
    );
    says("{\"node\": []}", &["config.toml:1:1: error: this looks like JSON: the configuration is TOML"]);
    says(
        "[server]\nkey = \"file:C:\\Users\\me\"\n",
        &[
            "config.toml:2:17: error: a backslash is written \\\\ here, or put the whole text in single quotes: '…'",
        ],
    );
}

#[test]
fn what_is_no_text_file() {
    says(b"# caf\xe9\n", &["config.toml:1:6: error: byte 5 (0xe9) is not UTF-8: save the file as UTF-8"]);
    says("#".repeat((1 << 20) + 1), &["config.toml: error: is larger than 1 MiB: that is no configuration"]);
    says("#".repeat(1 << 20), &[]);
    let home = Home::new();
    fs::create_dir(home.file()).unwrap();
    let why = home.load().unwrap_err().to_string();
    assert!(
        why.ends_with("config.toml: error: is a folder: name the file in it, for example config.toml"),
        "{why}"
    );
}

#[cfg(unix)]
#[test]
fn what_cannot_be_read_is_said_without_waiting() {
    let home = Home::new();
    std::os::unix::fs::symlink("config.toml", home.file()).unwrap();
    let why = home.load().unwrap_err().to_string();
    assert!(why.contains("config.toml: error: cannot be read: "), "{why}");
    let why = load(Path::new("/dev/zero"), &home.state()).unwrap_err().to_string();
    assert_eq!(why, "/dev/zero: error: is not a regular file");
}

#[test]
fn a_file_full_of_errors_is_told_in_part() {
    let said = Home::new().said("x = [\n".repeat(30_000));
    assert!(said.len() <= COMPLAINTS_MAX + 1, "{}", said.len());
    let said = Home::new().said((0..200).map(|i| format!("x{i} = 1\n")).collect::<String>());
    assert_eq!(
        (said.len(), said[COMPLAINTS_MAX].as_str()),
        (51, "config.toml: error: … and 150 more complaints")
    );
}

#[test]
fn the_report_shows_the_line_but_never_a_key() {
    let home = Home::new();
    let why = home.write(node("priorty = 1\napi_key = \"sk-123\"")).load().unwrap_err();
    let report = why.report();
    assert!(report.contains("4 | priorty = 1\n  | ^^^^^^^\n"), "{report}");
    assert!(report.contains("5 | api_key = …\n") && !report.contains("123"), "{report}");
}
