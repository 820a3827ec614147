//! Creating, reading, changing and deleting: the answers a client relies on.

use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use reqwest::Method;
use serde_json::json;

use crate::harness::{BOUND, Cluster, JOBS, PODS, code, edited, ended, job, uid, with};

#[tokio::test]
async fn a_second_create_of_the_same_name_is_a_conflict() {
    let cluster = Cluster::start().await;
    let made = cluster.create(job("a", &[])).await;
    let error = cluster.jobs.create(&PostParams::default(), &job("a", &[])).await.expect_err("a conflict");
    assert!(matches!(&error, kube::Error::Api(status) if status.code == 409 && status.reason == "AlreadyExists"));
    let spec = made.spec.expect("a spec");
    assert_eq!((spec.completions, spec.parallelism, spec.backoff_limit), (Some(1), Some(1), Some(0)));
    let labels = spec.template.metadata.and_then(|metadata| metadata.labels).expect("labels");
    assert_eq!(labels["batch.kubernetes.io/job-name"], "a");
    assert_eq!(Some(&labels["controller-uid"]), made.metadata.uid.as_ref());
    let selector = spec.selector.and_then(|selector| selector.match_labels).expect("a selector");
    assert_eq!(Some(&selector["batch.kubernetes.io/controller-uid"]), made.metadata.uid.as_ref());
}

#[tokio::test]
async fn generated_names_differ() {
    let cluster = Cluster::start().await;
    let mut template = job("", &[]);
    template.metadata.name = None;
    template.metadata.generate_name = Some("gen-".to_owned());
    let names = [cluster.create(template.clone()).await, cluster.create(template).await].map(|job| job.name_any());
    assert!(names.iter().all(|name| name.starts_with("gen-") && name.len() == 9), "{names:?}");
    assert_ne!(names[0], names[1]);
}

#[tokio::test]
async fn an_invalid_job_is_refused_with_each_wrong_field() {
    let cluster = Cluster::start().await;
    let body = json!({"metadata": {"name": "X_y", "labels": {"a b": "c"}},
        "spec": {"template": {"spec": {"containers": [{"image": "a"}, {"name": "b"}]}}}});
    let (code, status) = cluster.send(Method::POST, JOBS, Some(body)).await;
    assert_eq!((code, &status["reason"]), (422, &json!("Invalid")));
    let fields: Vec<_> =
        status["details"]["causes"].as_array().into_iter().flatten().map(|cause| cause["field"].clone()).collect();
    assert_eq!(
        fields,
        [
            "metadata.name",
            "metadata.labels",
            "spec.template.spec.containers[0].name",
            "spec.template.spec.containers[1].image",
            "spec.template.spec.restartPolicy"
        ]
    );
}

#[tokio::test]
async fn unknown_and_repeated_fields_are_refused_when_asked_for() {
    let cluster = Cluster::start().await;
    let text = r#"{"metadata":{"name":"a"},"spec":{"foo":1,"backoffLimit":0,"backoffLimit":1,"template":{"spec":{
        "restartPolicy":"Never","containers":[{"name":"m","image":"i","bar":2,"resources":{"limits":{"cpu":1}}}]}}}}"#;
    let post = |validation: &str| {
        let url = format!("{}{JOBS}?fieldValidation={validation}", cluster.sim.url());
        cluster.http.post(url).header("content-type", "application/json").body(text).timeout(BOUND).send()
    };
    let refused = post("Strict").await.expect("an answer");
    assert_eq!(refused.status(), 400);
    let status: serde_json::Value = refused.json().await.expect("a Status");
    let message = status["message"].as_str().expect("a message");
    for part in [
        "strict decoding error: ",
        "unknown field \"spec.foo\"",
        "unknown field \"spec.template.spec.containers[0].bar\"",
        "duplicate field \"spec.backoffLimit\"",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert!(!message.contains("cpu"), "{message}");
    let warned = post("Warn").await.expect("an answer");
    assert_eq!((warned.status().as_u16(), warned.headers().get_all("warning").iter().count()), (201, 3));
}

