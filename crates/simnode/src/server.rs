//! The listener and its connections: hyper's HTTP/1.1, with a way out for what hyper cannot write.

use crate::activity::{Activity, Busy};
use crate::node::Node;
use crate::profile::Engine;
use crate::raw;
use crate::serve::{Handover, serve};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Pause after an accept that failed, for want of file descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// How a node is asked to end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ends {
    /// Finish what is running, take nothing new.
    pub(crate) stop: CancellationToken,
    /// Drop everything, with resets.
    pub(crate) kill: CancellationToken,
}

/// Accepts connections until the node ends.
pub(crate) async fn listen(listener: TcpListener, node: Arc<Node>, ends: Ends, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            () = ends.stop.cancelled() => return,
            () = ends.kill.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                tasks.spawn(connection(stream, Arc::clone(&node), ends.clone()));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn connection(stream: TcpStream, node: Arc<Node>, ends: Ends) {
    // A node that cannot set this still answers.
    let _ = stream.set_nodelay(true);
    let _counted = node.recorder.connection();
    let handover = Handover::default();
    let activity = Activity::new();
    let service = {
        let (node, handover, activity) = (Arc::clone(&node), Arc::clone(&handover), Arc::clone(&activity));
        service_fn(move |request| {
            let busy = Busy::enter(&activity);
            let (node, handover) = (Arc::clone(&node), Arc::clone(&handover));
            Box::pin(serve(node, handover, busy, request))
        })
    };
    let engine = node.profile.engine;
    let mut http = http1::Builder::new();
    // uvicorn writes its header names small, the others in title case; only cpp-httplib sends no date.
    http.title_case_headers(engine != Engine::Vllm);
    http.auto_date_header(!matches!(engine, Engine::Llamacpp | Engine::LlamacppRouter));
    let mut hyper = http.serve_connection(TokioIo::new(stream), service);
    let mut faults = node.faults.watch();
    let mut stopping = false;
    let killed = loop {
        let idle_ms = node.faults.idle_close_ms().or(node.profile.idle_close_ms);
        let since = activity.idle_since();
        let close_at = since.zip(idle_ms).map(|(since, ms)| since + Duration::from_millis(ms));
        tokio::select! {
            biased;
            () = ends.kill.cancelled() => break true,
            _ = poll_fn(|cx| hyper.poll_without_shutdown(cx)) => break false,
            () = ends.stop.cancelled(), if !stopping => {
                stopping = true;
                Pin::new(&mut hyper).graceful_shutdown();
            }
            _ = faults.changed() => {}
            () = activity.ended() => {}
            () = at(close_at) => {
                // Used in the meantime: the next round counts from there.
                if activity.idle_since() == since {
                    break false;
                }
            }
        }
    };
    let mut stream = hyper.into_parts().io.into_inner();
    if killed {
        raw::reset_on_close(&stream);
        return;
    }
    let job = handover.lock().unwrap_or_else(PoisonError::into_inner).take();
    match job {
        Some(job) => {
            tokio::select! {
                biased;
                () = ends.kill.cancelled() => raw::reset_on_close(&stream),
                () = raw::play(&mut stream, job) => {}
            }
        }
        // The other side may be gone already.
        None => drop(stream.shutdown().await),
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
