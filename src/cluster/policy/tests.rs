//! The policy against every control of the Pod Security Standards, in every kind of container; and its file.

use serde_json::{Value, json};

use crate::{
    cluster::manifest::{self, Defaults, Identity},
    id::{JobId, Nonce},
    retry::Policy,
    spec::{Fault, Spec},
};

use super::*;

pub(super) fn built(spec: &Spec) -> Result<KubeJob, Vec<Fault>> {
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
    manifest::build(spec, &Policy::default(), &me, &defaults)
}

/// What a policy says to a spec: each rule it breaks, with the field.
fn broken(policy: &PodPolicy, spec: &Spec) -> Vec<(&'static str, String)> {
    let faults = policy.check(built(spec).expect("it can be built"), spec).err().unwrap_or_default();
    faults.into_iter().map(|it| (it.rule.expect("a rule"), it.pointer)).collect()
}

/// A job whose manifest has this at this place of its pod template.
pub(super) fn with(path: &str, value: Value) -> Spec {
    let mut template = json!({"metadata": {"annotations": {}}, "spec": {
        "containers": [{"name": "a", "image": "busybox"}],
        "initContainers": [{"name": "b", "image": "busybox"}],
        "ephemeralContainers": [{"name": "c", "image": "busybox"}],
    }});
    set(&mut template, path, value);
    of_template(template)
}

fn of_template(template: Value) -> Spec {
    let manifest = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": template}});
    Spec { manifest: Some(manifest), ..Spec::default() }
}

/// Sets what a JSON Pointer points to, and makes what is missing on the way.
pub(super) fn set(root: &mut Value, path: &str, value: Value) {
    let mut at = root;
    for part in path.split('/').skip(1).map(|it| it.replace("~1", "/")) {
        at = match part.parse::<usize>() {
            Ok(index) => {
                if at.is_null() {
                    *at = json!([]);
                }
                let list = at.as_array_mut().unwrap();
                while list.len() <= index {
                    list.push(Value::Null);
                }
                &mut list[index]
            }
            Err(_) => &mut at[part],
        };
    }
    *at = value;
}

pub(super) const CONTAINERS: [&str; 3] =
    ["/spec/containers/0", "/spec/initContainers/0", "/spec/ephemeralContainers/0"];

/// The profile `baseline` of a pod: what may not be, its rule, and the field that is named.
pub(super) fn pod_cases() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("/spec/hostNetwork", json!(true), "host_namespaces"),
        ("/spec/hostPID", json!(true), "host_namespaces"),
        ("/spec/hostIPC", json!(true), "host_namespaces"),
        ("/spec/securityContext/windowsOptions/hostProcess", json!(true), "host_process"),
        ("/spec/securityContext/appArmorProfile/type", json!("Unconfined"), "app_armor"),
        ("/spec/securityContext/seccompProfile/type", json!("Unconfined"), "seccomp"),
        ("/spec/securityContext/seLinuxOptions/type", json!("spc_t"), "selinux"),
        ("/spec/securityContext/seLinuxOptions/user", json!("root"), "selinux"),
        ("/spec/securityContext/seLinuxOptions/role", json!("sysadm_r"), "selinux"),
        ("/spec/nodeName", json!("node-1"), "node_names"),
        ("/spec/serviceAccountName", json!("admin"), "service_accounts"),
        ("/spec/serviceAccount", json!("admin"), "service_accounts"),
        ("/spec/runtimeClassName", json!("unsafe"), "runtime_classes"),
        ("/spec/priorityClassName", json!("system-node-critical"), "priority_classes"),
        ("/spec/terminationGracePeriodSeconds", json!(86400), "max.termination_grace"),
        ("/metadata/annotations/container.apparmor.security.beta.kubernetes.io~1a", json!("unconfined"), "app_armor"),
        ("/metadata/annotations/seccomp.security.alpha.kubernetes.io~1pod", json!("unconfined"), "seccomp"),
        ("/metadata/annotations/container.seccomp.security.alpha.kubernetes.io~1a", json!("unconfined"), "seccomp"),
    ]
}

