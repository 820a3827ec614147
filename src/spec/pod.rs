//! The fields of a job that say how its pod is to be, beyond image, command and environment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How the pod of a job without a manifest is to be. What is Kubernetes' own is kept as it was given, and read strictly
/// when its Job is built. A field that was not given is not stored, so that it does not change the hash of a spec.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PodFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerations: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_mounts: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_aliases: Option<Value>,
    /// Of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_context: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_security_context: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_class: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_token: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub termination_grace_period_secs: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_mode: Option<String>,
}

impl PodFields {
    /// Which of them were given, by the names that a request has for them.
    pub fn given(&self) -> Vec<&'static str> {
        let Self {
            working_dir,
            image_pull_policy,
            image_pull_secrets,
            node_selector,
            tolerations,
            affinity,
            volumes,
            volume_mounts,
            ports,
            host_aliases,
            security_context,
            pod_security_context,
            priority_class,
            runtime_class,
            service_account_token,
            termination_grace_period_secs,
            completion_mode,
        } = self;
        let all = [
            ("working_dir", working_dir.is_some()),
            ("image_pull_policy", image_pull_policy.is_some()),
            ("image_pull_secrets", !image_pull_secrets.is_empty()),
            ("node_selector", !node_selector.is_empty()),
            ("tolerations", tolerations.is_some()),
            ("affinity", affinity.is_some()),
            ("volumes", volumes.is_some()),
            ("volume_mounts", volume_mounts.is_some()),
            ("ports", ports.is_some()),
            ("host_aliases", host_aliases.is_some()),
            ("security_context", security_context.is_some()),
            ("pod_security_context", pod_security_context.is_some()),
            ("priority_class", priority_class.is_some()),
            ("runtime_class", runtime_class.is_some()),
            ("service_account_token", service_account_token.is_some()),
            ("termination_grace_period", termination_grace_period_secs.is_some()),
            ("completion_mode", completion_mode.is_some()),
        ];
        all.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
    }
}
