//! A room with people in it, who keep book of what they were told.

use super::super::*;

pub fn seat(node: u32, model: &str, limit: u32) -> Seat {
    Seat { place: Place { node: NodeId(node), lane: Lane::Generate, model: model.into() }, limit, need: None }
}

/// On a node with ten bytes of memory.
pub fn sized(node: u32, model: &str, limit: u32, bytes: u64) -> Seat {
    Seat { need: Some(Need { bytes, of_bytes: Some(10) }), ..seat(node, model, limit) }
}

/// On a node of which nobody knows how much memory it has.
pub fn of_bytes(node: u32, model: &str, limit: u32, bytes: u64) -> Seat {
    Seat { need: Some(Need { bytes, of_bytes: None }), ..seat(node, model, limit) }
}

pub fn arrival(client: Client, seats: Vec<Seat>) -> Arrival {
    Arrival { client, cost: 1, seats, lobby_bytes: None }
}

#[derive(Default)]
pub struct House {
    pub room: Room,
    pub now_ms: u64,
    /// Who holds which place.
    pub held: Vec<(Place, Client)>,
    /// Who waits.
    pub waiting: Vec<(Ticket, Arrival)>,
}

impl House {
    pub fn come(&mut self, arrival: Arrival) -> Result<usize, Option<Ticket>> {
        match self.room.enter(arrival.clone(), self.now_ms) {
            Entry::Taken(at) => {
                self.held.push((arrival.seats[at].place.clone(), arrival.client));
                Ok(at)
            }
            Entry::Waiting { ticket, ahead } => {
                assert_eq!(self.room.ahead_of(ticket, self.now_ms), Some(ahead));
                self.waiting.push((ticket, arrival));
                Err(Some(ticket))
            }
            Entry::Full { .. } => Err(None),
        }
    }

    pub fn enter(&mut self, client: Client, seats: Vec<Seat>) -> Result<usize, Option<Ticket>> {
        self.come(arrival(client, seats))
    }

    pub fn waits(&mut self, client: Client, seats: Vec<Seat>) -> Ticket {
        self.enter(client, seats).expect_err("it should wait").expect("it should not be refused")
    }

    pub fn ahead(&mut self, ticket: Ticket) -> Option<usize> {
        self.room.ahead_of(ticket, self.now_ms)
    }

    /// Whoever has got a place since the last call; they hold it now. Others who were told something are let go.
    pub fn granted(&mut self) -> Vec<Ticket> {
        let mut granted = Vec::new();
        for (ticket, told) in self.room.told() {
            let at = self.waiting.iter().position(|(other, _)| *other == ticket);
            let (_, arrival) = self.waiting.remove(at.expect("it is told to somebody who waits"));
            if let Told::Granted(seat) = told {
                self.held.push((arrival.seats[seat].place.clone(), arrival.client));
                granted.push(ticket);
            }
        }
        granted
    }

    /// Whoever holds a place of that model longest leaves it. Says who has got one.
    pub fn leave(&mut self, node: u32, model: &str) -> Vec<Ticket> {
        let is_it = |place: &Place| place.node == NodeId(node) && *place.model == *model;
        let at = self.held.iter().position(|(place, _)| is_it(place)).expect("somebody is there");
        self.leave_nth(at)
    }

    pub fn leave_nth(&mut self, at: usize) -> Vec<Ticket> {
        let (place, client) = self.held.remove(at);
        self.room.leave(&place, client, self.now_ms);
        self.granted()
    }

    /// The node is looked at; each model takes six bytes.
    pub fn sees(&mut self, node: u32, models: &[&str]) -> Vec<Ticket> {
        let loaded: Vec<(Arc<str>, u64)> = models.iter().map(|model| ((*model).into(), 6)).collect();
        self.room.sees(NodeId(node), Look { loaded: &loaded, began_ms: self.now_ms }, self.now_ms);
        self.granted()
    }

    pub fn tick_at(&mut self, now_ms: u64) -> Vec<Ticket> {
        self.now_ms = now_ms;
        self.room.tick(now_ms);
        self.granted()
    }
}
