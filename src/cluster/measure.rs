//! Every request to Kubernetes, measured by what it asks and how it was answered, whoever sends it.

use std::sync::Arc;

use http::{Method, Request};
use kube::{
    Client,
    api::DynamicObject,
    client::Body,
    runtime::watcher::{self, Event},
};
use tower::service_fn;

use crate::metrics::{Metrics, OTHER, Restart, Told};

use super::reach::{self, Reach};

/// The same client, measured. What it answers is what it answered before.
pub fn measured(client: Client, metrics: Arc<Metrics>, reach: Arc<Reach>) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = service_fn(move |request: Request<Body>| {
        let (client, metrics, reach) = (client.clone(), metrics.clone(), reach.clone());
        async move {
            let asked = Asked::of(&request);
            let measured = metrics.kube_request(asked.verb, asked.resource);
            reach.asked();
            let answer = client.send(request).await;
            match &answer {
                Ok(answer) => {
                    reach.answered();
                    measured.answered(answer.status().as_u16());
                    if asked.verb == WATCH && answer.status().is_success() {
                        metrics.watch_heard(asked.resource, &asked.namespace);
                        // What a watch tells once it has begun may be nothing at all.
                        reach.works(&reach::Asked {
                            verb: WATCH,
                            resource: asked.resource,
                            namespace: asked.namespace,
                        });
                    }
                }
                Err(_) => measured.failed(),
            }
            answer
        }
    });
    Client::new(service, namespace)
}

/// What a watch told.
pub fn told(event: &Event<DynamicObject>) -> Told {
    match event {
        Event::Apply(_) => Told::Applied,
        Event::Delete(_) => Told::Deleted,
        Event::Init | Event::InitApply(_) | Event::InitDone => Told::Listed,
    }
}

/// Why a watch broke off.
pub fn why(err: &watcher::Error) -> Restart {
    match err {
        watcher::Error::InitialListFailed(_) => Restart::ListFailed,
        watcher::Error::WatchError(status) if status.code == 410 => Restart::Expired,
        watcher::Error::WatchError(_) => Restart::Refused,
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 410 => Restart::Expired,
        watcher::Error::WatchStartFailed(kube::Error::Api(_)) => Restart::Refused,
        watcher::Error::WatchStartFailed(_) | watcher::Error::WatchFailed(_) | watcher::Error::NoResourceVersion => {
            Restart::Broken
        }
    }
}

/// What a Role must allow for a list, and for a watch.
pub const LIST: &str = "list";
pub const WATCH: &str = "watch";

/// What a request asks, as far as it is measured.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    verb: &'static str,
    resource: &'static str,
    namespace: String,
}

impl Asked {
    fn of(request: &Request<Body>) -> Self {
        let uri = request.uri();
        Self::read(request.method(), uri.path(), uri.query().unwrap_or_default())
    }

    fn read(method: &Method, path: &str, query: &str) -> Self {
        // As in `/apis/batch/v1/namespaces/default/jobs/name/status`.
        let mut parts = path.split('/').skip_while(|it| *it != "namespaces").skip(1);
        let (namespace, kind) = (parts.next().unwrap_or_default().to_owned(), parts.next().unwrap_or_default());
        let (name, part) = (parts.next().is_some_and(|it| !it.is_empty()), parts.next());
        let resource = match (kind, part) {
            ("jobs", None) => "jobs",
            ("pods", None) => "pods",
            ("pods", Some("log")) => "pods/log",
            ("events", None) => "events",
            ("configmaps", None) => "configmaps",
            _ => OTHER,
        };
        let watches = query.split('&').any(|it| it == "watch=true" || it == "watch=1");
        let verb = match (method, name) {
            (&Method::GET, false) if watches => WATCH,
            (&Method::GET, false) => LIST,
            (&Method::GET, true) => "get",
            (&Method::POST, _) => "create",
            (&Method::DELETE, true) => "delete",
            (&Method::DELETE, false) => "deletecollection",
            (&Method::PATCH, _) => "patch",
            (&Method::PUT, _) => "update",
            _ => OTHER,
        };
        Self { verb, resource, namespace }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_named_as_roles_name_them() {
        let asked = |method, path, query| {
            let Asked { verb, resource, namespace } = Asked::read(&method, path, query);
            assert_eq!(namespace, "a");
            (verb, resource)
        };
        let jobs = "/apis/batch/v1/namespaces/a/jobs";
        assert_eq!(asked(Method::POST, jobs, ""), ("create", "jobs"));
        assert_eq!(asked(Method::GET, jobs, "labelSelector=x&watch=true"), ("watch", "jobs"));
        assert_eq!(asked(Method::GET, jobs, "limit=1"), ("list", "jobs"));
        assert_eq!(asked(Method::DELETE, jobs, ""), ("deletecollection", "jobs"));
        assert_eq!(asked(Method::DELETE, "/apis/batch/v1/namespaces/a/jobs/watch=true", ""), ("delete", "jobs"));
        assert_eq!(asked(Method::GET, "/api/v1/namespaces/a/pods/p/log", "follow=true"), ("get", "pods/log"));
        assert_eq!(asked(Method::GET, "/api/v1/namespaces/a/secrets/s", ""), ("get", OTHER));
    }
}
