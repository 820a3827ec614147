//! The policy as it is written: YAML, read strictly, with errors that name file, field and remedy.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use crate::{cluster::quantity, spec};

use super::{Level, Max, Pattern, PodPolicy, VolumeKind};

/// The policy that is in force where none is given, as it is written.
pub const DEFAULT: &str = include_str!("default.yaml");

/// A policy that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("cannot read the pod policy {file}")]
    Read { file: String, source: std::io::Error },
    #[error("the pod policy {file} is not YAML: {cause}")]
    Yaml { file: String, cause: String },
    #[error("the pod policy {file}: {field} {cause}; `longshore pod-policy` prints one that is right")]
    Field { file: String, field: String, cause: String },
}

impl PodPolicy {
    /// Reads a policy. What it leaves out is as in the default.
    pub fn read(file: &Path) -> Result<Self, Unusable> {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|source| Unusable::Read { file: name.clone(), source })?;
        Self::parse(&text, &name)
    }

    /// `file` is where the text is from, for errors.
    pub fn parse(text: &str, file: &str) -> Result<Self, Unusable> {
        let file = file.to_owned();
        let value: Value = serde_saphyr::from_str(text)
            .map_err(|err| Unusable::Yaml { file: file.clone(), cause: err.to_string() })?;
        if value.is_null() {
            return Ok(Self::default());
        }
        let policy: Self = serde_path_to_error::deserialize(value).map_err(|err| Unusable::Field {
            file: file.clone(),
            field: err.path().to_string(),
            cause: err.into_inner().to_string(),
        })?;
        let wrong = |field: &str, cause: &str| Unusable::Field { file, field: field.into(), cause: cause.into() };
        if policy.level != Level::Privileged && policy.volumes.contains(&VolumeKind::HostPath) {
            return Err(wrong("volumes", "has hostPath, which needs `level: privileged`"));
        }
        if policy.max.containers == Some(0) || policy.max.parallelism.is_some_and(|it| it < 1) {
            return Err(wrong(
                "max",
                "must let a pod have a container and a job a pod: parallelism and containers are 1 or more",
            ));
        }
        Ok(policy)
    }
}

impl Default for PodPolicy {
    fn default() -> Self {
        use VolumeKind as Kind;
        Self {
            level: Level::Baseline,
            service_accounts: vec!["default".into()],
            images: vec![Pattern::new("**")],
            volumes: vec![
                Kind::ConfigMap,
                Kind::DownwardApi,
                Kind::EmptyDir,
                Kind::Ephemeral,
                Kind::PersistentVolumeClaim,
                Kind::Projected,
                Kind::Secret,
            ],
            runtime_classes: Vec::new(),
            priority_classes: vec!["*".into()],
            control_plane_nodes: false,
            node_names: false,
            max: Max::default(),
        }
    }
}

impl Default for Max {
    fn default() -> Self {
        Self {
            parallelism: Some(1000),
            containers: Some(20),
            active_deadline: None,
            ttl: Some(30 * 24 * 3600),
            termination_grace: Some(3600),
            resources: BTreeMap::new(),
        }
    }
}

/// An amount of a resource, with how it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Amount {
    pub amount: f64,
    pub text: String,
}

/// A duration such as `24h`, in seconds.
pub fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
    let given = spec::duration(&text).map_err(de::Error::custom)?;
    i64::try_from(given.as_secs()).map(Some).map_err(de::Error::custom)
}

pub fn amounts<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Amount>, D::Error> {
    let given = BTreeMap::<String, Value>::deserialize(from)?;
    let read = |(name, amount): (String, Value)| {
        let text = amount.as_str().map_or_else(|| amount.to_string(), str::to_owned);
        match quantity::parse(&text).filter(|it| *it >= 0.0) {
            Some(amount) => Ok((name, Amount { amount, text })),
            None => Err(de::Error::custom(format!("{name}: {text} is not an amount such as 500m, 8 or 16Gi"))),
        }
    };
    given.into_iter().map(read).collect()
}
