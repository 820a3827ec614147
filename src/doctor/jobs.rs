//! What jobs are made of: the default image, and templates.

use std::sync::Arc;

use crate::{
    cluster::{
        KubeJob,
        config_map::Told,
        examine::{Asked, Verdict},
        manifest::{self, Identity},
    },
    id::{JobId, Nonce},
    retry::Policy,
    spec::{Fault, Spec},
    templates::shelf::{self, Places, Shelf},
};

use super::{cluster::given, patient::Patient, report::Finding};

/// A job of which nothing was said but its name.
pub fn nothing_said() -> Spec {
    Spec::default()
}

/// Its Kubernetes Job.
pub fn default_of(patient: &Patient, namespace: &str) -> Result<KubeJob, Vec<Fault>> {
    let nobody = Identity {
        instance: "longshore-doctor",
        job: JobId::new(),
        attempt: 1,
        nonce: Nonce(uuid::Uuid::nil()),
        spec_hash: "",
        kube_name: "longshore-doctor".into(),
        namespace,
        queue: "default",
        job_name: "doctor",
    };
    manifest::build(&nothing_said(), &Policy::default(), &nobody, &patient.defaults())
}

pub async fn default_job(patient: &Patient) -> Vec<Finding> {
    let cluster = match given(patient) {
        Ok(cluster) => cluster,
        Err(finding) => return vec![finding],
    };
    let mut found = Vec::new();
    for namespace in &cluster.namespaces {
        let told = match default_of(patient, namespace) {
            Ok(job) => judged(&job, cluster.try_create(&job, namespace).await, patient, &cluster.policy),
            Err(faults) => refused(&shelf::told(&faults)),
        };
        found.push(told.about(namespace));
    }
    found
}

fn refused(told: &str) -> Finding {
    Finding::fail(
        format!("a Job of the default image is refused: {told}"),
        "jobs that name no image and no template fail, or are refused when they are submitted",
        "do what the refusal says: another --default-image, a template by --default-template, or an exception where the rule is made",
    )
}

fn judged(
    job: &KubeJob,
    verdict: Result<Verdict, String>,
    patient: &Patient,
    policy: &crate::cluster::policy::PodPolicy,
) -> Finding {
    if let Err(faults) = policy.check(job.clone(), &nothing_said()) {
        return refused(&shelf::told(&faults));
    }
    match verdict {
        Ok(Verdict::Taken(warnings)) if warnings.is_empty() => {
            Finding::ok(format!("{} would be taken", patient.config.default_image))
        }
        Ok(Verdict::Taken(warnings)) => Finding::warn(
            format!("it would be taken, with a warning: {}", warnings.join("; ")),
            "its pods may be refused, or a later version of the cluster may refuse the Job",
            "do what the warning says, in jobs or in a template",
        ),
        Ok(Verdict::OverQuota(_)) => Finding::because_of("quota"),
        Ok(Verdict::NoNamespace) => Finding::because_of("namespace"),
        Ok(Verdict::NotPermitted) => Finding::because_of("permissions"),
        Ok(Verdict::Refused(told)) => refused(&told),
        Err(told) => Finding::fail(
            format!("the API server did not say whether it would take a Job: {told}"),
            "creates may go the same way, and are tried again",
            "look at webhooks of the cluster that do not answer: `kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations`",
        ),
    }
}

pub async fn templates(patient: &Patient) -> Vec<Finding> {
    let config = &patient.config;
    let (dir, map) = (config.templates.as_deref(), config.template_config_map.as_deref());
    let places = Places::of_flags(dir, map, config.default_template.as_deref(), &config.namespace);
    let why = "jobs that name it, or say nothing of what to run, are refused";
    let opened = places.and_then(|places| {
        let shelf = Shelf::open(places.clone(), Arc::new(patient.defaults()))?;
        Ok((places, shelf))
    });
    let (places, shelf) = match opened {
        Ok(opened) => opened,
        Err(err) => {
            let remedy = "correct the file or the setting; no replica starts with it";
            return vec![Finding::fail(format!("{err:#}"), why, remedy)];
        }
    };
    if places.dir.is_none() && places.config_map.is_none() {
        return vec![Finding::skipped("neither --templates nor --template-config-map is given")];
    }
    let mut found = Vec::new();
    if let Some((namespace, name)) = &places.config_map {
        let cluster = match given(patient) {
            Ok(cluster) => cluster,
            Err(finding) => return vec![finding],
        };
        match cluster.config_map(namespace, name).await {
            Asked::Found(mut it) => {
                let data = serde_json::from_value(it["data"].take()).unwrap_or_default();
                shelf.take_config_map(Told::There(data));
            }
            Asked::NotAllowed => found.push(Finding::because_of("permissions").about(format!("{namespace}/{name}"))),
            Asked::Absent | Asked::Unknown => found.push(
                Finding::fail(
                    "there is no such ConfigMap",
                    "its templates are used when it is there, and not before",
                    format!("`kubectl -n {namespace} create configmap {name} --from-file=FOLDER`"),
                )
                .about(format!("{namespace}/{name}")),
            ),
            Asked::Failed(told) => found.push(
                Finding::fail(format!("it could not be read: {told}"), why, "see that kubectl can read it from here")
                    .about(format!("{namespace}/{name}")),
            ),
        }
    }
    let entries = shelf.all();
    for (_, name, entry) in entries.iter().filter(|it| !it.2.faults.is_empty()) {
        let remedy =
            format!("correct {} as docs/templates.md says; the last good one stays in use meanwhile", entry.of);
        found.push(Finding::fail(format!("cannot be used: {}", shelf::told(&entry.faults)), why, remedy).about(name));
    }
    if let Some(default) = &places.default
        && !entries.iter().any(|it| it.1 == *default)
    {
        found.push(Finding::warn(
            format!("--default-template {default} is in neither place"),
            "it must have been stored by `longshore template put`, or jobs that say nothing of what to run are refused",
            format!("`longshore template get {default}` tells; else `longshore template put {default} -f FILE`"),
        ));
    }
    if found.is_empty() {
        let names: Vec<&str> = entries.iter().map(|it| it.1.as_str()).collect();
        found.push(Finding::ok(format!("{} can be used: {}", names.len(), names.join(", "))));
    }
    found
}
