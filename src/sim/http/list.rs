//! Lists: selected, in pages that show one moment, and as texts that were already made.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::response::Response;
use serde_json::{Value, json};

use super::route::{Query, Shape};
use super::{Asking, Face, json_answer, json_value, table};
use crate::sim::audit::Answer;
use crate::sim::state::{FieldSelector, Key, LabelSelector, Object, Page, Record, Refusal, Resource, State};

/// Which objects of a kind are meant.
#[derive(Clone, Debug)]
pub struct Selection {
    pub resource: Resource,
    /// All namespaces where it is none.
    pub namespace: Option<String>,
    pub labels: LabelSelector,
    pub fields: FieldSelector,
}

impl Selection {
    pub fn read(asking: &Asking) -> Result<Selection, Refusal> {
        let text = |name: &str| asking.query.get(name).map(String::as_str).unwrap_or_default();
        let namespace = &asking.target.namespace;
        Ok(Selection {
            resource: asking.target.resource,
            namespace: (!namespace.is_empty()).then(|| namespace.clone()),
            labels: LabelSelector::parse(text("labelSelector"))?,
            fields: FieldSelector::parse(asking.target.resource, text("fieldSelector"))?,
        })
    }

    pub fn wants(&self, object: &Record) -> bool {
        self.namespace.as_deref().is_none_or(|namespace| namespace == object.key.0)
            && self.labels.matches(object)
            && self.fields.matches(object)
    }
}

struct Listed {
    objects: Vec<Arc<Object>>,
    revision: u64,
    more: Option<String>,
}

pub fn answer(face: &Face, asking: &Asking, stale: Option<Duration>) -> Result<Response, Refusal> {
    let selection = Selection::read(asking)?;
    let listed = face.world.with(|state| {
        let listed = page(state, &selection, &asking.query, stale)?;
        state.audit.write(&asking.call, Answer { code: 200, refusal: None, request: None, response: None });
        Ok::<_, Refusal>(listed)
    })?;
    let resource = selection.resource;
    Ok(match asking.shape {
        Shape::Whole => json_answer(200, text(resource, listed.revision, listed.more.as_deref(), &listed.objects)),
        Shape::Metadata => {
            let items: Vec<Value> = listed.objects.iter().map(|object| metadata_of(object)).collect();
            json_value(
                200,
                &json!({
                    "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                    "metadata": {"resourceVersion": listed.revision.to_string(), "continue": listed.more},
                    "items": items,
                }),
            )
        }
        Shape::Table => {
            let include = asking.query.get("includeObject").map(String::as_str).unwrap_or_default();
            let revision = listed.revision.to_string();
            let more = listed.more.as_deref();
            json_value(200, &table::of(resource, &revision, more, &listed.objects, include, true))
        }
    })
}

fn page(state: &State, selection: &Selection, query: &Query, stale: Option<Duration>) -> Result<Listed, Refusal> {
    let text = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
    let limit = number("limit", text("limit"))?.unwrap_or(0);
    let asked = number("resourceVersion", text("resourceVersion"))?;
    if let Some(asked) = asked.filter(|asked| *asked > state.revision) {
        return Err(Refusal::version_too_large(asked, state.revision));
    }
    let shelf = state.shelf(selection.resource);
    let (mut revision, mut after) = (state.revision, None);
    if let Some(age) = stale {
        revision = shelf.revision_before(before(age), state.revision);
    }
    if text("resourceVersionMatch") == "Exact" {
        revision = asked.ok_or_else(|| {
            Refusal::bad_request("resourceVersionMatch is forbidden unless resourceVersion is provided")
        })?;
    }
    if !text("continue").is_empty() {
        let (at, key) = read_token(text("continue"))?;
        (revision, after) = (at, Some(key));
    }
    let max = usize::try_from(limit).ok().filter(|limit| *limit > 0);
    let wanted = |object: &Record| selection.wants(object);
    let page = Page {
        revision,
        namespace: selection.namespace.as_deref(),
        after: after.as_ref(),
        max: max.map_or(usize::MAX, |max| max.saturating_add(1)),
        wanted: &wanted,
    };
    let mut objects = shelf.page(page, state.revision).map_err(|expired| match after {
        None => expired,
        Some(_) => Refusal::expired("The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter."),
    })?;
    let mut more = None;
    if let Some(max) = max.filter(|max| objects.len() > *max) {
        objects.truncate(max);
        more = objects.last().map(|last| format!("{revision}.{}.{}", last.namespace(), last.name()));
    }
    Ok(Listed { objects, revision, more })
}

/// An object as it was some time ago.
pub fn as_it_was(
    state: &State,
    kind: Resource,
    namespace: &str,
    name: &str,
    age: Duration,
) -> Result<Arc<Object>, Refusal> {
    let revision = state.shelf(kind).revision_before(before(age), state.revision);
    let wanted = |object: &Record| object.key.0 == namespace && object.key.1 == name;
    let page = Page { revision, namespace: None, after: None, max: 1, wanted: &wanted };
    let found = state.shelf(kind).page(page, state.revision)?;
    found.into_iter().next().ok_or_else(|| Refusal::not_found(kind, name))
}

fn before(age: Duration) -> Instant {
    let now = Instant::now();
    now.checked_sub(age).unwrap_or(now)
}

fn read_token(token: &str) -> Result<(u64, Key), Refusal> {
    let wrong = || Refusal::bad_request("continue key is not valid");
    let mut parts = token.splitn(3, '.');
    let mut next = || parts.next().ok_or_else(wrong);
    let revision = next()?.parse().map_err(|_| wrong())?;
    Ok((revision, (next()?.to_owned(), next()?.to_owned())))
}

fn number(name: &str, text: &str) -> Result<Option<u64>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| Refusal::bad_request(format!("{name}: Invalid value: {text:?}: not a number")))
}

/// A list, put together from the texts of its objects.
pub fn text(resource: Resource, revision: u64, more: Option<&str>, objects: &[Arc<Object>]) -> bytes::Bytes {
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if let Some(more) = more {
        metadata["continue"] = more.into();
    }
    let head = format!(
        "{{\"kind\":\"{}List\",\"apiVersion\":\"{}\",\"metadata\":{metadata},\"items\":[",
        resource.info().kind,
        resource.api_version()
    );
    let size: usize = objects.iter().map(|object| object.text().len() + 1).sum();
    let mut text = Vec::with_capacity(head.len() + size + 2);
    text.extend_from_slice(head.as_bytes());
    for (index, object) in objects.iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        text.extend_from_slice(object.text());
    }
    text.extend_from_slice(b"]}");
    text.into()
}

pub fn metadata_of(object: &Object) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object.value["metadata"],
    })
}
