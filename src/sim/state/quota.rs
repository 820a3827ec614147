//! What a ResourceQuota allows in its namespace: counts of objects, and what the pods ask for in CPU and memory.
//!
//! Enough of the real admission to test what a client does when it is out of quota, in the words of the real refusal.

use serde_json::Value;

use super::State;
use super::object::Object;
use super::quantity::{format, parse};
use super::refusal::Refusal;
use super::resource::Resource;

impl State {
    /// Whether this new object fits into every quota of its namespace.
    pub fn check_quota(&self, resource: Resource, namespace: &str, name: &str, value: &Value) -> Result<(), Refusal> {
        for quota in self.shelf(Resource::Quotas).in_namespace(namespace) {
            let limits: Vec<(&str, i128)> = quota.value["spec"]["hard"]
                .as_object()
                .into_iter()
                .flatten()
                .filter_map(|(counted, hard)| Some((counted.as_str(), parse(hard)?)))
                .collect();
            if resource == Resource::Pods {
                check_said(&limits, value).map_err(|missing| {
                    let why = format!("failed quota: {}: must specify {missing}", quota.name());
                    Refusal::forbidden(resource, name, &why)
                })?;
            }
            let mut said = [Vec::new(), Vec::new(), Vec::new()];
            for (counted, hard) in limits {
                let Some(asked) = use_of(resource, value, counted) else { continue };
                let others = self.shelf(resource).in_namespace(namespace).filter(|object| uses(resource, object));
                let used: i128 = others.filter_map(|object| use_of(resource, &object.value, counted)).sum();
                if used + asked > hard {
                    for (list, amount) in said.iter_mut().zip([asked, used, hard]) {
                        list.push(format!("{counted}={}", format(amount, counted)));
                    }
                }
            }
            if !said[0].is_empty() {
                let [requested, used, limited] = said.map(|list| list.join(","));
                let name_of_quota = quota.name();
                let why = format!(
                    "exceeded quota: {name_of_quota}, requested: {requested}, used: {used}, limited: {limited}"
                );
                return Err(Refusal::forbidden(resource, name, &why));
            }
        }
        Ok(())
    }
}

/// How much of what a quota counts an object uses, in thousandths; none where it is not of its kind.
fn use_of(resource: Resource, value: &Value, counted: &str) -> Option<i128> {
    let one = match resource {
        Resource::Jobs => counted == "count/jobs.batch",
        Resource::Pods => ["pods", "count/pods"].contains(&counted),
        Resource::ConfigMaps => ["configmaps", "count/configmaps"].contains(&counted),
        Resource::Namespaces | Resource::Nodes | Resource::Events | Resource::Quotas => false,
    };
    if one {
        return Some(1000);
    }
    let (list, kind) = part(counted).filter(|_| resource == Resource::Pods)?;
    let of = |container: &Value| amount(container, list, kind).unwrap_or(0);
    let containers = |field: &str| value["spec"][field].as_array().into_iter().flatten().map(of).collect::<Vec<_>>();
    // Init containers run one by one before the others, so the greatest of them counts.
    let init = containers("initContainers").into_iter().max().unwrap_or(0);
    Some(containers("containers").into_iter().sum::<i128>().max(init))
}

/// `requests.cpu` is about the CPU in a container's requests, and so is `cpu`.
fn part(counted: &str) -> Option<(&'static str, &'static str)> {
    Some(match counted {
        "cpu" | "requests.cpu" => ("requests", "cpu"),
        "memory" | "requests.memory" => ("requests", "memory"),
        "limits.cpu" => ("limits", "cpu"),
        "limits.memory" => ("limits", "memory"),
        _ => return None,
    })
}

/// A request that is absent is what the limit is.
fn amount(container: &Value, list: &str, kind: &str) -> Option<i128> {
    let resources = &container["resources"];
    parse(&resources[list][kind]).or_else(|| (list == "requests").then(|| parse(&resources["limits"][kind]))?)
}

/// Where a quota is about CPU or memory, every container must say what it wants of it.
fn check_said(limits: &[(&str, i128)], pod: &Value) -> Result<(), String> {
    let containers = || ["containers", "initContainers"].into_iter().flat_map(|list| pod["spec"][list].as_array());
    let missing: Vec<String> = limits
        .iter()
        .filter_map(|(counted, _)| {
            let (list, kind) = part(counted)?;
            let silent = containers().flatten().filter(|container| amount(container, list, kind).is_none());
            let names: Vec<&str> = silent.filter_map(|container| container["name"].as_str()).collect();
            (!names.is_empty()).then(|| format!("{counted} for: {}", names.join(",")))
        })
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(missing.join("; ")) }
}

/// Pods that have ended use no quota.
fn uses(resource: Resource, object: &Object) -> bool {
    let phase = object.value["status"]["phase"].as_str().unwrap_or_default();
    resource != Resource::Pods || !["Succeeded", "Failed"].contains(&phase)
}
