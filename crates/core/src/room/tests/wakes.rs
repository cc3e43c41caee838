//! Who waits for a machine to wake.

use super::*;
use crate::wake::{LOBBY_BYTES, LOBBY_REQUESTS};

fn sleeper(client: Client, bytes: u64) -> Arrival {
    Arrival { lobby_bytes: Some(bytes), ..arrival(client, vec![seat(1, "a", 2)]) }
}

#[test]
fn the_lobby_is_bounded_and_counts_nowhere_else() {
    let mut house = House::default();
    house.room.shut(NodeId(1));
    let first = house.come(sleeper(ANN, 10)).unwrap_err().unwrap();
    for _ in 1..LOBBY_REQUESTS {
        house.come(sleeper(ANN, 0)).unwrap_err().unwrap();
    }
    assert_eq!(house.room.enter(sleeper(BOB, 0), 0), Entry::Full { waiting: LOBBY_REQUESTS });
    assert_eq!((house.room.in_lobby(), house.room.waiting_for(NodeId(1))), (1_024, 1_024));
    assert!(house.room.give_up(first, 0));
    assert!(matches!(house.room.enter(sleeper(BOB, LOBBY_BYTES + 1), 0), Entry::Full { .. }), "too large");
    assert!(matches!(house.room.enter(sleeper(BOB, LOBBY_BYTES), 0), Entry::Waiting { .. }));
    // The line of the node itself is as empty as before.
    for _ in 0..WAITING_PER_NODE {
        house.waits(BOB, vec![seat(1, "a", 2)]);
    }
    assert_eq!(house.enter(BOB, vec![seat(1, "a", 2)]), Err(None));
}

#[test]
fn the_clock_starts_when_the_machine_is_ready() {
    let mut house = House::default();
    house.room.shut(NodeId(1));
    let waiter = house.come(sleeper(ANN, 5)).unwrap_err().unwrap();
    let other = house.come(sleeper(ANN, 5)).unwrap_err().unwrap();
    house.room.tick(WAIT_MS + 1);
    assert_eq!(house.room.told(), []);
    house.room.open(NodeId(1), 300_000);
    assert_eq!(house.granted(), [waiter], "one, until the first success");
    assert_eq!(house.room.next_ms(), Some(300_000 + WAIT_MS));
    house.room.tick(300_000 + WAIT_MS);
    assert_eq!(house.room.told(), [(other, Told::Expired)]);
    assert_eq!(house.room.in_lobby(), 0);
}

#[test]
fn a_wake_that_never_ends_does() {
    let mut house = House::default();
    house.room.shut(NodeId(1));
    let waiter = house.come(sleeper(ANN, 5)).unwrap_err().unwrap();
    assert_eq!(house.room.next_ms(), Some(LOBBY_WAIT_MS));
    house.room.tick(LOBBY_WAIT_MS);
    assert_eq!(house.room.told(), [(waiter, Told::Expired)]);
}

#[test]
fn five_hundred_are_served_in_order_and_never_above_the_places() {
    let mut house = House::default();
    house.room.shut(NodeId(1));
    let all: Vec<_> =
        (0..500).map(|at| house.come(sleeper(Client(at % 5), 1)).unwrap_err().unwrap()).collect();
    house.room.open(NodeId(1), 0);
    let (mut called, mut most) = (house.granted(), 0);
    // Somebody of the same program comes meanwhile: not alone, as long as others wait for the wake.
    house.waits(Client(0), vec![seat(1, "a", 2)]);
    while !house.held.is_empty() {
        most = most.max(house.held.len());
        house.room.succeeded(NodeId(1), 0);
        called.extend(house.granted());
        most = most.max(house.held.len());
        called.extend(house.leave_nth(0));
    }
    assert_eq!((called.len(), most, house.room.in_lobby()), (501, 2, 0));
    for client in 0..5 {
        let mine: Vec<_> = called
            .iter()
            .filter(|ticket| all.iter().position(|it| it == *ticket).is_some_and(|at| at % 5 == client))
            .collect();
        assert!(mine.is_sorted() && mine.len() == 100, "in order per client");
    }
}

#[test]
fn alone_does_not_count_for_a_herd() {
    let mut house = House::default();
    house.room.shut(NodeId(1));
    for _ in 0..10 {
        house.come(sleeper(ANN, 1)).unwrap_err();
    }
    house.room.open(NodeId(1), 0);
    for _ in 0..10 {
        house.room.succeeded(NodeId(1), 0);
    }
    assert_eq!(house.granted().len(), 2, "not above the places");
}

#[test]
fn an_awake_node_is_taken_by_who_would_wait_for_a_sleeping_one() {
    let mut house = House::default();
    house.room.shut(NodeId(1));
    let seats = vec![seat(2, "a", 1), seat(1, "a", 1)];
    house.enter(BOB, vec![seat(2, "a", 1)]).unwrap();
    let both = house.come(Arrival { lobby_bytes: Some(1), ..arrival(ANN, seats) }).unwrap_err().unwrap();
    assert_eq!(house.leave(2, "a"), [both]);
    assert_eq!(house.room.in_lobby(), 0);
}
