//! From method, path and query to what is asked of the API.

use std::collections::HashMap;

use axum::http::{HeaderMap, Method, Uri, header};

use crate::sim::state::{Actor, Refusal, Resource};

pub type Query = HashMap<String, String>;

/// A request about a resource.
#[derive(Clone, Debug)]
pub struct Target {
    pub verb: &'static str,
    pub resource: Resource,
    /// Empty for cluster-scoped objects, and for lists over all namespaces.
    pub namespace: String,
    /// Empty for collections.
    pub name: String,
    pub subresource: String,
}

pub enum Route {
    Resource(Target),
    /// Anything else, as its path: versions, discovery, health.
    Other(String),
}

pub fn query(uri: &Uri) -> Query {
    axum::extract::Query::<Query>::try_from_uri(uri).map(|query| query.0).unwrap_or_default()
}

pub fn route(method: &Method, path: &str, query: &Query) -> Result<Route, Refusal> {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let (group, rest) = match segments.as_slice() {
        ["api", "v1", rest @ ..] if !rest.is_empty() => ("", rest),
        ["apis", "batch", "v1", rest @ ..] if !rest.is_empty() => ("batch", rest),
        _ => return Ok(Route::Other(path.to_owned())),
    };
    let (namespace, rest) = match rest {
        ["namespaces", _, "status" | "finalize"] => ("", rest),
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        rest => ("", rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (*plural, "", ""),
        [plural, name] => (*plural, *name, ""),
        [plural, name, subresource] => (*plural, *name, *subresource),
        _ => return Err(Refusal::no_such_path()),
    };
    let resource = Resource::find(group, plural).ok_or_else(Refusal::no_such_path)?;
    let info = resource.info();
    // Namespaced objects are found in a namespace only; their collections also over all of them.
    let lacks_namespace = info.namespaced && namespace.is_empty() && !name.is_empty();
    let has_one_too_many = !info.namespaced && !namespace.is_empty();
    if lacks_namespace || has_one_too_many {
        return Err(Refusal::no_such_path());
    }
    let known = match subresource {
        "" => true,
        "status" => info.has_status,
        "log" => resource == Resource::Pods,
        _ => false,
    };
    if !known {
        return Err(Refusal::no_such_path());
    }
    let verb = verb(method, name, namespace, info.namespaced, query).ok_or_else(|| {
        let why = "the server does not allow this method on the requested resource";
        Refusal::new(405, "MethodNotAllowed", why)
    })?;
    Ok(Route::Resource(Target {
        verb,
        resource,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        subresource: subresource.to_owned(),
    }))
}

fn verb(method: &Method, name: &str, namespace: &str, namespaced: bool, query: &Query) -> Option<&'static str> {
    let watches = query.get("watch").is_some_and(|watch| ["true", "1"].contains(&watch.as_str()));
    let collection = name.is_empty();
    Some(match method.as_str() {
        "GET" | "HEAD" if collection => {
            if watches {
                "watch"
            } else {
                "list"
            }
        }
        "GET" | "HEAD" => "get",
        "POST" if collection && (!namespaced || !namespace.is_empty()) => "create",
        "PUT" if !collection => "update",
        "PATCH" if !collection => "patch",
        "DELETE" if !collection => "delete",
        "DELETE" if !namespace.is_empty() => "deletecollection",
        _ => return None,
    })
}

pub fn actor(headers: &HeaderMap, ip: String) -> Actor {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let user = text("impersonate-user");
    Actor {
        user: if user.is_empty() { "longshore-sim-admin".to_owned() } else { user },
        groups: vec!["system:masters".to_owned(), "system:authenticated".to_owned()],
        agent: text(header::USER_AGENT.as_str()),
        ip,
    }
}

/// The form in which a client wants objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Whole,
    Table,
    /// `PartialObjectMetadata`.
    Metadata,
}

pub fn shape(headers: &HeaderMap) -> Result<Shape, Refusal> {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("*/*");
    for wish in accept.split(',') {
        let mut parts = wish.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        if !["application/json", "application/*", "*/*", ""].contains(&media) {
            continue;
        }
        match parts.find_map(|part| part.strip_prefix("as=")) {
            None => return Ok(Shape::Whole),
            Some("Table") => return Ok(Shape::Table),
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") => return Ok(Shape::Metadata),
            Some(_) => {}
        }
    }
    Err(Refusal::new(406, "NotAcceptable", "only the following media types are accepted: application/json"))
}
