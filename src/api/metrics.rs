//! `GET /metrics`.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};

use crate::{
    error::chain,
    metrics::{MEDIA_TYPE, PLAIN_MEDIA_TYPE, Statement},
    store::{self, levels},
};

use super::{Api, Problem, doc::answers::Alone};

/// How long a reader waits for a look at the rows: Prometheus gives up after ten seconds, and everything else is known.
const PATIENCE: Duration = Duration::from_secs(3);

/// Read metrics
///
/// In the text format of OpenMetrics 1.0, which Prometheus reads; or in Prometheus' own, version 0.0.4, for a client that
/// accepts `text/plain` and does not name the other. All are described in the file docs/metrics.md.
#[utoipa::path(
    get, path = "/metrics", tag = "metrics", operation_id = "metrics",
    responses((status = 200, description = "The metrics of this replica.", content_type = "application/openmetrics-text", body = str,
        example = "# TYPE longshore_source_up gauge\nlongshore_source_up{source=\"mails\"} 1\n# EOF\n"), Alone),
)]
pub async fn metrics(State(api): State<Arc<Api>>, headers: HeaderMap) -> Result<Response, Problem> {
    look(&api).await;
    let accepts = headers.get(header::ACCEPT).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let (media_type, text) = match wants_plain(accepts) {
        true => (PLAIN_MEDIA_TYPE, api.metrics.encode_plain()),
        false => (MEDIA_TYPE, api.metrics.encode()),
    };
    Ok(([(header::CONTENT_TYPE, media_type)], text.map_err(|_| Problem::internal())?).into_response())
}

/// Whether a client asks for Prometheus' own text and does not understand OpenMetrics.
fn wants_plain(accepts: &str) -> bool {
    let names = |media_type: &str| accepts.split(',').any(|it| it.split(';').next().map(str::trim) == Some(media_type));
    !names("application/openmetrics-text") && names("text/plain")
}

/// Looks at the rows, if nobody did in the last few seconds: one at a time, however many read metrics, and to its end even if
/// they go away.
async fn look(api: &Arc<Api>) {
    if api.metrics.levels.is_fresh() {
        return;
    }
    let shared = api.clone();
    let looking = tokio::spawn(async move {
        let metrics = &shared.metrics;
        let _turn = metrics.levels.turn().await;
        if metrics.levels.is_fresh() {
            return;
        }
        let db = &shared.loops_db;
        let read = async { levels::read(&mut *db.conn().await?).await };
        match metrics.timed(Statement::Sample, db.within(read)).await {
            Ok(levels) => metrics.looked(levels),
            // It answered, if not in time; what it said last is shown for a while.
            Err(err @ store::Error::Busy(_)) => {
                metrics.levels.answered(true);
                tracing::warn!(error = chain(&err), "could not look at the rows in time")
            }
            Err(err) => {
                metrics.levels.answered(false);
                tracing::warn!(error = chain(&err), "could not look at the rows for the metrics");
            }
        }
    });
    if tokio::time::timeout(PATIENCE, looking).await.is_err() {
        api.metrics.levels.answered(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_is_for_those_who_know_no_other() {
        assert!(wants_plain("text/plain;version=0.0.4;q=0.5, */*;q=0.1"));
        assert!(!wants_plain("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"));
        assert!(!wants_plain("*/*") && !wants_plain(""));
    }
}
