//! `GET /jobs/{id}/logs`: what an attempt writes, from its pod while there is one, and after that the end that was kept.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{HeaderName, HeaderValue, header},
    response::Response,
};
use futures::TryStreamExt;
use serde::Deserialize;
use tokio_util::{compat::FuturesAsyncReadCompatExt, io::ReaderStream};
use utoipa::IntoParams;

use crate::{
    cluster::{logs::Asked, pod::SeenPod},
    id::{AttemptNo, JobId},
    lifecycle::StateName,
    store::{lists, logs},
};

use super::{
    Api, Problem,
    doc::answers::OfLogs,
    jobs::{given, parse, wrong},
};

/// The most lines that can be asked for.
const MOST_LINES: i64 = 1_000_000;
/// How often to look whether a container that is waited for has begun.
const LOOK: Duration = Duration::from_millis(500);
/// How long a request waits for that: as long as the longest poll. A client asks again.
const LONGEST_WAIT: Duration = Duration::from_secs(50);

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LogsQuery {
    /// Waits for the container to begin, 50 s at most, and goes on until it ends.
    #[serde(default)]
    follow: bool,
    /// Another attempt than the last.
    #[param(value_type = i32, minimum = 1, required = false)]
    attempt: Option<AttemptNo>,
    /// Only so many lines from the end.
    #[param(minimum = 0, maximum = 1_000_000)]
    tail: Option<i64>,
    /// Which container; where a pod has several, a live log needs it.
    container: Option<String>,
}

/// Where a log is to be had from.
enum Source {
    /// This pod.
    Live(Box<SeenPod>, AttemptNo),
    Kept(logs::Kept, AttemptNo),
    /// Nowhere yet: the attempt may still write something.
    NotYet(&'static str),
    /// Nowhere any more: its pod is gone.
    Gone(AttemptNo),
    /// Nowhere ever: it ended before a pod of it was made, or seen.
    Never(AttemptNo),
}

/// Read the log of a job
///
/// What the last attempt printed, or the one that is asked for: from its pod while there is one, and after that the end that
/// was kept. The bytes are passed on as they are, escape sequences too.
#[utoipa::path(
    get, path = "/jobs/{id}/logs", tag = "jobs", operation_id = "read_log",
    params(("id" = JobId, Path, description = "The job's `job_id`."), LogsQuery),
    responses(
        (status = 200, description = "The log.", body = String, content_type = "text/plain; charset=utf-8", headers(
            ("longshore-log" = String, description = "`live`, or `kept`."),
            ("longshore-attempt" = i32, description = "Of which attempt."),
            ("longshore-log-truncated" = bool, description = "Whether there was more before what was kept."),
        )),
        OfLogs,
    ),
)]
pub async fn logs(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    query: Result<Query<LogsQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let id = parse(&id)?;
    let query = given(query)?;
    if query.tail.is_some_and(|it| !(0..=MOST_LINES).contains(&it)) {
        return Err(wrong("tail", format!("must be 0 to {MOST_LINES} lines")));
    }
    let until = tokio::time::Instant::now() + LONGEST_WAIT;
    loop {
        let why = match source(&api, id, query.attempt).await? {
            (Source::Live(pod, attempt), namespace) => {
                if let Some(response) = live(&api, &namespace, &pod, attempt, &query).await? {
                    return Ok(response);
                }
                "its container has not begun"
            }
            (Source::Kept(kept, attempt), _) if query.container.as_ref().is_some_and(|it| *it != kept.container) => {
                let detail = format!(
                    "the pod of attempt {attempt} is gone, and of its logs only that of the container {} was kept",
                    kept.container
                );
                return Err(Problem::no_log(&detail));
            }
            (Source::Kept(kept, attempt), _) => return Ok(of_kept(kept, attempt, query.tail)),
            (Source::NotYet(why), _) => why,
            (Source::Gone(attempt), _) => {
                return Err(Problem::no_log(&format!(
                    "the pod of attempt {attempt} is gone, and the end of its log was not kept (see --keep-logs)"
                )));
            }
            (Source::Never(attempt), _) => {
                return Err(Problem::no_log(&format!(
                    "no pod of attempt {attempt} was ever known; its `message` says how it ended"
                )));
            }
        };
        if !query.follow || tokio::time::Instant::now() >= until || api.stop.is_cancelled() {
            return Err(Problem::no_log(why));
        }
        api.stop.run_until_cancelled(tokio::time::sleep(LOOK)).await;
    }
}

