//! What is worth a notification: what has changed from one snapshot to the next, in words and buttons.
//!
//! A machine that goes to sleep as planned is no news. When everything vanishes at once it is this computer's network, and one
//! quiet line says so (Uptime Kuma learned both from its users: louislam/uptime-kuma #5112, #2400).

use super::{
    Action,
    trouble::{Trouble, became},
    words::{count, cut_end, usual_s, who},
};
use crate::{
    node::{Presence, State},
    snapshot::{KeptAwake, Node, Prompt, Snapshot},
};

/// A wake that usually takes no longer is not announced: the answer comes before the words are read.
const WORTH_ANNOUNCING_MS: u64 = 10_000;
/// Letters in a notification's text.
const LONGEST: usize = 160;

/// The sorts of notifications; each can be switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum News {
    /// A request would like a machine woken.
    Asked,
    /// A request wakes a machine.
    Waking,
    /// A machine is awake.
    Awake,
    /// A machine did not wake.
    NotAwake,
    /// A machine woke without its GPU.
    GpuLost,
    /// A machine falls asleep while it answers.
    Naps,
    /// A machine that should always be there is not.
    Down,
}

impl News {
    /// Every sort, as people see them in a menu.
    pub const ALL: [Self; 7] =
        [Self::Asked, Self::Waking, Self::Awake, Self::NotAwake, Self::GpuLost, Self::Naps, Self::Down];

    /// One word, for where it is kept.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Waking => "waking",
            Self::Awake => "awake",
            Self::NotAwake => "not-awake",
            Self::GpuLost => "gpu-lost",
            Self::Naps => "naps",
            Self::Down => "down",
        }
    }

    /// What it is about, for a menu.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Asked => "A request asks to wake a machine",
            Self::Waking => "A request wakes a machine",
            Self::Awake => "A machine is awake",
            Self::NotAwake => "A machine did not wake",
            Self::GpuLost => "A machine woke without its GPU",
            Self::Naps => "A machine falls asleep while it answers",
            Self::Down => "An always-on machine is down",
        }
    }
}

/// One notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What sort it is.
    pub news: News,
    /// A later one with the same key takes its place.
    pub key: String,
    /// In a few words.
    pub title: String,
    /// A sentence more; may be empty.
    pub body: String,
    /// Buttons, at most two. Each can also be done in tray, window and command line.
    pub buttons: Vec<(&'static str, Action)>,
    /// Only when no window of ours is in front: there it is seen anyway.
    pub unless_seen: bool,
}

/// What is worth a notification at once.
pub(super) fn news(before: &Snapshot, now: &Snapshot) -> Vec<Notice> {
    // Two questions about one machine, one soon after the other, are told apart by their ends.
    let asked = now.prompts.iter().filter(|prompt| !before.prompts.contains(prompt));
    let mut notices: Vec<Notice> = asked.map(asks).collect();
    for node in &now.nodes {
        // A node that has just been configured has no past to compare with.
        let Some(old) = before.nodes.iter().find(|old| old.name == node.name) else { continue };
        notices.extend(waking(old, node));
        notices.extend(of_the_end(old, node, now.at_ms));
        notices.extend(gpu_lost(old, node));
        notices.extend(naps(old, node));
    }
    notices
}

/// That no machine answers.
const NETWORK: &str = "network";

/// Keys of notifications that are not true any more: questions that have been answered or given up, and what was said of a
/// machine, or of all of them, that has changed since.
pub(super) fn outdated(before: &Snapshot, now: &Snapshot) -> Vec<String> {
    let over = before.prompts.iter().filter(|old| !now.prompts.contains(old)).map(ask_key);
    let of_nodes =
        before.nodes.iter().flat_map(|old| match now.nodes.iter().find(|node| node.name == old.name) {
            Some(node) => untrue(old, node),
            None => vec![key(old), gpu_key(old), naps_key(old)],
        });
    let answers = |snapshot: &Snapshot| snapshot.nodes.iter().any(|node| node.state.takes_requests());
    let network = (!answers(before) && answers(now)).then(|| NETWORK.to_owned());
    over.chain(of_nodes).chain(network).collect()
}

