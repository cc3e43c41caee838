//! Waking from the desktop: a click in the tray becomes a packet, the rows follow in place, and notifications say how it ended
//! and do what their buttons say. A machine on loopback sleeps; its network card hears real packets.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

use lamplighter_core::node::State;
use lamplighter_simnode::{Profile, SimModel, SimNode};
use lamplighter_tests::{
    card::Silence,
    desktop::{
        app::{App, chat, free_port},
        host::TrayHost,
        menu::{Icon, Row},
        notifications::Notifications,
        screen,
        screen::Screen,
        wait_for,
    },
};
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
};

const MAC: [u8; 6] = [0xa8, 0xa1, 0x59, 0x0c, 0x1d, 0x2f];

/// Everything, with the workstation asleep and its model known.
struct Desk {
    icon: Icon,
    bell: Notifications,
    app: App,
    url: String,
    card: UdpSocket,
    engine_port: u16,
    off: Option<Silence>,
    nas: SimNode,
    _host: TrayHost,
}

async fn machine(port: u16) -> SimNode {
    let profile = Profile::ollama("workstation").model(SimModel::new("qwen3:8b")).port(port);
    SimNode::start(profile).await.unwrap()
}

impl Desk {
    /// `of_node` goes on in the workstation's part of the configuration, `rest` behind it.
    async fn new(screen: &Screen, timeout: &str, of_node: &str, rest: &str) -> Self {
        let host = TrayHost::start(screen.bus()).await.unwrap();
        let bell = Notifications::start(screen.bus()).await.unwrap();
        let card = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let card_port = card.local_addr().unwrap().port();
        let nas = Profile::ollama("nas").model(SimModel::new("llama3.2:3b"));
        let nas = SimNode::start(nas).await.unwrap();
        let machine = machine(0).await;
        let engine_port = machine.url().rsplit(':').next().unwrap().parse().unwrap();
        let config = format!(
            "[server]\nlisten = [\"127.0.0.1:{}\"]\n\
             [[node]]\nname = \"workstation\"\nurl = \"{}\"\n\
             [node.wake]\nmac = \"a8:a1:59:0c:1d:2f\"\nbroadcast = [\"127.0.0.1:{card_port}\"]\ntimeout = \"{timeout}\"\n\
             {of_node}[[node]]\nname = \"nas\"\nurl = \"{}\"\npresence = \"always-on\"\n{rest}",
            free_port(),
            machine.url(),
            nas.url()
        );
        let app = App::hidden(screen, &screen.file("config.toml", &config));
        let url = app.ready().await;
        let icon = Icon::appear(&host).await;
        icon.row("the workstation up", |text| text.starts_with("● workstation — 1 model")).await;
        let mut desk = Self { icon, bell, app, url, card, engine_port, off: None, nas, _host: host };
        desk.fall_asleep(machine).await;
        // Rows that came are drawn at most once a second.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        desk
    }

    async fn fall_asleep(&mut self, machine: SimNode) {
        machine.kill().await;
        drop(machine);
        self.off = Some(Silence::at(self.engine_port));
        self.icon.row("the workstation asleep", |text| text == "☾ workstation — asleep, 1 model").await;
    }

    async fn row(&self, text: &str) -> Row {
        self.icon.any_row(text, |row| row.text == text).await
    }

    /// Waits for a packet, and checks every byte of it.
    async fn packet(&self) {
        let mut packet = [0; 256];
        let heard = tokio::time::timeout(Duration::from_secs(10), self.card.recv(&mut packet)).await;
        let length = heard.expect("a packet within 10 s").unwrap();
        let expected: Vec<u8> = [0xff; 6].into_iter().chain(MAC.repeat(16)).collect();
        assert_eq!(packet[..length], expected[..]);
    }

    /// How many packets have come that nobody has looked at.
    fn more_packets(&self) -> usize {
        std::iter::from_fn(|| self.card.try_recv(&mut [0; 256]).ok()).count()
    }

