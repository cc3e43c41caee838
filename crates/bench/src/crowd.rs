//! A crowd of clients with a stream each: some read well, some hang up, some hardly read at all. Tells what each one got.

use crate::{
    book::hex,
    events::{Reader, now_ns},
    load,
    spread::Spread,
    wire::Connection,
};
use clap::Args;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, io, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

/// No stream may last longer.
const PATIENCE: Duration = Duration::from_secs(900);
/// What a client that hardly reads lets the system keep for it, in bytes: little, so that what it does not read waits in front.
const NARROW: u32 = 4 << 10;

/// Who they are and what they do.
#[derive(Debug, Clone, Args)]
pub struct Crowd {
    /// Where to, for example 127.0.0.1:11400.
    address: SocketAddr,
    /// Clients, with one stream each.
    #[arg(long, default_value_t = 1_000)]
    streams: u64,
    /// Events of a stream.
    #[arg(long, default_value_t = 300)]
    events: u64,
    /// Between two events; 0: as fast as they can be sent.
    #[arg(long, default_value_t = 200_000)]
    gap_us: u64,
    /// They come one after the other, all within this time.
    #[arg(long, default_value_t = 2_000)]
    over_ms: u64,
    /// Every second client's node thinks so long before it answers.
    #[arg(long, default_value_t = 0)]
    wait_ms: u64,
    /// Each hangs up at a moment of its own within this time after its request.
    #[arg(long)]
    leave_within_ms: Option<u64>,
    /// Each reads so much and no more, for ever: ends with this process.
    #[arg(long)]
    bytes_per_s: Option<usize>,
    /// Beginning of the requests' ids.
    #[arg(long, default_value = "crowd")]
    name: String,
    /// Where the moments come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// How it went for one client.
#[derive(Debug, Serialize)]
struct Got {
    status: u16,
    /// Events without the terminal marker.
    events: u64,
    /// Of the body, without its framing.
    sha256: String,
    /// `whole`, `left`, or what went wrong.
    end: String,
    /// When it ended, in nanoseconds since 1970.
    at_ns: u64,
}

/// How it went for all.
#[derive(Debug, Serialize)]
struct Gone {
    /// From a node's sending of an event to its arrival.
    delay: Spread,
    streams: BTreeMap<String, Got>,
}

/// Runs until the last stream has ended and prints what each client got, as one line of JSON.
pub async fn run(crowd: Crowd) -> Result<(), String> {
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for at in 0..crowd.streams {
        let crowd = crowd.clone();
        let comes = began + Duration::from_micros(crowd.over_ms * 1000 * at / crowd.streams);
        clients.spawn(async move {
            sleep_until(comes).await;
            let (got, samples) = client(&crowd, at).await;
            (format!("{}-{at}", crowd.name), got, samples)
        });
    }
    let (mut streams, mut all) = (BTreeMap::new(), Vec::new());
    while let Some(client) = clients.join_next().await {
        let (id, got, samples) = client.map_err(|error| error.to_string())?;
        streams.insert(id, got);
        all.extend(samples);
    }
    println!("{}", serde_json::json!(Gone { delay: Spread::of(all), streams }));
    Ok(())
}

/// One client. What it got, and the delay of each event in nanoseconds.
async fn client(crowd: &Crowd, at: u64) -> (Got, Vec<u64>) {
    let thinks_ms = if at % 2 == 1 { crowd.wait_ms } else { 0 };
    let id = format!("{}-{at}", crowd.name);
    let request = load::to(crowd.address, &load::stream_of(&id, crowd.events, crowd.gap_us, thinks_ms));
    let leaves = crowd
        .leave_within_ms
        .map(|within_ms| Duration::from_millis(moment(crowd.seed, at) % within_ms.max(1)));
    let (mut status, mut hash, mut samples, mut reader) = (0, Sha256::new(), Vec::new(), Reader::default());
    let read = async {
        if let Some(bytes_per_s) = crowd.bytes_per_s {
            return hardly_read(crowd.address, &request, bytes_per_s).await;
        }
        let mut connection = Connection::open(crowd.address).await?;
        status = connection.ask(&request).await?;
        let mut take = |piece: &[u8]| {
            hash.update(piece);
            reader.push(piece, &mut |sent_ns| samples.push(now_ns().saturating_sub(sent_ns)));
        };
        while !connection.some(&mut take).await? {}
        io::Result::Ok(())
    };
    // Dropping the future is what hanging up is: the socket closes in whatever state it is.
    let ended = timeout(leaves.unwrap_or(PATIENCE), read).await;
    let at_ns = now_ns();
    let end = match ended {
        Ok(Ok(())) if status == 200 && reader.ended_well() => "whole".to_owned(),
        Ok(Ok(())) => "without its end".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) if leaves.is_some() => "left".to_owned(),
        Err(_) => "stood still".to_owned(),
    };
    (Got { status, events: samples.len() as u64, sha256: hex(&hash.finalize()), end, at_ns }, samples)
}

/// Reads ten times a second, a tenth of `bytes_per_s` each time.
async fn hardly_read(address: SocketAddr, request: &[u8], bytes_per_s: usize) -> io::Result<()> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_recv_buffer_size(NARROW)?;
    let mut stream = socket.connect(address).await?;
    stream.write_all(request).await?;
    let mut sip = vec![0; (bytes_per_s / 10).max(1)];
    loop {
        sleep(Duration::from_millis(100)).await;
        if stream.read(&mut sip).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// A number that looks random and is the same each time (splitmix64, Steele and others 2014).
fn moment(seed: u64, at: u64) -> u64 {
    let mut z = seed.wrapping_add((at + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
