//! What each verb does: reads the body, asks the state, and puts the answer in the form that was asked for.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use serde_json::{Value, json};

use super::route::Shape;
use super::{
    Asking, Face, audit_refusal, json_answer, json_value, list, log, protobuf, read_body, refuse, table, watch,
};
use crate::sim::audit::Answer;
use crate::sim::state::{
    DeleteOptions, Deleted, Object, PatchKind, Propagation, Refusal, Resource, Validation, decode, examine, parse,
    patched,
};

/// An object and the code it is answered with.
struct Done {
    code: u16,
    object: Arc<Object>,
    warnings: Vec<String>,
}

pub async fn answer(face: &Face, asking: Asking, stale: Option<Duration>, body: Body) -> Response {
    let call = asking.call.clone();
    let result = match asking.target.verb {
        "watch" => watch::answer(face, asking),
        "list" => list::answer(face, &asking, stale),
        "get" if asking.target.subresource == "log" => log::answer(face, &asking),
        "get" => get(face, &asking, stale),
        "deletecollection" => delete_collection(face, &asking, body).await,
        "delete" => delete(face, &asking, body).await,
        "create" => create(face, &asking, body).await.map(|done| one(&asking, &done)),
        "update" => update(face, &asking, body).await.map(|done| one(&asking, &done)),
        _ => patch(face, &asking, body).await.map(|done| one(&asking, &done)),
    };
    result.unwrap_or_else(|refusal| {
        audit_refusal(face, &call, &refusal);
        refuse(&refusal)
    })
}

async fn create(face: &Face, asking: &Asking, body: Body) -> Result<Done, Refusal> {
    let bytes = json_body(asking, body).await?;
    let decoded = decode(asking.target.resource, &bytes, validation(asking)?)?;
    let dry_run = asking.query.contains_key("dryRun");
    let request = asking.target.resource.audited().then(|| decoded.value.clone());
    face.world.with(|state| {
        let object = state.create(&asking.call, decoded.value, dry_run)?;
        state.record(&asking.call, 201, request.as_ref(), object.text());
        Ok(Done { code: 201, object, warnings: decoded.warnings })
    })
}

async fn update(face: &Face, asking: &Asking, body: Body) -> Result<Done, Refusal> {
    let bytes = json_body(asking, body).await?;
    let decoded = decode(asking.target.resource, &bytes, validation(asking)?)?;
    let dry_run = asking.query.contains_key("dryRun");
    face.world.with(|state| {
        let request = state.audit.is_on().then(|| decoded.value.clone());
        let object = state.update(&asking.call, decoded.value, dry_run)?;
        state.record(&asking.call, 200, request.as_ref(), object.text());
        Ok(Done { code: 200, object, warnings: decoded.warnings })
    })
}

async fn patch(face: &Face, asking: &Asking, body: Body) -> Result<Done, Refusal> {
    let content_type = asking.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = PatchKind::of(content_type.unwrap_or_default()).ok_or_else(unsupported_media_type)?;
    let (patch, _) = parse(&read_body(body).await?)?;
    let (resource, dry_run) = (asking.target.resource, asking.query.contains_key("dryRun"));
    let validation = validation(asking)?;
    face.world.with(|state| {
        let call = &asking.call;
        let old = match state.get(resource, &call.namespace, &call.name) {
            Err(_) if kind == PatchKind::Apply => {
                let decoded = examine(resource, patch.clone(), &[], validation)?;
                let object = state.create(call, decoded.value, dry_run)?;
                state.record(call, 201, Some(&patch), object.text());
                return Ok(Done { code: 201, object, warnings: decoded.warnings });
            }
            found => found?,
        };
        let value = patched(resource, &call.name, kind, &old.value, &patch)?;
        let decoded = examine(resource, value, &[], validation)?;
        let object = state.update(call, decoded.value, dry_run)?;
        state.record(call, 200, Some(&patch), object.text());
        Ok(Done { code: 200, object, warnings: decoded.warnings })
    })
}

fn get(face: &Face, asking: &Asking, stale: Option<Duration>) -> Result<Response, Refusal> {
    let (call, resource) = (&asking.call, asking.target.resource);
    let object = face.world.with(|state| {
        let asked = asking.query.get("resourceVersion").and_then(|version| version.parse().ok());
        if let Some(asked) = asked.filter(|asked| *asked > state.revision) {
            return Err(Refusal::version_too_large(asked, state.revision));
        }
        let object = match stale {
            None => state.get(resource, &call.namespace, &call.name)?,
            Some(age) => list::as_it_was(state, resource, &call.namespace, &call.name, age)?,
        };
        state.audit.write(call, Answer { code: 200, refusal: None, request: None, response: None });
        Ok(object)
    })?;
    Ok(one(asking, &Done { code: 200, object, warnings: Vec::new() }))
}

