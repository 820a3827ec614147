//! A client that costs next to nothing, so that what is measured is the server: one connection, one request at a time.

use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// One kept-alive connection.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub async fn connect(address: &str) -> anyhow::Result<Self> {
        let port = address.rsplit(':').next().context("an address without a port")?;
        let stream = TcpStream::connect(format!("127.0.0.1:{port}")).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(64 * 1024) })
    }

    pub async fn post(&mut self, path: &str, body: &[u8]) -> anyhow::Result<(u16, Vec<u8>)> {
        self.ask("POST", path, body, "application/json").await
    }

    /// Sends one request, and answers with the status and the body.
    pub async fn ask(&mut self, method: &str, path: &str, body: &[u8], kind: &str) -> anyhow::Result<(u16, Vec<u8>)> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut request = head.into_bytes();
        request.extend_from_slice(body);
        self.stream.write_all(&request).await?;
        self.buffer.clear();
        let head_end = loop {
            if let Some(at) = self.buffer.windows(4).position(|it| it == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..head_end]).to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).context("no status")?;
        let length = head.lines().find_map(|it| it.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
        if let Some(length) = length {
            while self.buffer.len() < head_end + length {
                self.more().await?;
            }
            return Ok((status, self.buffer[head_end..head_end + length].to_vec()));
        }
        while !self.buffer.ends_with(b"0\r\n\r\n") {
            self.more().await?;
        }
        Ok((status, self.buffer[head_end..].to_vec()))
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the server closed the connection");
        Ok(())
    }
}

/// What a number of connections measured together.
pub struct Load {
    pub per_sec: f64,
    /// How long each request took.
    pub millis: Vec<f64>,
}

/// Sends what `request` makes on each of `connections`, one after the other, for so long; every answer must be `status`.
pub async fn load(
    addresses: &[String],
    connections: usize,
    time: Duration,
    status: u16,
    path: &'static str,
    request: fn(usize, usize) -> String,
) -> anyhow::Result<Load> {
    let mut tasks = tokio::task::JoinSet::new();
    let begun = Instant::now();
    for number in 0..connections {
        let mut client = Client::connect(&addresses[number % addresses.len()]).await?;
        tasks.spawn(async move {
            let mut millis = Vec::new();
            while begun.elapsed() < time {
                let body = request(number, millis.len());
                let sent = Instant::now();
                let (answered, text) = client.post(path, body.as_bytes()).await?;
                anyhow::ensure!(answered == status, "answered {answered}: {}", String::from_utf8_lossy(&text));
                millis.push(sent.elapsed().as_secs_f64() * 1000.0);
            }
            Ok(millis)
        });
    }
    let mut millis = Vec::new();
    while let Some(done) = tasks.join_next().await {
        millis.append(&mut done??);
    }
    Ok(Load { per_sec: millis.len() as f64 / begun.elapsed().as_secs_f64(), millis })
}
