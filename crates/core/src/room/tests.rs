//! The room from outside: what comes in, who is told what, and when.

mod fair;
mod house;
mod proofs;
mod turns;
mod wakes;

use super::*;
use house::{House, arrival, of_bytes, seat, sized};

const ANN: Client = Client(1);
const BOB: Client = Client(2);

#[test]
fn places_are_counted_per_model_and_given_in_order() {
    let mut house = House::default();
    assert_eq!(house.enter(ANN, vec![seat(1, "a", 1)]), Ok(0));
    assert_eq!(house.enter(BOB, vec![seat(1, "b", 1)]), Ok(0), "another model has places of its own");
    let first = house.waits(BOB, vec![seat(1, "a", 1)]);
    let second = house.waits(ANN, vec![seat(1, "a", 1)]);
    assert_eq!(house.ahead(second), Some(1));
    assert_eq!(house.leave(1, "a"), [first]);
    assert_eq!(house.leave(1, "a"), [second]);
}

#[test]
fn alone_on_the_only_node_nobody_is_held() {
    let mut house = House::default();
    for _ in 0..3 {
        assert_eq!(house.enter(ANN, vec![seat(1, "a", 1)]), Ok(0));
    }
    let bob = house.waits(BOB, vec![seat(1, "a", 1)]);
    house.waits(ANN, vec![seat(1, "a", 1)]);
    for left in [2, 1] {
        assert_eq!(house.leave(1, "a"), [], "{left} still run");
    }
    assert_eq!(house.leave(1, "a"), [bob]);
}

#[test]
fn company_counts_for_a_minute() {
    let mut house = House::default();
    house.enter(BOB, vec![seat(1, "a", 1)]).unwrap();
    house.now_ms = 1_000;
    house.leave(1, "a");
    house.enter(ANN, vec![seat(1, "a", 1)]).unwrap();
    let ann = house.waits(ANN, vec![seat(1, "a", 1)]);
    assert_eq!(house.enter(BOB, vec![seat(1, "b", 1)]), Ok(0));
    house.now_ms = 2_000;
    house.leave(1, "b");
    house.now_ms = 61_999;
    house.waits(ANN, vec![seat(1, "a", 1)]);
    house.now_ms = 62_000;
    assert_eq!(house.leave(1, "a")[0], ann);
    assert_eq!(house.enter(ANN, vec![seat(1, "a", 1)]), Ok(0), "alone again");
}

#[test]
fn even_alone_there_is_a_bound() {
    let mut room = Room::default();
    let taken = (0..1_000).filter(|_| room.enter(arrival(ANN, vec![seat(1, "a", 1)]), 0) == Entry::Taken(0));
    assert_eq!(taken.count(), 512);
    assert_eq!(room.waiting_for(NodeId(1)), WAITING_PER_NODE);
}

#[test]
fn who_is_alone_again_is_let_through() {
    let mut house = House::default();
    house.enter(ANN, vec![seat(1, "a", 1)]).unwrap();
    let bob = house.waits(BOB, vec![seat(1, "a", 1)]);
    let ann = house.waits(ANN, vec![seat(1, "a", 1)]);
    assert!(house.room.give_up(bob, 0));
    assert_eq!(house.granted(), [ann], "nobody else is there any more");
}

#[test]
fn a_free_place_elsewhere_is_taken_and_nobody_overtakes() {
    let mut house = House::default();
    let both = || vec![seat(1, "a", 1), seat(2, "a", 1)];
    assert_eq!(house.enter(ANN, both()), Ok(0));
    assert_eq!(house.enter(ANN, both()), Ok(1));
    let bob = house.waits(BOB, both());
    let late = house.waits(BOB, vec![seat(2, "a", 1)]);
    assert_eq!(house.ahead(late), Some(1));
    assert_eq!(house.leave(2, "a"), [bob]);
    assert_eq!(house.leave(2, "a"), [late]);
}

#[test]
fn who_is_called_at_one_node_is_out_of_the_other_lines() {
    let mut house = House::default();
    let both = || vec![seat(1, "a", 1), seat(2, "a", 1)];
    house.enter(ANN, both()).unwrap();
    house.enter(ANN, both()).unwrap();
    let bob = house.waits(BOB, both());
    assert_eq!(house.leave(1, "a"), [bob]);
    assert_eq!(house.leave(2, "a"), []);
    assert_eq!((house.room.waiting_for(NodeId(1)), house.room.waiting_for(NodeId(2))), (0, 0));
}

