//! The events that the cluster's components tell about Jobs and pods, for `kubectl describe`.

use jiff::Timestamp;
use serde_json::json;

use crate::sim::state::{Object, Resource, State, seconds};

/// Who tells it, and how serious it is.
pub struct Teller {
    pub component: &'static str,
    pub kind: &'static str,
}

pub const JOB_CONTROLLER: Teller = Teller { component: "job-controller", kind: "Normal" };
pub const SCHEDULER: Teller = Teller { component: "default-scheduler", kind: "Normal" };
pub const NODE_CONTROLLER: Teller = Teller { component: "node-controller", kind: "Normal" };
pub const KUBELET: Teller = Teller { component: "kubelet", kind: "Normal" };

impl Teller {
    pub fn warns(self) -> Teller {
        Teller { kind: "Warning", ..self }
    }

    pub fn tell(self, state: &mut State, resource: Resource, about: &Object, reason: &str, message: &str) {
        self.tell_part(state, resource, about, "", reason, message);
    }

    /// About a part of the object, such as `spec.containers{main}`.
    pub fn tell_part(
        self,
        state: &mut State,
        resource: Resource,
        about: &Object,
        part: &str,
        reason: &str,
        message: &str,
    ) {
        let now = seconds(Timestamp::now());
        let mut source = json!({"component": self.component});
        if self.component == "kubelet" {
            source["host"] = super::NODE_NAME.into();
        }
        let mut regarding = json!({
            "kind": resource.info().kind,
            "apiVersion": resource.api_version(),
            "namespace": about.namespace(),
            "name": about.name(),
            "uid": about.uid(),
            "resourceVersion": about.version(),
        });
        if !part.is_empty() {
            regarding["fieldPath"] = part.into();
        }
        let number = state.revision + 1;
        state.tell(json!({
            "metadata": {"name": format!("{}.{number:016x}", about.name()), "namespace": about.namespace()},
            "involvedObject": regarding,
            "reason": reason,
            "message": message,
            "type": self.kind,
            "source": source,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "eventTime": null,
            "reportingComponent": self.component,
            "reportingInstance": "",
        }));
    }
}