/// The same of a container.
pub(super) fn container_cases() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("/securityContext/privileged", json!(true), "privileged"),
        ("/securityContext/allowPrivilegeEscalation", json!(true), "privilege_escalation"),
        ("/securityContext/capabilities/add/0", json!("SYS_ADMIN"), "capabilities"),
        ("/securityContext/capabilities/add/0", json!("NET_RAW"), "capabilities"),
        ("/securityContext/capabilities/add/0", json!("ALL"), "capabilities"),
        ("/securityContext/capabilities/add/0", json!("net_bind_service"), "capabilities"),
        ("/securityContext/procMount", json!("Unmasked"), "proc_mount"),
        ("/securityContext/windowsOptions/hostProcess", json!(true), "host_process"),
        ("/securityContext/appArmorProfile/type", json!("Unconfined"), "app_armor"),
        ("/securityContext/seccompProfile/type", json!("Unconfined"), "seccomp"),
        ("/securityContext/seLinuxOptions/type", json!("spc_t"), "selinux"),
        ("/securityContext/seLinuxOptions/user", json!("root"), "selinux"),
        ("/securityContext/seLinuxOptions/role", json!("sysadm_r"), "selinux"),
        ("/ports/0/hostPort", json!(80), "host_ports"),
        ("/livenessProbe/httpGet/host", json!("10.0.0.1"), "host_probes"),
        ("/readinessProbe/httpGet/host", json!("10.0.0.1"), "host_probes"),
        ("/startupProbe/tcpSocket/host", json!("10.0.0.1"), "host_probes"),
        ("/lifecycle/postStart/httpGet/host", json!("10.0.0.1"), "host_probes"),
        ("/lifecycle/preStop/tcpSocket/host", json!("10.0.0.1"), "host_probes"),
        ("/volumeMounts/0/mountPropagation", json!("Bidirectional"), "mount_propagation"),
    ]
}

/// What Kubernetes' types want beside a field, so that the rest can be read.
pub(super) fn complete(template: &mut Value, path: &str) {
    let parent = |depth: usize| path.rsplitn(depth + 1, '/').last().unwrap_or_default().to_owned();
    if path.ends_with("/hostPort") {
        set(template, &format!("{}/containerPort", parent(1)), json!(80));
    } else if path.ends_with("/host") {
        set(template, &format!("{}/port", parent(1)), json!(80));
    } else if path.ends_with("/mountPropagation") {
        set(template, &format!("{}/name", parent(1)), json!("v"));
        set(template, &format!("{}/mountPath", parent(1)), json!("/v"));
    }
}

fn case(path: &str, value: &Value) -> Spec {
    let mut spec = with(path, value.clone());
    if let Some(template) = spec.manifest.as_mut().and_then(|it| it.pointer_mut("/spec/template")) {
        complete(template, path);
    }
    spec
}

#[test]
fn each_control_of_the_baseline_is_refused_in_pods_and_in_every_kind_of_container() {
    let policy = PodPolicy::default();
    let mut cases = pod_cases();
    let of_containers = container_cases();
    let paths: Vec<(String, Value, &str)> = CONTAINERS
        .iter()
        .flat_map(|at| {
            of_containers.iter().map(move |(path, value, rule)| (format!("{at}{path}"), value.clone(), *rule))
        })
        .chain(cases.drain(..).map(|(path, value, rule)| (path.to_owned(), value, rule)))
        .collect();
    assert!(paths.len() > 70);
    for (path, value, rule) in paths {
        let expected = vec![(rule, format!("/manifest/spec/template{path}"))];
        assert_eq!(broken(&policy, &case(&path, &value)), expected, "{path} {value}");
    }
}

#[test]
fn what_asks_for_nothing_special_is_allowed() {
    let policy = PodPolicy::default();
    for (path, value) in [
        ("/spec/hostNetwork", json!(false)),
        ("/spec/serviceAccountName", json!("default")),
        ("/spec/serviceAccountName", json!("")),
        ("/spec/containers/0/securityContext/capabilities/add/0", json!("NET_BIND_SERVICE")),
        ("/spec/containers/0/securityContext/capabilities/drop/0", json!("ALL")),
        ("/spec/containers/0/securityContext/privileged", json!(false)),
        ("/spec/containers/0/ports/0/hostPort", json!(0)),
        ("/spec/containers/0/securityContext/runAsUser", json!(0)),
        ("/spec/securityContext/seccompProfile/type", json!("RuntimeDefault")),
        ("/spec/priorityClassName", json!("batch-low")),
        ("/spec/tolerations/0", json!({"key": "dedicated", "operator": "Exists"})),
        ("/metadata/annotations/container.apparmor.security.beta.kubernetes.io~1a", json!("runtime/default")),
    ] {
        assert_eq!(broken(&policy, &case(path, &value)), [], "{path} {value}");
    }
}

