//! Questions of `longshore doctor` to the API server. Each is asked once, changes nothing, and is answered in words that
//! tell "there is none" from "you may not know".

use std::time::Duration;

use http::{Method, Request, header};
use jiff::Timestamp;
use kube::{Resource, client::Body, core::Status};
use serde_json::{Value, json};

use super::{
    Cluster, KubeJob, REQUEST_TIMEOUT,
    answer::{is_not_permitted, is_over_quota},
    needs::Need,
    pod,
};

/// The largest answer that is read, in bytes: a namespace's quotas have some kilobytes.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// What became of a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked<T> {
    Found(T),
    /// There is no such object.
    Absent,
    /// This account may not know.
    NotAllowed,
    /// The server knows no objects of that kind.
    Unknown,
    /// It said something else, or nothing.
    Failed(String),
}

impl<T> Asked<T> {
    fn map<U>(self, make: impl FnOnce(T) -> U) -> Asked<U> {
        match self {
            Self::Found(it) => Asked::Found(make(it)),
            Self::Absent => Asked::Absent,
            Self::NotAllowed => Asked::NotAllowed,
            Self::Unknown => Asked::Unknown,
            Self::Failed(why) => Asked::Failed(why),
        }
    }
}

/// The API server's version, and its clock as it told it.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    pub version: String,
    pub minor: Option<u32>,
    /// By how many seconds its clock is ahead of ours, and how many of them may be the question's own.
    pub ahead: Option<(f64, f64)>,
}

/// What the API server says of a Job that is only asked about.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It takes it, with these warnings.
    Taken(Vec<String>),
    OverQuota(String),
    NoNamespace,
    NotPermitted,
    Refused(String),
}

/// An answer with its headers, whatever its code.
struct Reply {
    code: u16,
    headers: http::HeaderMap,
    body: Value,
}

impl Reply {
    fn is_good(&self) -> bool {
        (200..300).contains(&self.code)
    }

    fn message(&self) -> String {
        let status = self.body["message"].as_str().unwrap_or("no reason was given");
        pod::cut(&format!("{status} ({})", self.code))
    }

    fn asked(self) -> Asked<Value> {
        match self.code {
            200..300 => Asked::Found(self.body),
            401 => Asked::Failed(format!("the credentials are not accepted: {}", self.message())),
            403 => Asked::NotAllowed,
            404 if self.message().contains("could not find the requested resource") => Asked::Unknown,
            404 => Asked::Absent,
            _ => Asked::Failed(self.message()),
        }
    }
}

impl Cluster {
    /// Which version answers, and what time it is there.
    pub async fn server(&self) -> Asked<Server> {
        let began = Timestamp::now();
        let reply = match self.reply(Method::GET, "/version", None).await {
            Ok(reply) => reply,
            Err(why) => return Asked::Failed(why),
        };
        let took = Timestamp::now().duration_since(began).as_secs_f64();
        let there = reply.headers.get(header::DATE).and_then(|it| it.to_str().ok());
        let there = there.and_then(|it| jiff::fmt::rfc2822::parse(it).ok()).map(|it| it.timestamp());
        // The header has whole seconds, cut off, and was written at some time during the question.
        let ahead = there.map(|it| (it.duration_since(began).as_secs_f64() + 0.5 - took / 2.0, 0.5 + took / 2.0));
        reply.asked().map(|body| {
            let minor = body["minor"].as_str().map(|it| it.trim_end_matches(|c: char| !c.is_ascii_digit()));
            let version = pod::cut(body["gitVersion"].as_str().unwrap_or("of an unknown version"));
            Server { version, minor: minor.and_then(|it| it.parse().ok()), ahead }
        })
    }

