//! Requests, measured by the route that served them, never by their path.

use std::{sync::Arc, time::Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    http::Method,
    middleware::Next,
    response::Response,
};

use crate::{
    metrics::{Accepted, Http, OTHER, Via},
    store::submit::Submitted,
    traces,
};

use super::{Api, Problem};

/// Measures a request until the head of its answer, and traces it where that is wanted.
pub async fn measure(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let in_flight = api.metrics.http_request();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = method(request.method());
    let route = route.as_ref().map(MatchedPath::as_str);
    let parent = request.headers().get(traces::HEADER).and_then(|it| it.to_str().ok()).map(str::to_owned);
    let answer = match traces::Request::begin(method, route, parent.as_deref()) {
        None => next.run(request).await,
        Some(trace) => {
            let answer = trace.around(next.run(request)).await;
            trace.answered(answer.status().as_u16());
            answer
        }
    };
    drop(in_flight);
    api.metrics.http_answered(&Http { method, route, code: answer.status().as_u16(), took: begun.elapsed() });
    answer
}

/// A client may invent methods.
fn method(of: &Method) -> &'static str {
    match *of {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => OTHER,
    }
}

/// What a submission came to, as it is counted.
pub const fn accepted(submitted: &Submitted) -> Accepted {
    match submitted {
        Submitted::New { .. } => Accepted::New,
        Submitted::Before { .. } => Accepted::Before,
        Submitted::KeyTaken { .. } | Submitted::TooManyQueues | Submitted::QueueFull { .. } => Accepted::No,
    }
}

impl Api {
    /// Counts a request that was refused before it was a submission.
    pub(super) fn count_refused(&self, via: Via, problem: Problem) -> Problem {
        if problem.status() < 500 {
            self.metrics.submitted(via, None, Accepted::No);
        }
        problem
    }
}