#[test]
fn sysctls_tolerations_and_volumes_are_judged_one_by_one() {
    let policy = PodPolicy::default();
    let rules = |path: &str, value: Value| broken(&policy, &with(path, value));
    let sysctls = json!([{"name": "net.ipv4.tcp_syncookies", "value": "1"}, {"name": "kernel.msgmax", "value": "1"}]);
    let at = "/manifest/spec/template/spec/securityContext/sysctls/1/name".to_owned();
    assert_eq!(rules("/spec/securityContext/sysctls", sysctls), [("sysctls", at)]);
    for key in ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master", ""] {
        let at = "/manifest/spec/template/spec/tolerations/0".to_owned();
        let toleration = json!({"key": key, "operator": "Exists"});
        assert_eq!(rules("/spec/tolerations/0", toleration), [("control_plane_nodes", at)], "{key:?}");
    }
    for (source, body, rule) in [
        ("hostPath", json!({"path": "/"}), "host_path"),
        ("gitRepo", json!({"repository": "r"}), "volumes"),
        ("nfs", json!({"server": "s", "path": "/"}), "volumes"),
        ("iscsi", json!({"targetPortal": "p", "iqn": "i", "lun": 0}), "volumes"),
        ("csi", json!({"driver": "d"}), "volumes"),
        ("flexVolume", json!({"driver": "d"}), "volumes"),
        ("image", json!({"reference": "busybox"}), "volumes"),
    ] {
        let at = format!("/manifest/spec/template/spec/volumes/0/{source}");
        assert_eq!(rules("/spec/volumes/0", json!({"name": "v", source: body})), [(rule, at)]);
    }
    for source in ["configMap", "downwardAPI", "emptyDir", "projected", "secret"] {
        assert_eq!(rules("/spec/volumes/0", json!({"name": "v", source: {}})), [], "{source}");
    }
}

#[test]
fn inline_fields_and_annotations_are_judged_as_a_manifest_is() {
    let spec = |value: Value| -> Spec { serde_json::from_value(value).unwrap() };
    let policy = PodPolicy::default();
    for (given, rule, pointer) in [
        (json!({"security_context": {"privileged": true}}), "privileged", "/security_context/privileged"),
        (json!({"service_account": "admin"}), "service_accounts", "/service_account"),
        (json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}), "host_path", "/volumes/0/hostPath"),
        (json!({"ports": [{"containerPort": 1, "hostPort": 1}]}), "host_ports", "/ports/0/hostPort"),
        (json!({"tolerations": [{"operator": "Exists"}]}), "control_plane_nodes", "/tolerations/0"),
        (json!({"parallelism": 1001}), "max.parallelism", "/parallelism"),
        (
            json!({"pod_security_context": {"sysctls": [{"name": "a", "value": "b"}]}}),
            "sysctls",
            "/pod_security_context/sysctls/0/name",
        ),
        (
            json!({"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}}),
            "seccomp",
            "/annotations/seccomp.security.alpha.kubernetes.io~1pod",
        ),
    ] {
        assert_eq!(broken(&policy, &spec(given)), [(rule, pointer.to_owned())]);
    }
}

#[test]
fn the_restricted_profile_wants_to_be_told_and_takes_the_pods_word() {
    let policy = PodPolicy { level: Level::Restricted, ..PodPolicy::default() };
    let at = |field: &str| format!("/manifest/spec/template/spec/containers/0/securityContext/{field}");
    let plain = of_template(json!({"spec": {"containers": [{"name": "a", "image": "busybox"}]}}));
    assert_eq!(
        broken(&policy, &plain),
        [
            ("privilege_escalation", at("allowPrivilegeEscalation")),
            ("non_root", at("runAsNonRoot")),
            ("seccomp", at("seccompProfile")),
            ("capabilities", at("capabilities/drop")),
        ]
    );
    let own =
        json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}});
    let good = json!({"spec": {
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "a", "image": "busybox", "securityContext": own}],
    }});
    assert_eq!(broken(&policy, &of_template(good.clone())), []);
    for (path, value, rule) in [
        ("/spec/containers/0/securityContext/runAsUser", json!(0), "non_root"),
        ("/spec/securityContext/runAsUser", json!(0), "non_root"),
        ("/spec/containers/0/securityContext/runAsNonRoot", json!(false), "non_root"),
        ("/spec/containers/0/securityContext/capabilities/add/0", json!("CHOWN"), "capabilities"),
    ] {
        let mut bad = good.clone();
        set(&mut bad, path, value);
        assert_eq!(broken(&policy, &of_template(bad)).iter().map(|it| it.0).collect::<Vec<_>>(), [rule], "{path}");
    }
}

