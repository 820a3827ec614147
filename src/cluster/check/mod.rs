//! What Kubernetes would refuse in a Job although its types allow it: names, numbers, amounts, references from one part to
//! another. It is asked of the built Job before a submission is accepted, so that the API server's refusal does not come
//! only after the job has waited.
//!
//! It need not be complete, for the API server is asked too where it can be; but it must never refuse what some version of
//! Kubernetes takes, but for what would keep Longshore from following the Job: a selector of its own, finalizers.

mod container;
mod volume;

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
};

use k8s_openapi::{
    api::{
        batch::v1::{Job, JobSpec},
        core::v1::{PodSpec, Toleration},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::spec::{Fault, Spec, check_dns_label, check_label_value, check_qualified_name, escape};

use super::{origin::Origin, shape};

/// The largest Job, in bytes of JSON: etcd takes 1.5 MiB, and the API server adds defaults and its notes on who owns which
/// field.
const JOB_BYTES: usize = 1024 * 1024;
/// The most bytes of annotations on an object: Kubernetes' own limit.
const ANNOTATION_BYTES: usize = 256 * 1024;

/// Every fault of a built Job, by the fields of the request that it was built from.
pub fn faults(job: &Job, spec: &Spec) -> Vec<Fault> {
    let mut faults = Faults { origin: Origin(spec), found: Vec::new() };
    // What is built from fields is hardly larger than the request, which is bounded.
    if spec.manifest.is_some() {
        faults.size(job);
    }
    faults.metadata("/metadata", &job.metadata);
    if let Some(job) = &job.spec {
        faults.job(job);
    }
    // A label of the request is on Job and pods, and is told once.
    let mut told = HashSet::new();
    faults.found.retain(|it| told.insert((it.pointer.clone(), it.detail.clone())));
    faults.found
}

/// What was found so far.
struct Faults<'a> {
    origin: Origin<'a>,
    found: Vec<Fault>,
}

impl Faults<'_> {
    /// `path` is a JSON Pointer into the Job.
    fn add(&mut self, path: impl AsRef<str>, detail: impl Into<String>) {
        self.found.push(Fault::new(self.origin.pointer(path.as_ref()), detail));
    }

    fn size(&mut self, job: &Job) {
        let bytes = serde_json::to_vec(job).map_or(0, |it| it.len());
        if bytes > JOB_BYTES {
            self.found.push(Fault::new("", format!("its Kubernetes Job has {bytes} bytes; {JOB_BYTES} are the most")));
        }
    }

    fn metadata(&mut self, at: &str, meta: &ObjectMeta) {
        self.labels(&format!("{at}/labels"), meta.labels.as_ref());
        let annotations = meta.annotations.iter().flatten();
        let bytes: usize = annotations.clone().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > ANNOTATION_BYTES {
            let detail = format!("has {bytes} bytes with Longshore's own; {ANNOTATION_BYTES} are the most");
            self.add(format!("{at}/annotations"), detail);
        }
        for (key, _) in annotations {
            // Unlike a label's, the prefix of its key may be in capitals.
            if let Err(detail) = check_qualified_name(&key.to_lowercase()) {
                self.add(format!("{at}/annotations/{}", escape(key)), detail);
            }
        }
    }

    fn labels(&mut self, at: &str, labels: Option<&BTreeMap<String, String>>) {
        for (key, value) in labels.into_iter().flatten() {
            if let Err(detail) = check_qualified_name(key).and_then(|()| check_label_value(value)) {
                self.add(format!("{at}/{}", escape(key)), detail);
            }
        }
    }

    fn job(&mut self, spec: &JobSpec) {
        for (field, value) in [
            ("parallelism", spec.parallelism.map(i64::from)),
            ("completions", spec.completions.map(i64::from)),
            ("backoffLimit", spec.backoff_limit.map(i64::from)),
            ("backoffLimitPerIndex", spec.backoff_limit_per_index.map(i64::from)),
            ("maxFailedIndexes", spec.max_failed_indexes.map(i64::from)),
            ("activeDeadlineSeconds", spec.active_deadline_seconds),
        ] {
            if value.is_some_and(|it| it < 0) {
                self.add(format!("/spec/{field}"), "must not be negative");
            }
        }
        let indexed = spec.completion_mode.as_deref() == Some("Indexed");
        if !one_of(spec.completion_mode.as_deref(), &["Indexed", "NonIndexed"]) {
            self.add("/spec/completionMode", "must be Indexed or NonIndexed");
        }
        if indexed && spec.completions.is_none() {
            self.add("/spec/completions", "must be given where the completion mode is Indexed");
        }
        if !indexed && spec.backoff_limit_per_index.is_some() {
            self.add("/spec/backoffLimitPerIndex", "needs completionMode: Indexed");
        }
        if spec.selector.is_some() {
            self.add("/spec/selector", "is made by Kubernetes; leave it out");
        }
        if spec.manual_selector == Some(true) {
            self.add("/spec/manualSelector", "would let it take the pods of other Jobs; leave it out");
        }
        let at = "/spec/template/metadata";
        if let Some(meta) = &spec.template.metadata {
            self.metadata(at, meta);
            if meta.finalizers.as_ref().is_some_and(|it| !it.is_empty()) {
                self.add(format!("{at}/finalizers"), "would keep its pods, and with them its slot; leave them out");
            }
            if meta.owner_references.as_ref().is_some_and(|it| !it.is_empty()) {
                self.add(format!("{at}/ownerReferences"), "are made by Kubernetes; leave them out");
            }
        }
        if let Some(pod) = &spec.template.spec {
            self.pod("/spec/template/spec", pod);
        }
    }

    fn pod(&mut self, at: &str, pod: &PodSpec) {
        if !one_of(pod.restart_policy.as_deref(), &["Never", "OnFailure"]) {
            self.add(format!("{at}/restartPolicy"), "must be Never or OnFailure in a Job");
        }
        if pod.termination_grace_period_seconds.is_some_and(|it| it < 0) {
            self.add(format!("{at}/terminationGracePeriodSeconds"), "must not be negative");
        }
        if pod.active_deadline_seconds.is_some_and(|it| it < 1) {
            self.add(format!("{at}/activeDeadlineSeconds"), "must be 1 or more");
        }
        for (field, name) in [
            ("serviceAccountName", &pod.service_account_name),
            ("serviceAccount", &pod.service_account),
            ("priorityClassName", &pod.priority_class_name),
            ("runtimeClassName", &pod.runtime_class_name),
        ] {
            if name.as_ref().is_some_and(|it| !it.is_empty() && !shape::is_subdomain(it)) {
                self.add(format!("{at}/{field}"), NOT_A_NAME);
            }
        }
        for (index, secret) in pod.image_pull_secrets.iter().flatten().enumerate() {
            if !secret.name.is_empty() && !shape::is_subdomain(&secret.name) {
                let path = format!("{at}/imagePullSecrets/{index}");
                let by_name = self.origin.0.manifest.is_some();
                self.add(if by_name { format!("{path}/name") } else { path }, NOT_A_NAME);
            }
        }
        self.labels(&format!("{at}/nodeSelector"), pod.node_selector.as_ref());
        for (index, toleration) in pod.tolerations.iter().flatten().enumerate() {
            self.toleration(&format!("{at}/tolerations/{index}"), toleration);
        }
        for (index, alias) in pod.host_aliases.iter().flatten().enumerate() {
            if alias.ip.parse::<IpAddr>().is_err() {
                self.add(format!("{at}/hostAliases/{index}/ip"), "must be an address such as 10.0.0.1");
            }
        }
        let volumes = self.volumes(at, pod);
        self.containers(at, pod, &volumes);
    }

    fn toleration(&mut self, at: &str, it: &Toleration) {
        let key = it.key.as_deref().unwrap_or_default();
        if !key.is_empty() && check_qualified_name(key).is_err() {
            self.add(format!("{at}/key"), "is not a valid key: `name` or `example.com/name`");
        }
        if key.is_empty() && it.operator.as_deref() != Some("Exists") {
            self.add(format!("{at}/operator"), "must be Exists where no key is given");
        }
        if it.operator.as_deref() == Some("Exists") && it.value.as_ref().is_some_and(|it| !it.is_empty()) {
            self.add(format!("{at}/value"), "must not be given where the operator is Exists");
        }
        let effects = ["", "NoSchedule", "PreferNoSchedule", "NoExecute"];
        if !one_of(it.effect.as_deref(), &effects) {
            self.add(format!("{at}/effect"), "must be NoSchedule, PreferNoSchedule or NoExecute");
        }
    }

    /// A name that must be a DNS label, and that no other of its kind has.
    fn unique_label(&mut self, at: &str, name: &str, seen: &mut HashSet<String>) {
        if let Err(detail) = check_dns_label(name) {
            self.add(format!("{at}/name"), detail);
        } else if !seen.insert(name.to_owned()) {
            self.add(format!("{at}/name"), format!("{name:?} is the name of another one already"));
        }
    }
}

const NOT_A_NAME: &str = "must be a name of lower-case letters, digits, `-` and `.`, beginning and ending with a letter or \
                          digit";

fn one_of(value: Option<&str>, allowed: &[&str]) -> bool {
    value.is_none_or(|it| allowed.contains(&it))
}

#[cfg(test)]
mod tests;