    /// Whether this account may do that in the namespace, by its own account (`SelfSubjectAccessReview`), which everybody
    /// may ask for.
    pub async fn may(&self, namespace: &str, need: &Need, verb: &str, name: Option<&str>) -> Result<bool, String> {
        let (resource, subresource) = need.resource.split_once('/').unwrap_or((need.resource, ""));
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {
                "namespace": namespace, "verb": verb, "group": need.group, "resource": resource,
                "subresource": subresource, "name": name.unwrap_or_default(),
            }},
        });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let reply = self.reply(Method::POST, path, Some(review.to_string().into_bytes())).await?;
        match reply.is_good() {
            true => Ok(reply.body["status"]["allowed"] == true),
            false => Err(reply.message()),
        }
    }

    pub async fn namespace_object(&self, name: &str) -> Asked<Value> {
        self.get(&format!("/api/v1/namespaces/{name}")).await
    }

    /// The quotas of a namespace.
    pub async fn quotas(&self, namespace: &str) -> Asked<Vec<Value>> {
        self.items(namespace, "resourcequotas").await
    }

    /// What containers of a namespace get that say nothing.
    pub async fn limit_ranges(&self, namespace: &str) -> Asked<Vec<Value>> {
        self.items(namespace, "limitranges").await
    }

    pub async fn service_account(&self, namespace: &str, name: &str) -> Asked<Value> {
        self.get(&format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}")).await
    }

    pub async fn config_map(&self, namespace: &str, name: &str) -> Asked<Value> {
        self.get(&format!("/api/v1/namespaces/{namespace}/configmaps/{name}")).await
    }

    /// What would become of a Job that is created now. Admission is gone through, quotas included; nothing is kept.
    pub async fn try_create(&self, job: &KubeJob, namespace: &str) -> Result<Verdict, String> {
        let mut job = job.clone();
        job.metadata.name = None;
        job.metadata.generate_name = Some("longshore-doctor-".into());
        job.metadata.namespace = Some(namespace.to_owned());
        let body = serde_json::to_vec(&job).map_err(|err| err.to_string())?;
        let path = format!("{}?dryRun=All", KubeJob::url_path(&(), Some(namespace)));
        let reply = self.reply(Method::POST, &path, Some(body)).await?;
        let message = reply.message();
        Ok(match reply.code {
            200..300 => Verdict::Taken(warnings(&reply.headers)),
            403 if is_over_quota(&message) => Verdict::OverQuota(message),
            403 if is_not_permitted(&message) => Verdict::NotPermitted,
            404 => Verdict::NoNamespace,
            429 | 500.. | 401 => return Err(message),
            _ => Verdict::Refused(message),
        })
    }

    async fn items(&self, namespace: &str, plural: &str) -> Asked<Vec<Value>> {
        self.get(&format!("/api/v1/namespaces/{namespace}/{plural}")).await.map(|mut list| match list["items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        })
    }

    async fn get(&self, path: &str) -> Asked<Value> {
        match self.reply(Method::GET, path, None).await {
            Ok(reply) => reply.asked(),
            Err(why) => Asked::Failed(why),
        }
    }

    /// One question and its answer.
    async fn reply(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Reply, String> {
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
        let request = request.body(Body::from(body.unwrap_or_default())).map_err(|err| err.to_string())?;
        let asked = async {
            let response = self.client.send(request).await.map_err(said)?;
            let (parts, body) = response.into_parts();
            let bytes = axum::body::to_bytes(axum::body::Body::new(body), ANSWER_BYTES);
            let bytes = bytes.await.map_err(|err| err.to_string())?;
            let body = serde_json::from_slice(&bytes).unwrap_or_default();
            Ok(Reply { code: parts.status.as_u16(), headers: parts.headers, body })
        };
        let answer = tokio::time::timeout(REQUEST_TIMEOUT, asked).await;
        answer.unwrap_or_else(|_| Err(no_answer(REQUEST_TIMEOUT)))
    }
}

/// Texts of `Warning: 299 - "text"`.
fn warnings(headers: &http::HeaderMap) -> Vec<String> {
    let texts = headers.get_all(header::WARNING).iter().filter_map(|it| it.to_str().ok());
    texts.filter_map(|it| Some(pod::cut(it.split_once('"')?.1.trim_end_matches('"')))).collect()
}

pub(super) fn no_answer(within: Duration) -> String {
    format!("no answer within {within:?}")
}

pub(super) fn said(err: kube::Error) -> String {
    match err {
        kube::Error::Api(status) => {
            let Status { message, code, .. } = *status;
            pod::cut(&format!("{message} ({code})"))
        }
        err => crate::error::chain(&err),
    }
}
