//! How long things may last: silence before somebody looks into it, and how long what was found out counts.
//!
//! One value, so that a test can run an hour in a minute. Figures in milliseconds of the monotonic clock.

/// The limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Time to a stream's first event while its model is in memory and another node could answer. At least; see
    /// [`Patience::first_event`].
    pub first_event_ms: u64,
    /// The same while the model must be loaded first. Ollama gives a load without progress 5 minutes (ollama
    /// `envconfig/config.go`, `OLLAMA_LOAD_TIMEOUT`).
    pub load_ms: u64,
    /// Time that a kibibyte of prompt may take besides: 50 tokens a second, what a processor without a GPU reads.
    pub per_kib_ms: u64,
    /// Silence of a request that makes us ask for one token on another connection. At least; see [`Patience::silent`].
    pub silent_ms: u64,
    /// A node that has kept an answer in one piece for so long, and is alive, is at work: that is a success where it starts slowly.
    pub whole_ms: u64,
    /// While an answer in one piece is under way, and none has come for less than this, no canary that misses is held against the
    /// node: it may have had to wait behind it.
    pub whole_silent_ms: u64,
    /// Time for that token.
    pub canary_ms: u64,
    /// Time between two such questions to a node that does not work.
    pub canary_every_ms: u64,
    /// Silence is no fault while the node lives; this bounds it all the same.
    pub cap_ms: u64,
    /// The same for a server on the internet.
    pub cap_cloud_ms: u64,
    /// How long a failure counts as load.
    pub burden_ms: u64,
    /// A node on trial that nobody asked for so long is simply up again.
    pub trial_ms: u64,
    /// Coming and going is counted over this time.
    pub flap_ms: u64,
    /// Hold-down of a node that comes and goes, the first time; it doubles.
    pub hold_ms: u64,
    /// Longest hold-down.
    pub hold_max_ms: u64,
    /// A model that does not fit into a node's memory is not tried there again for so long.
    pub blocked_ms: u64,
    /// A node that refuses our key at work is not tried again for so long, the first time; it doubles.
    pub refused_ms: u64,
    /// Longest such time.
    pub refused_max_ms: u64,
    /// While nobody is up, one request is let through this often.
    pub hope_ms: u64,
    /// Longest `Retry-After` of a node that is waited for.
    pub retry_after_ms: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            first_event_ms: 20_000,
            load_ms: 600_000,
            per_kib_ms: 5_000,
            silent_ms: 120_000,
            whole_ms: 15_000,
            whole_silent_ms: 600_000,
            canary_ms: 20_000,
            canary_every_ms: 30_000,
            cap_ms: 1_800_000,
            cap_cloud_ms: 600_000,
            burden_ms: 5_000,
            trial_ms: 60_000,
            flap_ms: 60_000,
            hold_ms: 30_000,
            hold_max_ms: 300_000,
            blocked_ms: 600_000,
            refused_ms: 60_000,
            refused_max_ms: 600_000,
            hope_ms: 5_000,
            retry_after_ms: 30_000,
        }
    }
}

impl Patience {
    /// The waits for silence, so many times shorter: for tests, in which an hour must pass in a minute. What clients and
    /// nodes see in seconds (a trial, a retry) stays as it is.
    #[must_use]
    pub fn hurried(self, by: u64) -> Self {
        let by = by.max(1);
        Self {
            first_event_ms: self.first_event_ms / by,
            load_ms: self.load_ms / by,
            per_kib_ms: self.per_kib_ms / by,
            silent_ms: self.silent_ms / by,
            whole_ms: self.whole_ms / by,
            whole_silent_ms: self.whole_silent_ms / by,
            canary_ms: self.canary_ms / by,
            canary_every_ms: self.canary_every_ms / by,
            cap_ms: self.cap_ms / by,
            cap_cloud_ms: self.cap_cloud_ms / by,
            blocked_ms: self.blocked_ms / by,
            refused_ms: self.refused_ms / by,
            refused_max_ms: self.refused_max_ms / by,
            ..self
        }
    }

    /// Time to the first event of a stream, when another node could answer: short when the model is in memory, long when it
    /// must be loaded; never less than five times what this model usually takes there, and a long prompt has its time.
    #[must_use]
    pub fn first_event(&self, resident: bool, p99_ms: Option<u32>, prompt_bytes: usize) -> u64 {
        let least = if resident { self.first_event_ms } else { self.load_ms };
        self.stretched(least, p99_ms, prompt_bytes)
    }

    /// Silence of a request after which the node is asked for a single token.
    #[must_use]
    pub fn silent(&self, p99_ms: Option<u32>, prompt_bytes: usize) -> u64 {
        self.stretched(self.silent_ms, p99_ms, prompt_bytes)
    }

    fn stretched(&self, least_ms: u64, p99_ms: Option<u32>, prompt_bytes: usize) -> u64 {
        let usual_ms = 5 * u64::from(p99_ms.unwrap_or(0));
        least_ms.max(usual_ms) + (prompt_bytes as u64).saturating_mul(self.per_kib_ms) / 1024
    }
}

/// Samples that a [`Pace`] keeps.
const SAMPLES: usize = 128;

/// The times to the first event of one model on one node: the latest 128.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    samples: Vec<u32>,
    next: usize,
    p99_ms: Option<u32>,
}

impl Pace {
    /// Takes in one.
    pub fn record(&mut self, took_ms: u32) {
        if self.samples.len() < SAMPLES {
            self.samples.push(took_ms);
        } else {
            self.samples[self.next] = took_ms;
        }
        self.next = (self.next + 1) % SAMPLES;
        let mut sorted = [0; SAMPLES];
        let sorted = &mut sorted[..self.samples.len()];
        sorted.copy_from_slice(&self.samples);
        let rank = (sorted.len() * 99).div_ceil(100) - 1;
        self.p99_ms = Some(*sorted.select_nth_unstable(rank).1);
    }

    /// The time that 99 of 100 did not pass; `None` before the first.
    #[must_use]
    pub fn p99_ms(&self) -> Option<u32> {
        self.p99_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loaded_model_gets_little_time_and_a_load_or_a_long_prompt_much() {
        let patience = Patience::default();
        assert_eq!(patience.first_event(true, None, 0), 20_000);
        assert_eq!(patience.first_event(true, Some(3_000), 0), 20_000);
        assert_eq!(patience.first_event(true, Some(30_000), 0), 150_000, "slow machines are known as such");
        assert_eq!(
            patience.first_event(true, None, 120 << 10),
            620_000,
            "30,000 tokens are read for minutes"
        );
        assert_eq!(patience.first_event(false, None, 0), 600_000);
        assert_eq!(patience.silent(None, 0), 120_000);
        assert!(patience.silent(None, 300 << 10) >= 1_500_000, "25 minutes for what takes 25 minutes");
    }

    #[test]
    fn the_pace_knows_its_slow_end_and_forgets() {
        let mut pace = Pace::default();
        assert_eq!(pace.p99_ms(), None);
        pace.record(7);
        assert_eq!(pace.p99_ms(), Some(7));
        for at in 1..=100 {
            pace.record(at);
        }
        assert_eq!(pace.p99_ms(), Some(99));
        for _ in 0..128 {
            pace.record(5);
        }
        assert_eq!(pace.p99_ms(), Some(5));
    }
}
