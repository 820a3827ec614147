//! From a request to a job that is ready to be stored: read, filled from its template, checked. Whoever brings requests, over
//! HTTP or from a queue elsewhere, has them read here, so that there is one set of rules.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{
    cluster::{Cluster, manifest::Defaults},
    spec::{Fault, Submission},
    store::{Db, submit::Ready},
    templates::shelf::Shelf,
};

use super::{
    Problem, acceptable,
    fixed::Served,
    object::Object,
    queue_defaults::KnownDefaults,
    templated::{self, Filled, Looked},
    unread,
    wire::SubmitRequest,
};

/// What it takes to read a request.
pub struct Reader {
    pub db: Arc<Db>,
    pub cluster: Arc<Cluster>,
    pub defaults: Arc<Defaults>,
    /// The templates of files and of the ConfigMap.
    pub shelf: Arc<Shelf>,
    pub of_queues: KnownDefaults,
}

/// A request that was read, and could be created.
pub struct Read {
    pub submission: Submission,
    /// Tells apart two requests under one idempotency key; none without one.
    pub request_hash: Option<String>,
    /// Whether a template was filled for it.
    pub templated: bool,
}

impl Reader {
    /// Where a job runs that does not say where.
    pub fn default_namespace(&self) -> &str {
        self.cluster.namespaces.first().map_or("default", String::as_str)
    }

    /// What this installation takes, as far as that is known without asking anybody.
    pub fn served(&self) -> Served<'_> {
        Served {
            namespaces: &self.cluster.namespaces,
            policy: &self.cluster.policy,
            defaults: &self.defaults,
            default_template: self.shelf.places.default.is_some(),
        }
    }

    /// Looks for the template that makes the Job of a request, before anything of the request is judged.
    ///
    /// # Errors
    ///
    /// There is no such template, or it is broken, or that cannot be told now.
    pub async fn look_up(&self, looked: &mut Looked, request: &Map<String, Value>) -> Result<(), Problem> {
        templated::look_up(self, looked, request).await
    }

    /// The job that one request asks for. `looked`: the templates that were looked up for the same batch. `key`: its
    /// idempotency key, if it came apart from the body.
    pub async fn read(&self, looked: &mut Looked, body: &[u8], key: Option<String>) -> Result<Ready, Problem> {
        let Read { submission, request_hash, templated } = self.submission(looked, body, key).await?;
        let ready = Ready::as_asked(submission, request_hash);
        Ok(if templated { ready.templated() } else { ready })
    }

    /// The same, not yet made ready, for whoever adds something to it that no request may.
    pub async fn submission(&self, looked: &mut Looked, body: &[u8], key: Option<String>) -> Result<Read, Problem> {
        let request: SubmitRequest = read(body)?;
        let Filled { mut request, asked } = templated::fill(self, looked, request, key.as_deref()).await?;
        let defaults = self.of_queues.of(&self.db, request.queue.as_deref()).await?;
        let mut asked_hash = None;
        if let Some(defaults) = defaults {
            asked_hash = Some(templated::hash_of(self, &request, key.as_deref())?);
            request.leave_to(defaults);
        }
        let submission = request.into_submission(key, self.default_namespace()).map_err(Problem::invalid_fields)?;
        let checked = acceptable::check(self, &submission).await;
        let templated = asked.is_some();
        let request_hash = match asked {
            Some(asked) => {
                checked.map_err(|it| it.map_fields(|fault| asked.told_of(fault)))?;
                asked.request_hash
            }
            None => {
                checked?;
                asked_hash.unwrap_or_else(|| submission.request_hash())
            }
        };
        Ok(Read { submission, request_hash, templated })
    }
}

/// What would be wrong with a request wherever it is made, as far as that is known without asking anybody: for requests that
/// are made of a file, before anything starts.
pub fn faults_of(request: Value) -> Vec<Fault> {
    let at = |err: serde_json::Error| vec![Fault::new("", err.to_string())];
    let defaults = anywhere();
    let read = serde_json::from_value::<SubmitRequest>(request).map_err(at);
    let submission = read.and_then(|it| it.into_submission(None, "default"));
    submission.and_then(|it| acceptable::build(&it, &defaults)).err().unwrap_or_default()
}

/// What replicas start with anywhere, for checks that hang on none of it.
pub(super) fn anywhere() -> Defaults {
    Defaults { image: "image".into(), image_pull_policy: "IfNotPresent".into(), start_timeout_secs: None }
}

/// Reads a JSON object, whatever its content type says: 400 when it is not JSON, 422 with the field when it does not fit.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let Object(value) = serde_path_to_error::deserialize(&mut reader).map_err(|err| match err.inner().classify() {
        serde_json::error::Category::Data => Problem::invalid_fields(vec![unread::fault(err.path(), err.inner())]),
        _ => Problem::invalid_json(err.inner().to_string()),
    })?;
    reader.end().map_err(|err| Problem::invalid_json(err.to_string()))?;
    Ok(value)
}
