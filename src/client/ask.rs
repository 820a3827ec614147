//! What is asked of Longshore, and a good answer to it.

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::failure::Failure;

/// How long an answer may take beyond what it was asked to wait.
const ANSWER: Duration = Duration::from_secs(30);

/// A request.
pub struct Ask<'a> {
    method: Method,
    path: &'a [&'a str],
    query: Vec<(&'static str, String)>,
    body: Option<&'a Value>,
    /// How long the answer may take, if not for ever.
    timeout: Option<Duration>,
    /// Whether the answer may be held back on purpose.
    is_held: bool,
}

impl<'a> Ask<'a> {
    pub fn get(path: &'a [&'a str]) -> Self {
        Self { method: Method::GET, path, query: Vec::new(), body: None, timeout: Some(ANSWER), is_held: false }
    }

    pub fn post(path: &'a [&'a str], body: &'a Value) -> Self {
        Self { method: Method::POST, body: Some(body), ..Self::get(path) }
    }

    pub fn delete(path: &'a [&'a str]) -> Self {
        Self { method: Method::DELETE, ..Self::get(path) }
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
        match self.body {
            Some(body) => request.json(body),
            None => request,
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
