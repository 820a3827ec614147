//! From one job of a jobs file to the request for its worker job: what `podConfig` says, as a Kubernetes Job.
//!
//! The Job is the one that job-chief made, with three differences. Settings of the database come from a Secret (and a
//! ConfigMap), by reference, so that no password is in a manifest. Annotations are on the pods as well. And where job-chief
//! wrote a variable twice, which Kubernetes resolves in favour of the last, the last alone is there.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::spec::check_label_value;

use super::jobs_json::{Job, Liveness, PodConfig, PullPolicy};

/// What job-chief called the container, and its certificates' volume.
const CONTAINER: &str = "worker";
const CERTIFICATES: &str = "db-ssl-certs";
/// The variables that `injectPgConfig` gives a pod, and whether job-chief's chart kept each in its Secret.
pub const VARIABLES: [(&str, bool); 6] = [
    ("DB_HOST", false),
    ("DB_PORT", false),
    ("DB_USERNAME", true),
    ("DB_PASSWORD", true),
    ("DB_NAME", false),
    ("DB_SCHEMA", false),
];

/// Where a pod's settings of the database come from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inject {
    /// The Secret that has them.
    pub secret: String,
    /// The ConfigMap that has those which are no secret, where the Secret has not.
    pub config_map: Option<String>,
    /// What they are called there, where it is not the variable's own name.
    #[serde(default)]
    pub keys: BTreeMap<String, String>,
    pub certificates: Option<Certificates>,
}

/// A Secret with certificates, and where its files are in the pod.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificates {
    pub secret: String,
    pub ca: String,
    pub cert: String,
    pub key: String,
}

/// What all pods of an entry have in common.
#[derive(Debug, Clone, Default)]
pub struct Common {
    /// job-chief's `app.instanceUid`, as its label `owner-id`.
    pub owner: Option<String>,
    pub pull_secret: Option<String>,
    pub inject: Option<Inject>,
    /// Fields of the pod's spec that a jobs file has no words for.
    pub pod: Map<String, Value>,
    /// What the entry says of its jobs, as `POST /jobs` takes it. It has the last word.
    pub job: Map<String, Value>,
}

impl Inject {
    /// A fault, and the field it is in.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if let Some(other) = self.keys.keys().find(|it| VARIABLES.iter().all(|(name, _)| name != it)) {
            let names = VARIABLES.map(|it| it.0).join(", ");
            return Err(("keys", format!("has {other:?}, which is none of {names}")));
        }
        let Some(it) = &self.certificates else { return Ok(()) };
        let dirs = [&it.ca, &it.cert, &it.key].map(|file| Path::new(file).parent().filter(|_| file.starts_with('/')));
        if dirs[0].is_none() || dirs.iter().any(|dir| *dir != dirs[0]) {
            let cause = "must name ca, cert and key as files of one folder, such as /tmp/certs/root.crt: the Secret is mounted there";
            return Err(("certificates", cause.into()));
        }
        Ok(())
    }

    fn reference(&self, variable: &str, secret: bool) -> Value {
        let key = self.keys.get(variable).map_or(variable, String::as_str);
        match &self.config_map {
            Some(name) if !secret => json!({"configMapKeyRef": {"name": name, "key": key}}),
            // Whoever shows a certificate needs no password.
            _ if variable == "DB_PASSWORD" && self.certificates.is_some() => {
                json!({"secretKeyRef": {"name": self.secret, "key": key, "optional": true}})
            }
            _ => json!({"secretKeyRef": {"name": self.secret, "key": key}}),
        }
    }
}