#[tokio::test]
async fn lists_come_selected_and_in_pages_that_show_one_moment() {
    let cluster = Cluster::start().await;
    for name in ["a", "b", "c", "d"] {
        let mut job = job(name, &[("duration", "1h")]);
        job.metadata.labels = Some([("team".to_owned(), if name < "c" { "x" } else { "y" }.to_owned())].into());
        cluster.create(job).await;
    }
    let names = |list: kube::core::ObjectList<_>| -> Vec<String> {
        list.items.iter().map(|job: &k8s_openapi::api::batch::v1::Job| job.name_any()).collect()
    };
    let all = ListParams::default();
    for (params, expected) in [
        (all.clone().labels("team=x"), vec!["a", "b"]),
        (all.clone().labels("team notin (x)"), vec!["c", "d"]),
        (all.clone().labels("team in (x,y),!other"), vec!["a", "b", "c", "d"]),
        (all.clone().fields("metadata.name!=a"), vec!["b", "c", "d"]),
    ] {
        assert_eq!(names(cluster.jobs.list(&params).await.expect("a list")), expected);
    }
    let first = cluster.jobs.list(&all.clone().limit(2)).await.expect("a page");
    let token = first.metadata.continue_.clone().expect("more");
    cluster.jobs.delete("c", &DeleteParams::background()).await.expect("deleted");
    cluster.create(job("bb", &[])).await;
    let rest = cluster.jobs.list(&all.clone().continue_token(&token)).await.expect("the other page");
    assert_eq!(names(rest), ["c", "d"], "the second page is of the first one's moment");
    assert_eq!(code(&cluster.jobs.list(&all.fields("spec.foo=1")).await.expect_err("refused")), 400);
}

#[tokio::test]
async fn patches_change_and_stale_updates_conflict() {
    let cluster = Cluster::start().await;
    let made = cluster.create(job("a", &[("duration", "1h")])).await;
    let params = PatchParams::default();
    for (patch, key) in [
        (Patch::Merge(json!({"metadata": {"labels": {"merge": "1"}}})), "merge"),
        (Patch::Strategic(json!({"metadata": {"labels": {"strategic": "1"}}})), "strategic"),
    ] {
        let patched = cluster.jobs.patch("a", &params, &patch).await.expect("patched");
        assert_eq!(patched.labels()[key], "1");
    }
    let applied = Patch::Apply(json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"labels": {"ssa": "1"}}}));
    let applied = cluster.jobs.patch("a", &PatchParams::apply("test"), &applied).await.expect("applied");
    assert_eq!(applied.labels()["merge"], "1");
    let stale = cluster.jobs.replace("a", &PostParams::default(), &made).await.expect_err("stale");
    assert_eq!(code(&stale), 409);
    let immutable = Patch::Merge(json!({"spec": {"completions": 7}}));
    assert_eq!(code(&cluster.jobs.patch("a", &params, &immutable).await.expect_err("immutable")), 422);
    let strict = PatchParams { field_validation: Some(kube::api::ValidationDirective::Strict), ..params };
    let unknown = Patch::Merge(json!({"spec": {"foo": 7}}));
    assert_eq!(code(&cluster.jobs.patch("a", &strict, &unknown).await.expect_err("unknown field")), 400);
}

#[tokio::test]
async fn a_delete_in_the_foreground_waits_for_the_pods() {
    let cluster = Cluster::start().await;
    cluster.create(job("a", &[("duration", "1h"), ("stop", "150ms")])).await;
    let pod = cluster.pod_of("a", |pod| crate::harness::phase(pod) == "Running").await;
    let lingering = cluster.jobs.delete("a", &DeleteParams::foreground()).await.expect("accepted");
    let lingering = lingering.left().expect("the Job lingers");
    assert!(lingering.metadata.deletion_timestamp.is_some());
    assert_eq!(lingering.finalizers(), ["foregroundDeletion"]);
    cluster.gone(&lingering).await;
    assert_eq!(code(&cluster.pods.get(&pod.name_any()).await.expect_err("gone before its Job")), 404);
}

