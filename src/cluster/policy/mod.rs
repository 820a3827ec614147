//! What a Job may be, whoever asks for it: the gate between what people submit and what is created.
//!
//! The policy judges the built Job and nothing else: whatever template, filter, default or field a value came through, it is
//! the result that Kubernetes gets. [`Checked`] is a Job that has passed, and the only thing that [`Cluster::create`] takes;
//! the only way to one is [`PodPolicy::check`]:
//!
//! [`Cluster::create`]: super::Cluster::create
//!
//! ```
//! use longshore::{cluster::{KubeJob, policy::{Checked, PodPolicy}}, spec::Spec};
//! let checked: Checked = PodPolicy::default().check(KubeJob::default(), &Spec::default()).unwrap();
//! ```
//!
//! ```compile_fail
//! use longshore::cluster::{KubeJob, policy::Checked};
//! let unchecked = Checked(KubeJob::default());
//! ```
//!
//! The types of Kubernetes are taken apart field by field, without `..`: a field that a later version of them adds does not
//! compile until somebody has judged it, and one that they do not know is refused before (`strict.rs`).

mod bounds;
mod container;
mod file;
mod images;
mod pod;
mod volume;

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::spec::{Fault, Spec};

use super::{KubeJob, origin::Origin};

pub use file::{DEFAULT, Unusable};
pub use images::Pattern;
pub use volume::{VolumeKind, sources};

/// A Job that the policy allows.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked(KubeJob);

impl Checked {
    pub fn job(&self) -> &KubeJob {
        &self.0
    }
}

/// A pod policy. What each part means is said in `default.yaml`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PodPolicy {
    pub level: Level,
    pub service_accounts: Vec<String>,
    pub images: Vec<Pattern>,
    pub volumes: Vec<VolumeKind>,
    pub runtime_classes: Vec<String>,
    pub priority_classes: Vec<String>,
    pub control_plane_nodes: bool,
    pub node_names: bool,
    pub max: Max,
}

/// The profiles of Kubernetes' Pod Security Standards, from the strictest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Restricted,
    Baseline,
    Privileged,
}

/// Bounds; none where nothing is said.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Max {
    pub parallelism: Option<i32>,
    pub containers: Option<usize>,
    #[serde(deserialize_with = "file::seconds")]
    pub active_deadline: Option<i64>,
    #[serde(deserialize_with = "file::seconds")]
    pub ttl: Option<i64>,
    #[serde(deserialize_with = "file::seconds")]
    pub termination_grace: Option<i64>,
    #[serde(deserialize_with = "file::amounts")]
    pub resources: BTreeMap<String, file::Amount>,
}

impl PodPolicy {
    /// The Job as one that is allowed, or each field that is not, by where it stands in the request.
    pub fn check(&self, job: KubeJob, spec: &Spec) -> Result<Checked, Vec<Fault>> {
        let mut broken = Broken { origin: Origin(spec), found: Vec::new() };
        self.check_job(&job, &mut broken);
        if broken.found.is_empty() { Ok(Checked(job)) } else { Err(broken.found) }
    }
}

/// What was found so far.
struct Broken<'a> {
    origin: Origin<'a>,
    found: Vec<Fault>,
}

impl Broken<'_> {
    /// `path` is a JSON Pointer into the Job, and `detail` says what would be right.
    fn add(&mut self, rule: &'static str, path: impl AsRef<str>, detail: impl std::fmt::Display) {
        let detail = format!("{detail} (the rule `{rule}` of the pod policy)");
        self.found.push(Fault { rule: Some(rule), ..Fault::new(self.origin.pointer(path.as_ref()), detail) });
    }
}

/// Whether a list of names allows this one.
fn allows(list: &[String], name: &str) -> bool {
    list.iter().any(|it| it == "*" || it == name)
}

/// What a list allows, for people.
fn listed(list: &[String]) -> String {
    match list {
        [] => "none".to_owned(),
        list => list.join(", "),
    }
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
