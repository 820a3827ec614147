//! The HTTP face: requests in, rows and problem documents out. It writes submissions and wishes, never the lifecycle.

mod batch;
mod health;
mod items;
mod jobs;
mod logs;
mod policy;
mod problem;
mod submit;
mod view;
mod wire;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    middleware::{self, Next},
    response::Response,
    routing::{get, post},
};
use tokio_util::sync::CancellationToken;
use tower_http::{catch_panic::CatchPanicLayer, timeout::RequestBodyTimeoutLayer};

use crate::{
    cluster::{Cluster, manifest::Defaults, view::View},
    id::ReplicaId,
    store::{
        Db,
        gather::Gather,
        signals::Signals,
        submit::{Intake, Ready, Submitted},
    },
};

pub use problem::Problem;

/// The largest body of one submission. etcd refuses objects over 1.5 MiB, so a larger manifest could not be created.
pub const BODY_BYTES: usize = 1024 * 1024;
/// How long a client may be silent in the middle of a body.
const BODY_SILENCE: Duration = Duration::from_secs(10);
/// Longer than the longest poll.
const LONGEST_REQUEST: Duration = Duration::from_secs(70);
/// Longer than the largest batch takes over a slow line.
const LONGEST_BATCH: Duration = Duration::from_secs(600);

/// What every handler has at hand.
pub struct Api {
    pub replica: ReplicaId,
    pub db: Arc<Db>,
    pub intake: Arc<Intake>,
    /// The same for those who come alone, served together.
    pub submissions: Arc<Gather<Ready, Submitted>>,
    pub cluster: Arc<Cluster>,
    pub view: Arc<View>,
    pub signals: Arc<Signals>,
    pub defaults: Arc<Defaults>,
    /// Set when this process is stopping: long polls end, and readiness says so.
    pub stop: CancellationToken,
}

/// Every route.
pub fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/jobs", post(submit::submit).get(jobs::list))
        .route("/jobs/batch", post(batch::submit))
        .route("/jobs/pending", get(jobs::pending))
        .route("/jobs/running", get(jobs::running))
        .route("/jobs/{id}", get(jobs::get).delete(jobs::cancel))
        .route("/jobs/{id}/events", get(jobs::events))
        .route("/jobs/{id}/logs", get(logs::logs))
        .route("/jobs/{id}/wait", get(jobs::wait))
        .route("/health", get(health::health))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .fallback(|| async { Problem::no_such_path() })
        .method_not_allowed_fallback(|| async { Problem::wrong_method() })
        .layer(middleware::from_fn(refuse_cross_site))
        .layer(middleware::from_fn_with_state(api.clone(), give_up))
        .layer(RequestBodyTimeoutLayer::new(BODY_SILENCE))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(CatchPanicLayer::custom(|_| Problem::internal().into()))
        .with_state(api)
}

/// No request is held for ever by a database that went away without a word.
async fn give_up(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let longest = if request.uri().path() == "/jobs/batch" { LONGEST_BATCH } else { LONGEST_REQUEST };
    match tokio::time::timeout(longest, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            api.db.renew();
            Problem::too_slow().into()
        }
    }
}

/// A page of another site cannot make a browser submit or cancel jobs here: browsers say where a request comes from.
async fn refuse_cross_site(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let header = |name: &str| headers.get(name).and_then(|it| it.to_str().ok());
    // Older browsers, and pages that came over plain HTTP, say only the origin.
    let foreign_origin = header("origin").is_some_and(|origin| {
        let host = origin.split_once("://").map(|(_, host)| host);
        host.is_none() || host != header("host")
    });
    let foreign = foreign_origin || matches!(header("sec-fetch-site"), Some("cross-site" | "same-site"));
    match foreign && !request.method().is_safe() {
        true => Problem::cross_site().into(),
        false => next.run(request).await,
    }
}
