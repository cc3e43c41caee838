//! Fair between clients, first come first served within each.

use super::*;
use proptest::prelude::*;

/// Everybody leaves in turn; the order in which the others are called.
fn served(house: &mut House, node: u32) -> Vec<Client> {
    let mut order = Vec::new();
    while let Some(at) = house.held.iter().position(|(place, _)| place.node == NodeId(node)) {
        let clients: Vec<_> =
            house.waiting.iter().map(|(ticket, arrival)| (*ticket, arrival.client)).collect();
        let granted = house.leave_nth(at);
        order.extend(
            granted.iter().map(|ticket| clients.iter().find(|(other, _)| other == ticket).unwrap().1),
        );
    }
    order
}

#[test]
fn who_floods_the_line_waits_for_itself() {
    let mut house = House::default();
    house.enter(BOB, vec![seat(1, "a", 1)]).unwrap();
    house.waits(ANN, vec![seat(1, "a", 1)]);
    let flood: Vec<_> = (0..40).map(|_| house.waits(ANN, vec![seat(1, "a", 1)])).collect();
    for _ in 0..5 {
        house.leave(1, "a");
    }
    let bob = house.waits(BOB, vec![seat(1, "a", 1)]);
    assert_eq!(house.ahead(bob), Some(0), "he has not asked for long");
    assert_eq!(house.ahead(flood[39]), Some(36), "35 of hers, and Bob");
    assert_eq!(house.leave(1, "a"), [bob]);
    // He asks again as soon as he is served: now it is Ann's turn, then his.
    let ann = house.leave(1, "a");
    assert_eq!(ann, [flood[4]]);
    let bob = house.waits(BOB, vec![seat(1, "a", 1)]);
    assert_eq!(house.leave(1, "a"), [bob]);
}

#[test]
fn shares_are_by_cost() {
    let mut house = House::default();
    house.enter(Client(9), vec![seat(1, "a", 1)]).unwrap();
    for _ in 0..30 {
        house.come(Arrival { cost: 3, ..arrival(ANN, vec![seat(1, "a", 1)]) }).unwrap_err();
        house.waits(BOB, vec![seat(1, "a", 1)]);
    }
    let order = served(&mut house, 1);
    let ann = order[..24].iter().filter(|client| **client == ANN).count();
    assert!((5..=7).contains(&ann), "a third of what Bob gets: {ann} of 24");
    assert_eq!(order.len(), 60);
}

#[test]
fn endless_newcomers_starve_nobody() {
    let mut house = House::default();
    house.enter(BOB, vec![seat(1, "a", 1)]).unwrap();
    for _ in 0..10 {
        house.waits(ANN, vec![seat(1, "a", 1)]);
    }
    let mut ann = 0;
    for at in 0..200 {
        // A new client each time, two for every place.
        house.waits(Client(1_000 + 2 * at), vec![seat(1, "a", 1)]);
        let _ = house.enter(Client(1_001 + 2 * at), vec![seat(1, "a", 1)]);
        house.granted();
        let before = house.waiting.iter().filter(|(_, arrival)| arrival.client == ANN).count();
        house.leave(1, "a");
        ann += before - house.waiting.iter().filter(|(_, arrival)| arrival.client == ANN).count();
    }
    assert_eq!(ann, 10);
}

#[test]
fn a_full_line_lets_go_of_the_newest_of_whoever_has_the_most() {
    let mut house = House::default();
    house.enter(BOB, vec![seat(1, "a", 1)]).unwrap();
    let flood: Vec<_> = (0..WAITING_PER_NODE).map(|_| house.waits(ANN, vec![seat(1, "a", 1)])).collect();
    let bob = house.waits(BOB, vec![seat(1, "a", 1)]);
    assert_eq!(house.room.told(), [(flood[63], Told::Displaced(WAITING_PER_NODE))]);
    assert_eq!(house.ahead(bob), Some(1), "Ann's first has come before him");
    assert_eq!(house.room.waiting_for(NodeId(1)), WAITING_PER_NODE);
    assert_eq!(house.room.enter(arrival(ANN, vec![seat(1, "a", 1)]), 0), Entry::Full { waiting: 64 });
    // With 64 clients of whom nobody has more than the other, who comes last has to come again.
    let mut house = House::default();
    house.enter(BOB, vec![seat(1, "a", 1)]).unwrap();
    for at in 0..64 {
        house.waits(Client(100 + at), vec![seat(1, "a", 1)]);
    }
    assert_eq!(house.room.enter(arrival(ANN, vec![seat(1, "a", 1)]), 0), Entry::Full { waiting: 64 });
    assert_eq!(house.room.told(), []);
}

