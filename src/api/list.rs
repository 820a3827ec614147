//! `GET /jobs`: the jobs that pass a filter, newest first, page by page.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use jiff::Timestamp;
use utoipa::IntoParams;

use crate::{
    id::JobId,
    lifecycle::Reason,
    spec::Fault,
    store::{lists, walk::Filter},
};

use super::{
    Api, Problem,
    doc::answers::OfLists,
    filter::Wanted,
    jobs::{MOST_JOBS, PAGE, given, limit, wrong},
    view::{JobView, Page},
};

/// The query of a list, for the OpenAPI document; it is read by hand, for `label` may come more than once.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it only describes")]
pub struct ListQuery {
    /// Only jobs in this state, or in one of several: `pending,scheduled`.
    #[param(
        pattern = "^(scheduled|pending|starting|running|stopping|succeeded|failed|cancelled)(,(scheduled|pending|starting|running|stopping|succeeded|failed|cancelled))*$"
    )]
    state: Option<String>,
    /// Only jobs of this queue.
    #[param(pattern = "^[^\\x00]+$")]
    queue: Option<String>,
    /// Only jobs of this name, in which `*` stands for any number of characters.
    #[param(pattern = "^[^\\x00]+$")]
    name: Option<String>,
    /// Only jobs with this label, `team=blue`, or with any value of it, `team`. May be repeated.
    #[param(
        pattern = "^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?(=([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?)?$"
    )]
    label: Option<String>,
    /// Only jobs with this reason.
    #[param(value_type = Reason, required = false)]
    reason: Option<String>,
    /// Only jobs submitted at this time or later; a duration such as `1h` is counted back from now.
    #[param(pattern = "^[1-9][0-9]{0,3}[smhd]$", example = "1h")]
    created_after: Option<String>,
    /// Only jobs submitted earlier than this.
    #[param(pattern = "^[1-9][0-9]{0,3}[smhd]$", example = "1h")]
    created_before: Option<String>,
    /// Where to go on: `next` of the last page.
    #[param(format = Uuid)]
    cursor: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
}

/// What the query of a list asks for.
#[derive(Debug)]
struct Asked {
    filter: Filter,
    before: Option<JobId>,
    limit: i64,
}

/// List jobs
///
/// Newest first, a page at a time. A page may be short, or empty, and have a `next` all the same: so many jobs were looked at that
/// the search is to be asked to go on.
#[utoipa::path(
    get, path = "/jobs", tag = "jobs", operation_id = "list_jobs", params(ListQuery),
    responses((status = 200, description = "A page of jobs.", body = Page<JobView>), OfLists),
)]
pub async fn list(
    State(api): State<Arc<Api>>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Json<Page<JobView>>, Problem> {
    let asked = read(given(query)?, Timestamp::now())?;
    let mut conn = api.db.conn().await?;
    let (rows, next) = lists::list(&mut conn, &asked.filter, asked.before, asked.limit).await?;
    Ok(Json(Page { items: rows.into_iter().map(JobView::from).collect(), next: next.map(|it| it.to_string()) }))
}

/// Only `label` may be given more than once; several states come in one `state`.
fn read(query: Vec<(String, String)>, now: Timestamp) -> Result<Asked, Problem> {
    let mut wanted = Wanted::default();
    let (mut before, mut most, mut states) = (None, None, None);
    let mut faults = Vec::new();
    for (parameter, value) in query {
        let once = match parameter.as_str() {
            "label" => {
                let label = match value.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (value, None),
                };
                wanted.labels.push(label);
                continue;
            }
            "state" => &mut states,
            "queue" => &mut wanted.queue,
            "name" => &mut wanted.name,
            "reason" => &mut wanted.reason,
            "created_after" => &mut wanted.created_after,
            "created_before" => &mut wanted.created_before,
            "cursor" => &mut before,
            "limit" => &mut most,
            _ => {
                let known = "state, queue, name, label, reason, created_after, created_before, cursor and limit";
                let detail = format!("is not a parameter of this list, which takes {known}");
                faults.push(Fault::new(format!("/{parameter}"), detail));
                continue;
            }
        };
        if once.replace(value).is_some() {
            faults.push(Fault::new(format!("/{parameter}"), "is given more than once"));
        }
    }
    wanted.states = states.map(|it| it.split(',').map(str::to_owned).collect());
    let filter = wanted.read("", now).unwrap_or_else(|more| {
        faults.extend(more);
        Filter::default()
    });
    if !faults.is_empty() {
        return Err(Problem::invalid_fields(faults));
    }
    let before = before.map(|it| it.parse().map_err(|_| wrong("cursor", "must be what `next` of the last page was")));
    let most = most.map(|it| it.parse().map_err(|_| wrong("limit", format!("must be 1 to {MOST_JOBS}"))));
    Ok(Asked { filter, before: before.transpose()?, limit: limit(most.transpose()?, PAGE, MOST_JOBS)? })
}
