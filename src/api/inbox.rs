//! A job that was submitted in SQL is known by its id from the commit on, and there a moment later. Whoever asks for it in that
//! moment waits it out, instead of being told that there is no such job.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{Method, StatusCode},
    middleware::Next,
    response::Response,
};

use crate::{id::JobId, store::inbox};

use super::Api;

/// How long that moment may be: replicas look several times a second.
const PATIENCE: Duration = Duration::from_secs(5);
/// Until when a job that is not there may have come while it was looked for; clocks differ by less.
const YOUNG: Duration = Duration::from_secs(60);
/// How often to look.
const PERIOD: Duration = Duration::from_millis(50);

/// Asks again for a job that was not there, once it is.
pub async fn wait_for_it(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let id = job_of(request.uri().path())
        .filter(|_| matches!(*request.method(), Method::GET | Method::HEAD | Method::DELETE));
    let Some(id) = id else { return next.run(request).await };
    // None of these methods has a body here.
    let (parts, body) = request.into_parts();
    let answer = next.clone().run(Request::from_parts(parts.clone(), body)).await;
    if answer.status() != StatusCode::NOT_FOUND {
        return answer;
    }
    let holds = async || match api.db.conn().await {
        Ok(mut conn) => inbox::holds(&mut conn, id).await.unwrap_or(false),
        Err(_) => false,
    };
    let taken_in = async {
        let mut held = false;
        while holds().await {
            held = true;
            tokio::time::sleep(PERIOD).await;
        }
        held
    };
    match tokio::time::timeout(PATIENCE, taken_in).await {
        // It may have been taken in between the two looks.
        Ok(held) if held || is_young(id) => next.run(Request::from_parts(parts, Body::empty())).await,
        _ => answer,
    }
}

/// Whether an id was made so lately that its job may have come just now.
fn is_young(id: JobId) -> bool {
    let made = id.0.get_timestamp().map(|it| it.to_unix().0);
    let now = jiff::Timestamp::now().as_second();
    made.is_some_and(|made| now.saturating_sub_unsigned(made) <= YOUNG.as_secs() as i64)
}

/// The job that a path is about.
fn job_of(path: &str) -> Option<JobId> {
    path.strip_prefix("/jobs/")?.split('/').next()?.parse().ok().map(JobId)
}
