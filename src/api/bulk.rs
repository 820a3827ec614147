//! `POST /bulk`: cancels, or gives another priority to, all jobs that pass a filter, so many a request.
//!
//! Nothing is kept of a bulk request between its parts. The cursor says up to which submission it goes, as of which time its
//! spans are counted, and how far it came: whichever replica is asked goes on from there, and one that is asked twice finds
//! the second time what is left.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::{
    id::JobId,
    lifecycle::{Reason, StateName},
    spec::Fault,
    store::{
        bulk::{self, Action, Chunk},
        signals::Signal,
        walk::Filter,
    },
};

use super::{Api, Problem, doc::answers::OfBulk, filter::Wanted, jobs::wrong, reader, submit};

/// The most jobs that one request changes: a few seconds' work.
const JOBS: i64 = 10_000;
/// For how long one request goes on finding more, well below the time-outs of load balancers.
const LONGEST: Duration = Duration::from_secs(5);

const LIVE: [StateName; 5] =
    [StateName::Scheduled, StateName::Pending, StateName::Starting, StateName::Running, StateName::Stopping];
const WAITING: [StateName; 2] = [StateName::Scheduled, StateName::Pending];

/// What is to be done to which jobs.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkRequest {
    action: ActionName,
    filter: BulkFilter,
    /// The new priority; with `reprioritize` only.
    priority: Option<i32>,
    /// Only count the jobs.
    #[serde(default, skip_serializing_if = "never_said")]
    dry_run: bool,
    /// What `next` of the answer before said.
    #[serde(default, skip_serializing_if = "never_said")]
    cursor: Option<String>,
}

/// For what is no part of a request's identity. `skip_serializing` would take it out of the OpenAPI document, too.
fn never_said<T>(_: &T) -> bool {
    true
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ActionName {
    /// What waits is cancelled at once; what holds a slot is stopped, and frees it when its pods are gone.
    Cancel,
    /// Of jobs that wait.
    Reprioritize,
}

/// Which jobs. Of its fields at least one is to be given, and a job has to pass all that are.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkFilter {
    /// One state, or several; none of those that are over. All others, if it is left out.
    state: Option<States>,
    /// Of this queue.
    queue: Option<String>,
    /// Exactly, or with `*` for any number of characters.
    name: Option<String>,
    /// With a value, or null for any.
    labels: Option<BTreeMap<String, Option<String>>>,
    /// A time, or how long ago.
    created_after: Option<String>,
    /// A time, or how long ago.
    created_before: Option<String>,
}

/// One state, or several.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
enum States {
    One(String),
    Several(Vec<String>),
}

/// What one request came to. The numbers are its own, not those of the whole.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct BulkAnswer {
    /// So many jobs passed the filter.
    matched: i64,
    /// So many were changed.
    done: i64,
    /// So many were as they should be already, or moved on just then.
    skipped: i64,
    /// What to give as `cursor`, with the same request, to go on; null when all is done.
    next: Option<String>,
}

/// How far a bulk request came.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Progress {
    /// The last submission that it is about.
    seq_most: i64,
    /// From when spans are counted back.
    as_of: Timestamp,
    before: Option<JobId>,
}