/// R58 without a network: one client sends a hundred times as much as the other. 4 places, 100 ms each.
#[test]
fn r58_a_flood_does_not_double_the_others_wait() {
    let answered_in = |flood: bool| {
        let mut house = House::default();
        let mut ends: Vec<(u64, Place, Client)> = Vec::new();
        let (mut asked_ms, mut times): (Option<u64>, Vec<u64>) = (None, Vec::new());
        let mut next_ms = 37;
        for now_ms in 0..60_000u64 {
            house.now_ms = now_ms;
            ends.sort_by_key(|(at_ms, ..)| *at_ms);
            while ends.first().is_some_and(|(at_ms, ..)| *at_ms <= now_ms) {
                let (_, place, client) = ends.remove(0);
                if client == BOB {
                    times.push(now_ms - asked_ms.take().unwrap());
                    next_ms = now_ms + 1 + (times.len() as u64 * 7_919) % 800;
                }
                let at = house.held.iter().position(|held| *held == (place.clone(), client)).unwrap();
                house.leave_nth(at);
            }
            let anns =
                |house: &House| house.held.iter().filter(|held| held.1 == ANN).count() + house.waiting.len();
            while flood && anns(&house) < 64 {
                let _ = house.enter(ANN, vec![seat(1, "a", 4)]);
            }
            if asked_ms.is_none() && now_ms >= next_ms {
                asked_ms = Some(now_ms);
                let _ = house.enter(BOB, vec![seat(1, "a", 4)]);
                house.granted();
            }
            // Whoever holds a place and has no end yet begins now; generations are not all as long.
            for (place, client) in &house.held {
                let has = |list: &[(u64, Place, Client)]| list.iter().filter(|it| it.2 == *client).count();
                let holds = house.held.iter().filter(|held| held.1 == *client).count();
                if has(&ends) < holds {
                    let long = if *client == BOB { 100 } else { 60 + (now_ms * 31) % 80 };
                    ends.push((now_ms + long, place.clone(), *client));
                }
            }
        }
        times.sort_unstable();
        assert!(times.len() > 60, "{}", times.len());
        times[times.len() * 95 / 100]
    };
    let (alone, beside) = (answered_in(false), answered_in(true));
    assert!(beside <= 2 * alone, "p95 {beside} ms beside the flood, {alone} ms alone");
}

proptest! {
    /// A position is what comes true when nothing changes: with one place the request at `n` is the n-th to be called.
    #[test]
    fn positions_come_true(people in prop::collection::vec((0u64..6, 1u32..5, 0u8..3), 1..60), calls in 0usize..20) {
        let mut house = House::default();
        house.enter(Client(99), vec![sized(1, "a", 1, 6)]).unwrap();
        for (client, cost, model) in people {
            let seats = vec![sized(1, ["a", "b", "c"][usize::from(model)], 1, 6)];
            let _ = house.come(Arrival { cost, ..arrival(Client(client), seats) });
        }
        for _ in 0..calls {
            house.now_ms += 10;
            if house.held.is_empty() {
                break;
            }
            house.leave_nth(0);
        }
        let mut expected: Vec<(usize, Ticket)> = Vec::new();
        for (ticket, _) in house.waiting.clone() {
            expected.push((house.ahead(ticket).unwrap(), ticket));
        }
        expected.sort_unstable();
        prop_assert!(expected.iter().enumerate().all(|(at, (ahead, _))| at == *ahead), "each number once");
        let mut called = Vec::new();
        loop {
            if house.held.is_empty() {
                // The model that had its turn lingers for a moment.
                let at_ms = house.now_ms + LINGER_MS;
                called.extend(house.tick_at(at_ms));
            }
            if house.held.is_empty() {
                break;
            }
            called.extend(house.leave_nth(0));
        }
        prop_assert!(house.waiting.is_empty());
        let expected: Vec<Ticket> = expected.into_iter().map(|(_, ticket)| ticket).collect();
        prop_assert_eq!(called, expected);
    }

    /// Between two clients who always wait, what they have got never differs by more than the dearest request and a visit.
    #[test]
    fn shares_stay_equal(costs in prop::collection::vec((1u32..5, 1u32..5), 30..31)) {
        let mut house = House::default();
        house.enter(Client(9), vec![seat(1, "a", 1)]).unwrap();
        for (ann, bob) in &costs {
            house.come(Arrival { cost: *ann, ..arrival(ANN, vec![seat(1, "a", 1)]) }).unwrap_err();
            house.come(Arrival { cost: *bob, ..arrival(BOB, vec![seat(1, "a", 1)]) }).unwrap_err();
        }
        let mut got = [0i64; 2];
        loop {
            let before = house.waiting.clone();
            let waiting = |who: Client| before.iter().any(|(_, arrival)| arrival.client == who);
            if !waiting(ANN) || !waiting(BOB) {
                break;
            }
            for ticket in house.leave_nth(0) {
                let (_, arrival) = before.iter().find(|(other, _)| *other == ticket).unwrap();
                got[usize::from(arrival.client == BOB)] += i64::from(arrival.cost);
            }
            prop_assert!((got[0] - got[1]).abs() <= 5, "{:?}", got);
        }
    }
}