    /// The machine wakes, once the tray says so.
    async fn boots(&mut self) -> SimNode {
        self.icon.row("the row waking", |text| text.starts_with("◐ workstation — waking 0:0")).await;
        self.off = None;
        machine(self.engine_port).await
    }

    async fn up(&self) {
        self.icon.row("the workstation up", |text| text.starts_with("● workstation — 1 model")).await;
    }

    async fn state(&self) -> State {
        self.app.snapshot().await.nodes[0].state
    }
}

/// Takes one HTTP request and returns its first line.
async fn one_request(listener: &TcpListener) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut asked = vec![0; 4_096];
    let length = stream.read(&mut asked).await.unwrap();
    stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await.unwrap();
    String::from_utf8_lossy(&asked[..length]).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_click_wakes_the_machine_in_place_and_its_notification_puts_it_to_sleep_again() {
    let name = "a_click_wakes_the_machine_in_place_and_its_notification_puts_it_to_sleep_again";
    let Some(screen) = screen(name) else { return };
    let plug = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sleep = format!("[node.sleep]\nurl = \"http://{}/off\"\n", plug.local_addr().unwrap());
    let mut desk = Desk::new(&screen, "40s", &sleep, "").await;
    assert_eq!(desk.more_packets(), 0, "nobody has asked for it");
    assert_eq!(desk.bell.all(), [], "planned sleep is no news");

    let asleep = desk.icon.row("the row", |text| text.starts_with("☾ workstation")).await;
    let wake = desk.row("Wake workstation").await;
    let (rebuilt, changed) =
        (desk.icon.signals("LayoutUpdated"), desk.icon.signals("ItemsPropertiesUpdated"));
    desk.icon.click(&wake).await;
    desk.packet().await;
    let waking = desk.icon.row("the row waking", |text| text.starts_with("◐ workstation — waking 0:0")).await;
    let cancel = desk.row("Cancel waking workstation").await;
    assert_eq!((waking.id, cancel.id), (asleep.id, wake.id), "the same rows");
    let before = waking.text;
    desk.icon.row("the seconds", |text| text.starts_with("◐ workstation") && text != before).await;
    assert_eq!(desk.icon.signals("LayoutUpdated"), rebuilt, "an open menu stays open");
    assert!(desk.icon.signals("ItemsPropertiesUpdated") > changed);
    assert_eq!(desk.bell.all(), [], "who clicked knows");

    let machine = desk.boots().await;
    let told = desk.bell.told("workstation is awake").await;
    assert!(told.body.starts_with("after ") && told.body.ends_with(" s, 1 model"), "{told:?}");
    assert_eq!(told.titles(), ["Open", "Put to sleep"]);
    desk.up().await;
    wait_for("the wake row to go", async || {
        desk.icon.rows().await?.iter().all(|row| !row.text.contains("waking workstation")).then_some(())
    })
    .await;

    let (asked, ()) = tokio::join!(one_request(&plug), desk.bell.press(&told, "Put to sleep"));
    assert!(asked.ends_with(" /off HTTP/1.1"), "{asked}");
    desk.fall_asleep(machine).await;
    assert_eq!(desk.bell.all().len(), 1, "that it sleeps is no news: {:?}", desk.bell.all());
}

