//! Whether what must outlive the process does, and what happens to a file that cannot be read.

use super::*;
use lamplighter_core::{availability::Slot, model::Model, node::Engine, operation::Dialects};

struct House {
    folder: tempfile::TempDir,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("a ? folder # of %20").tempdir().unwrap();
        Self { folder, tasks: TaskTracker::new(), stop: CancellationToken::new() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("state/house.db")
    }

    async fn open(&mut self) -> Opened {
        Store::open(&self.path(), &self.tasks, &self.stop).await.unwrap()
    }

    /// As a gateway ends: what waits is written.
    async fn end(&mut self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        (self.tasks, self.stop) = (TaskTracker::new(), CancellationToken::new());
    }
}

fn seen(name: &str) -> LastSeen {
    let model = Model { name: "qwen3:8b".into(), ..Model::default() };
    LastSeen {
        name: name.into(),
        url: "http://10.0.0.7:11434".into(),
        engine: Some(Engine::Ollama),
        version: Some("0.12.6".into()),
        dialects: Dialects { openai: true, ..Dialects::default() },
        models: vec![model],
        macs: vec!["aa:bb:cc:dd:ee:01".into(), "aa:bb:cc:dd:ee:02".into()],
        address: Some("10.0.0.7".into()),
        networks: vec!["aa:bb:cc:00:00:01".into()],
        vram_bytes: Some(24 << 30),
        seen_ms: 1_700_000_000_000,
    }
}

fn wake(node: &str, started_ms: u64) -> WakeRecord {
    WakeRecord {
        node: node.into(),
        started_ms,
        cause: "request".into(),
        asked_by: Some("open-webui for coder".into()),
        outcome: None,
        reason: None,
        rounds: 1,
        reachable_ms: None,
        api_ms: None,
        ready_ms: None,
        ended_ms: None,
    }
}

#[tokio::test]
async fn everything_outlives_the_process() {
    let mut house = House::new();
    let store = house.open().await.store;
    store.saw(LastSeen { version: None, ..seen("workstation") });
    store.saw(seen("workstation"));
    store.woke(wake("workstation", 5_000));
    store.woke(WakeRecord {
        outcome: Some(Outcome::Ready),
        ready_ms: Some(41_000),
        rounds: 3,
        ..wake("workstation", 5_000)
    });
    store.woke(wake("workstation", 9_000));
    let up = |up_ms| Slot { up_ms, answered: 1, ..Slot::default() };
    store.spent("workstation", vec![(100, up(800_000)), (101, up(4))]);
    store.spent("workstation", vec![(100, up(800_000))]);
    house.end().await;

    let store = house.open().await.store;
    assert_eq!(store.last_seen().await.unwrap(), [seen("workstation")]);
    let slots = store.slots(100, 101).await.unwrap();
    assert_eq!(
        slots[0],
        ("workstation".into(), 100, Slot { up_ms: 900_000, answered: 2, ..Slot::default() }),
        "never more than a slot has"
    );
    assert_eq!(slots[1].2.up_ms, 4);
    store.end_interrupted_wakes().await.unwrap();
    assert!(store.flushed().await);
    let wakes = store.wakes(Some("workstation"), 10).await.unwrap();
    assert_eq!(
        wakes.iter().map(|w| (w.started_ms, w.outcome)).collect::<Vec<_>>(),
        [(9_000, Some(Outcome::Interrupted)), (5_000, Some(Outcome::Ready)),]
    );
    assert_eq!(wakes[1].ready_ms, Some(41_000));

    store.renamed("workstation", "tower");
    assert!(store.flushed().await);
    assert_eq!(store.last_seen().await.unwrap(), [seen("tower")]);
    assert_eq!(store.wakes(Some("tower"), 10).await.unwrap().len(), 2);
    assert_eq!(store.slots(0, u64::MAX).await.unwrap()[0].0, "tower");
    house.end().await;
}

#[tokio::test]
async fn only_the_last_wakes_are_kept() {
    let mut house = House::new();
    let store = house.open().await.store;
    for at in 0..600 {
        store.woke(wake("tower", at));
    }
    assert!(store.flushed().await);
    let wakes = store.wakes(None, 1000).await.unwrap();
    assert_eq!((wakes.len(), wakes[0].started_ms), (500, 599));
    house.end().await;
}

#[tokio::test]
async fn r62_wakes_are_told_as_they_happened_whatever_the_clock_said() {
    let mut house = House::new();
    let store = house.open().await.store;
    for at in [5_000, 9_000, 2_000] {
        store.woke(wake("tower", at));
    }
    // One goes on after another has begun.
    store.woke(WakeRecord { rounds: 2, ..wake("tower", 9_000) });
    assert!(store.flushed().await);
    let order = |wakes: Vec<WakeRecord>| wakes.iter().map(|wake| wake.started_ms).collect::<Vec<_>>();
    assert_eq!(order(store.wakes(Some("tower"), 10).await.unwrap()), [2_000, 9_000, 5_000]);
    for at in 10_000..10_600 {
        store.woke(wake("tower", at));
    }
    store.woke(wake("tower", 1));
    assert!(store.flushed().await);
    let kept = order(store.wakes(Some("tower"), 1_000).await.unwrap());
    assert_eq!((kept.len(), kept[0]), (500, 1), "the last one is kept, although its time is the earliest");
    house.end().await;
}

