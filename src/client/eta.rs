//! When a job is likely to start and to end, as the server guesses; read leniently, as a guess is not worth a failure.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::text::Clock;

/// A guess, with its range.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Eta {
    pub starts_p50: Option<Timestamp>,
    pub starts_p90: Option<Timestamp>,
    pub ends_p50: Option<Timestamp>,
    pub ends_p90: Option<Timestamp>,
    /// How many runs it is judged by.
    pub samples: Option<u64>,
}

impl Eta {
    fn of(value: &Value) -> Option<Self> {
        let fields = value.as_object()?;
        let time = |name| fields.get(name)?.as_str()?.parse().ok();
        Some(Self {
            starts_p50: time("starts_p50"),
            starts_p90: time("starts_p90"),
            ends_p50: time("ends_p50"),
            ends_p90: time("ends_p90"),
            samples: fields.get("samples").and_then(Value::as_u64),
        })
    }

    /// When it starts, with what that is judged by.
    pub fn starts(&self, clock: Clock) -> Option<String> {
        let range = range(self.starts_p50, self.starts_p90, clock)?;
        Some(self.samples.map_or_else(|| range.clone(), |it| format!("{range}, judged by {it} runs")))
    }

    /// When it ends.
    pub fn ends(&self, clock: Clock) -> Option<String> {
        range(self.ends_p50, self.ends_p90, clock)
    }
}

fn range(half: Option<Timestamp>, most: Option<Timestamp>, clock: Clock) -> Option<String> {
    let half = clock.tell(half?);
    match most.map(|it| clock.tell(it)) {
        Some(most) if most != half => Some(format!("{half}, 9 in 10 by {}", most.trim_start_matches("in "))),
        _ => Some(half),
    }
}

/// For a field that may be missing, null, or something of a later version.
pub fn maybe<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Eta>, D::Error> {
    Ok(Eta::of(&Value::deserialize(from)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_guess_is_told_with_its_range_and_without_what_is_missing() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let eta =
            Eta::of(&json!({"starts_p50": "2026-01-01T00:01:00Z", "starts_p90": "2026-01-01T00:04:00Z"})).unwrap();
        assert_eq!(eta.starts(Clock::Ago { now }), Some("in 60s, 9 in 10 by 4m".into()));
        assert_eq!(eta.ends(Clock::Utc), None);
        let certain = Eta { starts_p50: Some(now), starts_p90: Some(now), ..Eta::default() };
        assert_eq!(certain.starts(Clock::Utc), Some("2026-01-01T00:00:00Z".into()));
        for odd in [json!({}), json!({"starts_p50": 1, "samples": "many"})] {
            assert_eq!(Eta::of(&odd), Some(Eta::default()), "{odd}");
        }
        assert_eq!(Eta::of(&json!(null)), None);
    }
}
