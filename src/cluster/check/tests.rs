//! Each rule, by the field that is named when it is broken; and that what Kubernetes takes is not refused.

use serde_json::{Value, json};

use crate::{
    cluster::manifest::{self, Defaults, Identity},
    id::{JobId, Nonce},
    retry::Policy,
};

use super::*;

fn pointers(spec: &Spec) -> Vec<String> {
    let me = Identity {
        instance: "test",
        job: JobId::new(),
        attempt: 1,
        nonce: Nonce(uuid::Uuid::nil()),
        spec_hash: "",
        kube_name: "job".into(),
        namespace: "default",
        queue: "default",
        job_name: "job",
    };
    let defaults =
        Defaults { image: "busybox".into(), image_pull_policy: "IfNotPresent".into(), start_timeout_secs: None };
    let built = manifest::build(spec, &Policy::default(), &me, &defaults).expect("it can be built");
    faults(&built, spec).into_iter().map(|it| it.pointer).collect()
}

/// A job whose manifest has this spec, but for what is the same everywhere.
fn manifest(spec: Value, pod: Value, container: Value) -> Spec {
    let mut manifest = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": {
        "containers": [{"name": "a", "image": "busybox"}]}}}});
    merge(&mut manifest["spec"], spec);
    merge(&mut manifest["spec"]["template"]["spec"], pod);
    merge(&mut manifest["spec"]["template"]["spec"]["containers"][0], container);
    Spec { manifest: Some(manifest), ..Spec::default() }
}

fn merge(into: &mut Value, more: Value) {
    match more {
        Value::Object(fields) if into.is_object() => {
            fields.into_iter().for_each(|(key, value)| merge(&mut into[key], value));
        }
        more => *into = more,
    }
}

