//! What is asked of Longshore, and a good answer to it.

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, StatusCode, Url, header::CONTENT_TYPE};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::failure::Failure;

/// How long an answer may take beyond what it was asked to wait.
const ANSWER: Duration = Duration::from_secs(30);
/// How long many submissions in one request may take, as the server has it.
const BATCH: Duration = Duration::from_secs(600);

/// A request.
pub struct Ask<'a> {
    method: Method,
    path: &'a [&'a str],
    query: Vec<(&'static str, String)>,
    body: Body<'a>,
    /// After which event the stream is to go on.
    last_event: Option<&'a str>,
    /// Of which type the answer is to be, where it comes bit by bit.
    kind: &'static str,
    /// How long the answer may take, if not for ever.
    timeout: Option<Duration>,
    /// Whether the answer may be held back on purpose.
    is_held: bool,
}

/// What a request carries.
enum Body<'a> {
    Nothing,
    Json(&'a Value),
    /// A text, and of which type it is.
    Text(&'a str, &'static str),
}

impl<'a> Ask<'a> {
    pub fn get(path: &'a [&'a str]) -> Self {
        Self {
            method: Method::GET,
            path,
            query: Vec::new(),
            body: Body::Nothing,
            last_event: None,
            kind: "text/plain",
            timeout: Some(ANSWER),
            is_held: false,
        }
    }

    pub fn post(path: &'a [&'a str], body: &'a Value) -> Self {
        Self { method: Method::POST, body: Body::Json(body), ..Self::get(path) }
    }

    /// Where the path says it all.
    pub fn post_nothing(path: &'a [&'a str]) -> Self {
        Self { method: Method::POST, ..Self::get(path) }
    }

    pub fn put(path: &'a [&'a str], body: &'a Value) -> Self {
        Self { method: Method::PUT, body: Body::Json(body), ..Self::get(path) }
    }

    pub fn patch(path: &'a [&'a str], body: &'a Value) -> Self {
        Self { method: Method::PATCH, body: Body::Json(body), ..Self::get(path) }
    }

    pub fn delete(path: &'a [&'a str]) -> Self {
        Self { method: Method::DELETE, ..Self::get(path) }
    }

    /// A text that is to be kept as it is.
    pub fn put_text(path: &'a [&'a str], text: &'a str, kind: &'static str) -> Self {
        Self { method: Method::PUT, body: Body::Text(text, kind), ..Self::get(path) }
    }

    /// Many submissions, as the text of a JSON array.
    pub fn batch(path: &'a [&'a str], array: &'a str) -> Self {
        let body = Body::Text(array, "application/json");
        Self { method: Method::POST, body, timeout: Some(BATCH), is_held: true, ..Self::get(path) }
    }

    /// A stream of events, from now on or after the `last` one.
    pub fn events(path: &'a [&'a str], last: Option<&'a str>) -> Self {
        Self { last_event: last, kind: "text/event-stream", ..Self::get(path) }.endless()
    }

    pub fn query(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.query.extend(value.map(|it| (name, it.to_string())));
        self
    }

    /// For an answer that is held back for `held`.
    pub fn held(mut self, held: Duration) -> Self {
        self.timeout = Some(ANSWER.saturating_add(held));
        self.is_held = true;
        self.query("timeout", Some(format!("{}ms", held.as_millis())))
    }

    /// For an answer of any length, which may begin much later and stop in between for any time.
    pub fn endless(mut self) -> Self {
        self.timeout = None;
        self.is_held = true;
        self
    }

    pub fn path(&self) -> &'a [&'a str] {
        self.path
    }

    pub fn kind(&self) -> &'static str {
        self.kind
    }

    pub fn is_held(&self) -> bool {
        self.is_held
    }

    pub fn build(&self, client: &Client, url: Url) -> RequestBuilder {
        let mut request = client.request(self.method.clone(), url);
        if let Some(timeout) = self.timeout {
            request = request.timeout(timeout);
        }
        if !self.query.is_empty() {
            request = request.query(&self.query);
        }
        if let Some(last) = self.last_event {
            request = request.header("last-event-id", last);
        }
        match self.body {
            Body::Nothing => request,
            Body::Json(value) => request.json(value),
            Body::Text(text, kind) => request.header(CONTENT_TYPE, kind).body(text.to_owned()),
        }
    }
}

/// A good answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub link: Option<String>,
    pub body: Value,
    url: String,
}

impl Answer {
    pub fn new(status: StatusCode, link: Option<String>, body: Value, url: String) -> Self {
        Self { status, link, body, url }
    }

    /// The body, read as what a Longshore would answer.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        self.read_part(&self.body)
    }

    /// A part of the body, likewise.
    pub fn read_part<T: DeserializeOwned>(&self, part: &Value) -> Result<T, Failure> {
        T::deserialize(part).map_err(|err| self.foreign(err.to_string()))
    }

    pub fn foreign(&self, what: String) -> Failure {
        Failure::Foreign { url: self.url.clone(), what, status: None, unsure: true }
    }
}
