//! Whether watches are alive: one is opened, and something must come of it.
//!
//! A server since 1.27 can be asked for what there is followed by a mark, so silence means that something on the way keeps
//! the stream back. An older one says nothing about a namespace in which nothing is; it must at least end when it was told.

use std::time::Duration;

use futures::{AsyncBufReadExt, TryStreamExt};
use http::Request;
use serde_json::Value;

use super::{
    Cluster,
    examine::{no_answer, said},
    pod,
};

/// How long a watch that is marked may take to say all that there is, and how long one that may be silent is kept open.
const OPEN_SECS: (u64, u64) = (5, 1);
/// How much longer than it was told a watch may stay open.
const GRACE: Duration = Duration::from_secs(5);
/// Since when a server may know how to mark the end of what there is.
const MARKS_SINCE: u32 = 27;

/// What a watch did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Glance {
    /// It told of something that there is, or that it has told of all.
    Told,
    /// It said nothing, and ended when it was told to: there may be nothing to say.
    Quiet,
    /// It said nothing, though it had to.
    Silent,
    NotAllowed,
    Failed(String),
}

impl Cluster {
    /// Opens a watch on the Jobs (`apis/batch/v1`, `jobs`) or pods (`api/v1`, `pods`) of a namespace for a moment.
    pub async fn glance(&self, root: &str, plural: &str, namespace: &str, minor: Option<u32>) -> Glance {
        let path = format!("/{root}/namespaces/{namespace}/{plural}?watch=1&allowWatchBookmarks=true");
        if minor.is_some_and(|it| it >= MARKS_SINCE) {
            let marked = format!(
                "{path}&timeoutSeconds={}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
                OPEN_SECS.0
            );
            match self.first_line(&marked, OPEN_SECS.0).await {
                // It knows the words, and has the feature switched off.
                Err(kube::Error::Api(status)) if [400, 422].contains(&status.code) => {}
                answer => return heard(answer, true),
            }
        }
        let plain = format!("{path}&timeoutSeconds={}", OPEN_SECS.1);
        heard(self.first_line(&plain, OPEN_SECS.1).await, false)
    }

    /// The first line that tells something; none if the stream ended without.
    async fn first_line(&self, path: &str, open_secs: u64) -> Result<Option<Value>, kube::Error> {
        let request = Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
        let read = async {
            let mut lines = self.client.request_stream(request).await?.lines();
            while let Some(line) = lines.try_next().await.map_err(kube::Error::ReadEvents)? {
                let event: Value = serde_json::from_str(&line).unwrap_or_default();
                let mark = &event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"];
                if event["type"] != "BOOKMARK" || mark == "true" {
                    return Ok(Some(event));
                }
            }
            Ok(None)
        };
        let bound = Duration::from_secs(open_secs) + GRACE;
        let late = || kube::Error::ReadEvents(std::io::Error::other(no_answer(bound)));
        tokio::time::timeout(bound, read).await.unwrap_or_else(|_| Err(late()))
    }
}

fn heard(answer: Result<Option<Value>, kube::Error>, must_tell: bool) -> Glance {
    match answer {
        Ok(Some(event)) if event["type"] == "ERROR" => {
            Glance::Failed(pod::cut(event["object"]["message"].as_str().unwrap_or("an error without a word")))
        }
        Ok(Some(_)) => Glance::Told,
        Ok(None) if must_tell => Glance::Silent,
        Ok(None) => Glance::Quiet,
        Err(kube::Error::Api(status)) if status.code == 403 => Glance::NotAllowed,
        Err(err) => Glance::Failed(said(err)),
    }
}
