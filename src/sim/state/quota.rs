//! Object counts that a ResourceQuota allows in its namespace.
//!
//! Enough of the real admission to test what a client does when it is out of quota: counts of Jobs and pods, in the
//! words of the real refusal.

use serde_json::Value;

use super::State;
use super::object::Object;
use super::refusal::Refusal;
use super::resource::Resource;

impl State {
    pub fn check_quota(&self, resource: Resource, namespace: &str, name: &str) -> Result<(), Refusal> {
        for quota in self.shelf(Resource::Quotas).in_namespace(namespace) {
            for counted in counted_as(resource) {
                let Some(hard) = amount(&quota.value["spec"]["hard"][counted]) else { continue };
                let used = self.shelf(resource).in_namespace(namespace).filter(|o| uses(resource, o)).count() as u64;
                if used + 1 > hard {
                    let why = format!(
                        "exceeded quota: {}, requested: {counted}=1, used: {counted}={used}, limited: {counted}={hard}",
                        quota.name()
                    );
                    return Err(Refusal::forbidden(resource, name, &why));
                }
            }
        }
        Ok(())
    }
}

fn counted_as(resource: Resource) -> &'static [&'static str] {
    match resource {
        Resource::Jobs => &["count/jobs.batch"],
        Resource::Pods => &["pods", "count/pods"],
        Resource::ConfigMaps => &["configmaps", "count/configmaps"],
        Resource::Namespaces | Resource::Nodes | Resource::Events | Resource::Quotas => &[],
    }
}

/// Pods that have ended use no quota.
fn uses(resource: Resource, object: &Object) -> bool {
    let phase = object.value["status"]["phase"].as_str().unwrap_or_default();
    resource != Resource::Pods || !["Succeeded", "Failed"].contains(&phase)
}

fn amount(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}