#[tokio::test]
async fn wakes_of_the_first_form_keep_their_order() {
    let mut house = House::new();
    install_default_drivers();
    std::fs::create_dir_all(house.path().parent().unwrap()).unwrap();
    let pool = AnyPoolOptions::new().connect(&format!("{}?mode=rwc", url(&house.path()))).await.unwrap();
    let first = Migrator { migrations: MIGRATIONS.iter().take(1).cloned().collect(), ..Migrator::DEFAULT };
    first.run(&pool).await.unwrap();
    for at in [9_000, 5_000, 7_000] {
        let old = format!(
            "INSERT INTO wakes (node, started_ms, cause, rounds) VALUES ('tower', {at}, 'person', 1)"
        );
        sqlx::query(sqlx::AssertSqlSafe(old)).execute(&pool).await.unwrap();
    }
    pool.close().await;
    let store = house.open().await.store;
    store.woke(wake("tower", 6_000));
    assert!(store.flushed().await);
    let times: Vec<u64> = store.wakes(None, 10).await.unwrap().iter().map(|wake| wake.started_ms).collect();
    assert_eq!(times, [6_000, 9_000, 7_000, 5_000]);
    house.end().await;
}

#[cfg(unix)]
#[tokio::test]
async fn only_its_owner_reads_it() {
    use std::os::unix::fs::PermissionsExt;
    let mut house = House::new();
    let store = house.open().await.store;
    store.saw(seen("tower"));
    assert!(store.flushed().await);
    for entry in std::fs::read_dir(house.path().parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }
    house.end().await;
}

#[tokio::test]
async fn a_broken_file_is_moved_aside_and_a_newer_one_left_alone() {
    let mut house = House::new();
    let store = house.open().await.store;
    store.saw(seen("tower"));
    house.end().await;

    // A later version has been here.
    install_default_drivers();
    let pool = AnyPoolOptions::new().connect(&url(&house.path())).await.unwrap();
    sqlx::query("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', 1, x'00', 1)")
        .execute(&pool).await.unwrap();
    pool.close().await;
    let before = std::fs::read(house.path()).unwrap();
    let why = Store::open(&house.path(), &house.tasks, &house.stop).await.unwrap_err();
    assert!(why.contains("newer version"), "{why}");
    assert_eq!(std::fs::read(house.path()).unwrap(), before, "untouched");

    for garbage in [&b"this is no database at all, but it is long enough to look like one to somebody in a hurry............."[..], &before[..before.len() / 2]] {
        std::fs::write(house.path(), garbage).unwrap();
        let opened = house.open().await;
        let (aside, why) = opened.moved_aside.expect("it cannot be read");
        assert!(!why.is_empty());
        assert_eq!(std::fs::read(aside).unwrap(), garbage, "kept for whoever can read it");
        opened.store.saw(seen("tower"));
        assert!(opened.store.flushed().await);
        assert_eq!(opened.store.last_seen().await.unwrap().len(), 1);
        house.end().await;
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_said() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("state"), "a file where the folder should be").unwrap();
    let why =
        Store::open(&folder.path().join("state/house.db"), &TaskTracker::new(), &CancellationToken::new())
            .await
            .unwrap_err();
    assert!(why.contains("cannot be used"), "{why}");
}

/// What lies around a file says nothing of what is in it.
#[tokio::test]
async fn a_file_that_somebody_holds_stays_where_it_is() {
    let mut house = House::new();
    let store = house.open().await.store;
    store.saw(seen("tower"));
    house.end().await;
    let mut other = AnyConnection::connect(&url(&house.path())).await.unwrap();
    for statement in ["PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE", "UPDATE nodes SET version = 'x'"]
    {
        other.execute(statement).await.unwrap();
    }
    let why = Store::open(&house.path(), &house.tasks, &house.stop).await.unwrap_err();
    assert!(why.contains("another program holds it: end that program"), "{why}");
    other.close().await.unwrap();
    let opened = house.open().await;
    assert!(opened.moved_aside.is_none());
    assert_eq!(opened.store.last_seen().await.unwrap(), [seen("tower")], "its history is whole");
    house.end().await;
}

#[tokio::test]
async fn a_full_disk_is_no_broken_file() {
    let mut house = House::new();
    drop(house.open().await);
    house.end().await;
    let mut small = AnyConnection::connect(&url(&house.path())).await.unwrap();
    small.execute("PRAGMA max_page_count = 1").await.unwrap();
    let error = small.execute("CREATE TABLE more AS SELECT hex(zeroblob(1000000)) AS x").await.unwrap_err();
    assert!(
        matches!(Trouble::of(&error), Trouble::Around(why) if why.contains("the disk is full: make room")),
        "{error}"
    );
    small.close().await.unwrap();
}
