//! Who asks for what: one request to the API server, by a client or by one of the cluster's own controllers.

use jiff::Timestamp;

use super::resource::Resource;

#[derive(Clone, Debug)]
pub struct Actor {
    pub user: String,
    pub groups: Vec<String>,
    pub agent: String,
    pub ip: String,
}

#[derive(Clone, Debug)]
pub struct Call {
    pub actor: Actor,
    pub received: Timestamp,
    pub uri: String,
    /// As Kubernetes names it: get, list, watch, create, update, patch, delete, deletecollection.
    pub verb: &'static str,
    pub resource: Resource,
    pub namespace: String,
    pub name: String,
    pub subresource: String,
}

/// The cluster's own hands.
#[derive(Clone, Copy, Debug)]
pub enum Hand {
    JobController,
    GarbageCollector,
    TtlController,
    NamespaceController,
    NodeController,
    Scheduler,
    Node,
    /// Whoever makes a Job vanish, or deletes a pod: nobody we know.
    Someone,
}

impl Hand {
    fn actor(self) -> Actor {
        let (user, group, agent) = match self {
            Hand::JobController => {
                ("system:serviceaccount:kube-system:job-controller", "system:serviceaccounts", CONTROLLERS)
            }
            Hand::GarbageCollector => {
                ("system:serviceaccount:kube-system:generic-garbage-collector", "system:serviceaccounts", CONTROLLERS)
            }
            Hand::TtlController => (
                "system:serviceaccount:kube-system:ttl-after-finished-controller",
                "system:serviceaccounts",
                CONTROLLERS,
            ),
            Hand::NamespaceController => {
                ("system:serviceaccount:kube-system:namespace-controller", "system:serviceaccounts", CONTROLLERS)
            }
            Hand::NodeController => {
                ("system:serviceaccount:kube-system:node-controller", "system:serviceaccounts", CONTROLLERS)
            }
            Hand::Scheduler => {
                ("system:kube-scheduler", "system:serviceaccounts", "kube-scheduler/v1.33.0 (longshore-sim)")
            }
            Hand::Node => ("system:node:sim-node", "system:nodes", "kubelet/v1.33.0 (longshore-sim)"),
            Hand::Someone => ("someone", "system:masters", "somebody's hands"),
        };
        Actor {
            user: user.to_owned(),
            groups: vec![group.to_owned(), "system:authenticated".to_owned()],
            agent: agent.to_owned(),
            ip: "127.0.0.1".to_owned(),
        }
    }
}

const CONTROLLERS: &str = "kube-controller-manager/v1.33.0 (longshore-sim)";

impl Call {
    pub fn by(hand: Hand, verb: &'static str, resource: Resource, namespace: &str, name: &str) -> Call {
        let path = resource.path(namespace);
        Call {
            actor: hand.actor(),
            received: Timestamp::now(),
            uri: if verb == "create" { path } else { format!("{path}/{name}") },
            verb,
            resource,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: String::new(),
        }
    }

    pub fn on_status(mut self) -> Call {
        self.subresource = "status".to_owned();
        self.uri.push_str("/status");
        self
    }
}
