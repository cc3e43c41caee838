//! After this computer has slept, nodes are looked at anew; those of another network than it has woken in are not. Noticed by a tick on the clock that counts sleep: its timer has run
//! out by the time the computer wakes, so the tick comes at once. No service of the desktop is asked.

use crate::{
    clock,
    registry::Registry,
    waker::{Courier, learning},
};
use lamplighter_core::{
    beat,
    suspend::{TICK_MS, Watch},
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const TICK: Duration = Duration::from_millis(TICK_MS);

/// How long after that it is looked each second whether the network is another: it may take a while to be there at all.
const SETTLES: Duration = Duration::from_secs(30);
const CLOSELY: Duration = Duration::from_secs(1);

/// Watches until `stop`.
pub async fn run(registry: Registry, courier: Arc<Courier>, stop: CancellationToken) {
    let ticks = Ticks::new();
    let mut closely_until = Instant::now();
    let mut watch = Watch::new(clock::boot_ms());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = ticks.next() => {}
            () = tokio::time::sleep(CLOSELY), if Instant::now() < closely_until => {
                registry.elsewhere(learning::elsewhere(&registry.house(), &courier).await);
            }
        }
        if let Some(slept_ms) = watch.tick(clock::boot_ms()) {
            tracing::info!(
                seconds = slept_ms / 1_000,
                "this computer has slept: every node is looked at anew"
            );
            registry.elsewhere(learning::elsewhere(&registry.house(), &courier).await);
            registry.resumed().await;
            closely_until = Instant::now() + SETTLES;
        }
    }
}

/// Ticks that go on while the computer sleeps, as far as the system has such.
struct Ticks {
    #[cfg(target_os = "linux")]
    timer: Option<tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>>,
}

#[cfg(target_os = "linux")]
impl Ticks {
    fn new() -> Self {
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for types that may close what they hold; this one owns it"
        )]
        let timer = timer().and_then(tokio::io::unix::AsyncFd::new);
        if let Err(error) = &timer {
            tracing::debug!(%error, "no timer that counts sleep: sleep is noticed a few seconds later");
        }
        Self { timer: timer.ok() }
    }

    async fn next(&self) {
        let Some(timer) = &self.timer else { return tokio::time::sleep(TICK).await };
        match timer.readable().await {
            Ok(mut ready) => {
                // How many ticks there were is of no interest: those that were missed come as one.
                let mut ticks = [0; 8];
                let _ = rustix::io::read(timer, &mut ticks);
                ready.clear_ready();
            }
            Err(_) => tokio::time::sleep(TICK).await,
        }
    }
}

#[cfg(target_os = "linux")]
fn timer() -> std::io::Result<std::os::fd::OwnedFd> {
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
    let span = |ms: u64| Timespec { tv_sec: (ms / 1_000) as i64, tv_nsec: (ms % 1_000 * 1_000_000) as i64 };
    let first = span(beat::on_beat(clock::mono_ms(), TICK_MS));
    let ticks = Itimerspec { it_interval: span(TICK_MS), it_value: first };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &ticks)?;
    Ok(timer)
}

#[cfg(not(target_os = "linux"))]
impl Ticks {
    fn new() -> Self {
        Self {}
    }

    async fn next(&self) {
        tokio::time::sleep(TICK).await;
    }
}
