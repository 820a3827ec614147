//! As much of `/openapi/v3` as kubectl reads before it sends `fieldValidation=Strict`.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::sim::state::Resource;

/// kubectl before 1.29 asks for the second version, in protobuf, and is content with a document that says nothing: an
/// empty message.
pub fn empty_v2() -> Response {
    let mut response = Response::new(Body::empty());
    let media = HeaderValue::from_static("application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
    response.headers_mut().insert(header::CONTENT_TYPE, media);
    response
}

pub fn index() -> Value {
    json!({"paths": {
        "api/v1": {"serverRelativeURL": "/openapi/v3/api/v1?hash=SIM"},
        "apis/batch/v1": {"serverRelativeURL": "/openapi/v3/apis/batch/v1?hash=SIM"},
    }})
}

/// The document of one group: each kind, and that its writes take `fieldValidation`.
pub fn group(group: &str) -> Value {
    let mut paths = Map::new();
    for resource in Resource::ALL.into_iter().filter(|resource| resource.info().group == group) {
        let info = resource.info();
        let namespace = if info.namespaced { "{namespace}" } else { "" };
        let kind = json!({"group": info.group, "version": "v1", "kind": info.kind});
        let field_validation = json!([{
            "name": "fieldValidation", "in": "query", "schema": {"type": "string", "uniqueItems": true},
        }]);
        let operation = |action: &str| {
            json!({
                "x-kubernetes-action": action, "x-kubernetes-group-version-kind": kind, "parameters": field_validation,
                "responses": {"200": {"description": "OK"}},
            })
        };
        let collection = resource.path(namespace);
        paths.insert(collection.clone(), json!({"post": operation("post")}));
        paths.insert(format!("{collection}/{{name}}"), json!({"put": operation("put"), "patch": operation("patch")}));
    }
    json!({"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.33.0"}, "paths": paths})
}
