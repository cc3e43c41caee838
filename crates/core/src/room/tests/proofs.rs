//! What holds whatever happens: nothing leaks, no limit is passed, nobody waits for ever.

use super::*;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Enter { client: u64, node: u32, both: bool, model: u8, lobby: bool, cost: u32 },
    Leave(usize),
    GiveUp(usize),
    Reseat(usize, u32),
    Later(u64),
    Sees(u32, u8),
    Shut(u32),
    Open(u32),
    Succeeded(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u64..4, 0u32..2, any::<bool>(), 0u8..3, prop::bool::weighted(0.1), 1u32..5).prop_map(
            |(client, node, both, model, lobby, cost)| Step::Enter { client, node, both, model, lobby, cost }
        ),
        5 => (0usize..8).prop_map(Step::Leave),
        1 => (0usize..8).prop_map(Step::GiveUp),
        1 => ((0usize..8), 0u32..2).prop_map(|(at, node)| Step::Reseat(at, node)),
        2 => (0u64..30_000).prop_map(Step::Later),
        1 => (0u32..2, 0u8..4).prop_map(|(node, model)| Step::Sees(node, model)),
        1 => (0u32..2).prop_map(Step::Shut),
        1 => (0u32..2).prop_map(Step::Open),
        1 => (0u32..2).prop_map(Step::Succeeded),
    ]
}

const MODELS: [&str; 3] = ["a", "b", "c"];
const BYTES: [u64; 3] = [6, 6, 3];

fn seats(node: u32, both: bool, model: u8) -> Vec<Seat> {
    let at = usize::from(model);
    let seat = |node| sized(node, MODELS[at], 2, BYTES[at]);
    if both { vec![seat(node), seat(1 - node)] } else { vec![seat(node)] }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn nothing_leaks_and_nobody_waits_for_ever(steps in prop::collection::vec(step(), 1..150)) {
        let mut house = House::default();
        for step in steps {
            match step {
                Step::Enter { client, node, both, model, lobby, cost } => {
                    let came = house.come(Arrival {
                        client: Client(client),
                        cost,
                        seats: seats(node, both, model),
                        lobby_bytes: lobby.then_some(100),
                    });
                    prop_assert!(came != Err(None) || house.waiting.len() >= WAITING_PER_NODE);
                }
                Step::Leave(at) if !house.held.is_empty() => {
                    let at = at % house.held.len();
                    house.leave_nth(at);
                }
                Step::GiveUp(at) if !house.waiting.is_empty() => {
                    let (ticket, _) = house.waiting.remove(at % house.waiting.len());
                    prop_assert!(house.room.give_up(ticket, house.now_ms));
                }
                Step::Reseat(at, node) if !house.waiting.is_empty() => {
                    let at = at % house.waiting.len();
                    let (ticket, arrival) = &mut house.waiting[at];
                    let model = MODELS.iter().position(|model| **model == *arrival.seats[0].place.model).unwrap();
                    arrival.seats = seats(node, arrival.seats.len() == 1, model as u8);
                    house.room.reseat(*ticket, arrival.seats.clone(), house.now_ms);
                }
                Step::Later(ms) => {
                    let at_ms = house.now_ms + ms;
                    house.tick_at(at_ms);
                }
                Step::Sees(node, model) => {
                    house.sees(node, &["a", "b", "c", "x"][usize::from(model)..][..1]);
                }
                Step::Shut(node) => house.room.shut(NodeId(node)),
                Step::Open(node) => house.room.open(NodeId(node), house.now_ms),
                Step::Succeeded(node) => house.room.succeeded(NodeId(node), house.now_ms),
                _ => {}
            }
            house.granted();
            let running: u32 = (0..2).map(|node| house.room.running_on(NodeId(node))).sum();
            prop_assert_eq!(running as usize, house.held.len());
            prop_assert_eq!(house.room.waiters.len(), house.waiting.len());
            let lobby = house.waiting.iter().filter(|(_, arrival)| arrival.lobby_bytes.is_some()).count();
            prop_assert_eq!(house.room.in_lobby(), lobby);
            for (ticket, _) in house.waiting.clone() {
                prop_assert!(house.ahead(ticket).is_some());
            }
            if let Some(next_ms) = house.room.next_ms() {
                prop_assert!(!house.waiting.is_empty());
                prop_assert!(next_ms > house.now_ms, "time stands still");
            }
            // With two who are there, no place is taken by more than its limit, unless somebody is or was alone.
            for node in 0..2 {
                let here = house.held.iter().filter(|(place, _)| place.node == NodeId(node));
                let models: Vec<_> = here.clone().map(|(place, _)| place.model.clone()).collect();
                let has = |model: &str| models.iter().any(|it| **it == *model);
                prop_assert!(!(has("a") && has("b")), "two run that do not fit beside each other");
            }
        }
        // All machines are awake, everybody goes, and time passes: whoever waits is called, long before any deadline.
        for node in 0..2 {
            house.room.open(NodeId(node), house.now_ms);
            for _ in 0..8 {
                house.room.succeeded(NodeId(node), house.now_ms);
            }
        }
        house.granted();
        let mut rounds = 0;
        while !house.waiting.is_empty() {
            let (before, expired) = (house.waiting.len() + house.held.len(), house.now_ms);
            while !house.held.is_empty() {
                house.leave_nth(0);
            }
            if let Some(next_ms) = house.room.next_ms() {
                house.tick_at(next_ms);
            }
            rounds += 1;
            prop_assert!(rounds < 1_000, "somebody waits for ever: {} of {before} since {expired}", house.waiting.len());
        }
        while !house.held.is_empty() {
            house.leave_nth(0);
        }
        prop_assert!(house.room.running.is_empty() && house.room.deadlines.is_empty());
        house.room.forget(|_| false);
        prop_assert!(house.room.desks.is_empty());
    }

    /// Whoever waits is called within as many calls as there are requests before it plus one visit for each step of a debt,
    /// whatever the others do meanwhile.
    #[test]
    fn no_client_starves(others in prop::collection::vec((2u64..30, 1u32..5), 200..260)) {
        let mut house = House::default();
        house.enter(Client(2), vec![seat(1, "a", 1)]).unwrap();
        let mut others = others.into_iter();
        for (client, cost) in others.by_ref().take(40) {
            let _ = house.come(Arrival { cost, ..arrival(Client(client), vec![seat(1, "a", 1)]) });
        }
        house.waits(ANN, vec![seat(1, "a", 1)]);
        let mut calls = 0;
        while house.waiting.iter().any(|(_, arrival)| arrival.client == ANN) {
            house.leave_nth(0);
            calls += 1;
            if let Some((client, cost)) = others.next() {
                let _ = house.come(Arrival { cost, ..arrival(Client(client), vec![seat(1, "a", 1)]) });
                house.granted();
            }
            prop_assert!(calls <= 40, "{calls} calls");
        }
    }
}
