//! Files as people write and break them: what is said, where, and that their file is never touched.

mod broken;
mod mutations;
mod wake;

use super::*;
use lamplighter_core::{
    alias::Alias,
    config::{Listen, Secret},
    node::{Engine, Presence},
};
use std::fs;
use tempfile::TempDir;

/// Every field, as in README.md.
pub(super) const GOOD: &str = r#"# The house
[server]
listen = ["127.0.0.1:11400", "[::1]:11400", "docker"]
allowed_hosts = ["models.example"]
allowed_origins = ["https://chat.example"]
key = "file:keys/door"

[[node]]
name = "workstation"
url = "192.168.1.50:11434"   # upstairs
engine = "ollama"
presence = "always-on"
max_concurrent = 1
priority = 10
api_key = "env:WORKSTATION_KEY"
gpu = "RTX 4090"
vram = "24GB"

[[node]]
name = "nas"
url = "http://nas:8080/v1"

[[alias]]
name = "coder"
models = ["qwen3-coder:30b", "llama3.2:3b@nas"]

[[alias]]
name = "claude-*"
models = ["coder"]
wake = "fallback"

[wake]
default = "ask"
quiet_hours = "23:00-07:00"

[[node]]
name = "attic"
url = "192.168.1.60"
[node.wake]
mac = ["a8:a1:59:0c:1d:2e", "A8-A1-59-0C-1D-2F"]
secure_on = "aa:bb:cc:dd:ee:ff"
broadcast = ["192.168.1.255", "127.0.0.1:40009"]
timeout = "90s"
relay = { url = "http://nas:8123/api/wake", headers = { Authorization = "env:HOME_ASSISTANT", X-Room = "attic" } }
[node.sleep]
ssh = "me@192.168.1.60"
command = "systemctl suspend"
"#;

/// A configuration folder and a state folder.
pub(super) struct Home {
    folder: TempDir,
}

impl Home {
    pub(super) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(super) fn file(&self) -> PathBuf {
        self.folder.path().join("config.toml")
    }

    pub(super) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(super) fn write(&self, bytes: impl AsRef<[u8]>) -> &Self {
        fs::write(self.file(), bytes).unwrap();
        self
    }

    pub(super) fn load(&self) -> Result<Loaded, Broken> {
        load(&self.file(), &self.state())
    }

    /// What is said about these bytes, without the folder; the file is still the same afterwards.
    pub(super) fn said(&self, bytes: impl AsRef<[u8]>) -> Vec<String> {
        self.write(&bytes);
        let said = match self.load() {
            Ok(Loaded { complaints, .. }) | Err(Broken { complaints, .. }) => complaints,
        };
        assert_eq!(fs::read(self.file()).unwrap(), bytes.as_ref(), "the user's file was changed");
        let folder = format!("{}/", self.folder.path().display());
        said.iter().map(|complaint| complaint.to_string().replace(&folder, "")).collect()
    }
}

fn broken(origin: &Origin) -> &[Located] {
    match origin {
        Origin::LastGood { broken, .. } => broken,
        _ => &[],
    }
}

#[test]
fn every_field_arrives() {
    let loaded = Home::new().write(GOOD).load().unwrap();
    assert_eq!((&loaded.origin, loaded.report().as_str()), (&Origin::File, ""));
    let Config { server, nodes, aliases, wake: _ } = loaded.config;
    assert_eq!(server.listen.len(), 3);
    assert_eq!(server.listen[2], Listen::Docker);
    assert_eq!(server.allowed_hosts, ["models.example"]);
    assert_eq!(server.allowed_origins, ["https://chat.example"]);
    assert_eq!(server.key, Some(Secret::File("keys/door".into())));
    let node = &nodes[0];
    assert_eq!(
        (node.name.as_str(), node.url.to_string().as_str()),
        ("workstation", "http://192.168.1.50:11434")
    );
    assert_eq!((node.engine, node.presence), (Some(Engine::Ollama), Presence::AlwaysOn));
    assert_eq!((node.max_concurrent, node.priority), (Some(1), 10));
    assert_eq!(node.api_key, Some(Secret::Env("WORKSTATION_KEY".into())));
    assert_eq!((node.gpu.as_deref(), node.vram_bytes), (Some("RTX 4090"), Some(24 << 30)));
    let node = &nodes[1];
    assert_eq!((node.engine, node.presence, node.priority), (None, Presence::ComesAndGoes, 0));
    assert_eq!((node.max_concurrent, &node.api_key, node.vram_bytes), (None, &None, None));
    let coder = Alias {
        name: "coder".into(),
        models: vec!["qwen3-coder:30b".into(), "llama3.2:3b@nas".into()],
        wake: None,
    };
    assert_eq!(aliases[0], coder);
}

