//! What Longshore asks of Kubernetes: each right by its verb, once. `longshore doctor` asks for them one by one, the chart's
//! Role, the README's and docs/operating.md are held against this list by tests/it/doctor.rs, and the whole suite runs under
//! a Role made of it when it runs on a real cluster.

use serde_json::{Value, json};

/// The rights on one resource.
#[derive(Debug, Clone, Copy)]
pub struct Need {
    pub group: &'static str,
    /// With its subresource, as RBAC writes it: `pods/log`.
    pub resource: &'static str,
    pub verbs: &'static [&'static str],
    /// What they are for.
    pub why: &'static str,
}

/// In each namespace that jobs run in.
pub const ALWAYS: [Need; 4] = [
    Need {
        group: "batch",
        resource: "jobs",
        verbs: &["create", "get", "list", "watch", "delete", "deletecollection"],
        why: "one create and one delete an attempt; many that are finished go by one request",
    },
    Need {
        group: "",
        resource: "pods",
        verbs: &["get", "list", "watch"],
        why: "whether anything still runs, and why not",
    },
    Need { group: "", resource: "pods/log", verbs: &["get"], why: "the log, live and its end before the pod goes" },
    Need {
        group: "",
        resource: "events",
        verbs: &["list"],
        why: "what only they tell: mounts, quotas, pods that the Job controller may not make",
    },
];

/// On the one ConfigMap that templates are followed in.
pub const TEMPLATES: Need = Need {
    group: "",
    resource: "configmaps",
    verbs: &["get", "list", "watch"],
    why: "the templates of the ConfigMap that --template-config-map names",
};

impl Need {
    /// The rule of a Role that grants it; of one object only, if one is named.
    pub fn rule(&self, verbs: &[&str], name: Option<&str>) -> Value {
        let mut rule = json!({"apiGroups": [self.group], "resources": [self.resource], "verbs": verbs});
        if let Some(name) = name {
            rule["resourceNames"] = json!([name]);
        }
        rule
    }

    /// As kubectl names it: `jobs.batch`.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.resource.to_owned() } else { format!("{}.{}", self.resource, self.group) }
    }
}
