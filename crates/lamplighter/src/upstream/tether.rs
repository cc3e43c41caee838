//! Notices a request whose connection has ended without an answer and without an error.
//!
//! hyper hands a request to its connection through an unbounded channel. When the node closes that connection in the very
//! moment in which the request is put in, the request can fall between: it is neither taken out nor given back while the
//! sender lives, and the sender lives as long as somebody waits for the answer (tokio 1.54 `mpsc::chan::Rx::drop` drains only
//! what is already complete; seen with hyper 1.12 six times in a million aligned tries). So connections tell when they end,
//! and a request that hears nothing after its connection's end is over.

use http::{Extensions, Request, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{CaptureConnection, Connected, Connection, capture_connection};
use std::{
    future::pending,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Answers and errors of a connection that has ended arrive at once; this is for a busy machine.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// A connector whose connections tell when they have ended.
#[derive(Debug, Clone)]
pub struct Tethered<C>(pub C);

/// Goes with a connection's description to every request that is sent on it.
#[derive(Debug, Clone)]
struct Ended(CancellationToken);

/// The connection of one request, whichever that will be.
#[derive(Debug)]
pub struct Tether(CaptureConnection);

impl Tether {
    /// Follows the connection of `request`, which is about to be sent.
    pub fn of<B>(request: &mut Request<B>) -> Self {
        Self(capture_connection(request))
    }

    /// Waits until the request's connection has ended and its last words have had time to arrive.
    ///
    /// hyper may have moved the request to another connection by then: in this case it goes on with that one.
    pub async fn ended(mut self) {
        loop {
            let ended = Self::ended_of(self.0.wait_for_connection_metadata().await.as_ref());
            let Some(Ended(ended)) = ended else { return pending().await };
            ended.cancelled().await;
            tokio::time::sleep(LAST_WORDS).await;
            let now = Self::ended_of(self.0.connection_metadata().as_ref());
            if now.is_none_or(|Ended(now)| now.is_cancelled()) {
                return;
            }
        }
    }

    fn ended_of(connected: Option<&Connected>) -> Option<Ended> {
        let mut extras = Extensions::new();
        connected?.get_extras(&mut extras);
        extras.remove()
    }
}

impl<C> tower::Service<Uri> for Tethered<C>
where
    C: tower::Service<Uri>,
    C::Future: Unpin,
{
    type Response = Io<C::Response>;
    type Error = C::Error;
    type Future = Connecting<C::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Connecting(self.0.call(uri))
    }
}

/// A connection that is being made.
#[derive(Debug)]
pub struct Connecting<F>(F);

impl<F, T, E> Future for Connecting<F>
where
    F: Future<Output = Result<T, E>> + Unpin,
{
    type Output = Result<Io<T>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let inner = ready!(Pin::new(&mut self.0).poll(cx))?;
        let ended = CancellationToken::new();
        Poll::Ready(Ok(Io { inner, ended: Ended(ended.clone()), _guard: ended.drop_guard() }))
    }
}

/// A connection that tells when it has ended.
#[derive(Debug)]
pub struct Io<T> {
    inner: T,
    ended: Ended,
    _guard: DropGuard,
}

impl<T: Connection> Connection for Io<T> {
    fn connected(&self) -> Connected {
        self.inner.connected().extra(self.ended.clone())
    }
}

impl<T: Read + Unpin> Read for Io<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: Write + Unpin> Write for Io<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http_body_util::Full;
    use hyper_util::{
        client::legacy::{Client, connect::HttpConnector},
        rt::TokioExecutor,
    };
    use std::time::Instant;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        time::timeout,
    };

    type Sending = hyper_util::client::legacy::ResponseFuture;

    /// A request on its way to a listener of ours, its tether, and the other end of its connection.
    async fn sent() -> (tokio::task::JoinHandle<bool>, Tether, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap());
        let client = Client::builder(TokioExecutor::new()).build(Tethered(HttpConnector::new()));
        let mut request = Request::post(uri).body(Full::new(Bytes::from_static(b"hi"))).unwrap();
        let tether = Tether::of(&mut request);
        let sending: Sending = client.request(request);
        let sending = tokio::spawn(async move {
            // The client, and with it the pool, lives as long as the request.
            let answered = sending.await.is_ok();
            drop(client);
            answered
        });
        let (mut theirs, _) = listener.accept().await.unwrap();
        assert!(theirs.read(&mut [0; 512]).await.unwrap() > 0);
        (sending, tether, theirs)
    }

    /// What hyper loses in its channel looks like this to us: no answer, no error, and a connection that has ended.
    #[tokio::test]
    async fn the_end_of_a_connection_is_noticed_without_a_word_from_hyper() {
        let (_sending, tether, theirs) = sent().await;
        drop(theirs);
        let began = Instant::now();
        timeout(Duration::from_secs(5), tether.ended()).await.expect("noticed");
        assert!(began.elapsed() >= LAST_WORDS);
    }

    #[tokio::test]
    async fn a_silent_connection_is_no_ended_one_and_an_answer_comes_first() {
        let (sending, tether, mut theirs) = sent().await;
        let mut ended = Box::pin(tether.ended());
        assert!(timeout(2 * LAST_WORDS, &mut ended).await.is_err(), "silence is not the end");
        theirs.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        drop(theirs);
        tokio::select! {
            biased;
            answered = sending => assert!(answered.unwrap()),
            () = ended => panic!("the answer had time to arrive"),
        }
    }

    /// Nobody can be reached: that is an error of its own, and no connection has ended.
    #[tokio::test]
    async fn without_a_connection_nothing_ends() {
        let mut request = Request::post("http://127.0.0.1:1/").body(Full::new(Bytes::new())).unwrap();
        let tether = Tether::of(&mut request);
        let client = Client::builder(TokioExecutor::new()).build(Tethered(HttpConnector::new()));
        assert!(client.request(request).await.is_err());
        assert!(timeout(2 * LAST_WORDS, tether.ended()).await.is_err());
    }
}
