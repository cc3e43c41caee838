//! The interleaved rounds: each measurement of each way once per round, so that a busy moment hits all of them.

use crate::{
    goals::{Figures, Who},
    load::{self, Target, closed_loop},
    machine::Watch,
    process::{Cpu, Memory},
    proxies::CORE,
    streams,
};
use std::time::{Duration, Instant};

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Rounds.
    pub rounds: usize,
    /// Length of one closed loop; the others are in proportion.
    pub length: Duration,
    /// No further round begins after this.
    pub until: Instant,
    /// Bodies of 20 MB too.
    pub large: bool,
}

/// Runs the rounds over `ways`. Returns what share of the proxies' core others used meanwhile.
pub async fn run(figures: &mut Figures, ways: &[(Who, Target)], effort: Effort) -> Result<f64, String> {
    let own_us = || -> f64 {
        let pids = ways.iter().filter_map(|(_, target)| target.pid);
        pids.filter_map(|pid| Cpu::of(pid).ok()).map(|cpu| cpu.since(&Cpu::default()).us).sum()
    };
    let (watch, before) = (Watch::start(CORE), own_us());
    for round in 0..effort.rounds {
        if round > 0 && Instant::now() > effort.until {
            eprintln!("out of time after {round} rounds");
            break;
        }
        eprintln!("round {} of {}", round + 1, effort.rounds);
        let mut order = ways.to_vec();
        order.rotate_left(round % ways.len().max(1));
        measure(figures, &order, effort).await?;
    }
    Ok(watch.foreign_share(own_us() - before))
}

async fn measure(figures: &mut Figures, ways: &[(Who, Target)], effort: Effort) -> Result<(), String> {
    let length = effort.length;
    let (small, medium) = (load::chat(300), load::chat(64 << 10));
    for &(who, target) in ways {
        let loaded = closed_loop(target, &small, 16, length).await?;
        figures.add("req_s", who, loaded.per_second);
        if who != Who::Direct {
            figures.add("req_cpu", who, loaded.cpu_us);
            figures.add("req_user", who, loaded.cpu_us * (1.0 - loaded.kernel_share));
        }
    }
    for &(who, target) in ways {
        let loaded = closed_loop(target, &small, 1, length.mul_f64(0.6)).await?;
        figures.add("lat_p50", who, loaded.latency.p50_us);
        figures.add("lat_p99", who, loaded.latency.p99_us);
    }
    for &(who, target) in ways {
        let first = streams::first_events(target, (length.as_millis() / 8) as usize).await?;
        figures.add("ttfb_p50", who, first.p50_us);
        figures.add("ttfb_max", who, first.max_us / 1e3);
    }
    for &(who, target) in ways {
        let steady = streams::steady(target, 64, length.mul_f64(1.2)).await?;
        figures.add("delay_p50", who, steady.delay.p50_us);
        figures.add("delay_p99", who, steady.delay.p99_us);
        if who != Who::Direct {
            figures.add("event_cpu", who, steady.cpu_us);
        }
    }
    for &(who, target) in ways {
        let burst = streams::burst(target, 4, length.mul_f64(0.4)).await?;
        figures.add("burst", who, burst.per_second);
        if who != Who::Direct {
            figures.add("burst_cpu", who, burst.cpu_us);
        }
    }
    for &(who, target) in ways.iter().filter(|(who, _)| *who != Who::Direct) {
        let loaded = closed_loop(target, &medium, 4, length.mul_f64(0.6)).await?;
        figures.add("body64_cpu", who, loaded.cpu_us);
    }
    if effort.large {
        let large = load::chat(20 << 20);
        for &(who, target) in ways {
            large_bodies(figures, who, target, &large, length.mul_f64(0.7)).await?;
        }
    }
    Ok(())
}

async fn large_bodies(
    figures: &mut Figures,
    who: Who,
    target: Target,
    request: &[u8],
    length: Duration,
) -> Result<(), String> {
    let before = target.pid.map(forget_peak);
    let loaded = closed_loop(target, request, 1, length).await?;
    figures.add("body20_lat", who, loaded.latency.p50_us / 1e3);
    if let (Some(pid), Some(before)) = (target.pid, before) {
        figures.add("body20_cpu", who, loaded.cpu_us / 1e3);
        let peak = Memory::of(pid).map_or(f64::NAN, |memory| memory.peak_kb);
        figures.add("body20_mem", who, (peak - before) / 1024.0);
    }
    Ok(())
}

/// Lets the peak begin anew (proc(5), `/proc/PID/clear_refs`, 5). Resident now, in KiB.
fn forget_peak(pid: u32) -> f64 {
    let _ = std::fs::write(format!("/proc/{pid}/clear_refs"), "5");
    Memory::of(pid).map_or(f64::NAN, |memory| memory.rss_kb)
}
