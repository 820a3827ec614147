//! Requests to Longshore, asked again while that is safe and may help.
//!
//! Every request made here may be repeated: reads; what sets a thing to what it is to be; a submission, which always has an
//! idempotency key; and a retry by hand, which is refused the second time and is then looked for (see `retry`). So any request that got no answer is repeated, not only one that surely did not arrive.

use std::{
    error::Error,
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use jiff::Timestamp;
use reqwest::{Response, StatusCode, Url, header, redirect::Policy};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::id::JobId;

use super::{
    failure::{Failure, Problem, Refusal},
    output::note,
    patience::{PATIENCE, Patience, retry_after},
    stream::Stream,
};

pub use super::ask::{Answer, Ask};

/// How long a connection may take to be made, by when a person doubts the address.
const CONNECT: Duration = Duration::from_secs(5);
/// How often a silent connection is tried.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The largest answer that is read, in bytes: several times the longest list there is.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// A way to one Longshore.
pub struct Http {
    client: reqwest::Client,
    base: Url,
    /// Set when it has been said that requests are being repeated.
    has_told: AtomicBool,
}

/// A request that failed, and whether to make it again: not, or after so long at least.
struct Missed {
    failure: Failure,
    again: Option<Duration>,
}

impl Http {
    pub fn new(url: &str) -> Result<Self, Failure> {
        let wrong = |why: &str| {
            let fix = "give it with --url or LONGSHORE_URL as http://HOST:PORT or https://HOST";
            Failure::usage(format!("the address of Longshore is wrong: {why}"), fix)
        };
        let base = Url::parse(url.trim()).map_err(|err| wrong(&err.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(wrong("it begins with neither http:// nor https://"));
        }
        let mut client = reqwest::Client::builder()
            .user_agent(concat!("longshore/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            // Whoever follows a silent log has no other way to learn that the other side is gone.
            .tcp_keepalive(KEEP_ALIVE)
            // A redirected POST would arrive as a GET.
            .redirect(Policy::none());
        if is_this_machine(&base) {
            client = client.no_proxy();
        }
        if base.scheme() == "http" {
            // Reading the system's certificates takes time, and fails where there are none, as in an empty image.
            client = client.tls_certs_only([]);
        }
        let client = client.build().map_err(|err| wrong(&deepest(&err)))?;
        Ok(Self { client, base, has_told: AtomicBool::new(false) })
    }

    /// Asks until there is an answer, or asking again would not help.
    pub async fn send(&self, ask: Ask<'_>) -> Result<Answer, Failure> {
        self.patiently(&ask, || self.once(&ask)).await
    }

    /// The same for an answer that comes bit by bit. What breaks off later is not asked for again.
    pub async fn stream(&self, ask: Ask<'_>) -> Result<Stream, Failure> {
        self.patiently(&ask, || self.opened(&ask)).await
    }

    async fn patiently<T>(&self, ask: &Ask<'_>, once: impl AsyncFn() -> Result<T, Missed>) -> Result<T, Failure> {
        let mut patience = Patience::default();
        let mut unsure = false;
        loop {
            let asked = Instant::now();
            let Missed { failure, again } = match once().await {
                Ok(answer) => return Ok(answer),
                Err(missed) => missed,
            };
            unsure |= failure.is_unsure();
            if ask.is_held() && asked.elapsed() > PATIENCE && failure.is_passing() {
                // It went well for a while: a replica that ends cuts its long polls, and so may the next one.
                patience = Patience::default();
            }
            let Some(pause) = again.and_then(|at_least| patience.pause(at_least)) else {
                return Err(failure.or_unsure(unsure));
            };
            self.tell(&failure);
            tokio::time::sleep(pause).await;
        }
    }

    async fn once(&self, ask: &Ask<'_>) -> Result<Answer, Missed> {
        let request = ask.build(&self.client, self.url(ask.path()));
        let mut response = request.send().await.map_err(|err| self.no_answer(&err))?;
        let body = self.body(&mut response).await?;
        if response.status().is_success() {
            let link = response.headers().get(header::LINK).and_then(|it| it.to_str().ok()).map(str::to_owned);
            let body = match response.status() {
                StatusCode::NO_CONTENT => Value::Null,
                _ => serde_json::from_slice(&body).map_err(|_| Missed {
                    failure: self.foreign("it answers something else than JSON", None),
                    again: None,
                })?,
            };
            return Ok(Answer::new(response.status(), link, body, self.shown_base()));
        }
        Err(self.refused(&response, &body))
    }

    async fn opened(&self, ask: &Ask<'_>) -> Result<Stream, Missed> {
        let request = ask.build(&self.client, self.url(ask.path()));
        let mut response = request.send().await.map_err(|err| self.no_answer(&err))?;
        if !response.status().is_success() {
            let body = self.body(&mut response).await?;
            return Err(self.refused(&response, &body));
        }
        Stream::of(response, ask.kind()).map_err(|what| Missed { failure: self.foreign(what, None), again: None })
    }

    async fn body(&self, response: &mut Response) -> Result<Vec<u8>, Missed> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|err| self.no_answer(&err))? {
            if body.len() + chunk.len() > ANSWER_BYTES {
                let failure = self.foreign(format!("its answer is longer than {ANSWER_BYTES} bytes"), None);
                return Err(Missed { failure, again: None });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn no_answer(&self, err: &reqwest::Error) -> Missed {
        let cause = match err.is_timeout() {
            true => "it took too long".to_owned(),
            false => deepest(err),
        };
        let unsure = !err.is_connect() && !err.is_builder();
        // Who let us wait for so long is not helped by being asked the same again.
        let is_slow = err.is_timeout() && !err.is_connect();
        let again = (!err.is_builder() && !is_slow).then_some(Duration::ZERO);
        Missed { failure: Failure::Unreachable { url: self.shown_base(), cause, unsure }, again }
    }

    fn refused(&self, response: &Response, body: &[u8]) -> Missed {
        let status = response.status();
        let header = |name| response.headers().get(name).and_then(|it| it.to_str().ok());
        let is_passing = matches!(status.as_u16(), 429 | 502 | 503 | 504);
        let again = is_passing.then(|| retry_after(header(header::RETRY_AFTER), Timestamp::now()));
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        let failure = match Problem::deserialize(&document) {
            Ok(problem) => {
                let unsure = matches!(problem.code.as_str(), "outcome_unknown" | "internal");
                Failure::Refused(Box::new(Refusal { status: status.as_u16(), problem, document, unsure }))
            }
            // A proxy on the way, or something else altogether.
            Err(_) => match header(header::LOCATION) {
                Some(to) if status.is_redirection() => self.foreign(format!("it sends us to {to}"), Some(status)),
                _ => self.foreign(format!("it answers {status}"), Some(status)),
            },
        };
        Missed { failure, again }
    }

    /// Not with an answer that refuses, as a proxy's, or one from the wrong address, may: then nothing was done.
    fn foreign(&self, what: impl Into<String>, refusal: Option<StatusCode>) -> Failure {
        let unsure = refusal.is_none_or(|it| it.is_server_error());
        let status = refusal.map(|it| it.as_u16());
        Failure::Foreign { url: self.shown_base(), what: what.into(), status, unsure }
    }

    fn tell(&self, failure: &Failure) {
        if !self.has_told.swap(true, Ordering::Relaxed) {
            let why = match failure {
                Failure::Unreachable { cause, .. } => cause.clone(),
                Failure::Refused(it) => format!("{} {}", it.status, it.problem.code),
                Failure::Foreign { what, .. } => what.clone(),
                _ => return,
            };
            note(&super::text::clean(&format!("note: trying {} again: {why}", self.shown_base())));
        }
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        url.set_query(None);
        url.set_fragment(None);
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    /// The address for people to read, without the password it may have.
    fn shown_base(&self) -> String {
        let mut url = self.base.clone();
        if url.password().is_some() {
            let _ = url.set_password(None);
        }
        url.to_string()
    }
}

/// An id, given as it is or as `job/ID`.
pub fn job_id(text: &str) -> Result<JobId, Failure> {
    let id = text.strip_prefix("job/").unwrap_or(text);
    id.parse().map_err(|_| Failure::NoSuchJob { id: text.into() })
}

fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.ends_with(".localhost") || host.parse::<IpAddr>().is_ok_and(|it| it.is_loopback())
}

/// The last cause, which is the one that says something.
pub fn deepest(err: &dyn Error) -> String {
    let mut cause = err;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// Answers one request after the other with `answers`; an empty one closes the connection. Keeps what was asked.
    async fn stub(answers: Vec<&'static str>) -> (Http, Arc<Mutex<Vec<String>>>) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://user:secret@{}/behind/proxy/", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&asked);
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                let is_whole = |it: &[u8]| it.ends_with(b"}") || !it.starts_with(b"POST") && it.ends_with(b"\r\n\r\n");
                while !is_whole(&request) {
                    stream.read_buf(&mut request).await.unwrap();
                }
                keep.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
                stream.write_all(answer.replace('\n', "\r\n").as_bytes()).await.unwrap();
            }
        });
        (Http::new(&url).unwrap_or_else(|it| panic!("{it:?}")), asked)
    }

    const AWAY: &str = "HTTP/1.1 503 Service Unavailable\nRetry-After: 0\nConnection: close\nContent-Length: 31\n\n\
                        {\"code\":\"database_unavailable\"}";
    const FINE: &str = "HTTP/1.1 202 Accepted\nConnection: close\nContent-Length: 14\n\n{\"job_id\":\"x\"}";

    #[tokio::test]
    async fn what_passes_is_asked_again_with_the_same_words() {
        let (http, asked) = stub(vec![AWAY, "", FINE]).await;
        let body = serde_json::json!({"name": "a", "idempotency_key": "k"});
        let answer = http.send(Ask::post(&["jobs"], &body)).await.unwrap();
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        let asked = asked.lock().unwrap();
        assert_eq!(asked.len(), 3);
        assert!(asked.iter().all(|it| it.starts_with("POST /behind/proxy/jobs ") && it.contains("\"k\"")), "{asked:?}");
    }

    #[tokio::test]
    async fn what_is_wrong_is_asked_once() {
        let refused = "HTTP/1.1 409 Conflict\nConnection: close\nContent-Length: 27\n\n{\"code\":\"already_finished\"}";
        let (http, asked) = stub(vec![refused, FINE]).await;
        let failure = http.send(Ask::delete(&["jobs", "a/../b?c"])).await.unwrap_err();
        assert_eq!((failure.exit().code(), failure.is_unsure()), (6, false));
        let asked = asked.lock().unwrap();
        assert_eq!(asked.len(), 1);
        assert!(asked.iter().all(|it| it.starts_with("DELETE /behind/proxy/jobs/a%2F..%2Fb%3Fc ")), "{asked:?}");
    }

    #[tokio::test]
    async fn an_answer_that_got_lost_leaves_it_open_whether_it_was_done() {
        let late = "HTTP/1.1 503 Service Unavailable\nRetry-After: 60\nConnection: close\nContent-Length: 31\n\n\
                    {\"code\":\"database_unavailable\"}";
        let (http, asked) = stub(vec!["", late]).await;
        let failure = http.send(Ask::get(&["jobs"])).await.unwrap_err();
        assert!(failure.is_unsure());
        assert_eq!(asked.lock().unwrap().len(), 2, "a Retry-After beyond our patience is not waited for");
        assert!(!http.shown_base().contains("secret"));
    }

    #[test]
    fn addresses_are_checked_and_ids_may_say_what_they_are() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        for wrong in ["", "localhost:8000", "ftp://x", "http://", "/jobs"] {
            assert_eq!(Http::new(wrong).map(|_| ()).map_err(|it| it.exit().code()), Err(2), "{wrong:?}");
        }
        let id = JobId::new();
        assert_eq!(job_id(&format!("job/{id}")).ok(), Some(id));
        assert_eq!(job_id("../queues").map_err(|it| it.exit().code()), Err(4));
        let local = |it: &str| Url::parse(it).is_ok_and(|it| is_this_machine(&it));
        assert!(local("http://localhost:1") && local("http://[::1]:1") && local("http://127.9.9.9"));
        assert!(!local("http://example.com") && !local("http://10.0.0.1"));
    }
}