#[tokio::test]
async fn a_delete_in_the_background_takes_the_job_first() {
    let cluster = Cluster::start().await;
    cluster.create(job("a", &[("duration", "1h"), ("stop", "150ms")])).await;
    let pod = cluster.pod_of("a", |pod| crate::harness::phase(pod) == "Running").await;
    let status = cluster.jobs.delete("a", &DeleteParams::background()).await.expect("deleted");
    assert!(status.is_right(), "a Status: it is gone at once");
    assert_eq!(code(&cluster.jobs.get("a").await.expect_err("gone")), 404);
    let last = cluster.pod_of("a", |pod| crate::harness::phase(pod) == "Failed").await;
    assert_eq!(crate::harness::exit_code(&last), Some(143));
    cluster.pod(&pod.name_any(), kube::runtime::conditions::is_deleted(&uid(&pod))).await;
}

#[tokio::test]
async fn a_delete_that_names_no_policy_preserves_the_pods_as_batch_v1_does() {
    let cluster = Cluster::start().await;
    cluster.create(job("a", &[("duration", "1h")])).await;
    let pod = cluster.pod_of("a", |pod| crate::harness::phase(pod) == "Running").await;
    cluster.send(Method::DELETE, &format!("{JOBS}/a"), None).await;
    let orphaned = cluster.pod_of("a", |pod| pod.owner_references().is_empty()).await;
    assert_eq!((uid(&orphaned), orphaned.metadata.deletion_timestamp), (uid(&pod), None));
    cluster.pods.delete(&pod.name_any(), &DeleteParams::default()).await.expect("deleted");
}