/// What was said of a machine, and is over.
fn untrue(old: &Node, node: &Node) -> Vec<String> {
    let wake_turned = old.sleep.waking.is_some() != node.sleep.waking.is_some();
    // It came, or it went: it is not down any more, did wake, or is not awake any more.
    let turned = old.state.takes_requests() != node.state.takes_requests();
    let not_down = old.state == State::Down && node.state != State::Down && Trouble::of(node).is_none();
    let gpu_is_back = old.sleep.gpu_lost && !node.sleep.gpu_lost;
    let is_kept = |node: &Node| node.sleep.kept_awake != KeptAwake::No;
    let no_nap = (old.sleep.naps && !node.sleep.naps) || (!is_kept(old) && is_kept(node));
    let keys = [
        (wake_turned || turned || not_down).then(|| key(node)),
        gpu_is_back.then(|| gpu_key(node)),
        no_nap.then(|| naps_key(node)),
    ];
    keys.into_iter().flatten().collect()
}

fn key(node: &Node) -> String {
    format!("node/{}", node.name)
}

fn gpu_key(node: &Node) -> String {
    format!("gpu/{}", node.name)
}

fn naps_key(node: &Node) -> String {
    format!("naps/{}", node.name)
}

fn ask_key(prompt: &Prompt) -> String {
    format!("ask/{}", prompt.node)
}

fn asks(prompt: &Prompt) -> Notice {
    let node = || prompt.node.clone();
    Notice {
        news: News::Asked,
        key: ask_key(prompt),
        title: format!("Wake {}?", prompt.node),
        body: cut_end(&format!("{} asks for {}.", who(&prompt.client), prompt.model), LONGEST),
        buttons: vec![
            ("Wake", Action::Answer { node: node(), wake: true }),
            ("Answer elsewhere", Action::Answer { node: node(), wake: false }),
        ],
        unless_seen: false,
    }
}

fn waking(old: &Node, node: &Node) -> Option<Notice> {
    let waking = node
        .sleep
        .waking
        .as_ref()
        .filter(|waking| old.sleep.waking.is_none() && waking.asked_by.is_some())?;
    let usual_ms = node.sleep.usual_ms;
    if usual_ms.is_some_and(|ms| ms <= WORTH_ANNOUNCING_MS) {
        return None;
    }
    let asked = waking.asked_by.as_deref().map(|by| format!("{} asked. ", who(by))).unwrap_or_default();
    let usual = usual_ms.map(|ms| format!("It usually takes {} s.", usual_s(ms))).unwrap_or_default();
    Some(Notice {
        news: News::Waking,
        key: key(node),
        title: format!("Waking {}", node.name),
        body: cut_end(format!("{asked}{usual}").trim(), LONGEST),
        buttons: vec![("Cancel", Action::CancelWake { node: node.name.clone() })],
        unless_seen: true,
    })
}

/// A wake has ended, well or not.
fn of_the_end(old: &Node, node: &Node, now_ms: u64) -> Option<Notice> {
    let was = old.sleep.waking.as_ref()?;
    let (name, key) = (|| node.name.clone(), key(node));
    if node.state.takes_requests() && !old.state.takes_requests() {
        let took_s = now_ms.saturating_sub(was.started_ms) / 1_000;
        let gpu = match &node.gpu {
            _ if node.sleep.gpu_lost => ", without its GPU".into(),
            Some(gpu) => format!(", {gpu} ready"),
            None => String::new(),
        };
        let mut buttons = vec![("Open", Action::Open)];
        buttons.extend(node.sleep.can_sleep.then(|| ("Put to sleep", Action::Sleep { node: name() })));
        return Some(Notice {
            news: News::Awake,
            key,
            title: format!("{} is awake", node.name),
            body: cut_end(&format!("after {took_s} s, {}{gpu}", count(node.models.len(), "model")), LONGEST),
            buttons,
            unless_seen: false,
        });
    }
    let failure = node.sleep.failure.as_ref().filter(|_| node.sleep.waking.is_none())?;
    Some(Notice {
        news: News::NotAwake,
        key,
        title: format!("{} {}", node.name, became(failure)),
        body: cut_end(&format!("It {}.", failure.words), LONGEST),
        buttons: vec![("Try again", Action::Wake { node: name() }), ("Why?", Action::Open)],
        unless_seen: false,
    })
}

