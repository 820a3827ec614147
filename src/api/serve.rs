//! Connections: accepted, bounded in number, and closed when a client takes too long to say what it wants, or to
//! take it.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

use crate::error::chain;

use super::{hosts, stalls::Stalls};

/// What a client may take up.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most connections at a time; further ones wait in the kernel's queue.
    pub connections: usize,
    /// How long a connection may take for the head of a request, its idle time before included.
    pub head: Duration,
    /// How long a client may take nothing of what it is sent.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Each takes a file descriptor, of which a process commonly has 65,536, and some 20 KB.
            connections: 4_096,
            // Load balancers keep an idle connection for 60 s, commonly: none of them is to send a request on one that is
            // just being closed.
            head: Duration::from_secs(75),
            // Twice what proxies give one that stalls, commonly; a listener that is cut off goes on by its last id.
            stall: Duration::from_secs(120),
        }
    }
}

/// How often a silent HTTP/2 connection is asked whether it still stands, and how long its answer may take.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));
/// The most requests at a time on one HTTP/2 connection.
const STREAMS: u32 = 256;
/// What a client says first that speaks HTTP/2 (RFC 9113, section 3.4).
const HTTP2: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long nothing is accepted after that failed, as it does when the process is out of file descriptors; and how often to
/// look for the rest of what a client says first.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`; then no new connection is taken, and those that are open end with the request that is under way.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: CancellationToken) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.head);
    let http2 = &mut builder.http2();
    http2.timer(TokioTimer::new()).keep_alive_interval(PING.0).keep_alive_timeout(PING.1);
    http2.max_concurrent_streams(STREAMS);
    let builder = Arc::new(builder);
    let router = match listener.local_addr() {
        Ok(address) => hosts::guard(address.ip(), router),
        // It was bound, and so has one.
        Err(_) => router,
    };
    let service = TowerToHyperService::new(router);
    let open = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(limits.connections));
    loop {
        let accepted = async {
            // It is never closed.
            let place = places.clone().acquire_owned().await.ok();
            listener.accept().await.map(|(stream, _)| (stream, place))
        };
        let (stream, place) = match stop.run_until_cancelled(accepted).await {
            None => break,
            Some(Ok(accepted)) => accepted,
            Some(Err(err)) => {
                tracing::warn!(error = chain(&err), "could not accept a connection");
                stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
                continue;
            }
        };
        // An answer is written whole: nothing is gained by waiting for more of it.
        let _ = stream.set_nodelay(true);
        let (builder, service, watcher, stop) = (builder.clone(), service.clone(), open.watcher(), stop.clone());
        tokio::spawn(async move {
            let speaks = stop.run_until_cancelled(tokio::time::timeout(limits.head, speaks(&stream))).await;
            if matches!(speaks, Some(Ok(Ok(())))) {
                let stream = TokioIo::new(Stalls::new(stream, limits.stall));
                let connection = builder.serve_connection(stream, service).into_owned();
                // How a client left is no news.
                let _ = watcher.watch(connection).await;
            }
            drop(place);
        });
    }
    drop(listener);
    open.shutdown().await;
}

/// Ends when it is clear which HTTP a client speaks: the library that finds that out would wait for it for ever.
async fn speaks(stream: &TcpStream) -> std::io::Result<()> {
    let mut first = [0; HTTP2.len()];
    loop {
        let bytes = stream.peek(&mut first).await?;
        if bytes == HTTP2.len() || bytes == 0 || !HTTP2.starts_with(&first[..bytes]) {
            return Ok(());
        }
        // What has come stays readable, so that the rest of it cannot be waited for.
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, routing::get};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// How long anything may take that must happen.
    const BOUND: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn those_who_never_say_what_they_want_keep_nobody_out_for_long() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(|| async { "here" }));
        let stop = CancellationToken::new();
        let limits = Limits { connections: 2, head: Duration::from_millis(300), ..Limits::default() };
        let serving = tokio::spawn(serve(listener, router, limits, stop.clone()));
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
        let mut slower = TcpStream::connect(address).await.unwrap();
        slower.write_all(b"PRI").await.unwrap();
        let mut polite = TcpStream::connect(address).await.unwrap();
        polite.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        polite.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
        for stream in [&mut silent, &mut slow, &mut slower] {
            let mut rest = Vec::new();
            let closed = stream.read_to_end(&mut rest).await;
            assert!(closed.is_err() || !rest.starts_with(b"HTTP/1.1 200"), "{rest:?}");
        }
        stop.cancel();
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn one_that_never_reads_loses_its_place_and_one_that_only_listens_keeps_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let later = CancellationToken::new();
        let told = later.clone();
        let tell_later = || async move {
            Body::from_stream(futures::stream::once(async move {
                told.cancelled().await;
                Ok::<_, std::convert::Infallible>("later")
            }))
        };
        let router = Router::new()
            .route("/", get(|| async { "here" }))
            .route("/later", get(tell_later))
            // More than sockets hold.
            .route("/much", get(|| async { vec![0; 64 * 1024 * 1024] }));
        let stop = CancellationToken::new();
        let limits = Limits { connections: 2, stall: Duration::from_millis(300), ..Limits::default() };
        let serving = tokio::spawn(serve(listener, router, limits, stop.clone()));
        let ask = async |path: &str| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            stream
        };
        let mut listens = ask("/later").await;
        let mut head = [0; 12];
        listens.read_exact(&mut head).await.unwrap();
        let never_reads = ask("/much").await;
        // There is no place for this one before the last one has lost its own.
        let mut answer = String::new();
        let mut next = ask("/").await;
        let answered = tokio::time::timeout(BOUND, next.read_to_string(&mut answer)).await;
        answered.expect("the one that never reads keeps its place").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
        later.cancel();
        let mut answer = String::new();
        listens.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("later"), "{answer}");
        drop(never_reads);
        stop.cancel();
        serving.await.unwrap();
    }
}