/// A machine that sleeps is asked once a minute; whoever opens the menu sees at once that somebody has pressed its button.
#[tokio::test(flavor = "multi_thread")]
async fn who_opens_the_menu_sees_the_machines_of_this_moment() {
    let Some(screen) = screen("who_opens_the_menu_sees_the_machines_of_this_moment") else { return };
    let mut desk = Desk::new(&screen, "40s", "", "").await;
    desk.off = None;
    let _machine = machine(desk.engine_port).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(desk.state().await, State::Asleep, "nobody has looked");
    let opened = Instant::now();
    desk.icon.open().await;
    desk.up().await;
    assert!(opened.elapsed() < Duration::from_secs(15), "seen after {:?}", opened.elapsed());
    assert_eq!(desk.more_packets(), 0, "looking wakes nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_wake_is_tried_again_from_its_notification() {
    let Some(screen) = screen("what_did_not_wake_is_tried_again_from_its_notification") else { return };
    let mut desk = Desk::new(&screen, "5s", "", "").await;
    desk.icon.click(&desk.row("Wake workstation").await).await;
    desk.packet().await;
    let first = desk.bell.told("workstation did not wake").await;
    assert!(first.body.starts_with("It ") && first.body.len() > "It .".len(), "{first:?}");
    assert_eq!(first.titles(), ["Try again", "Why?"]);
    desk.icon.row("the row says so", |text| text == "▲ workstation — did not wake (click for why)").await;

    // A second failure takes the place of the first: one line about one machine.
    desk.icon.click(&desk.row("Wake workstation").await).await;
    wait_for("another notification", async || (desk.bell.all().len() == 2).then_some(())).await;
    wait_for("one in the place of the other", async || {
        (desk.bell.on_screen() == ["workstation did not wake"]).then_some(())
    })
    .await;
    let second = desk.bell.told("workstation did not wake").await;

    desk.more_packets();
    desk.bell.press(&second, "Try again").await;
    desk.packet().await;
    let _machine = desk.boots().await;
    desk.bell.told("workstation is awake").await;
    desk.up().await;
    assert_eq!(desk.bell.on_screen(), ["workstation is awake"]);

    // The window opens from a button too.
    let awake = desk.bell.told("workstation is awake").await;
    desk.bell.press(&awake, "Open").await;
    screen.window("^Lamplighter$").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_answered_by_its_notification_and_each_sort_can_be_switched_off() {
    let name = "a_question_is_answered_by_its_notification_and_each_sort_can_be_switched_off";
    let Some(screen) = screen(name) else { return };
    let alias =
        "[[alias]]\nname = \"<b>coder</b>\"\nmodels = [\"qwen3:8b\", \"llama3.2:3b\"]\nwake = \"ask\"\n";
    let mut desk = Desk::new(&screen, "40s", "", alias).await;
    let url = desk.url.clone();
    let chatting = tokio::spawn(async move { chat(&url, "<b>coder</b>").await });
    let asks = desk.bell.told("Wake workstation?").await;
    assert!(asks.body.ends_with(" asks for ‹b›coder‹/b›."), "nothing is a mark: {asks:?}");
    assert_eq!(asks.titles(), ["Wake", "Answer elsewhere"]);
    desk.icon.any_row("the question", |row| row.text.starts_with("Wake workstation (")).await;
    desk.row("Answer elsewhere, workstation sleeps on").await;
    desk.bell.press(&asks, "Answer elsewhere").await;
    let answer = chatting.await.unwrap().unwrap();
    assert!(answer.contains("x-lamplighter-node: nas") && answer.contains("[DONE]"), "{answer}");
    assert_eq!((desk.more_packets(), desk.state().await), (0, State::Asleep));

    let on = desk
        .icon
        .any_row("the switch", |row| row.text == "A machine is awake" && row.checked == Some(true))
        .await;
    desk.icon.click(&on).await;
    desk.icon
        .any_row("it is off", |row| row.text == "A machine is awake" && row.checked == Some(false))
        .await;
    let url = desk.url.clone();
    let chatting = tokio::spawn(async move { chat(&url, "<b>coder</b>").await });
    desk.bell.press(&desk.bell.told("Wake workstation?").await, "Wake").await;
    desk.packet().await;
    desk.bell.told("Waking workstation").await;
    assert_eq!(desk.bell.on_screen(), ["Waking workstation"], "the question is gone");
    let _machine = desk.boots().await;
    let answer = chatting.await.unwrap().unwrap();
    assert!(answer.contains("x-lamplighter-node: workstation"), "{answer}");
    desk.up().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let told = desk.bell.all();
    assert!(told.iter().all(|told| told.title != "workstation is awake"), "{told:?}");
    assert_eq!(desk.bell.on_screen(), Vec::<String>::new(), "and nothing outlives what it said");

    // What is said about other sorts goes on.
    desk.nas.kill().await;
    desk.bell.told("nas is down").await;
}