fn gpu_lost(old: &Node, node: &Node) -> Option<Notice> {
    (node.sleep.gpu_lost && !old.sleep.gpu_lost).then(|| Notice {
        news: News::GpuLost,
        key: gpu_key(node),
        title: format!("{} woke without its GPU", node.name),
        body: "Its models would run on the CPU; others are asked first.".into(),
        buttons: vec![("How to fix", Action::Open)],
        unless_seen: false,
    })
}

fn naps(old: &Node, node: &Node) -> Option<Notice> {
    let keep = || ("Keep it awake", Action::KeepAwake { node: node.name.clone(), on: true });
    let offer = (node.sleep.kept_awake == KeptAwake::No).then(keep);
    (node.sleep.naps && !old.sleep.naps).then(|| Notice {
        news: News::Naps,
        key: naps_key(node),
        title: format!("{} falls asleep while it answers", node.name),
        body: "Twice within ten minutes: its idle timer does not count that work.".into(),
        buttons: offer.into_iter().chain([("Open", Action::Open)]).collect(),
        unless_seen: false,
    })
}

/// A machine that should always be there has gone.
pub(super) fn down(old: &Node, node: &Node) -> Option<Notice> {
    let fell = node.presence == Presence::AlwaysOn && node.state == State::Down && old.state.takes_requests();
    fell.then(|| Notice {
        news: News::Down,
        key: key(node),
        title: format!("{} is down", node.name),
        body: cut_end(node.why.as_deref().and_then(|why| why.lines().next()).unwrap_or(""), LONGEST),
        buttons: vec![("Open", Action::Open)],
        unless_seen: false,
    })
}