/// Change many jobs
///
/// Does a part of it, bounded in jobs and time, and says how to go on.
#[utoipa::path(
    post, path = "/bulk", tag = "jobs", operation_id = "bulk",
    request_body(content = BulkRequest, example = json!({"action": "cancel", "filter": {"queue": "reports"}, "dry_run": true})),
    responses((status = 200, description = "What was done, and how to go on.", body = BulkAnswer), OfBulk),
)]
pub async fn bulk(
    State(api): State<Arc<Api>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<BulkAnswer>, Problem> {
    let begun = Instant::now();
    let request: BulkRequest = reader::read(&submit::body(body)?)?;
    let digest = request.digest();
    let mut conn = api.db.conn().await?;
    let mut progress = match &request.cursor {
        Some(cursor) => Progress::read(cursor, &digest)?,
        None => Progress { seq_most: bulk::last_seq(&mut conn).await?, as_of: Timestamp::now(), before: None },
    };
    let (action, filter) = request.read(&progress)?;
    let action = action.filter(|_| !request.dry_run);
    let mut answer = BulkAnswer::default();
    loop {
        let next = bulk::next(&mut conn, api.replica, action, &filter, progress.before);
        let chunk = match api.db.within(next).await {
            Ok(chunk) => chunk,
            Err(err) if answer.matched == 0 => return Err(Problem::of_change(err)),
            // What was done so far is told, and asking again goes on, or says what is the matter.
            Err(err) => {
                tracing::warn!(error = crate::error::chain(&err), "a bulk request was cut short");
                answer.next = Some(progress.text(&digest));
                return Ok(Json(answer));
            }
        };
        raise(&api, &chunk);
        answer.add(&chunk, action.is_some());
        progress.before = chunk.reached;
        if progress.before.is_none() {
            return Ok(Json(answer));
        }
        if answer.matched >= JOBS || begun.elapsed() >= LONGEST {
            answer.next = Some(progress.text(&digest));
            return Ok(Json(answer));
        }
    }
}

fn raise(api: &Api, chunk: &Chunk) {
    for (queue, jobs) in &chunk.cancelled_of {
        let (outcome, reason) = (StateName::Cancelled.name(), Reason::Cancelled.name());
        api.metrics.finished(queue, jobs.unsigned_abs(), outcome, reason);
    }
    for (jobs, signal) in
        [(chunk.cancelled, Signal::Ended), (chunk.requested, Signal::Cancel), (chunk.reprioritized, Signal::Pending)]
    {
        if jobs > 0 {
            api.signals.raise(signal);
        }
    }
}

impl BulkAnswer {
    fn add(&mut self, chunk: &Chunk, acted: bool) {
        let done = chunk.cancelled + chunk.requested + chunk.reprioritized;
        self.matched += chunk.matched;
        self.done += done;
        self.skipped += if acted { chunk.matched - done } else { 0 };
    }
}

impl BulkRequest {
    /// Tells one request from another, so that no cursor is used with a filter that it does not belong to.
    fn digest(&self) -> String {
        let text = serde_json::to_value(self).unwrap_or_default().to_string();
        Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    fn read(&self, progress: &Progress) -> Result<(Option<Action>, Filter), Problem> {
        let mut faults = Vec::new();
        let (action, states) = match (self.action, self.priority) {
            (ActionName::Cancel, None) => (Some(Action::Cancel), &LIVE[..]),
            (ActionName::Reprioritize, Some(priority)) => (Some(Action::Reprioritize(priority)), &WAITING[..]),
            (ActionName::Cancel, Some(_)) => {
                faults.push(Fault::new("/priority", "is taken with the action `reprioritize` only; leave it out"));
                (None, &LIVE[..])
            }
            (ActionName::Reprioritize, None) => {
                faults.push(Fault::new("/priority", "is missing: say which priority the jobs are to have"));
                (None, &WAITING[..])
            }
        };
        if self.filter.is_empty() {
            let detail = "is empty, which would be every job; if that is meant, say \"state\" with all of them";
            faults.push(Fault::new("/filter", detail));
        }
        let mut filter = self.filter.wanted().read("/filter", progress.as_of).unwrap_or_else(|more| {
            faults.extend(more);
            Filter::default()
        });
        if let Some(other) = filter.states.iter().find(|it| !states.contains(it)) {
            let all: Vec<&str> = states.iter().map(|it| it.name()).collect();
            let detail = format!("has {:?}, and this action is about {} only", other.name(), all.join(", "));
            faults.push(Fault::new("/filter/state", detail));
        }
        if !faults.is_empty() {
            return Err(Problem::invalid_fields(faults));
        }
        if filter.states.is_empty() {
            filter.states = states.to_vec();
        }
        filter.seq_most = Some(progress.seq_most);
        Ok((action, filter))
    }
}

impl BulkFilter {
    fn is_empty(&self) -> bool {
        let Self { state, queue, name, labels, created_after, created_before } = self;
        let some = [queue, name, created_after, created_before].iter().any(|it| it.is_some());
        !some && state.is_none() && labels.as_ref().is_none_or(BTreeMap::is_empty)
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            states: self.state.clone().map(|it| match it {
                States::One(state) => vec![state],
                States::Several(states) => states,
            }),
            queue: self.queue.clone(),
            name: self.name.clone(),
            labels: self.labels.clone().unwrap_or_default().into_iter().collect(),
            reason: None,
            created_after: self.created_after.clone(),
            created_before: self.created_before.clone(),
        }
    }
}

impl Progress {
    /// As a cursor.
    fn text(&self, digest: &str) -> String {
        let before = self.before.map_or_else(String::new, |it| it.0.simple().to_string());
        format!("{digest}_{}_{}_{before}", self.seq_most, self.as_of.as_microsecond())
    }

    fn read(cursor: &str, digest: &str) -> Result<Self, Problem> {
        let malformed = || wrong("cursor", "must be what `next` of the answer before was");
        let mut parts = cursor.split('_');
        let mut part = || parts.next().ok_or_else(malformed);
        if part()? != digest {
            return Err(wrong(
                "cursor",
                "belongs to another request; give it with the same action, filter and priority",
            ));
        }
        let seq_most = part()?.parse().map_err(|_| malformed())?;
        let micros = part()?.parse().map_err(|_| malformed())?;
        let as_of = Timestamp::from_microsecond(micros).map_err(|_| malformed())?;
        let before = match part()? {
            "" => None,
            id => Some(id.parse().map_err(|_| malformed())?),
        };
        Ok(Self { seq_most, as_of, before })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_goes_on_where_it_was_written_and_with_its_own_request_only() {
        let as_of = Timestamp::from_microsecond(1_795_000_000_123_456).unwrap();
        for before in [None, Some(JobId::new())] {
            let progress = Progress { seq_most: 17, as_of, before };
            assert_eq!(Progress::read(&progress.text("ab"), "ab").unwrap(), progress);
            assert!(Progress::read(&progress.text("ab"), "cd").is_err());
        }
        for nonsense in ["", "ab", "ab_1", "ab_1_2", "ab_x_2_", "ab_1_99999999999999999999_", "ab_1_2_x"] {
            assert!(Progress::read(nonsense, "ab").is_err(), "{nonsense}");
        }
    }
}
