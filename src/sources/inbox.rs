//! Takes in what was submitted in SQL (`longshore.submit`): reads it by the rules of `POST /jobs`, and makes its job, under the
//! id that was told to whoever submitted it.
//!
//! A request is read outside any transaction, for templates and the API server may be asked, and stored in one that removes
//! it from the inbox: it becomes one job, whoever dies in between.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    api::{Looked, Read},
    error::chain,
    lifecycle::{Reason, StateName},
    metrics::{Accepted, Via},
    retry::Policy,
    spec::{Spec, Start, Submission},
    store::{
        Error,
        inbox::{self, Letter, Opened},
        signals::Signal,
        submit::Ready,
    },
};

use super::desk::Shared;

/// How often to look. Postgres serialises the commits of transactions that notify, so that an application's does not.
const PERIOD: Duration = Duration::from_millis(250);
/// How many requests are taken at a time: they are read one after the other.
const AT_ONCE: usize = 200;
/// For how long they are taken: longer than reading as many takes, the API server's answers included.
const LEASE: Duration = Duration::from_secs(60);
/// What a job is called whose request has no name that can be used.
const NAMELESS: &str = "refused";

/// Takes requests in, until `stop`.
pub async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        match tick(&shared).await {
            Ok(AT_ONCE) => continue,
            Ok(_) => {}
            Err(err) => {
                tracing::warn!(error = chain(&err), "could not take in what was submitted in SQL; trying again")
            }
        }
        stop.run_until_cancelled(tokio::time::sleep(PERIOD)).await;
    }
}

/// Answers how many there were.
async fn tick(shared: &Shared) -> Result<usize, Error> {
    let db = &shared.db;
    let taken = async { inbox::take(&mut *db.conn().await?, AT_ONCE as i64, LEASE).await };
    let letters = db.within(taken).await?;
    if letters.is_empty() {
        return Ok(0);
    }
    let count = letters.len();
    let mut looked = Looked::default();
    let mut opened = Vec::with_capacity(count);
    for letter in letters {
        opened.push(open(shared, &mut looked, letter).await);
    }
    let stored = async { inbox::take_in(&mut *db.conn().await?, &shared.intake, shared.replica, opened).await };
    for (queue, refused) in db.within(stored).await? {
        let accepted = if refused { Accepted::No } else { Accepted::New };
        shared.metrics.submitted(Via::Sql, Some(&queue), accepted);
        if refused {
            shared.metrics.finished(&queue, 1, StateName::Failed.name(), Reason::Refused.name());
        }
    }
    shared.signals.raise(Signal::Pending);
    Ok(count)
}

async fn open(shared: &Shared, looked: &mut Looked, letter: Letter) -> Opened {
    let body = letter.request.to_string();
    match shared.reader.submission(looked, body.as_bytes(), letter.key.clone()).await {
        Ok(Read { mut submission, request_hash, .. }) => {
            // It is taken by this job already.
            submission.idempotency_key = None;
            Opened::Ready(Ready::new(submission).known_as(letter.id), request_hash)
        }
        Err(problem) if problem.status() < 500 => {
            Opened::Refused(nothing_of(shared, &letter), problem.detail().to_owned())
        }
        Err(_) => Opened::Later(letter.id),
    }
}

/// A job of which nothing is to be run, for a request that is refused.
fn nothing_of(shared: &Shared, letter: &Letter) -> Ready {
    let text = |field: &str| letter.request.get(field).and_then(serde_json::Value::as_str).map(str::to_owned);
    let submission = Submission {
        name: text("name").unwrap_or_else(|| NAMELESS.into()),
        priority: letter.request.get("priority").and_then(serde_json::Value::as_i64).map_or(0, |it| it as i32),
        queue: text("queue").unwrap_or_else(|| "default".into()),
        namespace: shared.reader.default_namespace().to_owned(),
        start: Start::Now,
        idempotency_key: None,
        policy: Policy::default(),
        spec: Spec::default(),
    };
    Ready::new(submission).known_as(letter.id)
}
