//! What a namespace's quotas leave, and what they demand of pods. Pure.

use serde_json::Value;

use super::{pod, quantity};

/// What counts Jobs and pods.
const COUNTED: [&str; 3] = ["count/jobs.batch", "pods", "count/pods"];
/// What a pod must name as soon as a quota bounds it, and under which keys a LimitRange gives it to containers that do not.
const DEMANDED: [(&str, &[&str], &str); 6] = [
    ("cpu", &["defaultRequest", "default"], "cpu"),
    ("memory", &["defaultRequest", "default"], "memory"),
    ("requests.cpu", &["defaultRequest", "default"], "cpu"),
    ("requests.memory", &["defaultRequest", "default"], "memory"),
    ("limits.cpu", &["default"], "cpu"),
    ("limits.memory", &["default"], "memory"),
];

/// What a quota does to Jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tight {
    /// It allows none at all of something.
    Never { quota: String, what: String },
    /// It is used up for now.
    Full { quota: String, what: String, used: String, hard: String },
    /// Pods must name an amount of this, and nothing gives it to those that do not.
    Demands { quota: String, what: String },
}

/// What is tight about these quotas, given these LimitRanges.
pub fn tight(quotas: &[Value], limit_ranges: &[Value]) -> Vec<Tight> {
    let mut found = Vec::new();
    for quota in quotas {
        let name = pod::cut(quota["metadata"]["name"].as_str().unwrap_or_default());
        // The status has what is in force; before the cluster has looked at it there is none.
        let of = |part: &str| quota["status"][part].as_object().or(quota["spec"][part].as_object());
        let amount = |part: &str, what: &str| Some(pod::cut(of(part)?.get(what)?.as_str()?));
        for what in COUNTED.iter().chain(DEMANDED.iter().map(|it| &it.0)) {
            let Some(hard) = amount("hard", what) else { continue };
            let used = amount("used", what).unwrap_or_else(|| "0".into());
            let (quota, what) = (name.clone(), (*what).to_owned());
            match (quantity::parse(&hard), quantity::parse(&used)) {
                (Some(most), _) if most <= 0.0 => found.push(Tight::Never { quota, what }),
                (Some(most), Some(now)) if now >= most => found.push(Tight::Full { quota, what, used, hard }),
                _ => {}
            }
        }
        for (what, keys, resource) in DEMANDED {
            if amount("hard", what).is_some() && !limit_ranges.iter().any(|it| gives(it, keys, resource)) {
                found.push(Tight::Demands { quota: name.clone(), what: what.to_owned() });
            }
        }
    }
    found
}

fn gives(limit_range: &Value, keys: &[&str], resource: &str) -> bool {
    let limits = limit_range["spec"]["limits"].as_array();
    let mut of_containers = limits.into_iter().flatten().filter(|it| it["type"] == "Container");
    of_containers.any(|it| keys.iter().any(|key| it[key].get(resource).is_some()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_quota_leaves_is_told_apart_from_what_it_never_allows() {
        let quota = |hard: Value, used: Value| json!({"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}});
        let tight = |hard, used| tight(&[quota(hard, used)], &[]);
        assert_eq!(tight(json!({"pods": "5"}), json!({"pods": "4"})), []);
        let full = Tight::Full { quota: "q".into(), what: "pods".into(), used: "5".into(), hard: "5".into() };
        assert_eq!(tight(json!({"pods": "5"}), json!({"pods": "5"})), [full]);
        let never = Tight::Never { quota: "q".into(), what: "count/jobs.batch".into() };
        assert_eq!(tight(json!({"count/jobs.batch": "0"}), json!({})), [never]);
        assert_eq!(tight(json!({"count/secrets": "0"}), json!({})), [], "that is no business of Jobs");
    }

    #[test]
    fn a_quota_on_memory_demands_it_of_pods_unless_a_limit_range_gives_it() {
        let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"limits.memory": "1Gi"}}});
        let range = |key: &str| json!({"spec": {"limits": [{"type": "Container", key: {"memory": "1Mi"}}]}});
        let demands = Tight::Demands { quota: "q".into(), what: "limits.memory".into() };
        let quotas = std::slice::from_ref(&quota);
        assert_eq!(tight(quotas, &[]), std::slice::from_ref(&demands));
        assert_eq!(tight(quotas, &[range("defaultRequest")]), [demands], "a request is no limit");
        assert_eq!(tight(quotas, &[range("default")]), []);
    }
}
