//! Everything that is not about objects: version, health, discovery, and whether the asker may.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::Response;
use serde_json::{Value, json};

use super::{json_answer, json_value, openapi, read_body, refuse};
use crate::sim::fault::{Asked, Effect, Faults};
use crate::sim::state::{Refusal, Resource};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

pub async fn answer(faults: &Faults, method: &Method, path: &str, headers: &HeaderMap, body: Body) -> Response {
    let path = path.trim_end_matches('/');
    if method == Method::POST && path.starts_with("/apis/authorization.k8s.io/v1/") {
        return review(faults, path, headers, body).await;
    }
    if !["GET", "HEAD"].contains(&method.as_str()) {
        return refuse(&Refusal::no_such_path());
    }
    let aggregated = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("as=APIGroupDiscoveryList") && accept.contains("v=v2;"));
    match path {
        "/healthz" | "/readyz" | "/livez" => plain("ok"),
        "/version" => json_value(200, &version()),
        "/api" if aggregated => aggregate(&[""]),
        "/apis" if aggregated => aggregate(&["batch", "authorization.k8s.io"]),
        "/api" => {
            json_value(200, &json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}))
        }
        "/apis" => {
            let groups: Vec<Value> = ["batch", "authorization.k8s.io"].into_iter().map(group).collect();
            json_value(200, &json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        "/apis/batch" => json_value(200, &kind_of_group("batch")),
        "/apis/authorization.k8s.io" => json_value(200, &kind_of_group("authorization.k8s.io")),
        "/api/v1" => json_value(200, &resources("")),
        "/apis/batch/v1" => json_value(200, &resources("batch")),
        "/apis/authorization.k8s.io/v1" => json_value(200, &resources("authorization.k8s.io")),
        "/openapi/v2" => openapi::empty_v2(),
        "/openapi/v3" => json_value(200, &openapi::index()),
        "/openapi/v3/api/v1" => json_value(200, &openapi::group("")),
        "/openapi/v3/apis/batch/v1" => json_value(200, &openapi::group("batch")),
        "" => {
            let paths = ["/api", "/apis", "/healthz", "/livez", "/openapi/v3", "/readyz", "/sim/faults", "/version"];
            json_value(200, &json!({"paths": paths}))
        }
        _ => refuse(&Refusal::no_such_path()),
    }
}

fn plain(text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "33", "gitVersion": "v1.33.0", "gitCommit": "longshore-sim", "gitTreeState": "clean",
        "buildDate": "2025-04-23T13:25:08Z", "goVersion": "go1.24.2", "compiler": "gc", "platform": "linux/amd64",
    })
}

fn group(name: &str) -> Value {
    let version = json!({"groupVersion": format!("{name}/v1"), "version": "v1"});
    json!({"name": name, "versions": [version], "preferredVersion": version})
}

fn kind_of_group(name: &str) -> Value {
    let mut group = group(name);
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    group
}

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const REVIEWS: [(&str, &str); 2] =
    [("selfsubjectaccessreviews", "SelfSubjectAccessReview"), ("selfsubjectrulesreviews", "SelfSubjectRulesReview")];

fn resources(group: &str) -> Value {
    let mut list = Vec::new();
    for resource in Resource::ALL.into_iter().filter(|resource| resource.info().group == group) {
        let info = resource.info();
        let entry = |name: String, verbs: &[&str]| json!({"name": name, "singularName": info.singular, "namespaced": info.namespaced, "kind": info.kind, "verbs": verbs});
        let mut main = entry(info.plural.to_owned(), &VERBS);
        main["shortNames"] = json!(info.short);
        main["categories"] = json!(info.categories);
        list.push(main);
        if info.has_status {
            list.push(entry(format!("{}/status", info.plural), &["get", "patch", "update"]));
        }
        if resource == Resource::Pods {
            list.push(entry("pods/log".to_owned(), &["get"]));
        }
    }
    if group == "authorization.k8s.io" {
        for (name, kind) in REVIEWS {
            list.push(json!({
                "name": name, "singularName": kind.to_ascii_lowercase(), "namespaced": false, "kind": kind,
                "verbs": ["create"],
            }));
        }
    }
    let version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": list})
}