#[test]
fn no_file_or_only_comments_are_no_nodes() {
    let home = Home::new();
    let none = home.load().unwrap();
    assert_eq!((none.config, none.origin), (Config::default(), Origin::NoFile));
    assert!(!home.state().exists(), "nothing was read, nothing is kept");
    for text in ["# later\n", "\n \t\n", "\u{feff}# with a mark", "\u{feff}"] {
        let empty = home.write(text).load().unwrap();
        assert_eq!((empty.config, empty.origin), (Config::default(), Origin::OnlyComments), "{text:?}");
    }
    assert_eq!(home.write("[server]\n").load().unwrap().origin, Origin::File);
}

#[test]
fn a_broken_file_uses_the_last_good_copy_and_says_so() {
    let home = Home::new();
    let good = home.write(GOOD).load().unwrap();
    let cut = &GOOD[..GOOD.find("24GB").unwrap()];
    for bytes in [cut.as_bytes(), b"", b"\xff", b"[[node]]\nname = \"nas\"\n"] {
        let loaded = home.write(bytes).load().unwrap();
        assert_eq!(loaded.config, good.config);
        assert_eq!(loaded.path, home.file(), "relative paths still start at the user's file");
        assert_eq!(broken(&loaded.origin).len(), 1);
        assert!(
            loaded.report().contains("config.toml is not used; the last good copy of it is: "),
            "{}",
            loaded.report()
        );
        assert_eq!(fs::read(home.file()).unwrap(), bytes, "the broken file is the user's to repair");
    }
    let Origin::LastGood { copy, .. } = home.load().unwrap().origin else { panic!("the copy is not in use") };
    assert_eq!(fs::read_to_string(&copy).unwrap(), GOOD, "a broken file never becomes the good copy");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&copy), mode(&home.state())), (0o600, 0o700));
    }
    let repaired = home.write("[[node]]\nname = \"nas\"\nurl = \"nas\"\n").load().unwrap();
    assert_eq!((repaired.origin, repaired.config.nodes.len()), (Origin::File, 1));
    assert!(fs::read_to_string(&copy).unwrap().len() < 100, "and the repaired one does");
}

#[test]
fn copies_of_two_files_do_not_mix() {
    let (home, other) = (Home::new(), Home::new());
    home.write(GOOD).load().unwrap();
    other.write("");
    assert!(load(&other.file(), &home.state()).is_err());
    fs::write(home.state().join(format!("last-good-{}.toml", fingerprint(&home.file()))), "broken too")
        .unwrap();
    let why = home.write("").load().unwrap_err();
    assert_eq!(why.complaints.len(), 1, "about the user's file, not about our copy: {why}");
}

#[test]
fn a_copy_that_cannot_be_kept_is_a_warning() {
    let home = Home::new();
    fs::write(home.state(), "a file where the folder should be").unwrap();
    let loaded = home.write(GOOD).load().unwrap();
    assert_eq!((loaded.origin, loaded.config.nodes.len()), (Origin::File, 3));
    assert_eq!(loaded.complaints.len(), 1);
    let said = loaded.complaints[0].to_string();
    assert!(said.contains("warning: could not keep a copy of the configuration here: "), "{said}");
}

/// Whoever begins with README's example must not begin with an error.
#[test]
fn the_example_in_the_readme_loads() {
    let readme = include_str!("../../../../README.md");
    let (_, behind) = readme.split_once("```toml\n").unwrap();
    let (example, _) = behind.split_once("```").unwrap();
    let parsed = parse(example.as_bytes(), Path::new("config.toml")).unwrap();
    assert_eq!(parsed.warnings, []);
    assert_eq!((parsed.config.nodes.len(), parsed.config.aliases.len()), (2, 1));
}
