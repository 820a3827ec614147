//! `PATCH /jobs/{id}`: priority, labels and time of a job that waits.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use crate::{
    id::JobId,
    lifecycle::StateName,
    spec::Fault,
    store::{
        changes::{self, Change, Changed},
        signals::Signal,
    },
};

use super::{Api, Problem, doc::answers::OfChange, jobs, reader, submit, view::JobView, wire::FURTHEST};

/// What is to be changed of a job that waits. What is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchRequest {
    /// Higher starts first.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = i32, required = false)]
    priority: Option<i32>,
    /// A JSON merge patch (RFC 7386): a label without a value is taken away, and those that are not named stay.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = BTreeMap<String, Option<String>>, required = false)]
    labels: Option<BTreeMap<String, Option<String>>>,
    /// Not to be started before. A time that has come, or null: as soon as there is a slot.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, format = DateTime)]
    run_at: Option<Option<Timestamp>>,
}

/// Tells a field that is null from one that is left out.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// Change a job that waits
///
/// 200 with the job as it is now, also when it was so already; 409 when it does not wait any more.
#[utoipa::path(
    patch, path = "/jobs/{id}", tag = "jobs", operation_id = "change_job",
    params(("id" = JobId, Path, description = "The job's `job_id`.")),
    request_body(content = PatchRequest, example = json!({"priority": 7, "labels": {"team": "red"}})),
    responses((status = 200, description = "The job, as it is now.", body = JobView), OfChange),
)]
pub async fn change(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<JobView>, Problem> {
    let id = jobs::parse(&id)?;
    let request: PatchRequest = reader::read(&submit::body(body)?)?;
    let too_far = request.run_at.flatten().is_some_and(|it| it.duration_since(Timestamp::now()) > FURTHEST);
    if too_far {
        return Err(Problem::invalid_fields(vec![Fault::new("/run_at", "is over ten years ahead")]));
    }
    let change =
        Change { priority: request.priority, labels: request.labels.unwrap_or_default(), run_at: request.run_at };
    let mut conn = api.db.conn().await?;
    let changed = api.db.within(changes::change(&mut conn, api.replica, id, &change)).await;
    match changed.map_err(Problem::of_change)? {
        Changed::Done(StateName::Pending) => api.signals.raise(Signal::Pending),
        Changed::Done(_) | Changed::Before => {}
        Changed::NotWaiting(state) => return Err(Problem::not_waiting(state)),
        Changed::Wrong(faults) => return Err(Problem::invalid_fields(faults)),
        Changed::NoSuchJob => return Err(Problem::no_such_job(&id.to_string())),
    }
    Ok(Json(jobs::whole(&mut conn, &api.metrics, id).await?))
}
