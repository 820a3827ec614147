//! The kinds of objects the simulated cluster keeps, and what the Kubernetes API calls each of them.

use serde_json::Value;

/// One kind of object. The discriminant is the index of its shelf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    Namespaces,
    Nodes,
    Pods,
    Events,
    ConfigMaps,
    Quotas,
    Jobs,
}

/// What discovery says about a resource.
pub struct Info {
    pub plural: &'static str,
    pub singular: &'static str,
    pub kind: &'static str,
    /// Empty for the core group.
    pub group: &'static str,
    pub namespaced: bool,
    pub short: &'static [&'static str],
    pub categories: &'static [&'static str],
    /// Subresources that are read and written as the object itself.
    pub has_status: bool,
}

impl Resource {
    pub const ALL: [Resource; 7] = [
        Resource::Namespaces,
        Resource::Nodes,
        Resource::Pods,
        Resource::Events,
        Resource::ConfigMaps,
        Resource::Quotas,
        Resource::Jobs,
    ];

    pub fn info(self) -> &'static Info {
        match self {
            Resource::Namespaces => &NAMESPACES,
            Resource::Nodes => &NODES,
            Resource::Pods => &PODS,
            Resource::Events => &EVENTS,
            Resource::ConfigMaps => &CONFIG_MAPS,
            Resource::Quotas => &RESOURCE_QUOTAS,
            Resource::Jobs => &JOBS,
        }
    }

    pub fn find(group: &str, plural: &str) -> Option<Resource> {
        Resource::ALL.into_iter().find(|r| r.info().group == group && r.info().plural == plural)
    }

    /// `jobs.batch`, as error messages name a resource.
    pub fn qualified(self) -> String {
        let info = self.info();
        if info.group.is_empty() { info.plural.to_owned() } else { format!("{}.{}", info.plural, info.group) }
    }

    pub fn api_version(self) -> &'static str {
        match self.info().group {
            "batch" => "batch/v1",
            _ => "v1",
        }
    }

    /// The path of this resource's collection.
    pub fn path(self, namespace: &str) -> String {
        let root =
            if self.info().group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{}", self.api_version()) };
        match (self.info().namespaced, namespace) {
            (true, name) if !name.is_empty() => format!("{root}/namespaces/{name}/{}", self.info().plural),
            _ => format!("{root}/{}", self.info().plural),
        }
    }

    /// Writes `kind` and `apiVersion`, which clients may leave out.
    pub fn stamp(self, object: &mut Value) {
        object["kind"] = self.info().kind.into();
        object["apiVersion"] = self.api_version().into();
    }

    /// The audit log is about Jobs and Pods only, as the witness expects.
    pub fn audited(self) -> bool {
        matches!(self, Resource::Jobs | Resource::Pods)
    }
}

const NAMESPACES: Info = Info {
    plural: "namespaces",
    singular: "namespace",
    kind: "Namespace",
    group: "",
    namespaced: false,
    short: &["ns"],
    categories: &[],
    has_status: true,
};
const NODES: Info = Info {
    plural: "nodes",
    singular: "node",
    kind: "Node",
    group: "",
    namespaced: false,
    short: &["no"],
    categories: &[],
    has_status: true,
};
const PODS: Info = Info {
    plural: "pods",
    singular: "pod",
    kind: "Pod",
    group: "",
    namespaced: true,
    short: &["po"],
    categories: &["all"],
    has_status: true,
};
const EVENTS: Info = Info {
    plural: "events",
    singular: "event",
    kind: "Event",
    group: "",
    namespaced: true,
    short: &["ev"],
    categories: &[],
    has_status: false,
};
const CONFIG_MAPS: Info = Info {
    plural: "configmaps",
    singular: "configmap",
    kind: "ConfigMap",
    group: "",
    namespaced: true,
    short: &["cm"],
    categories: &[],
    has_status: false,
};
const RESOURCE_QUOTAS: Info = Info {
    plural: "resourcequotas",
    singular: "resourcequota",
    kind: "ResourceQuota",
    group: "",
    namespaced: true,
    short: &["quota"],
    categories: &[],
    has_status: true,
};
const JOBS: Info = Info {
    plural: "jobs",
    singular: "job",
    kind: "Job",
    group: "batch",
    namespaced: true,
    short: &[],
    categories: &["all"],
    has_status: true,
};