#[test]
fn bounds_and_lists_of_a_file_hold() {
    let policy = |text: &str| PodPolicy::parse(text, "p.yaml").unwrap();
    let rules = |policy: &PodPolicy, spec: &Spec| -> Vec<&'static str> {
        broken(policy, spec).into_iter().map(|it| it.0).collect()
    };
    let spec = |value: Value| -> Spec { serde_json::from_value(value).unwrap() };
    let images = policy("images: ['registry.example.com/team/*']");
    assert_eq!(rules(&images, &spec(json!({}))), ["images"]);
    assert_eq!(rules(&images, &spec(json!({"image": "registry.example.com/team/a:1"}))), [""; 0]);
    assert_eq!(rules(&policy("service_accounts: []"), &spec(json!({}))), ["service_accounts"]);
    assert_eq!(rules(&policy("service_accounts: ['*']"), &spec(json!({"service_account": "a"}))), [""; 0]);
    assert_eq!(rules(&policy("max: {active_deadline: 1h}"), &spec(json!({}))), ["max.active_deadline"]);
    let memory = policy("max: {resources: {memory: 1Gi}}");
    assert_eq!(rules(&memory, &spec(json!({}))), ["max.resources"]);
    assert_eq!(rules(&memory, &spec(json!({"resources": {"limits": {"memory": "2Gi"}}}))), ["max.resources"]);
    assert_eq!(rules(&memory, &spec(json!({"resources": {"limits": {"memory": "1024Mi"}}}))), [""; 0]);
    let two = of_template(json!({"spec": {"containers": [{"name": "a", "image": "b"}, {"name": "c", "image": "d"}]}}));
    assert_eq!(rules(&policy("max: {containers: 1}"), &two), ["max.containers"]);
    let mut late = two.clone();
    late.manifest.as_mut().unwrap()["spec"]["ttlSecondsAfterFinished"] = json!(40 * 24 * 3600);
    assert_eq!(rules(&PodPolicy::default(), &late), ["max.ttl"]);
    let host = policy("{level: privileged, volumes: [hostPath], node_names: true}");
    let escapes = json!({"spec": {
        "nodeName": "a", "hostNetwork": true, "volumes": [{"name": "v", "hostPath": {"path": "/"}}],
        "containers": [{"name": "a", "image": "b", "securityContext": {"privileged": true}}],
    }});
    assert_eq!(rules(&host, &of_template(escapes)), [""; 0]);
}

#[test]
fn the_default_is_the_one_that_is_written_down() {
    assert_eq!(PodPolicy::parse(DEFAULT, "default.yaml").unwrap(), PodPolicy::default());
    assert_eq!(PodPolicy::parse("# nothing differs\n", "empty.yaml").unwrap(), PodPolicy::default());
    assert!(include_str!("../../../docs/pod-policy.md").contains(DEFAULT), "the page shows another one");
}

#[test]
fn a_wrong_file_is_refused_with_its_name_the_field_and_a_remedy() {
    for (text, says) in [
        ("level: lax", "p.yaml: level unknown variant `lax`, expected one of `restricted`, `baseline`, `privileged`"),
        ("levle: baseline", "p.yaml: levle unknown field `levle`"),
        ("max: {ttl: soon}", "p.yaml: max.ttl \"soon\" is not a duration such as"),
        ("max: {resources: {cpu: lots}}", "p.yaml: max.resources cpu: lots is not an amount such as"),
        ("volumes: [hostPath]", "p.yaml: volumes has hostPath, which needs `level: privileged`"),
        ("volumes: [hostpath]", "unknown variant `hostpath`"),
        ("images: ['']", "p.yaml: images[0] must be a pattern"),
        ("max: {containers: 0}", "p.yaml: max must let"),
        ("level: [", "p.yaml is not YAML"),
    ] {
        let said = PodPolicy::parse(text, "p.yaml").unwrap_err().to_string();
        assert!(said.contains(says), "{text}: {said}");
    }
}