async fn delete(face: &Face, asking: &Asking, body: Body) -> Result<Response, Refusal> {
    let (options, request) = delete_options(asking, body).await?;
    let (call, resource) = (&asking.call, asking.target.resource);
    let deleted = face.world.with(|state| {
        let deleted = state.delete(call, &options)?;
        let text = deletion_text(resource, &deleted);
        state.record(call, 200, Some(&request), text.as_ref());
        Ok(text)
    })?;
    let mut response = json_answer(200, deleted);
    if resource == Resource::Jobs && options.propagation.is_none() {
        let words = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning";
        warn(&mut response, words);
    }
    Ok(response)
}

/// A pod, and whatever lingers, is answered as it is; what is gone, with a Status.
fn deletion_text(resource: Resource, deleted: &Deleted) -> bytes::Bytes {
    match deleted {
        Deleted::Gone(object) if resource != Resource::Pods => {
            let mut details = json!({"name": object.name(), "kind": resource.info().plural, "uid": object.uid()});
            if !resource.info().group.is_empty() {
                details["group"] = resource.info().group.into();
            }
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
            });
            status.to_string().into()
        }
        Deleted::Gone(object) | Deleted::Lingers(object) => object.text().clone(),
    }
}

async fn delete_collection(face: &Face, asking: &Asking, body: Body) -> Result<Response, Refusal> {
    let (options, request) = delete_options(asking, body).await?;
    let selection = list::Selection::read(asking)?;
    let (call, resource) = (&asking.call, asking.target.resource);
    let text = face.world.with(|state| {
        let all = state.shelf(resource).in_namespace(&call.namespace);
        let found: Vec<Arc<Object>> = all.filter(|object| selection.wants(object.record())).cloned().collect();
        let mut gone = Vec::with_capacity(found.len());
        for object in &found {
            gone.push(state.delete_object(resource, object, &options)?.object().clone());
        }
        let text = list::text(resource, state.revision, None, &gone);
        state.record(call, 200, Some(&request), &text);
        Ok::<_, Refusal>(text)
    })?;
    Ok(json_answer(200, text))
}

async fn delete_options(asking: &Asking, body: Body) -> Result<(DeleteOptions, Value), Refusal> {
    let given = match json_body(asking, body).await? {
        bytes if bytes.is_empty() => json!({}),
        bytes => parse(&bytes)?.0,
    };
    let query = |name: &str| asking.query.get(name).map(String::as_str);
    let orphans = given["orphanDependents"].as_bool().or(query("orphanDependents").map(|text| text == "true"));
    let propagation = match given["propagationPolicy"].as_str().or(query("propagationPolicy")) {
        Some(policy) => Some(Propagation::parse(policy)?),
        None => orphans.map(|orphans| if orphans { Propagation::Orphan } else { Propagation::Background }),
    };
    let text = |field: &str| given["preconditions"][field].as_str().map(str::to_owned);
    let grace = given["gracePeriodSeconds"].as_i64();
    let options = DeleteOptions {
        propagation,
        uid: text("uid"),
        version: text("resourceVersion"),
        grace_secs: grace.or(query("gracePeriodSeconds").and_then(|text| text.parse().ok())),
        dry_run: query("dryRun").is_some() || given["dryRun"].as_array().is_some_and(|list| !list.is_empty()),
    };
    Ok((options, given))
}

/// The body as JSON, whatever the client wrote it in.
async fn json_body(asking: &Asking, body: Body) -> Result<bytes::Bytes, Refusal> {
    as_json(&asking.headers, read_body(body).await?)
}

pub fn as_json(headers: &HeaderMap, bytes: bytes::Bytes) -> Result<bytes::Bytes, Refusal> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match content_type.unwrap_or("application/json").split(';').next().unwrap_or_default().trim() {
        "application/json" => Ok(bytes),
        protobuf::MEDIA_TYPE => Ok(protobuf::to_json(&bytes)?.to_string().into()),
        _ if bytes.is_empty() => Ok(bytes),
        _ => Err(unsupported_media_type()),
    }
}

fn unsupported_media_type() -> Refusal {
    let message = "the body of the request was in an unknown format - accepted media types include: application/json";
    Refusal::new(415, "UnsupportedMediaType", message)
}

fn validation(asking: &Asking) -> Result<Validation, Refusal> {
    Validation::parse(asking.query.get("fieldValidation").map(String::as_str).unwrap_or_default())
}

/// One object, in the form that was asked for.
fn one(asking: &Asking, done: &Done) -> Response {
    let mut response = match asking.shape {
        Shape::Whole => json_answer(done.code, done.object.text().clone()),
        Shape::Metadata => json_value(done.code, &list::metadata_of(&done.object)),
        Shape::Table => {
            let include = asking.query.get("includeObject").map(String::as_str).unwrap_or_default();
            let rows = std::slice::from_ref(&done.object);
            json_value(done.code, &table::of(asking.target.resource, done.object.version(), None, rows, include, true))
        }
    };
    for warning in &done.warnings {
        warn(&mut response, warning);
    }
    response
}

fn warn(response: &mut Response, words: &str) {
    let quoted = words.replace('\\', "\\\\").replace('"', "\\\"");
    if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
        response.headers_mut().append(header::WARNING, value);
    }
}