/// Two or more answered, and none does: it is this computer's network.
pub(super) fn all_gone(before: &Snapshot, now: &Snapshot) -> Option<Notice> {
    let up = |snapshot: &Snapshot| snapshot.nodes.iter().filter(|node| node.state.takes_requests()).count();
    (up(before) >= 2 && up(now) == 0).then(|| Notice {
        news: News::Down,
        key: NETWORK.into(),
        title: "No machine answers".into(),
        body: "All of them at once: this computer's network has probably changed.".into(),
        buttons: vec![],
        unless_seen: true,
    })
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};
    use crate::{
        node::Stage,
        snapshot::{Sleep, Waking},
        wake::Failure,
    };

    fn house(nodes: Vec<Node>) -> Snapshot {
        Snapshot { nodes, at_ms: 50_000, ..Snapshot::default() }
    }

    fn asleep() -> Node {
        let node = sample::models(sample::node("workstation", State::Asleep), &["a", "b"], 0);
        Node { gpu: Some("RTX 4090".into()), sleep: Sleep { can_wake: true, ..Sleep::default() }, ..node }
    }

    fn waking_node(by_person: bool) -> Node {
        let waking = Waking {
            stage: Stage::Packet,
            started_ms: 9_000,
            timeout_ms: 120_000,
            rounds: 1,
            waiters: 1,
            by_person,
            asked_by: (!by_person).then(|| "open-webui/0.6 for coder".into()),
        };
        let sleep =
            Sleep { can_wake: true, waking: Some(waking), usual_ms: Some(41_000), ..Sleep::default() };
        Node { state: State::Waking(Stage::Packet), sleep, ..asleep() }
    }

    fn titles(before: Node, now: Node) -> Vec<String> {
        news(&house(vec![before]), &house(vec![now])).into_iter().map(|notice| notice.title).collect()
    }

    #[test]
    fn a_wake_is_told_when_a_request_began_it_and_when_it_ends() {
        let notices = news(&house(vec![asleep()]), &house(vec![waking_node(false)]));
        assert_eq!(notices.len(), 1);
        assert_eq!(notices[0].body, "open-webui for coder asked. It usually takes 41 s.");
        assert!(notices[0].unless_seen);
        assert!(titles(asleep(), waking_node(true)).is_empty(), "who clicked knows");
        assert!(titles(waking_node(false), waking_node(false)).is_empty());
        let mut quick = waking_node(false);
        quick.sleep.usual_ms = Some(6_000);
        assert!(titles(asleep(), quick).is_empty(), "over before it is read");

        let up = Node { state: State::Up, ..asleep() };
        let notices = news(&house(vec![waking_node(true)]), &house(vec![up.clone()]));
        assert_eq!(
            (notices[0].title.as_str(), notices[0].body.as_str()),
            ("workstation is awake", "after 41 s, 2 models, RTX 4090 ready")
        );
        let mut without = up.clone();
        without.sleep.gpu_lost = true;
        let notices = news(&house(vec![waking_node(true)]), &house(vec![without]));
        assert_eq!(notices[0].body, "after 41 s, 2 models, without its GPU");
        let failed = |failure| {
            let mut failed = asleep();
            failed.sleep.failure = Some(sample::failure(&failure));
            failed
        };
        let closed = failed(Failure::EngineClosed { seen_ms: 9_000 });
        assert_eq!(
            titles(waking_node(false), closed),
            ["workstation is awake, but its engine does not answer"]
        );
        let silent = failed(Failure::NeverAnswered { rounds: 5, waited_ms: 120_000 });
        let notices = news(&house(vec![waking_node(false)]), &house(vec![silent]));
        assert_eq!(notices[0].title, "workstation did not wake");
        assert_eq!(
            notices[0].buttons.iter().map(|(title, _)| *title).collect::<Vec<_>>(),
            ["Try again", "Why?"]
        );
        assert_eq!(notices[0].key, "node/workstation", "takes the place of the first");
        assert!(titles(asleep(), up.clone()).is_empty(), "it came up by itself");
        assert!(titles(up, asleep()).is_empty(), "planned sleep is no news");
    }

    #[test]
    fn only_machines_that_should_always_be_there_are_missed() {
        let up = |name: &str, presence| Node { presence, ..sample::node(name, State::Up) };
        let gone =
            |node: &Node| Node { state: State::Down, why: Some("no answer in 2 s".into()), ..node.clone() };
        let nas = up("nas", Presence::AlwaysOn);
        let other = up("other", Presence::AlwaysOn);
        let told = |old: &Node, now: &Node| down(old, now).map(|notice| notice.title);
        assert_eq!(told(&nas, &gone(&nas)).as_deref(), Some("nas is down"));
        let tower = up("tower", Presence::Sleeps);
        assert_eq!(told(&tower, &gone(&tower)), None, "it may go");
        let told =
            |now| all_gone(&house(vec![nas.clone(), other.clone()]), &house(now)).map(|notice| notice.title);
        assert_eq!(told(vec![gone(&nas), gone(&other)]).as_deref(), Some("No machine answers"));
        assert_eq!(told(vec![gone(&nas), other.clone()]), None);
        let mut lost = nas.clone();
        lost.sleep.gpu_lost = true;
        assert_eq!(titles(nas, lost), ["nas woke without its GPU"]);
    }

    #[test]
    fn r50_a_machine_that_falls_asleep_at_work_is_told_with_what_helps() {
        let naps = |kept_awake| {
            let node = asleep();
            Node { sleep: Sleep { naps: true, kept_awake, ..node.sleep.clone() }, ..node }
        };
        let notices = news(&house(vec![asleep()]), &house(vec![naps(KeptAwake::No)]));
        assert_eq!(notices[0].title, "workstation falls asleep while it answers");
        let keep = Action::KeepAwake { node: "workstation".into(), on: true };
        assert_eq!(notices[0].buttons, [("Keep it awake", keep), ("Open", Action::Open)]);
        let notices = news(&house(vec![asleep()]), &house(vec![naps(KeptAwake::Call)]));
        assert_eq!(notices[0].buttons, [("Open", Action::Open)], "it is kept already, as well as we can");
        assert!(titles(naps(KeptAwake::No), naps(KeptAwake::No)).is_empty(), "told once");
    }

    #[test]
    fn a_question_is_asked_once() {
        let prompt = Prompt {
            node: "workstation".into(),
            model: "coder".into(),
            client: "cline/3".into(),
            until_ms: 1,
        };
        let asked = Snapshot { prompts: vec![prompt], ..house(vec![asleep()]) };
        let notices = news(&house(vec![asleep()]), &asked);
        assert_eq!(
            (notices[0].title.as_str(), notices[0].body.as_str()),
            ("Wake workstation?", "cline asks for coder.")
        );
        assert!(news(&asked, &asked).is_empty());
        let mut again = asked.clone();
        again.prompts[0].until_ms = 2;
        assert_eq!(news(&asked, &again).len(), 1, "another one soon after it");
        assert_eq!(outdated(&asked, &again), ["ask/workstation"]);
        assert_eq!(outdated(&asked, &house(vec![asleep()])), ["ask/workstation"], "somebody has answered");
        assert!(outdated(&asked, &asked).is_empty());
        let (asleep, waking) = (house(vec![asleep()]), house(vec![waking_node(false)]));
        assert_eq!(outdated(&asleep, &waking), ["node/workstation"]);
        assert_eq!(outdated(&waking, &asleep), ["node/workstation"]);
    }
    #[test]
    fn what_is_not_true_any_more_is_taken_away() {
        let over = |old: &Node, now: &Node| outdated(&house(vec![old.clone()]), &house(vec![now.clone()]));
        let in_state = |state| Node { state, ..asleep() };
        let (up, down) = (in_state(State::Up), in_state(State::Down));
        assert_eq!(over(&down, &up), ["node/workstation", "network"], "it is there, and somebody answers");
        assert_eq!(over(&up, &asleep()), ["node/workstation"], "it is not awake any more");
        assert_eq!(over(&asleep(), &up), ["node/workstation", "network"], "it is awake after all");
        assert_eq!(over(&down, &in_state(State::Refusing)), ["node/workstation"]);
        assert_eq!(over(&in_state(State::Refusing), &down), [""; 0]);
        let other = sample::node("nas", State::Up);
        let both = |node: &Node| house(vec![node.clone(), other.clone()]);
        assert_eq!(outdated(&both(&down), &both(&up)), ["node/workstation"], "somebody always answered");

        let with = |sleep: Sleep| Node { sleep, ..up.clone() };
        let lost = with(Sleep { gpu_lost: true, ..Sleep::default() });
        assert_eq!((over(&lost, &up), over(&lost, &lost)), (vec!["gpu/workstation".to_owned()], vec![]));
        let naps = |kept_awake| with(Sleep { naps: true, kept_awake, ..Sleep::default() });
        assert_eq!(over(&naps(KeptAwake::No), &naps(KeptAwake::Call)), ["naps/workstation"]);
        assert_eq!(over(&naps(KeptAwake::No), &up), ["naps/workstation"]);
        assert_eq!(over(&naps(KeptAwake::Call), &naps(KeptAwake::Call)), [""; 0]);
        assert_eq!(
            outdated(&both(&lost), &house(vec![other.clone()])),
            ["node/workstation", "gpu/workstation", "naps/workstation"],
            "nothing is said of a machine that was removed"
        );
    }
}
