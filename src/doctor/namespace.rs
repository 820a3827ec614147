//! The namespaces that jobs run in: whether they are there, and what they let a pod be.
//!
//! The Role does not let a replica read namespaces, quotas and service accounts, and need not: where these checks may not
//! look they say so, and how to ask with other credentials.

use std::sync::Arc;

use serde_json::Value;

use crate::cluster::{
    Cluster,
    examine::Asked,
    policy::{Level, PodPolicy},
    room::{Tight, tight},
};

use super::{
    cluster::{given, server},
    jobs,
    patient::Patient,
    report::Finding,
};

/// Since which minor version Pod Security labels have an effect.
const LABELS_SINCE: u32 = 23;
const LEVEL: &str = "pod-security.kubernetes.io/enforce";

/// Asks about each namespace.
async fn each(patient: &Patient, ask: impl AsyncFn(&Cluster, &str) -> Vec<Finding>) -> Vec<Finding> {
    let cluster: Arc<Cluster> = match given(patient) {
        Ok(cluster) => cluster,
        Err(finding) => return vec![finding],
    };
    let mut found = Vec::new();
    for namespace in &cluster.namespaces {
        found.extend(ask(&cluster, namespace).await.into_iter().map(|it| it.about(namespace)));
    }
    found
}

/// What is to be said where there is no answer.
fn no_answer<T>(asked: &Asked<T>, what: &str) -> Finding {
    match asked {
        Asked::NotAllowed => Finding::skipped(format!(
            "this account may not read {what}, and need not; `longshore doctor --kubeconfig FILE` with yours may"
        )),
        Asked::Unknown | Asked::Absent | Asked::Found(_) => Finding::skipped(format!("this server knows no {what}")),
        Asked::Failed(told) => Finding::fail(
            format!("{what} could not be read: {told}"),
            "nothing is known of them",
            "see whether kubectl can read them with the same credentials, and try again",
        ),
    }
}

pub async fn exists(patient: &Patient) -> Vec<Finding> {
    each(patient, async |cluster, namespace| {
        vec![match cluster.namespace_object(namespace).await {
            Asked::Found(it) if it["status"]["phase"] == "Terminating" => Finding::fail(
                "it is being deleted",
                "no Job can be created in it, and those that run are stopped",
                "wait until it is gone and create it anew, or take it out of --namespace",
            ),
            Asked::Found(_) => Finding::ok("it is there"),
            Asked::Absent => Finding::fail(
                "there is no such namespace",
                "jobs that name it are refused, or wait for ever",
                format!("`kubectl create namespace {namespace}`, or take it out of --namespace"),
            ),
            other => no_answer(&other, "namespaces"),
        }]
    })
    .await
}

pub async fn quota(patient: &Patient) -> Vec<Finding> {
    each(patient, async |cluster, namespace| {
        let quotas = match cluster.quotas(namespace).await {
            Asked::Found(quotas) => quotas,
            other => return vec![no_answer(&other, "resourcequotas")],
        };
        let ranges = match cluster.limit_ranges(namespace).await {
            Asked::Found(ranges) => ranges,
            Asked::Failed(_) | Asked::NotAllowed | Asked::Unknown | Asked::Absent => Vec::new(),
        };
        let mut found: Vec<Finding> = tight(&quotas, &ranges).into_iter().map(|it| told(it, namespace)).collect();
        if found.is_empty() {
            found.push(Finding::ok(match quotas.len() {
                0 => "there is none".to_owned(),
                some => format!("{some} leave room"),
            }));
        }
        found
    })
    .await
}

