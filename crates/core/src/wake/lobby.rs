//! The room of those who wait for a machine to wake: bounded by heads and by the bytes of their bodies.

/// Most requests that wait for machines to wake.
pub const LOBBY_REQUESTS: usize = 1_024;
/// Most bytes of request bodies that are held meanwhile.
pub const LOBBY_BYTES: u64 = 256 << 20;

/// Who waits, as counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lobby {
    requests: usize,
    bytes: u64,
}

impl Lobby {
    /// Takes in a request with a body of `bytes`; false when there is no room for it.
    #[must_use]
    pub fn enter(&mut self, bytes: u64) -> bool {
        let fits = self.requests < LOBBY_REQUESTS && self.bytes.saturating_add(bytes) <= LOBBY_BYTES;
        if fits {
            self.requests += 1;
            self.bytes += bytes;
        }
        fits
    }

    /// Lets out a request that was taken in with `bytes`.
    pub fn leave(&mut self, bytes: u64) {
        self.requests = self.requests.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.requests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_full_by_heads_or_by_bytes() {
        let mut lobby = Lobby::default();
        assert!((0..LOBBY_REQUESTS).all(|_| lobby.enter(1)) && !lobby.enter(1));
        lobby.leave(1);
        assert!(lobby.enter(1) && !lobby.enter(0));
        let mut lobby = Lobby::default();
        assert!(lobby.enter(LOBBY_BYTES) && !lobby.enter(1) && lobby.enter(0) && !lobby.enter(u64::MAX));
        lobby.leave(LOBBY_BYTES);
        assert_eq!((lobby.waiting(), lobby.enter(LOBBY_BYTES)), (1, true));
    }
}
