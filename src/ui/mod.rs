//! The console: pages for people at `/`, made by the server, which work without a script.
//!
//! A page asks the API in this process what any client could ask, and does what any client could do: the same checks, the
//! same answers, and no second way in. What many look at at once, the state of the whole, is sampled once for all of them
//! (`sampler.rs`). Text of others is made harmless where it comes in (`text.rs`), and escaped where it goes out.

mod acts;
mod ask;
mod assets;
mod bulk;
mod clock;
mod filter;
mod forecast;
mod form;
mod job;
mod jobs;
mod live;
mod manifest;
mod overview;
mod problems;
mod queues;
mod sampler;
mod shell;
mod sources;
mod submit;
mod system;
mod templates;
mod text;

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, Request},
    http::{HeaderValue, header},
    middleware::{self, Next},
    response::Response,
    routing::{get, post},
};
use tokio::sync::Semaphore;

use crate::api::{self, Api};

use ask::{Ask, Refusal};
pub use sampler::PERIOD;
use sampler::{Sample, Sampler};
use shell::{Place, Shell};

/// Nothing but our own pages, scripts and style sheets, from nowhere else, and in nobody's frame.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
);
/// The most pages that follow one replica as it changes: each costs a task and what is written to it.
const STREAMS: usize = 500;

/// What every page has at hand.
pub struct Ui {
    api: Arc<Api>,
    ask: Ask,
    sampler: Sampler,
    streams: Arc<Semaphore>,
}

impl Ui {
    /// The state of the whole, as recent as anybody needs it.
    async fn sample(&self) -> Sample {
        self.sampler.recent(&self.api.db, &self.api.cluster).await
    }
}

/// The API, and the pages beside it.
pub fn router(api: Arc<Api>) -> Router {
    let ui = Arc::new(Ui {
        ask: Ask::new(api::router(api.clone())),
        sampler: Sampler::default(),
        streams: Arc::new(Semaphore::new(STREAMS)),
        api: api.clone(),
    });
    let pages = Router::new()
        .route("/", get(overview::page))
        .route("/ui/live", get(live::stream))
        .route("/ui/assets/{file}", get(assets::get))
        .route("/ui/jobs", get(jobs::page))
        .route("/ui/jobs/bulk", post(bulk::act))
        .route("/ui/jobs/{id}", get(job::page))
        .route("/ui/jobs/{id}/cancel", post(acts::cancel))
        .route("/ui/jobs/{id}/retry", post(acts::retry))
        .route("/ui/jobs/{id}/priority", post(acts::priority))
        .route("/ui/queues", get(queues::list).post(queues::put))
        .route("/ui/queues/{name}", get(queues::one).post(queues::change))
        .route("/ui/limits", post(queues::limits))
        .route("/ui/submit", get(submit::page).post(submit::act))
        .route("/ui/sources", get(sources::list))
        .route("/ui/sources/{name}", post(sources::change))
        .route("/ui/templates", get(templates::list))
        .route("/ui/system", get(system::page))
        .route("/ui", get(|| async { shell::see("./") }))
        .route("/ui/{*rest}", get(nowhere))
        .layer(middleware::from_fn(guard))
        .with_state(ui);
    api::beside(api, pages)
}

/// There is no such page.
async fn nowhere(Path(rest): Path<String>) -> Response {
    let refusal = Refusal {
        title: "There is no such page".into(),
        status: 404,
        code: "no_such_path".into(),
        detail: "There is nothing at this path; the menu leads to what there is.".into(),
        errors: Vec::new(),
    };
    let depth = 2 + rest.matches('/').count();
    shell::refused(Shell::new("Not found", Place::None, depth), refusal)
}

/// What holds for every page and for all that belongs to one.
async fn guard(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
