//! Whether this process lives, and whether it can do its work.

use std::sync::Arc;

use axum::{Router, extract::State, routing::get};

use crate::store;

use super::{
    Api, Problem,
    doc::answers::{Alone, OfReady},
    kinds::Kind,
};

/// The routes of a process that is starting.
pub fn starting() -> Router {
    Router::new().route("/health", get(health)).route("/livez", get(live)).fallback(|| async { Problem::starting() })
}

/// Whether this process answers
#[utoipa::path(get, path = "/health", tag = "health", responses((status = 200, description = "It answers.", body = str, example = "OK"), Alone))]
pub async fn health() -> &'static str {
    "OK"
}

/// Whether this process lives
///
/// The same as `/health`: a database that is away is no reason to restart a replica.
#[utoipa::path(get, path = "/livez", tag = "health", responses((status = 200, description = "It lives.", body = str, example = "OK"), Alone))]
pub async fn live() -> &'static str {
    "OK"
}

/// Whether this process can do its work
///
/// It can if the database can be written to, the Kubernetes API server answers, and Jobs and pods can be listed and watched.
#[utoipa::path(get, path = "/readyz", tag = "health", responses((status = 200, description = "It can.", body = str, example = "OK"), OfReady))]
pub async fn ready(State(api): State<Arc<Api>>) -> Result<&'static str, Problem> {
    if api.leaving.is_cancelled() {
        return Err(Problem::not_ready(Kind::Stopping, "this replica is stopping"));
    }
    let mut conn = api.db.conn().await?;
    match store::ping(&mut conn).await {
        Ok(()) => {}
        Err(err @ store::Error::ReadOnly) => {
            api.db.heed(&err);
            return Err(Problem::not_ready(Kind::DatabaseReadOnly, "the database is read-only"));
        }
        Err(err) => return Err(err.into()),
    }
    drop(conn);
    if let Err(err) = api.cluster.ping().await {
        tracing::warn!(error = %err, "the cluster does not answer");
        return Err(Problem::not_ready(
            Kind::ClusterUnavailable,
            "the Kubernetes API server does not answer as it should",
        ));
    }
    if let Some(what) = api.cluster.reach.blind() {
        return Err(Problem::not_ready(Kind::WatchBroken, what));
    }
    if let Some(why) = api.recovery.problem() {
        return Err(Problem::not_ready(Kind::Recovering, why));
    }
    Ok("OK")
}
