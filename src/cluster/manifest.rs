//! From what a job is to do to the Kubernetes Job that does it. Pure; the one place where a Job is built.
//!
//! What Longshore sets on every Job, whatever the submitter said: the name, the namespace, its own labels (on Job and
//! pods) and annotations. What it sets unless a manifest says otherwise: `restartPolicy: Never` and `backoffLimit: 0`,
//! because retries are Longshore's; and no token of a service account that was not named. `ttlSecondsAfterFinished` is at least [`FALLBACK_TTL_SECS`]: the cleaner is Longshore,
//! and a Job must not go before its outcome is recorded.

use k8s_openapi::{
    api::{
        batch::v1::{Job, JobSpec},
        core::v1::PodSpec,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::Value;

use crate::{
    id::{AttemptNo, JobId, Nonce},
    retry::Policy,
    spec::{Fault, Spec},
};

use super::{fields, strict};

pub const INSTANCE: &str = "longshore.dev/instance";
pub const JOB_ID: &str = "longshore.dev/job-id";
pub const ATTEMPT: &str = "longshore.dev/attempt";
pub const QUEUE: &str = "longshore.dev/queue";
pub const NONCE: &str = "longshore.dev/nonce";
pub const SPEC_HASH: &str = "longshore.dev/spec-hash";
/// The job's name as it was submitted, for people who look with kubectl.
pub const JOB_NAME: &str = "longshore.dev/job-name";

/// When Kubernetes itself removes a finished Job that Longshore never came back for: a day.
pub const FALLBACK_TTL_SECS: i32 = 24 * 3600;

/// How long a start is expected to take where nothing bounds it, in seconds: a day. See [`second_deadline_secs`].
const START_ALLOWANCE_SECS: f64 = 24.0 * 3600.0;

/// What a Job gets where its submitter said nothing.
#[derive(Debug, Clone)]
pub struct Defaults {
    pub image: String,
    /// Whether a node that has the image asks the registry for a newer one. Kubernetes' own default depends on the tag.
    pub image_pull_policy: String,
    /// How long a start may take whose job says nothing, in seconds; none is for ever.
    pub start_timeout_secs: Option<f64>,
}

/// Which attempt of which job a Kubernetes Job belongs to.
#[derive(Debug, Clone)]
pub struct Identity<'a> {
    pub instance: &'a str,
    pub job: JobId,
    pub attempt: AttemptNo,
    pub nonce: Nonce,
    pub spec_hash: &'a str,
    pub kube_name: String,
    pub namespace: &'a str,
    pub queue: &'a str,
    pub job_name: &'a str,
}

/// The Kubernetes Job of one attempt.
pub fn build(spec: &Spec, policy: &Policy, me: &Identity<'_>, defaults: &Defaults) -> Result<Job, Vec<Fault>> {
    let (meta, mut job_spec) = match &spec.manifest {
        Some(manifest) => from_manifest(manifest)?,
        None => (ObjectMeta::default(), fields::job_spec(spec, defaults)?),
    };
    job_spec.backoff_limit.get_or_insert(0);
    job_spec.ttl_seconds_after_finished = Some(job_spec.ttl_seconds_after_finished.unwrap_or(0).max(FALLBACK_TTL_SECS));
    if let Some(secs) = second_deadline_secs(policy, defaults) {
        job_spec.active_deadline_seconds = Some(job_spec.active_deadline_seconds.map_or(secs, |it| it.min(secs)));
    }
    if let Some(pod) = &mut job_spec.template.spec {
        pod.restart_policy.get_or_insert_with(|| "Never".into());
        withhold_token(pod);
    }
    mark(job_spec.template.metadata.get_or_insert_default(), spec, me);
    let mut metadata = ObjectMeta {
        name: Some(me.kube_name.clone()),
        namespace: Some(me.namespace.to_owned()),
        labels: meta.labels,
        annotations: meta.annotations,
        ..ObjectMeta::default()
    };
    mark(&mut metadata, spec, me);
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(NONCE.into(), me.nonce.to_string());
    annotations.insert(SPEC_HASH.into(), me.spec_hash.to_owned());
    annotations.insert(JOB_NAME.into(), me.job_name.to_owned());
    Ok(Job { metadata, spec: Some(job_spec), status: None })
}

/// Whoever names no service account and asks for no token has no use for one: a program that came in over HTTP need not be
/// able to speak to the API server in the name of the namespace's default account.
fn withhold_token(pod: &mut PodSpec) {
    let named = [&pod.service_account_name, &pod.service_account].into_iter().flatten().any(|it| !it.is_empty());
    if !named {
        pod.automount_service_account_token.get_or_insert(false);
    }
}

/// The second line of defence behind a job's `timeout`, for when no replica is there to see to it. Kubernetes counts from
/// the Job's start, and Longshore from when a container runs: so as not to be first, it is longer by what the start may
/// take: a job that waited for a node, or for its image, still has all of its `timeout` to run.
fn second_deadline_secs(policy: &Policy, defaults: &Defaults) -> Option<i64> {
    let start_secs = policy.start_timeout_secs.or(defaults.start_timeout_secs).unwrap_or(START_ALLOWANCE_SECS);
    policy.timeout_secs.map(|it| (it + start_secs).ceil() as i64)
}

/// Puts the submitter's labels and annotations, and then ours, on an object.
fn mark(meta: &mut ObjectMeta, spec: &Spec, me: &Identity<'_>) {
    let annotations = meta.annotations.get_or_insert_default();
    annotations.extend(spec.annotations.clone());
    let labels = meta.labels.get_or_insert_default();
    labels.extend(spec.labels.clone());
    labels.extend([
        ("app.kubernetes.io/managed-by".to_owned(), "longshore".to_owned()),
        (INSTANCE.to_owned(), me.instance.to_owned()),
        (JOB_ID.to_owned(), me.job.to_string()),
        (ATTEMPT.to_owned(), me.attempt.to_string()),
        (QUEUE.to_owned(), me.queue.to_owned()),
    ]);
}

fn from_manifest(manifest: &Value) -> Result<(ObjectMeta, JobSpec), Vec<Fault>> {
    let mut manifest = manifest.clone();
    let mut faults = Vec::new();
    for (key, wanted) in [("apiVersion", "batch/v1"), ("kind", "Job")] {
        if manifest.get(key).and_then(Value::as_str) != Some(wanted) {
            faults.push(Fault::new(format!("/manifest/{key}"), format!("must be {wanted}")));
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    fields::quantities_as_text(&mut manifest);
    let job: Job = strict::read(manifest, "/manifest")?;
    let Some(spec) = job.spec else { return Err(vec![Fault::new("/manifest/spec", "must be given")]) };
    if spec.template.spec.as_ref().is_none_or(|it| it.containers.is_empty()) {
        return Err(vec![Fault::new("/manifest/spec/template/spec/containers", "must have a container")]);
    }
    Ok((job.metadata, spec))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn build_from(spec: Value) -> Result<Job, Vec<Fault>> {
        let spec: Spec = serde_json::from_value(spec).unwrap();
        let id = JobId::new();
        let me = Identity {
            instance: "longshore-test",
            job: id,
            attempt: 1,
            nonce: Nonce(uuid::Uuid::nil()),
            spec_hash: "abc",
            kube_name: "job1-1".into(),
            namespace: "default",
            queue: "default",
            job_name: "job1",
        };
        let defaults = Defaults {
            image: "busybox:latest".into(),
            image_pull_policy: "IfNotPresent".into(),
            start_timeout_secs: Some(3600.0),
        };
        let policy = Policy { timeout_secs: Some(60.0), start_timeout_secs: Some(30.0), ..Policy::default() };
        build(&spec, &policy, &me, &defaults)
    }

    fn pointers(result: Result<Job, Vec<Fault>>) -> Vec<String> {
        result.err().unwrap_or_default().into_iter().map(|it| it.pointer).collect()
    }

    #[test]
    fn fields_become_a_job_that_never_retries_by_itself() {
        let job = build_from(json!({
            "command": ["sleep", "1"], "env": {"A": "1"}, "resources": {"limits": {"cpu": 1, "memory": "64Mi"}},
            "labels": {"team": "a"},
        }))
        .unwrap();
        let job = serde_json::to_value(job).unwrap();
        let pod = &job["spec"]["template"]["spec"];
        assert_eq!(pod["restartPolicy"], "Never");
        assert_eq!(job["spec"]["backoffLimit"], 0);
        assert_eq!(job["spec"]["activeDeadlineSeconds"], 90, "Longshore's own deadline is first");
        assert_eq!(pod["containers"][0]["image"], "busybox:latest");
        assert_eq!(pod["containers"][0]["resources"]["limits"], json!({"cpu": "1", "memory": "64Mi"}));
        assert_eq!(job["spec"]["template"]["metadata"]["labels"][INSTANCE], "longshore-test");
        assert_eq!(job["metadata"]["labels"]["team"], "a");
        assert_eq!(job["metadata"]["annotations"][SPEC_HASH], "abc");
    }

    #[test]
    fn kubernetes_ends_no_job_that_started_late_before_its_own_timeout() {
        let defaults =
            |secs| Defaults { image: String::new(), image_pull_policy: String::new(), start_timeout_secs: secs };
        let policy = |start| Policy { timeout_secs: Some(60.0), start_timeout_secs: start, ..Policy::default() };
        assert_eq!(second_deadline_secs(&policy(Some(30.0)), &defaults(Some(3600.0))), Some(90));
        assert_eq!(second_deadline_secs(&policy(None), &defaults(Some(3600.0))), Some(3660));
        assert!(second_deadline_secs(&policy(None), &defaults(None)).is_some_and(|it| it > 3660));
        assert_eq!(second_deadline_secs(&Policy::default(), &defaults(None)), None);
    }

    #[test]
    fn misspelt_and_wrong_fields_are_refused_with_their_path() {
        let manifest = |spec: Value| json!({"manifest": {"apiVersion": "batch/v1", "kind": "Job", "spec": spec}});
        let container = json!({"name": "a", "image": "b"});
        assert_eq!(
            pointers(build_from(manifest(
                json!({"backoffLimitt": 1, "template": {"spec": {"containers": [container]}}})
            ))),
            ["/manifest/spec/backoffLimitt"]
        );
        assert_eq!(
            pointers(build_from(manifest(
                json!({"template": {"spec": {"containers": [{"name": "a", "imagee": "b", "ports": null}]}}})
            ))),
            ["/manifest/spec/template/spec/containers/0/imagee"]
        );
        assert_eq!(
            pointers(build_from(manifest(json!({"template": {"spec": {"containers": [{"name": 1}]}}})))),
            ["/manifest/spec/template/spec/containers/0/name"]
        );
        assert_eq!(pointers(build_from(json!({"env": {"A": 1}}))), ["/env/A"]);
        assert_eq!(pointers(build_from(json!({"env_from": [{"secretReff": {}}]}))), ["/env_from/0/secretReff"]);
        assert_eq!(
            pointers(build_from(json!({"manifest": {"kind": "Pod", "apiVersion": "batch/v1"}}))),
            ["/manifest/kind"]
        );
    }

    #[test]
    fn a_manifest_keeps_what_it_says_and_cannot_take_our_marks() {
        let job = build_from(json!({"manifest": {
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": "theirs", "labels": {INSTANCE: "forged", "team": "b"}},
            "spec": {"backoffLimit": 3, "ttlSecondsAfterFinished": 0, "template": {"spec": {
                "restartPolicy": "OnFailure", "containers": [{"name": "a", "image": "b"}]}}},
        }}))
        .unwrap();
        let job = serde_json::to_value(job).unwrap();
        assert_eq!(job["metadata"]["name"], "job1-1");
        assert_eq!(job["metadata"]["labels"][INSTANCE], "longshore-test");
        assert_eq!(job["metadata"]["labels"]["team"], "b");
        assert_eq!(job["spec"]["backoffLimit"], 3);
        assert_eq!(job["spec"]["template"]["spec"]["restartPolicy"], "OnFailure");
        assert_eq!(job["spec"]["ttlSecondsAfterFinished"], FALLBACK_TTL_SECS);
    }
}
