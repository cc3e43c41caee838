//! Interim answers (`103 Early Hints` and its kin): a few are harmless, a flood of them is no answer.

use http::Request;
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};
use tokio::sync::Notify;

/// So many are borne with.
const CAP: u32 = 16;

/// Counts the interim answers to one request.
#[derive(Debug, Default)]
pub struct Interim {
    count: AtomicU32,
    flood: Notify,
}

impl Interim {
    /// Watches over the answers to `request`.
    pub fn of<B>(request: &mut Request<B>) -> Arc<Self> {
        let interim = Arc::<Self>::default();
        let counted = interim.clone();
        hyper::ext::on_informational(request, move |_| {
            if counted.count.fetch_add(1, Relaxed) == CAP {
                counted.flood.notify_one();
            }
        });
        interim
    }

    /// Waits until there were too many.
    pub async fn flood(&self) {
        self.flood.notified().await;
    }
}
