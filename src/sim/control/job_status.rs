//! The pieces of a Job's status: its conditions, and its completed indexes.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::sim::state::seconds;

/// `0-3,5`.
pub fn ranges(numbers: impl Iterator<Item = u64>) -> String {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let said = |&(first, last): &(u64, u64)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    runs.iter().map(said).collect::<Vec<_>>().join(",")
}

/// Whether the status of an object has this condition.
pub fn holds(value: &Value, kind: &str) -> bool {
    let conditions = value["status"]["conditions"].as_array().into_iter().flatten();
    conditions.clone().any(|condition| condition["type"] == kind && condition["status"] == "True")
}

pub fn add_condition(status: &mut Value, kind: &str, reason: &str, message: &str) {
    let now = seconds(Timestamp::now());
    let condition = json!({
        "type": kind, "status": "True", "reason": reason, "message": message,
        "lastProbeTime": now, "lastTransitionTime": now,
    });
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    if let Some(conditions) = status["conditions"].as_array_mut()
        && !conditions.iter().any(|condition| condition["type"] == kind)
    {
        conditions.push(condition);
    }
}

pub fn set_suspended(status: &mut Value, suspended: bool) {
    if let Some(conditions) = status.get_mut("conditions").and_then(Value::as_array_mut) {
        conditions.retain(|condition| condition["type"] != "Suspended");
    }
    let (reason, message) = if suspended { ("JobSuspended", "Job suspended") } else { ("JobResumed", "Job resumed") };
    add_condition(status, "Suspended", reason, message);
    let conditions = status.get_mut("conditions").and_then(Value::as_array_mut);
    if let Some(last) = conditions.and_then(|conditions| conditions.last_mut()) {
        last["status"] = if suspended { "True" } else { "False" }.into();
    }
}
