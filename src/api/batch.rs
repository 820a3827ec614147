//! `POST /jobs/batch`: many submissions in one request, as a JSON array or as lines of JSON, committed by the chunk.

use std::{io::Write, sync::Arc};

use axum::{
    body::{Body, Bytes},
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use utoipa::{IntoParams, ToSchema};

use crate::{
    metrics::Via,
    spec::{Fault, Submission},
    store::{
        Error,
        signals::Signal,
        submit::{QUEUES, Ready, STATEMENT_JOBS, Submitted},
    },
};

use super::{
    Api, BODY_BYTES, Problem,
    doc::{answers::OfBatch, examples},
    items::{Broken, Form, Items},
    jobs::given,
    measure,
    templated::Looked,
    view::position_text,
    wire::SubmitRequest,
};

/// The most jobs of one request: what is said of each is kept until the last one was read.
pub const BATCH_JOBS: usize = 100_000;
/// The most jobs, and bytes, of a request that is accepted as a whole or not at all: they are in memory together, and their
/// transaction is open for a second or so.
const WHOLE_JOBS: usize = 10_000;
const WHOLE_BYTES: usize = 32 * 1024 * 1024;
/// About the most bytes that one transaction commits of another one.
const CHUNK_BYTES: usize = 4 * 1024 * 1024;

/// What became of one item, by its place in the request, from 0 on: the job that it made, or why it was refused.
#[derive(Serialize, ToSchema)]
#[schema(as = BatchResult, example = examples::batch_result)]
struct Outcome {
    /// Its place in the request.
    index: usize,
    /// As the status of `POST /jobs` would be.
    status: u16,
    /// The id of the job that was made, now or before under this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = Uuid)]
    job_id: Option<String>,
    /// As it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Of what is new: how many pending jobs would start before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[0-9]+\\+?$")]
    queue_position: Option<String>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
}

struct Accepted {
    status: StatusCode,
    job_id: String,
    name: String,
    /// Of what is new.
    queue_position: Option<String>,
}

fn accepted(submitted: Submitted, job: &Submission) -> Result<Accepted, Problem> {
    let (status, id, position) = match submitted {
        Submitted::New { id, position } => (StatusCode::ACCEPTED, id, Some(position)),
        Submitted::Before { id } => (StatusCode::OK, id, None),
        Submitted::KeyTaken { id } => return Err(Problem::key_reused(id)),
        Submitted::TooManyQueues => return Err(Problem::too_many_queues(QUEUES)),
        Submitted::QueueFull { max_pending } => return Err(Problem::queue_full(&job.queue, max_pending)),
    };
    let (job_id, name) = (id.to_string(), job.name.clone());
    Ok(Accepted { status, job_id, name, queue_position: position.map(position_text) })
}

/// What kept all of a chunk from being accepted, if that was trouble of ours and passes. Where it is not known whether some
/// was accepted after all, that is told.
fn trouble(told: &[Result<Accepted, Problem>]) -> Option<&Problem> {
    let problems: Option<Vec<&Problem>> = told.iter().map(|it| it.as_ref().err()).collect();
    let problems = problems?;
    let is_passing = |it: &Problem| it.status() == StatusCode::SERVICE_UNAVAILABLE;
    let of_items = problems.iter().any(|it| it.status() < 500);
    let ours = problems.into_iter().filter(|it| it.status() >= 500 && (is_passing(it) || !of_items));
    ours.max_by_key(|it| it.is_in_doubt())
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BatchQuery {
    /// Whether all are accepted or none.
    #[serde(default)]
    atomic: bool,
}

/// A request that is being read.
struct Batch {
    api: Arc<Api>,
    /// Whether nothing is committed before everything was read.
    atomic: bool,
    /// How many items were read.
    items: usize,
    /// What is to be committed next, in the order of the request: wrong items stand between the others.
    chunk: Vec<Result<Ready, Problem>>,
    chunk_bytes: usize,
    /// The templates that this chunk was made from: an edit counts from the next chunk on.
    looked: Looked,
    /// What was said so far, an item a line.
    said: Vec<u8>,
    /// Why nothing is said item by item: nothing was accepted, for a reason that is none of an item.
    failed: Option<Problem>,
}

/// Submit many jobs
///
/// A JSON array, or a line of JSON for each (NDJSON), 100,000 at most. Each item is accepted or refused for itself, or
/// with `atomic=true` all or none.
#[utoipa::path(
    post, path = "/jobs/batch", tag = "jobs", operation_id = "submit_batch", params(BatchQuery),
    request_body(description = "The jobs.", content(
        (Vec<SubmitRequest> = "application/json", example = json!([{"name": "a"}, {"name": "b", "priority": 2}])),
        (String = "application/x-ndjson", example = json!("{\"name\":\"a\"}\n{\"name\":\"b\",\"priority\":2}\n")),
    )),
    responses(
        (status = 200, description = "A result for each item, in their order and in the form in which they came. Where the \
                                      first thousand cannot be committed because of the database, none is, and the answer \
                                      is that problem.", content(
            (Vec<Outcome> = "application/json"), (String = "application/x-ndjson"),
        )),
        OfBatch,
    ),
)]
pub async fn submit(
    State(api): State<Arc<Api>>,
    query: Result<Query<BatchQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let atomic = given(query)?.atomic;
    if headers.contains_key("idempotency-key") {
        let detail = "the header Idempotency-Key is for one job; give each item a field `idempotency_key`";
        return Err(Problem::invalid_fields(vec![Fault::new("/idempotency_key", detail)]));
    }
    let mut batch = Batch {
        api,
        atomic,
        items: 0,
        chunk: Vec::new(),
        chunk_bytes: 0,
        looked: Looked::default(),
        said: Vec::new(),
        failed: None,
    };
    let mut items = Items::new(BODY_BYTES);
    let mut pieces = body.into_data_stream();
    let mut broken = None;
    while let Some(piece) = pieces.next().await {
        let piece: Bytes = piece.map_err(|_| Problem::unreadable_body("it ended too early, or came too slowly"))?;
        // What cannot be read any more is let by, so that the client gets to hear what became of the rest.
        if broken.is_some() || batch.failed.is_some() {
            continue;
        }
        // A piece may have thousands of items, and no more than a chunk of them is to be in memory.
        for part in piece.chunks(CHUNK_BYTES) {
            let mut found = Vec::new();
            broken = items.push(part, |it| found.push(it.to_vec())).err();
            batch.take(found, items.form()).await;
            if broken.is_some() {
                break;
            }
        }
    }
    let form = items.form();
    if broken.is_none() {
        let mut found = Vec::new();
        broken = items.finish(|it| found.push(it.to_vec())).err();
        batch.take(found, form).await;
    }
    if atomic {
        batch.commit_whole(broken).await?;
        return Ok(batch.answer(form));
    }
    batch.commit().await;
    if let Some(problem) = batch.failed {
        return Err(problem);
    }
    // Whatever was said of the items before stands.
    if let Some(broken) = broken {
        batch.say(batch.items, Err(Problem::broken_batch(&broken, batch.items)));
    } else if batch.items > BATCH_JOBS {
        batch.say(BATCH_JOBS, Err(Problem::too_many_jobs(BATCH_JOBS)));
    }
    Ok(batch.answer(form))
}

