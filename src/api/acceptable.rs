//! Whether a submission could ever be created: what could not is refused now, and not after it has waited.

use crate::{
    cluster::{
        KubeJob, check,
        dry_run::Verdict,
        manifest::{self, Defaults, Identity},
        origin::Origin,
    },
    id::{JobId, Nonce},
    spec::{Fault, Spec, Submission},
};

use super::{Problem, reader::Reader};

/// Builds the job's Kubernetes Job, checks it by what is known here of Kubernetes and by the pod policy, and asks the API
/// server where that is worth it.
pub async fn check(reader: &Reader, submission: &Submission) -> Result<(), Problem> {
    let Submission { namespace, spec, .. } = submission;
    if !reader.cluster.covers(namespace) {
        let allowed = reader.cluster.namespaces.join(", ");
        let detail = format!("is none of the namespaces that this installation serves: {allowed}");
        return Err(Problem::invalid_fields(vec![Fault::new("/namespace", detail)]));
    }
    let built = build(submission, &reader.defaults).map_err(Problem::invalid_fields)?;
    let checked = reader.cluster.policy.check(built, spec).map_err(Problem::pod_policy)?;
    if !is_free(spec) {
        return Ok(());
    }
    match reader.cluster.would_take(&checked, namespace).await {
        Verdict::Taken | Verdict::Unknown => Ok(()),
        Verdict::Invalid(causes) => {
            let fault = |(path, detail): (String, String)| Fault::new(Origin(spec).pointer(&path), detail);
            Err(Problem::invalid_fields(causes.into_iter().map(fault).collect()))
        }
        Verdict::Denied(message) => Err(Problem::manifest_denied(message)),
        Verdict::NoNamespace => {
            let detail = "is a namespace that this installation serves, and that the cluster does not have";
            Err(Problem::invalid_fields(vec![Fault::new("/namespace", detail)]))
        }
    }
}

/// The job's Kubernetes Job, or all that is known here to be wrong with it.
pub fn build(submission: &Submission, defaults: &Defaults) -> Result<KubeJob, Vec<Fault>> {
    let Submission { name, queue, namespace, policy, spec, .. } = submission;
    let nobody = Identity {
        instance: "longshore",
        job: JobId::new(),
        attempt: 1,
        nonce: Nonce(uuid::Uuid::nil()),
        spec_hash: "",
        kube_name: "longshore".into(),
        namespace,
        queue,
        job_name: name,
    };
    let built = manifest::build(spec, policy, &nobody, defaults)?;
    let faults = check::faults(&built, spec);
    if faults.is_empty() { Ok(built) } else { Err(faults) }
}

/// Whether a spec has something in it that only Kubernetes knows all the rules of. Image, command, arguments, variables and
/// labels are known here, so that a plain job costs the API server no question.
fn is_free(spec: &Spec) -> bool {
    let is_list = |it: &Option<serde_json::Value>| it.as_ref().is_some_and(serde_json::Value::is_array);
    spec.manifest.is_some()
        || spec.env_from.is_some()
        || spec.resources.is_some()
        || is_list(&spec.env)
        || !spec.pod.given().is_empty()
}