async fn source(api: &Api, id: JobId, asked: Option<AttemptNo>) -> Result<(Source, String), Problem> {
    let mut conn = api.db.conn().await?;
    let job = lists::get(&mut conn, id).await?.ok_or_else(|| Problem::no_such_job(&id.to_string()))?;
    let attempts = lists::attempts(&mut conn, id).await?;
    let attempt = match asked {
        Some(number) => attempts.iter().find(|it| it.attempt == number),
        None => attempts.last(),
    };
    let over = StateName::from_name(&job.state).is_some_and(StateName::is_finished);
    let Some(attempt) = attempt else {
        return match (asked, over) {
            (Some(number), _) => Err(Problem::no_log(&format!("there is no attempt {number} of this job"))),
            (None, true) => Err(Problem::no_log("it ended without an attempt")),
            (None, false) => Ok((Source::NotYet("it has not been started"), job.namespace)),
        };
    };
    let number = attempt.attempt;
    if let Some(name) = &attempt.kube_name
        && let Some(pod) = api.view.telling_pod(&job.namespace, name)
    {
        return Ok((Source::Live(Box::new(pod), number), job.namespace));
    }
    if let Some(kept) = logs::kept(&mut conn, id, number).await? {
        return Ok((Source::Kept(kept, number), job.namespace));
    }
    let source = match attempt.finished_at {
        Some(_) if attempt.pod.is_none() => Source::Never(number),
        Some(_) => Source::Gone(number),
        None => Source::NotYet("it has no pod yet"),
    };
    Ok((source, job.namespace))
}

/// None: the container has not begun, or the pod has just gone.
async fn live(
    api: &Api,
    namespace: &str,
    pod: &SeenPod,
    attempt: AttemptNo,
    query: &LogsQuery,
) -> Result<Option<Response>, Problem> {
    // Of several containers, the one that tells most.
    let container = query.container.clone().or_else(|| pod.facts.container.clone());
    let asked = Asked { container, follow: query.follow, tail_lines: query.tail };
    let log = api.cluster.follow_log(namespace, &pod.name, &asked).await.map_err(|err| {
        let job = pod.job.as_ref().map(tracing::field::display);
        tracing::warn!(job, namespace, pod = pod.name, error = %err, "could not read a log");
        Problem::cluster_unavailable()
    })?;
    let Some(log) = log else { return Ok(None) };
    // A client that goes away ends the stream, and with it the request to Kubernetes; so does the stop of this process.
    let stopped = api.stop.clone().cancelled_owned();
    let stream = ReaderStream::new(log.compat()).into_stream();
    let body = Body::from_stream(futures::StreamExt::take_until(stream, stopped));
    Ok(Some(answer(body, "live", attempt, false)))
}

fn of_kept(kept: logs::Kept, attempt: AttemptNo, tail: Option<i64>) -> Response {
    let lines: Vec<&str> = kept.tail.split_inclusive('\n').collect();
    let wanted = tail.and_then(|it| usize::try_from(it).ok()).unwrap_or(usize::MAX);
    let text: String = lines[lines.len().saturating_sub(wanted)..].concat();
    answer(Body::from(text), "kept", attempt, kept.truncated)
}

fn answer(body: Body, source: &'static str, attempt: AttemptNo, truncated: bool) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    // A log is foreign text: no browser is to take it for anything else.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(HeaderName::from_static("longshore-log"), HeaderValue::from_static(source));
    headers.insert(HeaderName::from_static("longshore-attempt"), HeaderValue::from(attempt));
    let truncated = HeaderValue::from_static(if truncated { "true" } else { "false" });
    headers.insert(HeaderName::from_static("longshore-log-truncated"), truncated);
    response
}
