//! How quick the room is: bounds that only an accidental square passes.

#![allow(clippy::disallowed_methods, reason = "core reads no clock; its test for speed has to")]

use lamplighter_core::{
    fleet::NodeId,
    operation::Lane,
    room::{Arrival, Client, Entry, Place, Room, Seat, Told, WAITING_PER_NODE},
};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

fn seat(node: u32) -> Seat {
    let place = Place { node: NodeId(node), lane: Lane::Generate, model: "a".into() };
    Seat { place, limit: 1, need: None }
}

fn arrival(client: u64, seats: Vec<Seat>) -> Arrival {
    Arrival { client: Client(client), cost: 1, seats, lobby_bytes: None }
}

/// Ten thousand who come, wait and go, at 200 nodes.
#[test]
fn ten_thousand_come_and_go_quickly() {
    let began = Instant::now();
    let mut room = Room::default();
    let (mut running, mut arrivals) = (Vec::new(), HashMap::new());
    for at in 0..10_000u64 {
        let node = (at % 200) as u32;
        let arrival = arrival(at % 97, vec![seat(node), seat((node + 1) % 200)]);
        match room.enter(arrival.clone(), 0) {
            Entry::Taken(seat) => running.push((arrival.seats[seat].place.clone(), arrival.client)),
            Entry::Waiting { ticket, .. } => drop(arrivals.insert(ticket, arrival)),
            Entry::Full { .. } => panic!("fifty at each node have room"),
        }
    }
    let (waiting, came) = (arrivals.len(), began.elapsed());
    while let Some((place, client)) = running.pop() {
        room.leave(&place, client, 0);
        for (ticket, told) in room.told() {
            let Told::Granted(seat) = told else { panic!("{told:?}") };
            running.push((arrivals[&ticket].seats[seat].place.clone(), arrivals[&ticket].client));
        }
    }
    println!("10,000 came in {came:?}, {waiting} waited, all gone after {:?}", began.elapsed());
    assert_eq!((waiting, room.next_ms()), (9_800, None));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

/// The same with 10,000 at one node: 64 wait, the others are refused at once.
#[test]
fn ten_thousand_at_one_node_are_refused_quickly() {
    let began = Instant::now();
    let mut room = Room::default();
    let mut refused = 0;
    for at in 0..10_000u64 {
        let entry = room.enter(arrival(at % 7, vec![seat(1)]), 0);
        refused += usize::from(matches!(entry, Entry::Full { .. }));
    }
    println!("10,000 at one node: {:?}", began.elapsed());
    assert_eq!(room.waiting_for(NodeId(1)), WAITING_PER_NODE);
    assert_eq!(refused + room.told().len(), 10_000 - 1 - WAITING_PER_NODE);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}
