//! Whether this process lives, and whether it can do its work.

use std::sync::Arc;

use axum::extract::State;

use crate::store;

use super::{Api, Problem};

/// `GET /health`: it answers.
pub async fn health() -> &'static str {
    "OK"
}

/// `GET /livez`: the same. A database that is away is no reason to restart a replica.
pub async fn live() -> &'static str {
    "OK"
}

/// `GET /readyz`: the database can be written to, and the cluster answers.
pub async fn ready(State(api): State<Arc<Api>>) -> Result<&'static str, Problem> {
    if api.stop.is_cancelled() {
        return Err(Problem::not_ready("stopping", "this replica is stopping"));
    }
    let mut conn = api.db.conn().await?;
    match store::ping(&mut conn).await {
        Ok(()) => {}
        Err(store::Error::ReadOnly) => {
            return Err(Problem::not_ready("database_read_only", "the database is read-only"));
        }
        Err(err) => return Err(err.into()),
    }
    drop(conn);
    if let Err(err) = api.cluster.ping().await {
        tracing::warn!(error = %err, "the cluster does not answer");
        return Err(Problem::not_ready(
            "cluster_unavailable",
            "the Kubernetes API server does not answer as it should",
        ));
    }
    Ok("OK")
}
