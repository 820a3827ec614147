//! What jobs of a queue take where their submission leaves it out.
//!
//! Filled in where a request is read, so that it is the same whoever brings it, after what its template gives. Whether two
//! requests are the same is told by what was asked: a client that asks again after the defaults were changed hears of its
//! first job.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    error::chain,
    spec::Fault,
    store::{Db, Error, queues},
    templates::document::Span,
};

use super::{doc::fields, policy::RetryRequest, reader::faults_of, wire::SubmitRequest};

/// How old what is known of the queues may be. A request waits for one small read at most so often; what is set at another
/// replica counts here after so long.
const KNOWN_FOR: Duration = Duration::from_secs(1);

/// What jobs of a queue take where their submission, and its template, leave it out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueDefaults {
    /// As a submission has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    priority: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = fields::timeout)]
    timeout: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = fields::start_timeout)]
    start_timeout: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = fields::queue_timeout)]
    queue_timeout: Option<Span>,
    /// As a submission has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    max_attempts: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = fields::backoff)]
    backoff: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<RetryRequest>)]
    retry: Option<Value>,
}

impl QueueDefaults {
    /// What is wrong with them, each fault with its place in the request that sets them.
    pub fn faults(&self) -> Vec<Fault> {
        let faults = match self.request() {
            Ok(_) => faults_of(self.as_request()),
            Err(err) => vec![Fault::new("", err.to_string())],
        };
        faults.into_iter().map(|it| Fault { pointer: format!("/defaults{}", it.pointer), ..it }).collect()
    }

    pub fn to_value(&self) -> Value {
        json!(self)
    }

    fn as_request(&self) -> Value {
        let mut request = self.to_value();
        request["name"] = json!("any");
        request
    }

    fn request(&self) -> Result<SubmitRequest, serde_json::Error> {
        SubmitRequest::deserialize(self.as_request())
    }
}

/// The defaults of all queues that have some, as they were a moment ago.
#[derive(Default)]
pub struct KnownDefaults(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// When they were read, or were begun to be.
    at: Option<Instant>,
    them: Arc<HashMap<String, SubmitRequest>>,
    /// How often they were set here: what was read before the last time is not kept.
    set: u64,
}

impl KnownDefaults {
    /// Reads them anew: they were set here, or this replica begins. Where that fails they are read with a later request.
    pub async fn refresh(&self, db: &Db) {
        let set = {
            let mut known = self.known();
            known.set += 1;
            known.set
        };
        if let Err(err) = self.read(db, set).await {
            tracing::warn!(
                error = chain(&err),
                "cannot read the defaults of queues; trying again with the next submission"
            );
        }
    }

    /// What a request takes that leaves something out; none where its queue has nothing to give.
    ///
    /// # Errors
    ///
    /// When the database does not answer.
    pub async fn of(&self, db: &Db, queue: Option<&str>) -> Result<Option<SubmitRequest>, Error> {
        let queue = queue.unwrap_or("default");
        let set = {
            let mut known = self.known();
            match known.at {
                Some(at) if at.elapsed() < KNOWN_FOR => return Ok(known.them.get(queue).cloned()),
                // Who comes meanwhile goes by what was known before.
                Some(_) => known.at = Some(Instant::now()),
                None => {}
            }
            known.set
        };
        Ok(self.read(db, set).await?.get(queue).cloned())
    }

    async fn read(&self, db: &Db, set: u64) -> Result<Arc<HashMap<String, SubmitRequest>>, Error> {
        let asked = Instant::now();
        let rows = db.within(async { queues::defaults(&mut *db.conn().await?).await }).await?;
        let them = Arc::new(rows.into_iter().filter_map(read).collect::<HashMap<_, _>>());
        let mut known = self.known();
        if known.set == set {
            (known.at, known.them) = (Some(asked), Arc::clone(&them));
        }
        Ok(them)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // It is whole after every statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// They were checked when they were set; another version may have known more.
fn read((name, value): (String, Value)) -> Option<(String, SubmitRequest)> {
    let request = serde_json::from_value::<QueueDefaults>(value).and_then(|it| it.request());
    match request {
        Ok(request) => Some((name, request)),
        Err(err) => {
            tracing::error!(queue = name, error = %err, "cannot read the defaults of a queue");
            None
        }
    }
}
