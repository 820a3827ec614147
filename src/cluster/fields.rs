//! From the fields of a job without a manifest to the spec of its Kubernetes Job. Each value that is Kubernetes' own is read
//! strictly, and a fault names the field as the request has it.

use k8s_openapi::api::{
    batch::v1::JobSpec,
    core::v1::{
        Affinity, Container, ContainerPort, EnvFromSource, EnvVar, HostAlias, LocalObjectReference, PodSecurityContext,
        PodSpec, PodTemplateSpec, ResourceRequirements, SecurityContext, Toleration, Volume, VolumeMount,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::spec::{Fault, PodFields, Spec, escape};

use super::{manifest::Defaults, strict};

/// The name of the one container.
pub const CONTAINER: &str = "main";

pub fn job_spec(spec: &Spec, defaults: &Defaults) -> Result<JobSpec, Vec<Fault>> {
    Ok(JobSpec {
        parallelism: spec.parallelism,
        completions: spec.completions,
        completion_mode: spec.pod.completion_mode.clone(),
        template: PodTemplateSpec { metadata: None, spec: Some(pod(spec, defaults)?) },
        ..JobSpec::default()
    })
}

fn pod(spec: &Spec, defaults: &Defaults) -> Result<PodSpec, Vec<Fault>> {
    let fields: &PodFields = &spec.pod;
    let secret = |name: &String| LocalObjectReference { name: name.clone() };
    let secrets: Vec<LocalObjectReference> = fields.image_pull_secrets.iter().map(secret).collect();
    Ok(PodSpec {
        containers: vec![container(spec, defaults)?],
        service_account_name: spec.service_account.clone(),
        automount_service_account_token: fields.service_account_token,
        image_pull_secrets: (!secrets.is_empty()).then_some(secrets),
        node_selector: (!fields.node_selector.is_empty()).then(|| fields.node_selector.clone()),
        tolerations: read::<Vec<Toleration>>(&fields.tolerations, "/tolerations")?,
        affinity: read::<Affinity>(&fields.affinity, "/affinity")?,
        volumes: read::<Vec<Volume>>(&fields.volumes, "/volumes")?,
        host_aliases: read::<Vec<HostAlias>>(&fields.host_aliases, "/host_aliases")?,
        security_context: read::<PodSecurityContext>(&fields.pod_security_context, "/pod_security_context")?,
        priority_class_name: fields.priority_class.clone(),
        runtime_class_name: fields.runtime_class.clone(),
        termination_grace_period_seconds: fields.termination_grace_period_secs,
        ..PodSpec::default()
    })
}

fn container(spec: &Spec, defaults: &Defaults) -> Result<Container, Vec<Fault>> {
    let fields = &spec.pod;
    let mut resources = spec.resources.clone();
    if let Some(resources) = &mut resources {
        let mut wrapped = json!({ "resources": resources.take() });
        quantities_as_text(&mut wrapped);
        *resources = wrapped["resources"].take();
    }
    let pull_policy = fields.image_pull_policy.as_ref().unwrap_or(&defaults.image_pull_policy);
    Ok(Container {
        name: CONTAINER.into(),
        image: Some(spec.image.clone().unwrap_or_else(|| defaults.image.clone())),
        image_pull_policy: Some(pull_policy.clone()),
        command: (!spec.command.is_empty()).then(|| spec.command.clone()),
        args: (!spec.args.is_empty()).then(|| spec.args.clone()),
        working_dir: fields.working_dir.clone(),
        env: spec.env.as_ref().map(env).transpose()?,
        env_from: read::<Vec<EnvFromSource>>(&spec.env_from, "/env_from")?,
        resources: read::<ResourceRequirements>(&resources, "/resources")?,
        volume_mounts: read::<Vec<VolumeMount>>(&fields.volume_mounts, "/volume_mounts")?,
        ports: read::<Vec<ContainerPort>>(&fields.ports, "/ports")?,
        security_context: read::<SecurityContext>(&fields.security_context, "/security_context")?,
        ..Container::default()
    })
}

fn read<T: DeserializeOwned + Serialize>(given: &Option<Value>, at: &str) -> Result<Option<T>, Vec<Fault>> {
    let Some(given) = given else { return Ok(None) };
    let mut given = given.clone();
    // A volume can have quantities too.
    quantities_as_text(&mut given);
    strict::read(given, at).map(Some)
}

/// `{"NAME": "value"}`, or Kubernetes' own list.
fn env(given: &Value) -> Result<Vec<EnvVar>, Vec<Fault>> {
    let Value::Object(entries) = given else { return strict::read(given.clone(), "/env") };
    let entry = |(name, value): (&String, &Value)| match value {
        Value::String(value) => Ok(EnvVar { name: name.clone(), value: Some(value.clone()), value_from: None }),
        _ => Err(vec![Fault::new(format!("/env/{}", escape(name)), "must be a string")]),
    };
    entries.iter().map(entry).collect()
}

/// Kubernetes takes `cpu: 1` for `cpu: "1"`, in `limits` and `requests`, and the same of `sizeLimit`; the types here take
/// text only.
pub fn quantities_as_text(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields.iter_mut() {
                match (key.as_str(), &mut *field) {
                    ("limits" | "requests", Value::Object(quantities)) => quantities.values_mut().for_each(as_text),
                    ("sizeLimit", size) => as_text(size),
                    _ => {}
                }
                quantities_as_text(field);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(quantities_as_text),
        _ => {}
    }
}

fn as_text(quantity: &mut Value) {
    if quantity.is_number() {
        *quantity = Value::String(quantity.to_string());
    }
}