#[test]
fn the_line_is_bounded_per_node_and_can_be_left() {
    let mut house = House::default();
    house.enter(ANN, vec![seat(1, "a", 1)]).unwrap();
    let mut last = None;
    for _ in 0..WAITING_PER_NODE {
        last = Some(house.waits(BOB, vec![seat(1, "a", 1)]));
    }
    let refused = house.room.enter(arrival(BOB, vec![seat(1, "a", 1)]), 0);
    assert_eq!(refused, Entry::Full { waiting: WAITING_PER_NODE });
    assert_eq!(house.enter(BOB, vec![seat(1, "b", 1)]), Ok(0), "where a place is free nobody has to wait");
    assert!(house.room.give_up(last.unwrap(), 0));
    house.waits(BOB, vec![seat(1, "a", 1)]);
}

#[test]
fn a_new_node_serves_who_waited_longest() {
    let mut house = House::default();
    house.enter(ANN, vec![seat(1, "a", 1)]).unwrap();
    let bob = house.waits(BOB, vec![seat(1, "a", 1)]);
    house.room.reseat(bob, vec![seat(1, "a", 1), seat(3, "a", 1)], 0);
    assert_eq!(house.room.told(), [(bob, Told::Granted(1))]);
}

#[test]
fn new_seats_do_not_cost_the_turn() {
    let mut house = House::default();
    house.enter(ANN, vec![seat(1, "a", 1)]).unwrap();
    house.enter(ANN, vec![seat(2, "a", 1)]).unwrap();
    let first = house.waits(BOB, vec![seat(1, "a", 1)]);
    let second = house.waits(BOB, vec![seat(1, "a", 1)]);
    // Its node goes, and comes back.
    house.room.reseat(first, vec![seat(2, "a", 1)], 0);
    assert_eq!(house.room.waiting_for(NodeId(2)), 1);
    house.room.reseat(first, vec![seat(1, "a", 1)], 0);
    assert_eq!((house.ahead(first), house.ahead(second)), (Some(0), Some(1)));
    assert_eq!(house.leave(2, "a"), []);
    house.room.forget(|node| node == NodeId(1));
    assert_eq!(house.room.desks.len(), 1, "nothing is kept of a node that is gone");
}

#[test]
fn a_wait_ends_after_two_minutes() {
    let mut house = House::default();
    house.enter(ANN, vec![seat(1, "a", 1)]).unwrap();
    house.now_ms = 5_000;
    let bob = house.waits(BOB, vec![seat(1, "a", 1)]);
    house.now_ms = 60_000;
    let later = house.waits(BOB, vec![seat(1, "a", 1)]);
    assert_eq!(house.room.next_ms(), Some(125_000));
    house.room.tick(124_999);
    assert_eq!(house.room.told(), []);
    house.room.tick(125_000);
    assert_eq!(house.room.told(), [(bob, Told::Expired)]);
    assert!(!house.room.give_up(bob, 125_000), "it has left");
    assert_eq!((house.ahead(later), house.room.next_ms()), (Some(0), Some(180_000)));
}

#[test]
fn a_node_that_has_come_back_starts_slowly_for_everybody() {
    let mut house = House::default();
    house.room.warm_up(NodeId(1), 1, 0);
    let seats = || vec![seat(1, "a", 8)];
    assert_eq!(house.enter(ANN, seats()), Ok(0));
    let waiting: Vec<_> = (0..6).map(|_| house.waits(ANN, seats())).collect();
    let other = house.waits(ANN, vec![seat(1, "b", 8)]);
    house.room.succeeded(NodeId(1), 0);
    assert_eq!(house.granted(), waiting[..1], "two at once");
    house.room.succeeded(NodeId(1), 0);
    assert_eq!(house.granted(), waiting[1..3], "four at once");
    assert_eq!(house.leave(1, "a"), [waiting[3]]);
    house.room.succeeded(NodeId(1), 0);
    assert_eq!(house.granted(), [waiting[4], waiting[5], other], "and all of them");
    assert_eq!(house.enter(BOB, seats()), Ok(0));
    assert_eq!(
        house.enter(
            BOB,
            vec![Seat { place: Place { lane: Lane::Embed, ..seat(1, "", 4).place }, ..seat(1, "", 4) }]
        ),
        Ok(0)
    );
}

#[test]
fn streams_that_outlived_an_absence_keep_nobody_out_when_the_node_is_back() {
    let mut house = House::default();
    let seats = || vec![seat(1, "a", 8)];
    for _ in 0..3 {
        assert_eq!(house.enter(ANN, seats()), Ok(0));
    }
    house.room.warm_up(NodeId(1), 1, 0);
    assert_eq!(house.enter(BOB, seats()), Ok(0), "one is let in beside the three");
    let waiting = house.waits(BOB, seats());
    house.room.succeeded(NodeId(1), 0);
    assert_eq!(house.granted(), [waiting]);
}

#[test]
fn a_long_prompt_costs_a_little_more() {
    assert_eq!([0, 32_767].map(cost), [1, 1]);
    assert_eq!([32_768, 131_071, 131_072, 524_287, 524_288, 64 << 20].map(cost), [2, 2, 3, 3, 4, 4]);
}