#[tokio::test]
async fn a_precondition_on_the_uid_protects_a_stranger() {
    let cluster = Cluster::start().await;
    cluster.create(job("a", &[])).await;
    let stranger = Preconditions { uid: Some("another".to_owned()), resource_version: None };
    let params = DeleteParams { preconditions: Some(stranger), ..DeleteParams::background() };
    assert_eq!(code(&cluster.jobs.delete("a", &params).await.expect_err("a conflict")), 409);
    assert!(cluster.jobs.get("a").await.is_ok());
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector_and_answers_what_it_deleted() {
    let cluster = Cluster::start().await;
    for name in ["a", "b", "c"] {
        let mut job = job(name, &[]);
        job.metadata.labels = Some([("keep".to_owned(), (name == "c").to_string())].into());
        cluster.create(job).await;
    }
    let path = format!("{JOBS}?labelSelector=keep%3Dfalse&propagationPolicy=Background");
    let (code, list) = cluster.send(Method::DELETE, &path, None).await;
    assert_eq!((code, &list["kind"]), (200, &json!("JobList")));
    assert_eq!(list["items"].as_array().map(Vec::len), Some(2));
    let left = cluster.jobs.list(&ListParams::default()).await.expect("a list");
    assert_eq!(left.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["c"]);
}

#[tokio::test]
async fn a_collection_of_chosen_jobs_goes_with_its_pods_as_by_single_deletes() {
    let cluster = Cluster::start().await;
    for name in ["a", "b", "c"] {
        let mut job = job(name, &[("duration", "1h")]);
        job.metadata.labels = Some([("id".to_owned(), name.to_owned())].into());
        cluster.create(job).await;
    }
    let pod = cluster.pod_of("a", |pod| crate::harness::phase(pod) == "Running").await;
    let chosen = ListParams::default().labels("id in (a,b)");
    cluster.jobs.delete_collection(&DeleteParams::background(), &chosen).await.expect("deleted");
    let left = cluster.jobs.list(&ListParams::default()).await.expect("a list");
    assert_eq!(left.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["c"]);
    cluster.pod(&pod.name_any(), kube::runtime::conditions::is_deleted(&uid(&pod))).await;
    let audit = cluster.audit();
    let asked = audit.iter().find(|event| event["verb"] == "deletecollection").expect("in the audit log");
    assert_eq!(asked["objectRef"]["resource"], "jobs");
    assert_eq!(asked["requestObject"]["propagationPolicy"], "Background");
    assert_eq!(asked["responseObject"]["items"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn a_namespace_takes_everything_with_it() {
    let cluster = Cluster::start().await;
    let (code, _) = cluster.send(Method::POST, "/apis/batch/v1/namespaces/n/jobs", Some(json!(job("a", &[])))).await;
    assert_eq!(code, 404, "not in a namespace that does not exist");
    let (code, made) = cluster.send(Method::POST, "/api/v1/namespaces", Some(json!({"metadata": {"name": "n"}}))).await;
    assert_eq!(code, 201);
    let mut long = job("a", &[("duration", "1h")]);
    long.metadata.namespace = Some("n".to_owned());
    cluster.send(Method::POST, "/apis/batch/v1/namespaces/n/jobs", Some(json!(long))).await;
    cluster.send(Method::DELETE, "/api/v1/namespaces/n", None).await;
    let namespaces: kube::Api<k8s_openapi::api::core::v1::Namespace> = kube::Api::all(cluster.client.clone());
    let uid = made["metadata"]["uid"].as_str().expect("a uid");
    let wait = kube::runtime::wait::await_condition(namespaces, "n", kube::runtime::conditions::is_deleted(uid));
    tokio::time::timeout(BOUND, wait).await.expect("it goes").expect("the watch works");
    let (_, jobs) = cluster.get("/apis/batch/v1/jobs").await;
    assert_eq!(jobs["items"], json!([]));
}

#[tokio::test]
async fn nothing_a_client_sends_makes_it_panic() {
    let cluster = Cluster::start().await;
    cluster.create(job("a", &[])).await;
    for body in [
        json!(null),
        json!([]),
        json!("x"),
        json!({"metadata": []}),
        json!({"metadata": {"name": 5}}),
        json!({"spec": "x"}),
        json!({"metadata": {"name": "q"}, "spec": {"template": {"spec": {"containers": {}}}}}),
        json!({"metadata": {"name": "q", "labels": {"a": null}}, "spec": {"template": []}}),
        json!([{"op": "add", "path": "metadata", "value": 1}]),
        json!({"metadata": {"$patch": "delete"}}),
    ] {
        for (method, path) in [
            (Method::POST, JOBS.to_owned()),
            (Method::POST, PODS.to_owned()),
            (Method::PUT, format!("{JOBS}/a")),
            (Method::PUT, format!("{JOBS}/a/status")),
            (Method::DELETE, format!("{JOBS}/none")),
            (Method::PUT, "/sim/faults".to_owned()),
        ] {
            let (code, _) = cluster.send(method.clone(), &path, Some(body.clone())).await;
            assert!(
                (400..500).contains(&code) || path.contains("/a") || body == json!([]),
                "{method} {path} {body}: {code}"
            );
        }
        for kind in ["json-patch+json", "merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml"] {
            let url = format!("{}{JOBS}/a", cluster.sim.url());
            let request = cluster.http.patch(url).header("content-type", format!("application/{kind}"));
            let answer = request.body(body.to_string()).timeout(BOUND).send().await.expect("an answer");
            assert!(answer.status().as_u16() < 500, "{kind} {body}: {}", answer.status());
        }
    }
    for path in ["/apis/batch/v1/namespaces/default/jobs?limit=x", "/api/v1/pods?continue=zz", "/api/v1/nothing", "/x"]
    {
        assert!((400..500).contains(&cluster.get(path).await.0), "{path}");
    }
    assert!(cluster.job("a", |job: Option<&_>| ended(job)).await.status.is_some());
    drop(with(edited(json!(job("z", &[]))), "suspend", json!(true)));
}

#[tokio::test]
async fn objects_come_as_tables_and_as_metadata_for_those_who_ask() {
    let cluster = Cluster::start().await;
    cluster.create(job("a", &[("duration", "1h")])).await;
    let fetch = |accept: &'static str, path: String| {
        let url = format!("{}{path}", cluster.sim.url());
        let request = cluster.http.get(url).header("accept", accept).timeout(BOUND);
        async move { request.send().await.expect("an answer").json::<serde_json::Value>().await.expect("JSON") }
    };
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let jobs = fetch(table, JOBS.to_owned()).await;
    assert_eq!((&jobs["kind"], &jobs["columnDefinitions"][0]["name"]), (&json!("Table"), &json!("Name")));
    assert_eq!(jobs["rows"][0]["cells"][0], json!("a"));
    assert_eq!(jobs["rows"][0]["object"]["kind"], json!("PartialObjectMetadata"));
    let metadata = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let one = fetch(metadata, format!("{JOBS}/a")).await;
    assert_eq!((&one["kind"], &one["spec"]), (&json!("PartialObjectMetadata"), &json!(null)));
    let refused = fetch("application/cbor", JOBS.to_owned()).await;
    assert_eq!(refused["code"], json!(406));
}