/// All of discovery in one answer, as kubectl asks since 1.26.
fn aggregate(groups: &[&str]) -> Response {
    let items: Vec<Value> = groups
        .iter()
        .map(|name| {
            let version = json!({"version": "v1", "freshness": "Current", "resources": aggregated_resources(name)});
            let metadata = if name.is_empty() { json!({}) } else { json!({"name": name}) };
            json!({"metadata": metadata, "versions": [version]})
        })
        .collect();
    let list = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
    });
    let mut response = json_answer(200, list.to_string());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(AGGREGATED));
    response
}

fn aggregated_resources(group: &str) -> Vec<Value> {
    let mut list = Vec::new();
    for resource in Resource::ALL.into_iter().filter(|resource| resource.info().group == group) {
        let info = resource.info();
        let kind = json!({"group": info.group, "version": "v1", "kind": info.kind});
        let mut subresources = Vec::new();
        if info.has_status {
            let verbs = ["get", "patch", "update"];
            subresources.push(json!({"subresource": "status", "responseKind": kind, "verbs": verbs}));
        }
        if resource == Resource::Pods {
            subresources.push(json!({"subresource": "log", "responseKind": kind, "verbs": ["get"]}));
        }
        list.push(json!({
            "resource": info.plural, "responseKind": kind, "singularResource": info.singular,
            "scope": if info.namespaced { "Namespaced" } else { "Cluster" }, "verbs": VERBS,
            "shortNames": info.short, "categories": info.categories, "subresources": subresources,
        }));
    }
    if group == "authorization.k8s.io" {
        for (name, kind) in REVIEWS {
            list.push(json!({
                "resource": name, "responseKind": {"group": group, "version": "v1", "kind": kind},
                "singularResource": kind.to_ascii_lowercase(), "scope": "Cluster", "verbs": ["create"],
            }));
        }
    }
    list
}

/// Everyone may do everything, but for what a rule of fault injection does not allow. kubectl may ask in protobuf, which need
/// not be understood for that.
async fn review(faults: &Faults, path: &str, headers: &HeaderMap, body: Body) -> Response {
    let bytes = match read_body(body).await {
        Ok(bytes) => bytes,
        Err(refusal) => return refuse(&refusal),
    };
    let Some((_, kind)) = REVIEWS.into_iter().find(|(name, _)| path.ends_with(name)) else {
        return refuse(&Refusal::no_such_path());
    };
    let mut review: Value = serde_json::from_slice(&bytes).unwrap_or_else(|_| json!({}));
    if !review.is_object() {
        review = json!({});
    }
    let attributes = &review["spec"]["resourceAttributes"];
    let text = |field: &str| attributes[field].as_str().unwrap_or_default().to_owned();
    let agent = headers.get(header::USER_AGENT).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let resource = match text("subresource") {
        part if part.is_empty() => text("resource"),
        part => format!("{}/{part}", text("resource")),
    };
    let (verb, name, namespace) = (text("verb"), text("name"), text("namespace"));
    let asked = Asked { verb, resource, name, namespace, user_agent: agent.to_owned(), ..Asked::default() };
    let forbidden = faults.stands(&asked, &Effect::NotAllowed);
    review["kind"] = kind.into();
    review["apiVersion"] = "authorization.k8s.io/v1".into();
    review["status"] = match kind {
        "SelfSubjectAccessReview" if forbidden => json!({"allowed": false, "reason": "a fault does not allow it"}),
        "SelfSubjectAccessReview" => json!({"allowed": true, "reason": "the simulated cluster allows everything"}),
        _ => json!({
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "incomplete": false,
        }),
    };
    json_value(201, &review)
}