fn told(tight: Tight, namespace: &str) -> Finding {
    let raise = |quota: &str, what: &str| {
        let patch = format!("{{\"spec\":{{\"hard\":{{\"{what}\":\"N\"}}}}}}");
        format!("`kubectl -n {namespace} patch resourcequota {quota} --type merge -p '{patch}'`")
    };
    match tight {
        Tight::Never { quota, what } => Finding::fail(
            format!("the quota {quota} allows no {what} at all"),
            "every job of the namespace waits, and says `quota` or `pod_quota`",
            raise(&quota, &what),
        ),
        Tight::Full { quota, what, used, hard } => Finding::warn(
            format!("the quota {quota} is used up: {used} of {hard} {what}"),
            "jobs of the namespace wait, and say `quota` or `pod_quota`, until something ends",
            format!("wait, or {}", raise(&quota, &what)),
        ),
        Tight::Demands { quota, what } => Finding::warn(
            format!("the quota {quota} bounds {what}, and no LimitRange gives it to containers that do not name it"),
            "the pods of jobs that name no resources are refused",
            format!(
                "name `resources` in jobs and templates, or `kubectl -n {namespace} create -f -` a LimitRange: \
                 {{\"apiVersion\":\"v1\",\"kind\":\"LimitRange\",\"metadata\":{{\"name\":\"defaults\"}},\"spec\":{{\"limits\":[{{\"type\":\"Container\",\
                 \"default\":{{\"cpu\":\"1\",\"memory\":\"512Mi\"}},\"defaultRequest\":{{\"cpu\":\"100m\",\"memory\":\"128Mi\"}}}}]}}}}"
            ),
        ),
    }
}

pub async fn pod_security(patient: &Patient) -> Vec<Finding> {
    each(patient, async |cluster, namespace| {
        let it = match cluster.namespace_object(namespace).await {
            Asked::Found(it) => it,
            Asked::Absent => return vec![Finding::because_of("namespace")],
            other => return vec![no_answer(&other, "namespaces")],
        };
        let Some(level) = it["metadata"]["labels"][LEVEL].as_str() else {
            return vec![Finding::ok("no level is enforced by a label")];
        };
        match server(cluster).await {
            Err(finding) => return vec![finding],
            Ok(server) if server.minor.is_some_and(|it| it < LABELS_SINCE) => {
                let found = format!("{level} is asked for, which means nothing to Kubernetes {}", server.version);
                return vec![Finding::ok(found)];
            }
            Ok(_) => {}
        }
        vec![met(patient, namespace, level)]
    })
    .await
}

/// Whether a job that says nothing of its security meets the level.
fn met(patient: &Patient, namespace: &str, level: &str) -> Finding {
    let policy = match level {
        "restricted" => PodPolicy { level: Level::Restricted, ..PodPolicy::default() },
        "baseline" => PodPolicy { level: Level::Baseline, ..PodPolicy::default() },
        _ => return Finding::ok(format!("{level} is enforced, which any pod meets")),
    };
    let Ok(job) = jobs::default_of(patient, namespace) else { return Finding::because_of("default-job") };
    match policy.check(job, &jobs::nothing_said()) {
        Ok(_) => Finding::ok(format!("{level} is enforced, and a job that says nothing of its security meets it")),
        Err(faults) => Finding::warn(
            format!(
                "{level} is enforced, and a job that says nothing of its security breaks {} of its rules",
                faults.len()
            ),
            "its pods are refused; it holds its slot until the start timeout, and fails",
            format!(
                "say in jobs, or in a template that --default-template names: \"pod_security_context\": {{\"runAsNonRoot\": true, \
                 \"runAsUser\": 65532, \"seccompProfile\": {{\"type\": \"RuntimeDefault\"}}}}, \"security_context\": \
                 {{\"allowPrivilegeEscalation\": false, \"capabilities\": {{\"drop\": [\"ALL\"]}}}}; or \
                 `kubectl label namespace {namespace} {LEVEL}=baseline --overwrite`; `level: restricted` in the pod policy \
                 refuses such jobs when they are submitted"
            ),
        ),
    }
}

pub async fn accounts(patient: &Patient) -> Vec<Finding> {
    each(patient, async |cluster, namespace| {
        let mut found = Vec::new();
        let mut there: Vec<&str> = Vec::new();
        for name in cluster.policy.service_accounts.iter().filter(|it| *it != "*") {
            match cluster.service_account(namespace, name).await {
                Asked::Found(Value::Object(_)) => there.push(name),
                Asked::Absent if cluster.namespace_object(namespace).await == Asked::Absent => {
                    return vec![Finding::because_of("namespace")];
                }
                Asked::Absent => found.push(Finding::fail(
                    format!("there is no service account {name}"),
                    "the pods of jobs that name it are never made",
                    format!("`kubectl -n {namespace} create serviceaccount {name}`, or take it out of the pod policy"),
                )),
                other => return vec![no_answer(&other, "serviceaccounts")],
            }
        }
        if found.is_empty() {
            found.push(Finding::ok(match there.is_empty() {
                true => "none is named".to_owned(),
                false => format!("there: {}", there.join(", ")),
            }));
        }
        found
    })
    .await
}