#[test]
fn what_kubernetes_would_refuse_is_refused_with_its_field() {
    let none = || json!({});
    let (job, pod) = ("/manifest/spec", "/manifest/spec/template/spec");
    let container = format!("{pod}/containers/0");
    for (spec, pointer) in [
        (manifest(json!({"parallelism": -1}), none(), none()), format!("{job}/parallelism")),
        (manifest(json!({"backoffLimit": -1}), none(), none()), format!("{job}/backoffLimit")),
        (manifest(json!({"completionMode": "indexed"}), none(), none()), format!("{job}/completionMode")),
        (manifest(json!({"completionMode": "Indexed"}), none(), none()), format!("{job}/completions")),
        (manifest(json!({"selector": {"matchLabels": {"a": "b"}}}), none(), none()), format!("{job}/selector")),
        (manifest(json!({"manualSelector": true}), none(), none()), format!("{job}/manualSelector")),
        (
            manifest(json!({"template": {"metadata": {"finalizers": ["a.example.com/b"]}}}), none(), none()),
            format!("{job}/template/metadata/finalizers"),
        ),
        (
            manifest(json!({"template": {"metadata": {"labels": {"a": "b c"}}}}), none(), none()),
            format!("{job}/template/metadata/labels/a"),
        ),
        (manifest(none(), json!({"restartPolicy": "Always"}), none()), format!("{pod}/restartPolicy")),
        (manifest(none(), json!({"serviceAccountName": "A"}), none()), format!("{pod}/serviceAccountName")),
        (manifest(none(), json!({"nodeSelector": {"a/b/c": "d"}}), none()), format!("{pod}/nodeSelector/a~1b~1c")),
        (manifest(none(), json!({"hostAliases": [{"ip": "1.2.3"}]}), none()), format!("{pod}/hostAliases/0/ip")),
        (manifest(none(), json!({"tolerations": [{"value": "x"}]}), none()), format!("{pod}/tolerations/0/operator")),
        (manifest(none(), json!({"volumes": [{"name": "A"}]}), none()), format!("{pod}/volumes/0/name")),
        (manifest(none(), json!({"volumes": [{"name": "a"}, {"name": "a"}]}), none()), format!("{pod}/volumes/1/name")),
        (
            manifest(none(), json!({"volumes": [{"name": "a", "emptyDir": {}, "secret": {}}]}), none()),
            format!("{pod}/volumes/0"),
        ),
        (
            manifest(none(), json!({"volumes": [{"name": "a", "emptyDir": {"sizeLimit": "1MB"}}]}), none()),
            format!("{pod}/volumes/0/emptyDir/sizeLimit"),
        ),
        (
            manifest(none(), json!({"initContainers": [{"name": "a", "image": "b"}]}), none()),
            format!("{pod}/initContainers/0/name"),
        ),
        (
            manifest(none(), json!({"ephemeralContainers": [{"name": "b", "image": "b"}]}), none()),
            format!("{pod}/ephemeralContainers"),
        ),
        (manifest(none(), none(), json!({"name": "A_b"})), format!("{container}/name")),
        (manifest(none(), none(), json!({"image": ""})), format!("{container}/image")),
        (manifest(none(), none(), json!({"image": null})), format!("{container}/image")),
        (manifest(none(), none(), json!({"image": "Busybox"})), format!("{container}/image")),
        (manifest(none(), none(), json!({"imagePullPolicy": "Sometimes"})), format!("{container}/imagePullPolicy")),
        (manifest(none(), none(), json!({"env": [{"name": "A=B"}]})), format!("{container}/env/0/name")),
        (
            manifest(none(), none(), json!({"env": [{"name": "A", "value": "b", "valueFrom": {}}]})),
            format!("{container}/env/0/valueFrom"),
        ),
        (manifest(none(), none(), json!({"envFrom": [{"prefix": "a"}]})), format!("{container}/envFrom/0")),
        (
            manifest(none(), none(), json!({"ports": [{"containerPort": 0}]})),
            format!("{container}/ports/0/containerPort"),
        ),
        (
            manifest(none(), none(), json!({"ports": [{"containerPort": 1, "protocol": "tcp"}]})),
            format!("{container}/ports/0/protocol"),
        ),
        (
            manifest(none(), none(), json!({"resources": {"limits": {"memory": "64MB"}}})),
            format!("{container}/resources/limits/memory"),
        ),
        (
            manifest(none(), none(), json!({"resources": {"requests": {"cpu": -1}}})),
            format!("{container}/resources/requests/cpu"),
        ),
        (
            manifest(none(), none(), json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1500m"}}})),
            format!("{container}/resources/requests/cpu"),
        ),
        (
            manifest(none(), none(), json!({"volumeMounts": [{"name": "x", "mountPath": "/x"}]})),
            format!("{container}/volumeMounts/0/name"),
        ),
        (
            manifest(
                none(),
                json!({"volumes": [{"name": "x"}]}),
                json!({"volumeMounts": [{"name": "x", "mountPath": "/x", "subPath": "../y"}]}),
            ),
            format!("{container}/volumeMounts/0/subPath"),
        ),
    ] {
        assert_eq!(pointers(&spec), [pointer], "{:?}", spec.manifest);
    }
}

#[test]
fn what_comes_from_inline_fields_is_told_by_their_names() {
    let spec = |value: Value| -> Spec { serde_json::from_value(value).unwrap() };
    for (given, pointer) in [
        (json!({"image": "no spaces"}), "/image"),
        (json!({"env": {"A=B": "c"}}), "/env/A=B"),
        (json!({"resources": {"limits": {"cpu": "1 core"}}}), "/resources/limits/cpu"),
        (json!({"completion_mode": "Indexed"}), "/completions"),
        (json!({"volume_mounts": [{"name": "x", "mountPath": "/x"}]}), "/volume_mounts/0/name"),
        (json!({"image_pull_policy": "always"}), "/image_pull_policy"),
        (json!({"image_pull_secrets": ["a", "B"]}), "/image_pull_secrets/1"),
        (json!({"service_account": "A"}), "/service_account"),
    ] {
        assert_eq!(pointers(&spec(given)), [pointer]);
    }
}

#[test]
fn what_kubernetes_takes_is_not_refused() {
    let volumes = json!({"volumes": [
        {"name": "a"}, {"name": "b", "emptyDir": {"sizeLimit": 1000}},
        {"name": "c", "projected": {"sources": [{"secret": {"name": "s"}}]}},
    ]});
    let container = json!({
        "image": "registry.example.com:5000/a/b:c@sha256:".to_owned() + &"0".repeat(64),
        "env": [{"name": "with.dots-and dashes"}, {"name": "A", "value": "", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}],
        "resources": {"limits": {"cpu": 0.5, "memory": "1e9", "example.com/gpu": 1}, "requests": {"cpu": "500m"}},
        "volumeMounts": [{"name": "a", "mountPath": "a"}, {"name": "b", "mountPath": "/b", "subPath": "c..d"}],
    });
    let spec = json!({"completionMode": "Indexed", "completions": 3, "backoffLimitPerIndex": 1, "suspend": false,
        "template": {"metadata": {"annotations": {"Example.com/Key": "x"}, "labels": {"App": ""}}}});
    let pod = json!({"tolerations": [{"operator": "Exists"}, {"key": "a", "value": "b", "effect": "NoExecute"}]});
    let mut spec = manifest(spec, pod, container);
    let at = spec.manifest.as_mut().unwrap().pointer_mut("/spec/template/spec").unwrap();
    merge(at, volumes);
    assert_eq!(pointers(&spec), [""; 0]);
}

#[test]
fn a_job_that_is_too_large_for_etcd_is_refused() {
    let mut spec = manifest(json!({}), json!({}), json!({"args": ["x".repeat(JOB_BYTES)]}));
    assert_eq!(pointers(&spec), [""]);
    spec.manifest.as_mut().unwrap()["metadata"] = json!({"annotations": {"a": "x".repeat(ANNOTATION_BYTES)}});
    assert_eq!(pointers(&spec), ["", "/manifest/metadata/annotations"]);
}
