//! `POST /jobs/batch`: many submissions in one request, as a JSON array or as lines of JSON, committed by the chunk.

use std::{io::Write, sync::Arc};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use serde::Serialize;

use crate::{
    spec::Fault,
    store::{
        Error,
        signals::Signal,
        submit::{QUEUES, Ready, Submitted},
    },
};

use super::{
    Api, BODY_BYTES, Problem,
    items::{Form, Items},
    submit::read_submission,
    view::position_text,
};

/// The most jobs of one request: what is said of each is kept until the last one was read.
pub const BATCH_JOBS: usize = 100_000;
/// The most jobs, and about the most bytes, that one transaction commits.
const CHUNK_JOBS: usize = 1_000;
const CHUNK_BYTES: usize = 4 * 1024 * 1024;

/// What became of one item, by its place in the request, from 0 on.
#[derive(Serialize)]
struct Outcome {
    index: usize,
    /// As the status of `POST /jobs` would be.
    status: u16,
    #[serde(flatten)]
    accepted: Option<Accepted>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
}

#[derive(Serialize)]
struct Accepted {
    #[serde(skip)]
    status: StatusCode,
    job_id: String,
    name: String,
    /// Of what is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_position: Option<String>,
}

fn accepted(submitted: Submitted, name: &str) -> Result<Accepted, Problem> {
    let (status, id, position) = match submitted {
        Submitted::New { id, position } => (StatusCode::ACCEPTED, id, Some(position)),
        Submitted::Before { id } => (StatusCode::OK, id, None),
        Submitted::KeyTaken { id } => return Err(Problem::key_reused(id)),
        Submitted::TooManyQueues => return Err(Problem::too_many_queues(QUEUES)),
    };
    let (job_id, name) = (id.to_string(), name.to_owned());
    Ok(Accepted { status, job_id, name, queue_position: position.map(position_text) })
}

/// A request that is being read.
struct Batch {
    api: Arc<Api>,
    /// How many items were read.
    items: usize,
    /// What is to be committed next, in the order of the request: wrong items stand between the others.
    chunk: Vec<Result<Ready, Problem>>,
    chunk_bytes: usize,
    /// What was said so far, an item a line.
    said: Vec<u8>,
}

/// Accepts jobs, each for itself: 200 with a result for each, in their order.
pub async fn submit(State(api): State<Arc<Api>>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    if headers.contains_key("idempotency-key") {
        let detail = "the header Idempotency-Key is for one job; give each item a field `idempotency_key`";
        return Err(Problem::invalid_fields(vec![Fault::new("/idempotency_key", detail)]));
    }
    let mut batch = Batch { api, items: 0, chunk: Vec::new(), chunk_bytes: 0, said: Vec::new() };
    let mut items = Items::new(BODY_BYTES);
    let mut pieces = body.into_data_stream();
    let mut broken = None;
    while let Some(piece) = pieces.next().await {
        let piece: Bytes = piece.map_err(|_| Problem::unreadable_body("it ended too early, or came too slowly"))?;
        // What cannot be read any more is let by, so that the client gets to hear what became of the rest.
        if broken.is_some() {
            continue;
        }
        // A piece may have thousands of items, and no more than a chunk of them is to be in memory.
        for part in piece.chunks(CHUNK_BYTES) {
            let mut found = Vec::new();
            broken = items.push(part, |it| found.push(it.to_vec())).err();
            batch.take(found).await;
            if broken.is_some() {
                break;
            }
        }
    }
    let form = items.form();
    if broken.is_none() {
        let mut found = Vec::new();
        broken = items.finish(|it| found.push(it.to_vec())).err();
        batch.take(found).await;
    }
    batch.commit().await;
    // Whatever was said of the items before stands.
    if let Some(broken) = broken {
        batch.say(batch.items, Err(Problem::broken_batch(&broken, batch.items)));
    } else if batch.items > BATCH_JOBS {
        batch.say(BATCH_JOBS, Err(Problem::too_many_jobs(BATCH_JOBS)));
    }
    Ok(batch.answer(form))
}

impl Batch {
    async fn take(&mut self, items: Vec<Vec<u8>>) {
        for item in items {
            self.items += 1;
            if self.items > BATCH_JOBS {
                continue;
            }
            self.chunk_bytes += item.len();
            self.chunk.push(read_submission(&self.api, &item, None).map(Ready::new));
            if self.chunk.len() >= CHUNK_JOBS || self.chunk_bytes >= CHUNK_BYTES {
                self.commit().await;
            }
        }
    }

    /// Commits what was read, and says what became of it.
    async fn commit(&mut self) {
        let chunk = std::mem::take(&mut self.chunk);
        self.chunk_bytes = 0;
        let first = self.items.min(BATCH_JOBS) - chunk.len();
        let mut ready = Vec::with_capacity(chunk.len());
        let mut outcomes = Vec::with_capacity(chunk.len());
        for item in chunk {
            outcomes.push(item.map(|it| ready.push(it)));
        }
        let mut submitted = self.submit(&ready).await.into_iter().zip(&ready);
        for (place, outcome) in outcomes.into_iter().enumerate() {
            let outcome = outcome.and_then(|()| match submitted.next() {
                Some((Ok(submitted), ready)) => accepted(submitted, &ready.submission().name),
                Some((Err(err), _)) => Err(err),
                None => Err(Problem::internal()),
            });
            self.say(first + place, outcome);
        }
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
        let (status, accepted, error) = match outcome {
            Ok(accepted) => (accepted.status.as_u16(), Some(accepted), None),
            Err(problem) => (problem.status(), None, Some(problem)),
        };
        if serde_json::to_writer(&mut self.said, &Outcome { index, status, accepted, error }).is_ok() {
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
