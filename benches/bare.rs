//! A client that creates Kubernetes Jobs and does nothing else: no database, no cap, no look at what became of them. What it
//! reaches is the limit of the server.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::Context;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::{http::Client, jobs, target::Target};

/// One of its connections.
enum Line {
    /// The simulator speaks no TLS.
    Plain(Client),
    Tls(kube::Client),
}

impl Line {
    async fn open(target: &Target) -> anyhow::Result<Self> {
        Ok(match &target.sim {
            Some(sim) => Self::Plain(Client::connect(&sim.address).await?),
            None => Self::Tls(target.client.clone()),
        })
    }

    async fn create(&mut self, path: &str, body: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Plain(client) => {
                let (status, text) = client.post(path, body).await?;
                anyhow::ensure!(status == 201, "answered {status}: {}", String::from_utf8_lossy(&text));
            }
            Self::Tls(client) => {
                let request = http::Request::post(path).header(http::header::CONTENT_TYPE, "application/json");
                client.request_text(request.body(body.to_vec())?).await?;
            }
        }
        Ok(())
    }
}

/// Creates the Jobs of these submissions, so many at a time, with at most so many requests a second (0 is no bound), and
/// answers with how long each request took, in ms.
pub async fn create(
    target: &Target,
    jobs: &[serde_json::Value],
    concurrency: usize,
    per_sec: u32,
) -> anyhow::Result<Vec<f64>> {
    let bodies: Arc<Vec<Vec<u8>>> = Arc::new(jobs.iter().map(jobs::manifest).collect::<Result<_, _>>()?);
    let limiter: Option<Arc<DefaultDirectRateLimiter>> =
        NonZeroU32::new(per_sec).map(|it| Arc::new(RateLimiter::direct(Quota::per_second(it))));
    let path = format!("/apis/batch/v1/namespaces/{}/jobs", target.namespace);
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..concurrency {
        let mut line = Line::open(target).await?;
        let (bodies, limiter, path, next) = (bodies.clone(), limiter.clone(), path.clone(), next.clone());
        tasks.spawn(async move {
            let mut millis = Vec::new();
            while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Some(limiter) = &limiter {
                    limiter.until_ready().await;
                }
                let sent = Instant::now();
                line.create(&path, body).await.context("a bare create")?;
                millis.push(sent.elapsed().as_secs_f64() * 1000.0);
            }
            anyhow::Ok(millis)
        });
    }
    let mut millis = Vec::new();
    while let Some(done) = tasks.join_next().await {
        millis.append(&mut done??);
    }
    Ok(millis)
}
