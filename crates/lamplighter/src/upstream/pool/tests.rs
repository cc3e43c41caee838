//! One pool and a node that is spoken by hand.

use super::*;
use http_body_util::BodyExt;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

const WHOLE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

/// A pool, and both ends of a connection.
async fn pair() -> (Pool, Wire, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (Pool::new(4_000), Wire::Plain(ours), listener.accept().await.unwrap().0)
}

async fn post(pool: &Pool, wire: Wire, body: impl Into<Bytes>) -> Result<Response<Incoming>, Broken> {
    let uri = Uri::from_static("http://node/v1");
    timeout(Duration::from_secs(20), pool.post(wire, &uri, &HeaderMap::new(), body.into())).await.unwrap()
}

/// Reads one request and answers it.
async fn answer(node: &mut TcpStream, answer: &[u8]) -> String {
    let mut got = vec![0; 4096];
    let read = node.read(&mut got).await.unwrap();
    node.write_all(answer).await.unwrap();
    String::from_utf8_lossy(&got[..read]).into_owned()
}

#[tokio::test]
async fn a_connection_is_used_again_once_its_answer_is_read() {
    let (pool, mut wire, mut node) = pair().await;
    for _ in 0..2 {
        let (answered, seen) = tokio::join!(post(&pool, wire, "hi"), answer(&mut node, WHOLE));
        assert_eq!(seen, "POST /v1 HTTP/1.1\r\nhost: node\r\ncontent-length: 2\r\n\r\nhi");
        let body = answered.unwrap().into_body();
        assert!(pool.take().is_none(), "still in use");
        assert_eq!(body.collect().await.unwrap().to_bytes(), "hello");
        wire = pool.take().expect("kept");
    }
    // What has been said unasked, and what has been closed, is not used again.
    pool.keep(wire);
    node.write_all(b"x").await.unwrap();
    sleep(Duration::from_millis(50)).await;
    assert!(pool.take().is_none());
    let (pool, wire, node) = pair().await;
    pool.keep(wire);
    drop(node);
    sleep(Duration::from_millis(50)).await;
    assert!(pool.take().is_none());
}

#[tokio::test]
async fn nothing_is_kept_that_might_not_be_clean() {
    for text in [
        &b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        let (pool, wire, mut node) = pair().await;
        let (answered, _) = tokio::join!(post(&pool, wire, "hi"), answer(&mut node, text));
        assert_eq!(answered.unwrap().into_body().collect().await.unwrap().to_bytes(), "hello");
        assert!(pool.take().is_none(), "{}", String::from_utf8_lossy(text));
    }
    // Forgotten while it was in use; too many; too old.
    let (pool, wire, _node) = pair().await;
    pool.close();
    pool.keep(wire);
    assert!(pool.take().is_none());
    let (_, wire, _node) = pair().await;
    let pool = Pool::new(0);
    pool.keep(wire);
    pool.tidy();
    assert!(pool.lock().is_empty());
}

#[tokio::test]
async fn an_answer_that_is_cut_is_an_error_and_one_that_is_left_closes() {
    let (pool, wire, mut node) = pair().await;
    let (answered, _) = tokio::join!(post(&pool, wire, "hi"), answer(&mut node, &WHOLE[..WHOLE.len() - 2]));
    drop(node);
    assert!(answered.unwrap().into_body().collect().await.is_err());

    let (pool, wire, mut node) = pair().await;
    let (answered, _) = tokio::join!(post(&pool, wire, "hi"), answer(&mut node, &WHOLE[..WHOLE.len() - 2]));
    drop(answered.unwrap().into_body());
    assert_eq!(timeout(Duration::from_secs(5), node.read(&mut [0; 8])).await.unwrap().unwrap(), 0);

    let (pool, wire, node) = pair().await;
    drop(node);
    assert!(matches!(post(&pool, wire, "hi").await, Err(Broken::Io(_))));
}

/// A node that answers before it has read a large body, and never reads the rest.
#[tokio::test]
async fn an_early_answer_is_heard() {
    let (pool, wire, mut node) = pair().await;
    let refusal = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n";
    let (answered, seen) = tokio::join!(post(&pool, wire, vec![b'x'; 64 << 20]), answer(&mut node, refusal));
    assert!(seen.starts_with("POST /v1 HTTP/1.1\r\nhost: node\r\ncontent-length: 67108864\r\n\r\n"));
    let answered = answered.unwrap();
    assert_eq!(answered.status(), 413);
    drop(answered);
    assert!(pool.take().is_none(), "half a request stands on it");
}

/// A large body arrives whole, and what one read brings comes out in one piece.
#[tokio::test]
async fn large_bodies_and_many_chunks() {
    let (pool, wire, mut node) = pair().await;
    let sent = vec![b'y'; 3 << 20];
    let reading = async {
        let mut got = Vec::new();
        let is_whole = |got: &[u8]| {
            let head = got.windows(4).position(|four| four == b"\r\n\r\n");
            head.is_some_and(|at| got.len() >= at + 4 + sent.len())
        };
        while !is_whole(&got) {
            assert!(node.read_buf(&mut got).await.unwrap() > 0);
        }
        let mut answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        answer.extend(b"4\r\nabcd\r\n".repeat(100));
        answer.extend_from_slice(b"0\r\n\r\n");
        node.write_all(&answer).await.unwrap();
        got
    };
    let (answered, got) = tokio::join!(post(&pool, wire, sent.clone()), reading);
    assert!(got.ends_with(&sent));
    let mut body = answered.unwrap().into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, b"abcd".repeat(100));
    assert!(pool.take().is_some());
}
