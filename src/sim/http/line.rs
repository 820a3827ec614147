//! A TCP connection that can be cut from outside, at any moment, without an answer.
//!
//! hyper offers no way to break off a request that it is serving; so the transport beneath it fails instead.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// The near end of a connection, for whoever may cut it.
#[derive(Debug, Default)]
pub struct Cutter {
    cut: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Cutter {
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        waker.into_iter().for_each(Waker::wake);
    }

    fn check(&self, context: &Context<'_>) -> io::Result<()> {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
        if self.cut.load(Ordering::Acquire) {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "cut by the simulator"));
        }
        Ok(())
    }
}

/// Who is at the far end.
#[derive(Clone, Debug)]
pub struct Peer {
    pub address: SocketAddr,
    pub cutter: Arc<Cutter>,
}

impl Connected<IncomingStream<'_, Gate>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Gate>) -> Peer {
        stream.remote_addr().clone()
    }
}

/// All open connections.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<Weak<Cutter>>>>);

impl Lines {
    pub fn cut_all(&self) {
        let lines = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        lines.iter().filter_map(Weak::upgrade).for_each(|line| line.cut());
    }

    fn add(&self, cutter: &Arc<Cutter>) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == lines.capacity() {
            lines.retain(|line| line.strong_count() > 0);
        }
        lines.push(Arc::downgrade(cutter));
    }
}

/// Accepts connections that can be cut.
pub struct Gate {
    pub listener: TcpListener,
    pub lines: Lines,
}

/// Accepting fails when file descriptors run out; others may be closed meanwhile.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

impl Listener for Gate {
    type Io = Line;
    type Addr = Peer;

    async fn accept(&mut self) -> (Line, Peer) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    // Without this, small answers wait for acknowledgements.
                    stream.set_nodelay(true).ok();
                    let cutter = Arc::new(Cutter::default());
                    self.lines.add(&cutter);
                    return (Line { stream, cutter: cutter.clone() }, Peer { address, cutter });
                }
                Err(error) => {
                    tracing::debug!(%error, "the simulated cluster could not accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer { address: self.listener.local_addr()?, cutter: Arc::default() })
    }
}

pub struct Line {
    stream: TcpStream,
    cutter: Arc<Cutter>,
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.cutter.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.cutter.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.cutter.check(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
