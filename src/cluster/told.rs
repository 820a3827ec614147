//! What the events about a pod or a Job that does not start come to. Pure.
//!
//! Events outlive their cause by an hour, so a warning alone says only what was so once: a volume that was mounted at the
//! second try leaves its `FailedMount` behind, under which an image may be pulled for many minutes. What got on since is
//! told by events too, and by those a warning is known to be out of date.

use kube::api::DynamicObject;
use serde_json::Value;

use crate::trouble::Table;

use super::pod::Trouble;

/// The length of a time in RFC 3339 up to its seconds.
const SECONDS: usize = "2026-01-01T00:00:00".len();

/// The newest known trouble, unless what it kept from happening has happened since.
pub fn trouble(events: &[DynamicObject], table: &Table) -> Option<Trouble> {
    let known = events.iter().filter(|it| text(it, "type") == "Warning").filter_map(|it| {
        let trouble = Trouble::of_event(text(it, "reason"), text(it, "message"));
        table.find(&trouble.said).map(|_| (time(it), trouble))
    });
    let (at, trouble) = known.max_by(|a, b| a.0.cmp(b.0))?;
    let is_over = events.iter().any(|it| time(it) >= at && ends(text(it, "reason"), &trouble.said));
    (!is_over).then_some(trouble)
}

/// Whether an event tells that a pod is past such a trouble. Volumes and the sandbox come before the first container.
fn ends(reason: &str, trouble: &str) -> bool {
    match reason {
        "Scheduled" => trouble == "FailedScheduling",
        "SuccessfulCreate" | "Pulling" | "Pulled" | "Created" | "Started" => true,
        _ => false,
    }
}

/// When it was told last, as text that sorts, and to the second: only the newer of the two fields has more.
fn time(event: &DynamicObject) -> &str {
    let last = text(event, "lastTimestamp").max(text(event, "eventTime"));
    last.get(..SECONDS).unwrap_or(last)
}

fn text<'a>(event: &'a DynamicObject, key: &str) -> &'a str {
    event.data.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(kind: &str, reason: &str, second: u32) -> DynamicObject {
        let at = format!("2026-01-01T00:00:{second:02}Z");
        let event =
            json!({"metadata": {"name": "e"}, "type": kind, "reason": reason, "message": "m", "lastTimestamp": at});
        serde_json::from_value(event).unwrap()
    }

    fn said(events: &[(&str, &str, u32)]) -> Option<String> {
        let events: Vec<_> = events.iter().map(|(kind, reason, second)| event(kind, reason, *second)).collect();
        trouble(&events, &Table::default()).map(|it| it.said)
    }

    #[test]
    fn the_newest_known_warning_is_taken() {
        let two = [("Warning", "FailedMount", 2), ("Warning", "FailedAttachVolume", 1), ("Warning", "Unhealthy", 3)];
        assert_eq!(said(&two).as_deref(), Some("FailedMount"));
        assert_eq!(said(&[("Warning", "MissingClusterDNS", 1)]), None);
        assert_eq!(said(&[]), None);
    }

    #[test]
    fn a_warning_is_out_of_date_once_the_pod_got_past_it() {
        let mount = ("Warning", "FailedMount", 2);
        assert_eq!(said(&[mount, ("Normal", "Pulling", 2)]), None);
        assert_eq!(said(&[mount, ("Normal", "Pulling", 1)]).as_deref(), Some("FailedMount"), "it is so again");
        assert_eq!(said(&[mount, ("Normal", "Scheduled", 2)]).as_deref(), Some("FailedMount"));
        let waited = [("Warning", "FailedScheduling", 1), ("Normal", "Scheduled", 2)];
        assert_eq!(said(&waited), None);
        assert_eq!(said(&[("Warning", "FailedCreate", 1), ("Normal", "SuccessfulCreate", 1)]), None);
    }
}
