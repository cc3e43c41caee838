//! Turns a node's name into addresses for each new connection, and never into one that is no node.

use futures::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::Name;
use lamplighter_core::node_url::may_lead_to;
use std::{
    io,
    net::SocketAddr,
    task::{Context, Poll},
    vec,
};

/// The system's resolver, without the addresses that [`may_lead_to`] forbids.
#[derive(Debug, Clone, Copy)]
pub struct Guarded;

impl tower::Service<Name> for Guarded {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let known = !found.is_empty();
            let allowed: Vec<SocketAddr> =
                found.into_iter().filter(|at| may_lead_to(name.as_str(), at.ip())).collect();
            if known && allowed.is_empty() {
                return Err(io::Error::other("the name leads to an address that is no node"));
            }
            Ok(allowed.into_iter())
        })
    }
}
