//! The HTTP face: requests in, rows and problem documents out. It writes submissions and wishes, never the lifecycle.

mod acceptable;
mod batch;
mod bulk;
mod doc;
mod events;
mod filter;
mod fixed;
mod health;
mod hosts;
mod inbox;
mod items;
mod job;
mod job_status;
mod jobs;
mod kinds;
mod list;
mod logs;
mod measure;
mod metrics;
mod object;
mod patch;
mod policy;
mod problem;
mod queue_defaults;
mod queues;
mod reader;
mod serve;
mod sources;
mod stalls;
mod submit;
mod templated;
mod templates;
mod unread;
mod view;
mod webhooks;
mod wire;

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::{DefaultBodyLimit, Request, State},
    middleware::{self, Next},
    response::Response,
};
use percent_encoding::percent_decode_str;
use tokio_util::sync::CancellationToken;
use tower_http::{catch_panic::CatchPanicLayer, timeout::RequestBodyTimeoutLayer};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    cluster::{Cluster, view::View},
    egress::Egress,
    events::Hub,
    id::ReplicaId,
    metrics::Metrics,
    store::{
        Db,
        gather::Gather,
        signals::Signals,
        submit::{Intake, Ready, Submitted},
    },
    templates::jq::Filters,
};

pub use fixed::{Served, faults_of_part};
pub use health::starting;
pub use kinds::Kind;
pub use measure::accepted;
pub use problem::Problem;
pub use queue_defaults::KnownDefaults;
pub use reader::{Read, Reader, faults_of};
pub use serve::{Limits, serve};
pub use templated::Looked;

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
    /// The connections of the loops, which requests cannot use up: for what must be known when nothing else is.
    pub loops_db: Arc<Db>,
    pub intake: Arc<Intake>,
    /// The same for those who come alone, served together.
    pub submissions: Arc<Gather<Ready, Submitted>>,
    /// What turns requests into jobs.
    pub reader: Arc<Reader>,
    pub cluster: Arc<Cluster>,
    pub recovery: Arc<crate::recovery::Recovery>,
    pub view: Arc<View>,
    pub signals: Arc<Signals>,
    /// What happens to all jobs, for those who listen.
    pub events: Arc<Hub>,
    /// Where webhooks may lead.
    pub egress: Arc<Egress>,
    pub metrics: Arc<Metrics>,
    /// None: this replica was started without a filter.
    pub filters: Option<Arc<Filters>>,
    /// Set when this process was told to stop: readiness says so.
    pub leaving: CancellationToken,
    /// Set when it stops: long polls end.
    pub stop: CancellationToken,
}

/// Every route, each with what the OpenAPI document says of it.
fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::with_openapi(doc::frame())
        .routes(routes!(submit::submit, list::list))
        .routes(routes!(batch::submit))
        .routes(routes!(jobs::pending))
        .routes(routes!(jobs::running))
        .routes(routes!(jobs::get, patch::change, jobs::cancel))
        .routes(routes!(jobs::events))
        .routes(routes!(logs::logs))
        .routes(routes!(jobs::retry))
        .routes(routes!(jobs::wait))
        .routes(routes!(bulk::bulk))
        .routes(routes!(queues::list))
        .routes(routes!(queues::get, queues::put, queues::change))
        .routes(routes!(queues::limits, queues::set_limits))
        .merge(job::routes())
        .routes(routes!(events::stream))
        .routes(routes!(webhooks::list, webhooks::create))
        .routes(routes!(webhooks::get, webhooks::delete))
        .routes(routes!(webhooks::rotate))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(webhooks::redeliver))
        .routes(routes!(sources::list))
        .routes(routes!(sources::get, sources::change))
        .routes(routes!(templates::list))
        .routes(routes!(templates::get, templates::put, templates::delete))
        .merge(own_routes())
        .routes(routes!(doc::page::openapi))
        .routes(routes!(doc::page::page))
        .routes(routes!(doc::page::style))
        .routes(routes!(doc::page::problem))
}

/// What every process answers, whatever its roles: how it is, and what it measures.
fn own_routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(health::health))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(metrics::metrics))
}

/// The OpenAPI document, as `/openapi.json` serves it.
pub fn document() -> serde_json::Value {
    doc::finish(routes().into_openapi())
}

/// Every route.
pub fn router(api: Arc<Api>) -> Router {
    beside(api, Router::new())
}

/// The same, with `others` that are no part of the API, and for which the same holds.
pub fn beside(api: Arc<Api>, others: Router) -> Router {
    let (router, document) = routes().split_for_parts();
    let pages = doc::Pages::new(&doc::finish(document));
    let router = router
        .fallback(|| async { Problem::no_such_path() })
        .layer(Extension(pages))
        .layer(middleware::from_fn_with_state(api.clone(), inbox::wait_for_it));
    guarded(router.merge(others.with_state(())), api)
}

/// The routes of a process without the role `api`.
pub fn own_router(api: Arc<Api>) -> Router {
    let (router, _) = own_routes().split_for_parts();
    guarded(router.fallback(|| async { Problem::another_role() }), api)
}

/// What holds for all routes.
fn guarded(router: Router<Arc<Api>>, api: Arc<Api>) -> Router {
    router
        .method_not_allowed_fallback(|| async { Problem::wrong_method() })
        .layer(middleware::from_fn(refuse_cross_site))
        .layer(middleware::from_fn(refuse_unreadable_path))
        .layer(middleware::from_fn_with_state(api.clone(), give_up))
        .layer(RequestBodyTimeoutLayer::new(BODY_SILENCE))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(CatchPanicLayer::custom(|_| Problem::internal().into()))
        .layer(middleware::from_fn_with_state(api.clone(), measure::measure))
        .with_state(api)
}

/// No request is held for ever by a database that went away without a word.
async fn give_up(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let longest = if request.uri().path() == "/jobs/batch" { LONGEST_BATCH } else { LONGEST_REQUEST };
    match tokio::time::timeout(longest, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            api.db.give_up();
            Problem::too_slow().into()
        }
    }
}

/// Nothing here has a name that is not UTF-8, and handlers take names as text.
async fn refuse_unreadable_path(request: Request, next: Next) -> Response {
    match percent_decode_str(request.uri().path()).decode_utf8() {
        Ok(_) => next.run(request).await,
        Err(_) => Problem::no_such_path().into(),
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
