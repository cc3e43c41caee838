//! The whole comparison: what is measured once, the interleaved rounds, and the table.

use crate::{
    fleet::Nodes,
    goals::{Figures, Who},
    load::{Target, chat, closed_loop},
    machine,
    process::Memory,
    proxies::{self, Proxy},
    rivals,
    rounds::{self, Effort},
    streams,
};
use clap::Args;
use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// What to compare.
#[derive(Debug, Args)]
pub struct Asked {
    /// Under a minute: fewer and shorter rounds, no large bodies, no large fleet.
    #[arg(long)]
    quick: bool,
    /// The gateway's binary; the one beside this program when not given.
    #[arg(long)]
    gateway: Option<PathBuf>,
}

/// Starts one proxy.
type Launch = Box<dyn Fn() -> Result<Proxy, String>>;

/// Streams held open for the memory of one.
const HELD: usize = 1_000;

/// Measures everything and prints the table.
pub async fn run(asked: Asked) -> Result<(), String> {
    let started = Instant::now();
    let (quick, gateway) = (asked.quick, asked.gateway.map_or_else(|| beside("lamplighter"), Ok)?);
    let (nginx, haproxy) = (rivals::find("nginx"), rivals::find("haproxy"));
    let load_before = machine::load_average();
    let mut figures = Figures::default();
    for (id, name) in [("size", "lamplighter"), ("size_app", "lamplighter-desktop")] {
        if let Ok(file) = std::fs::metadata(gateway.with_file_name(name)) {
            figures.add(id, Who::Gateway, file.len() as f64 / 1e6);
        }
    }
    let nodes = Nodes::start(2, 1)?;
    let mut launches: Vec<(Who, Launch)> = Vec::new();
    let (program, addresses) = (gateway.clone(), nodes.addresses.clone());
    launches.push((Who::Gateway, Box::new(move || proxies::lamplighter(&program, &addresses))));
    if let Some(program) = nginx.clone() {
        let addresses = nodes.addresses.clone();
        launches.push((Who::Nginx, Box::new(move || rivals::nginx(&program, &addresses))));
    }
    if let Some(program) = haproxy.clone() {
        let addresses = nodes.addresses.clone();
        launches.push((Who::Haproxy, Box::new(move || rivals::haproxy(&program, &addresses))));
    }

    eprintln!("start, and memory");
    let mut running = Vec::new();
    for (who, launch) in &launches {
        for _ in 0..if quick { 5 } else { 10 } {
            figures.add("start", *who, start_ms(launch).await?);
        }
        let proxy = launch()?;
        memory(&mut figures, *who, &proxy).await.map_err(|why| format!("{who:?}: {why}"))?;
        running.push((*who, proxy));
    }

    let mut ways = vec![(Who::Direct, Target { address: nodes.addresses[0], pid: None })];
    ways.extend(running.iter().rev().map(|(who, proxy)| (*who, proxy.target())));
    let (rounds, length, until) = if quick { (2, 500, 45) } else { (5, 1200, 220) };
    let length = Duration::from_millis(length);
    let effort = Effort { rounds, length, until: started + Duration::from_secs(until), large: !quick };
    let foreign = rounds::run(&mut figures, &ways, effort).await?;
    drop(running);

    eprintln!("model list, and large fleet");
    black_holes(&mut figures, &gateway).await?;
    if !quick {
        large_fleet(&mut figures, &gateway).await?;
    }

    println!("{}", figures.table());
    for line in machine::describe(nginx.as_deref(), haproxy.as_deref()) {
        println!("- {line}");
    }
    println!(
        "- load average {load_before} before, {} after; other programs used {:.0} % of the proxies' core during the rounds",
        machine::load_average(),
        foreign * 100.0
    );
    println!("- {rounds} interleaved rounds, medians; {:.0} s in all", started.elapsed().as_secs_f64());
    Ok(())
}

fn beside(name: &str) -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
    let path = own.with_file_name(name);
    if path.is_file() { Ok(path) } else { Err(format!("{} is not built", path.display())) }
}

/// From the start of the process to the first 200 for the list of models.
async fn start_ms(launch: &impl Fn() -> Result<Proxy, String>) -> Result<f64, String> {
    let started = Instant::now();
    let proxy = launch()?;
    let address = proxy.target().address;
    proxies::wait_for_200(address, &proxies::models_request(address), Duration::from_micros(500)).await?;
    Ok(started.elapsed().as_secs_f64() * 1e3)
}

/// Memory idle, with streams open, and after they are closed.
async fn memory(figures: &mut Figures, who: Who, proxy: &Proxy) -> Result<(), String> {
    let read = || Memory::of(proxy.pid()).map_err(|error| error.to_string());
    proxy.serves().await?;
    sleep(Duration::from_secs(1)).await;
    let idle = read()?;
    figures.add("rss_idle", who, idle.rss_kb / 1024.0);
    figures.add("pss_idle", who, idle.pss_kb / 1024.0);
    let open = streams::hold(proxy.target(), HELD).await?;
    sleep(Duration::from_secs(1)).await;
    figures.add("stream_kb", who, (read()?.rss_kb - idle.rss_kb) / HELD as f64);
    drop(open);
    sleep(Duration::from_secs(6)).await;
    figures.add("kept_kb", who, (read()?.rss_kb - idle.rss_kb) / HELD as f64);
    Ok(())
}

/// Waits until the gateway has found `models` models.
async fn knows(proxy: &Proxy, models: usize) -> Result<(), String> {
    proxy.serves().await?;
    let until = Instant::now() + Duration::from_secs(15);
    while proxies::listed(proxy.target()).await? != Some(models) {
        if Instant::now() > until {
            return Err(format!("the gateway does not list {models} models"));
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// The list of models while half of twenty nodes accept connections and never answer.
async fn black_holes(figures: &mut Figures, gateway: &Path) -> Result<(), String> {
    let alive = Nodes::start(10, 10)?;
    let holes: Vec<TcpListener> = (0..10)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    let silent = holes.iter().filter_map(|hole| hole.local_addr().ok());
    // Dead and alive take turns in the configuration.
    let nodes: Vec<SocketAddr> =
        alive.addresses.iter().copied().zip(silent).flat_map(|(a, s)| [a, s]).collect();
    let proxy = proxies::lamplighter(gateway, &nodes)?;
    // Ten nodes with ten models each, of which one is the same on two.
    knows(&proxy, 99).await?;
    let request = b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for _ in 0..3 {
        let loaded = closed_loop(proxy.target(), request, 1, Duration::from_millis(1000)).await?;
        figures.add("list_p50", Who::Gateway, loaded.latency.p50_us / 1e3);
        figures.add("list_p99", Who::Gateway, loaded.latency.p99_us / 1e3);
    }
    Ok(())
}

/// Does a large fleet slow down every request?
async fn large_fleet(figures: &mut Figures, gateway: &Path) -> Result<(), String> {
    let (small_nodes, large_nodes) = (Nodes::start(3, 10)?, Nodes::start(300, 10)?);
    let small = proxies::lamplighter(gateway, &small_nodes.addresses)?;
    knows(&small, 29).await?;
    let large = proxies::lamplighter(gateway, &large_nodes.addresses)?;
    knows(&large, 2_999).await?;
    let (request, length) = (chat(300), Duration::from_millis(800));
    for _ in 0..5 {
        let few = closed_loop(small.target(), &request, 16, length).await?;
        let many = closed_loop(large.target(), &request, 16, length).await?;
        figures.add("fleet", Who::Gateway, many.per_second / few.per_second);
    }
    Ok(())
}
