//! A TCP proxy that can stop letting anything through, for networks that break without a word.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// A request of at most so many bytes asks for nothing: the database's client makes sure of its connection with one.
const PING_BYTES: usize = 32;

/// What the proxy does with its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Everything hangs: nothing is let through, nothing is refused.
    Hang,
    /// Requests pass; the answer to anything longer than a ping does not, and the connection breaks.
    LoseAnswers,
    /// Connections are closed, and new ones too.
    Refuse,
}

pub struct Proxy {
    pub address: SocketAddr,
    target: Arc<Mutex<String>>,
    mode: Arc<watch::Sender<Mode>>,
}

impl Proxy {
    pub async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mode = Arc::new(watch::Sender::new(Mode::Pass));
        let modes = mode.clone();
        let target = Arc::new(Mutex::new(target));
        let leads_to = target.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let target = leads_to.lock().unwrap().clone();
                tokio::spawn(carry(client, target, modes.subscribe()));
            }
        });
        Self { address, target, mode }
    }

    /// Where connections lead that are made from now on.
    pub fn lead_to(&self, target: String) {
        *self.target.lock().unwrap() = target;
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn carry(mut client: TcpStream, target: String, mut mode: watch::Receiver<Mode>) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let (mut from_client, mut from_server) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    let mut asked_much = false;
    loop {
        let now = *mode.borrow_and_update();
        tokio::select! {
            _ = mode.changed() => {}
            read = client.read(&mut from_client), if now != Mode::Hang && now != Mode::Refuse => match read {
                Ok(n) if n > 0 => {
                    asked_much |= n > PING_BYTES && now == Mode::LoseAnswers;
                    if server.write_all(&from_client[..n]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
            read = server.read(&mut from_server), if now == Mode::Pass || now == Mode::LoseAnswers => match read {
                Ok(n) if n > 0 && !asked_much => if client.write_all(&from_server[..n]).await.is_err() { return },
                // The server has answered, so what was asked is done; nobody will hear of it.
                _ => return,
            },
            () = std::future::ready(()), if now == Mode::Refuse => return,
        }
    }
}