impl Batch {
    async fn take(&mut self, items: Vec<Vec<u8>>, form: Form) {
        for item in items {
            // What begins as something else than JSON, such as YAML or a form, has no items.
            if self.items == 0 && form == Form::Lines && !item.starts_with(b"{") {
                self.failed = serde_json::from_slice::<IgnoredAny>(&item).err().map(|err| Problem::no_batch(&err));
            }
            if self.failed.is_some() {
                return;
            }
            self.items += 1;
            if self.items > self.most_jobs() || (self.atomic && self.chunk_bytes > WHOLE_BYTES) {
                continue;
            }
            let read = self.api.reader.read(&mut self.looked, &item, None).await;
            // What a template makes of an item may be far larger than the item.
            self.chunk_bytes += item.len() + read.as_ref().map_or(0, Ready::bytes);
            self.chunk.push(read);
            if self.atomic {
                continue;
            }
            if self.chunk.len() >= STATEMENT_JOBS || self.chunk_bytes >= CHUNK_BYTES {
                self.commit().await;
            }
        }
    }

    /// Commits what was read, and says what became of it.
    async fn commit(&mut self) {
        if self.failed.is_some() {
            return;
        }
        let chunk = std::mem::take(&mut self.chunk);
        self.chunk_bytes = 0;
        self.looked = Looked::default();
        let first = self.items.min(BATCH_JOBS) - chunk.len();
        let mut ready = Vec::with_capacity(chunk.len());
        let mut outcomes = Vec::with_capacity(chunk.len());
        for item in chunk {
            outcomes.push(item.map(|it| ready.push(it)));
        }
        let mut submitted = self.submit(&ready).await.into_iter().zip(&ready);
        let mut told = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            let metrics = &self.api.metrics;
            told.push(outcome.map_err(|it| self.api.count_refused(Via::Batch, it)).and_then(
                |()| match submitted.next() {
                    Some((Ok(submitted), ready)) => {
                        let queue = &ready.submission().queue;
                        metrics.submitted(Via::Batch, Some(queue), measure::accepted(&submitted));
                        accepted(submitted, ready.submission())
                    }
                    Some((Err(err), _)) => Err(err),
                    None => Err(Problem::internal()),
                },
            ));
        }
        self.failed = trouble(&told).filter(|_| self.said.is_empty()).cloned();
        if self.failed.is_none() {
            told.into_iter().enumerate().for_each(|(place, outcome)| self.say(first + place, outcome));
        }
    }

    fn most_jobs(&self) -> usize {
        if self.atomic { WHOLE_JOBS } else { BATCH_JOBS }
    }

    /// Commits everything that was read, or nothing.
    async fn commit_whole(&mut self, broken: Option<Broken>) -> Result<(), Problem> {
        if let Some(problem) = self.failed.take() {
            return Err(problem);
        }
        if let Some(broken) = broken {
            return Err(Problem::broken_batch(&broken, self.items));
        }
        if self.items > WHOLE_JOBS || self.chunk_bytes > WHOLE_BYTES {
            return Err(Problem::whole_too_large(WHOLE_JOBS, WHOLE_BYTES));
        }
        let mut ready = Vec::with_capacity(self.chunk.len());
        let mut refused = Vec::new();
        for (index, item) in std::mem::take(&mut self.chunk).into_iter().enumerate() {
            match item {
                Ok(item) => ready.push(item),
                Err(problem) => refused.push((index, self.api.count_refused(Via::Batch, problem))),
            }
        }
        if !refused.is_empty() {
            return Err(Problem::batch_refused(refused));
        }
        let submit = async { self.api.intake.submit_whole(&mut *self.api.db.conn().await?, &ready).await };
        let submitted = self.api.db.within(submit).await.map_err(Problem::of_change)?;
        let outcomes = submitted.iter().zip(&ready).map(|(it, ready)| accepted(*it, ready.submission()));
        let all = submitted.iter().all(Submitted::is_accepted);
        for (it, ready) in submitted.iter().zip(&ready).filter(|it| all || !it.0.is_accepted()) {
            let queue = &ready.submission().queue;
            self.api.metrics.submitted(Via::Batch, Some(queue), measure::accepted(it));
        }
        if all {
            outcomes.enumerate().for_each(|(index, outcome)| self.say(index, outcome));
            self.api.signals.raise(Signal::Pending);
            return Ok(());
        }
        let refused = outcomes.enumerate().filter_map(|(index, it)| Some((index, it.err()?)));
        Err(Problem::batch_refused(refused.collect()))
    }

    async fn submit(&self, ready: &[Ready]) -> Vec<Result<Submitted, Problem>> {
        if ready.is_empty() {
            return Vec::new();
        }
        match self.try_submit(ready).await {
            Ok(all) => {
                if all.iter().any(|it| matches!(it, Submitted::New { .. })) {
                    self.api.signals.raise(Signal::Pending);
                }
                all.into_iter().map(Ok).collect()
            }
            // Nothing was done, for what may be the fault of one of them: each for itself.
            Err(Error::Statement(_) | Error::Unknown { .. } | Error::Busy(_)) if ready.len() > 1 => {
                let mut each = Vec::with_capacity(ready.len());
                for one in ready.chunks(1) {
                    let submitted = self.try_submit(one).await.map(|it| it.into_iter().next());
                    each.push(submitted.map_err(Problem::of_change).and_then(|it| it.ok_or_else(Problem::internal)));
                }
                self.api.signals.raise(Signal::Pending);
                each
            }
            Err(err) => {
                let problem = Problem::of_change(err);
                ready.iter().map(|_| Err(problem.clone())).collect()
            }
        }
    }

    async fn try_submit(&self, ready: &[Ready]) -> Result<Vec<Submitted>, Error> {
        let submit = async { self.api.intake.submit(&mut *self.api.db.conn().await?, ready).await };
        self.api.db.within(submit).await
    }

    fn say(&mut self, index: usize, outcome: Result<Accepted, Problem>) {
        let outcome = match outcome {
            Ok(Accepted { status, job_id, name, queue_position }) => Outcome {
                index,
                status: status.as_u16(),
                job_id: Some(job_id),
                name: Some(name),
                queue_position,
                error: None,
            },
            Err(problem) => {
                let status = problem.status();
                Outcome { index, status, job_id: None, name: None, queue_position: None, error: Some(problem) }
            }
        };
        if serde_json::to_writer(&mut self.said, &outcome).is_ok() {
            // Writing to memory cannot fail.
            let _ = self.said.write_all(b"\n");
        }
    }

    /// In the form in which the request came.
    fn answer(self, form: Form) -> Response {
        let mut said = self.said;
        if form == Form::Lines {
            return ([(header::CONTENT_TYPE, "application/x-ndjson")], said).into_response();
        }
        // A line feed is never inside an item: JSON escapes it.
        said.pop();
        said.iter_mut().filter(|it| **it == b'\n').for_each(|it| *it = b',');
        said.insert(0, b'[');
        said.push(b']');
        ([(header::CONTENT_TYPE, "application/json")], said).into_response()
    }
}