/// The request for a worker job of so many pods.
pub fn request(job: &Job, pods: i32, common: &Common) -> Map<String, Value> {
    let config = &job.pod_config;
    let inject = common.inject.as_ref().filter(|_| config.inject_pg_config);
    let mut pod = common.pod.clone();
    pod.insert("restartPolicy".into(), "Never".into());
    if let Some(secret) = &common.pull_secret {
        pod.insert("imagePullSecrets".into(), json!([{"name": secret}]));
    }
    let mut container = container(&job.queue_name, config, inject);
    if let Some(certificates) = inject.and_then(|it| it.certificates.as_ref()) {
        let dir = Path::new(&certificates.ca).parent().unwrap_or(Path::new("/"));
        push(&mut pod, "volumes", json!({"name": CERTIFICATES, "secret": {"secretName": certificates.secret}}));
        push(&mut container, "volumeMounts", json!({"name": CERTIFICATES, "mountPath": dir, "readOnly": true}));
    }
    pod.insert("containers".into(), json!([container]));
    let mut labels = BTreeMap::from([("queue-name".to_owned(), job.queue_name.clone())]);
    labels.extend(common.owner.iter().map(|it| ("owner-id".to_owned(), it.clone())));
    // They are there for people to select by; what cannot be a label is in the name as well.
    labels.retain(|_, value| check_label_value(value).is_ok());
    let manifest = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "spec": {"parallelism": pods, "backoffLimit": 0, "template": {"spec": pod}},
    });
    let mut request = Map::from_iter([
        ("name".to_owned(), job.queue_name.clone().into()),
        ("start_timeout".to_owned(), format!("{}ms", job.job_start_timeout.as_millis()).into()),
        ("labels".to_owned(), json!(labels)),
        ("annotations".to_owned(), json!(config.annotations.clone().unwrap_or_default())),
        ("manifest".to_owned(), manifest),
    ]);
    for (field, value) in &common.job {
        match (request.get_mut(field), value) {
            (Some(Value::Object(ours)), Value::Object(theirs)) if field != "manifest" => ours.extend(theirs.clone()),
            _ => drop(request.insert(field.clone(), value.clone())),
        }
    }
    request
}

fn container(queue: &str, config: &PodConfig, inject: Option<&Inject>) -> Map<String, Value> {
    let mut container = Map::from_iter([
        ("name".to_owned(), Value::from(CONTAINER)),
        ("image".to_owned(), config.image.clone().into()),
        ("env".to_owned(), env(queue, config, inject)),
    ]);
    let mut give = |field: &str, value: Option<Value>| {
        value.into_iter().for_each(|it| drop(container.insert(field.to_owned(), it)));
    };
    give("imagePullPolicy", config.pull_policy.map(|it| it.name().into()));
    give("command", config.command.as_ref().map(|it| json!(it)));
    give("args", config.args.as_ref().map(|it| json!(it)));
    give("resources", config.resources.clone().filter(|it| !it.is_null()));
    give("livenessProbe", config.liveness.as_ref().filter(|it| it.enabled).map(probe));
    let from = |kind: &'static str| move |name: &String| json!({kind: {"name": name}});
    let maps = config.configmaps.iter().flatten().map(from("configMapRef"));
    let all: Vec<Value> = maps.chain(config.secrets.iter().flatten().map(from("secretRef"))).collect();
    give("envFrom", (!all.is_empty()).then(|| all.into()));
    container
}

/// In job-chief's order; of two with one name the later stays.
fn env(queue: &str, config: &PodConfig, inject: Option<&Inject>) -> Value {
    let literal = |name: &str, value: &str| json!({"name": name, "value": value});
    let mut all = vec![literal("QUEUE_NAME", queue)];
    all.extend(config.env.iter().flatten().map(|it| literal(&it.name, &it.value)));
    if let Some(inject) = inject {
        let reference = |(name, secret)| json!({"name": name, "valueFrom": inject.reference(name, secret)});
        all.extend(VARIABLES.map(reference));
        if let Some(it) = &inject.certificates {
            all.push(literal("DB_ENABLE_SSL_AUTH", "true"));
            all.extend(
                [("DB_CA_PATH", &it.ca), ("DB_CERT_PATH", &it.cert), ("DB_KEY_PATH", &it.key)]
                    .map(|(name, path)| literal(name, path)),
            );
        }
    }
    let mut kept: Vec<Value> = Vec::with_capacity(all.len());
    for variable in all {
        kept.retain(|it| it["name"] != variable["name"]);
        kept.push(variable);
    }
    kept.into()
}

fn probe(liveness: &Liveness) -> Value {
    json!({
        "httpGet": {"path": liveness.path, "port": liveness.port},
        "initialDelaySeconds": liveness.initial_delay_seconds,
        "periodSeconds": liveness.period_seconds,
        "timeoutSeconds": liveness.timeout_seconds,
    })
}

/// Adds to a list that may be there already.
fn push(object: &mut Map<String, Value>, field: &str, value: Value) {
    // What is no list is refused with the manifest.
    if let Value::Array(items) = object.entry(field).or_insert_with(|| json!([])) {
        items.push(value);
    }
}

impl PullPolicy {
    const fn name(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

#[cfg(test)]
mod tests;
