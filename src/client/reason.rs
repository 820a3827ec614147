//! Why a job does not run yet, as the server says it; read leniently, as what is missing is not worth a failure.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::text::Shown;

/// Why a job waits.
#[derive(Debug, Default, Clone)]
pub struct Why {
    pub code: Shown,
    pub message: Shown,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// How many jobs would start before it.
    pub position: Option<Shown>,
    pub limit: Option<Limit>,
}

/// What it waits for room in.
#[derive(Debug, Default, Clone)]
pub struct Limit {
    pub name: Shown,
    pub cap: Option<i64>,
    pub held: Option<i64>,
}

impl Why {
    /// Nothing, unless it says something. In a list it may be no more than a sentence.
    fn of(value: &Value) -> Option<Self> {
        if let Some(message) = value.as_str() {
            return Some(Self { message: message.into(), ..Self::default() });
        }
        let fields = value.as_object()?;
        let text = |name| fields.get(name).and_then(Value::as_str).map(Shown::from);
        let time = |name| fields.get(name)?.as_str()?.parse().ok();
        let position = fields.get("position").and_then(Value::as_u64).map(|it| it.to_string().as_str().into());
        Some(Self {
            code: text("code").unwrap_or_default(),
            message: text("message").unwrap_or_default(),
            since: time("since"),
            until: time("until"),
            position: position.or_else(|| text("position")),
            limit: fields.get("limit").and_then(Limit::of),
        })
    }

    /// Whether it waits for one of the slots of its queue.
    pub fn is_queue_cap(&self) -> bool {
        self.code.as_str() == "queue_cap"
    }

    /// Whether it waits for somebody to let its queue go on.
    pub fn is_queue_paused(&self) -> bool {
        self.code.as_str() == "queue_paused"
    }

    /// Whether it waits for one of the slots of all.
    pub fn is_global_cap(&self) -> bool {
        self.code.as_str() == "global_cap"
    }
}

impl Limit {
    fn of(value: &Value) -> Option<Self> {
        let fields = value.as_object()?;
        let number = |name| fields.get(name).and_then(Value::as_i64);
        let name = fields.get("name").and_then(Value::as_str).map(Shown::from).unwrap_or_default();
        Some(Self { name, cap: number("cap"), held: number("held") })
    }

    /// The limit with its fill, such as `global, 2 of 2`.
    pub fn line(&self) -> String {
        match (self.held, self.cap) {
            (Some(held), Some(cap)) => format!("{}, {held} of {cap}", self.name),
            (None, Some(cap)) => format!("{}, {cap}", self.name),
            _ => self.name.to_string(),
        }
    }
}

/// For a field that may be missing, null, or something of a later version.
pub fn maybe<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Why>, D::Error> {
    Ok(Why::of(&Value::deserialize(from)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_part_may_be_missing_and_is_safe_to_print() {
        let whole = json!({
            "code": "global_cap", "message": "all slots\nare taken\u{1b}", "since": "2026-01-01T00:00:00Z", "until": null,
            "position": 3, "limit": {"name": "global", "cap": 2, "held": 2}
        });
        let why = Why::of(&whole).unwrap();
        assert!(why.is_global_cap() && why.since.is_some() && why.until.is_none());
        assert_eq!(why.message.as_str(), "all slots are taken");
        assert_eq!(why.position.map(|it| it.to_string()), Some("3".into()));
        assert_eq!(why.limit.map(|it| it.line()), Some("global, 2 of 2".into()));
        assert_eq!(Why::of(&json!({"position": "10000+"})).unwrap().position, Some("10000+".into()));
        assert_eq!(Why::of(&json!("waits")).unwrap().message.as_str(), "waits");
        for nothing in [json!(null), json!(1), json!([])] {
            assert!(Why::of(&nothing).is_none(), "{nothing}");
        }
        for odd in [json!({}), json!({"since": 1, "limit": [], "code": null}), json!({"limit": {"cap": "2"}})] {
            assert!(Why::of(&odd).is_some(), "{odd}");
        }
    }
}
