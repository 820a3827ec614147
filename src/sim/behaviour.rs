//! What a simulated pod will do, read from its annotations `sim.longshore.dev/…` (which a pod has from its template or its Job).

use std::time::Duration;

use serde_json::Value;

#[derive(Clone, Debug, PartialEq)]
pub struct Behaviour {
    pub outcome: Outcome,
    /// How long it runs.
    pub duration: Duration,
    /// From being bound to running.
    pub start: Duration,
    /// How long it takes to end when it is asked to.
    pub stop: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Exit(i64),
    OomKilled,
    Evicted,
    ImagePullError,
    Unschedulable,
    NeverStarts,
    Vanishes,
}

pub const ANNOTATION_PREFIX: &str = "sim.longshore.dev/";

/// Longer than any test or demo; keeps sums with it away from overflow.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl Behaviour {
    /// What a pod's annotations say, and the defaults for what they do not.
    pub fn read(annotations: &Value, defaults: &Behaviour) -> Behaviour {
        let find = |name: &str| annotations[format!("{ANNOTATION_PREFIX}{name}")].as_str();
        let time = |name: &str, default: Duration| find(name).and_then(duration).unwrap_or(default);
        Behaviour {
            outcome: find("outcome").and_then(outcome).unwrap_or(defaults.outcome),
            duration: time("duration", defaults.duration),
            start: time("start", defaults.start),
            stop: time("stop", defaults.stop),
        }
    }
}

fn outcome(text: &str) -> Option<Outcome> {
    Some(match text.trim() {
        "succeed" => Outcome::Exit(0),
        "fail" => Outcome::Exit(1),
        "oom-killed" => Outcome::OomKilled,
        "evicted" => Outcome::Evicted,
        "image-pull-error" => Outcome::ImagePullError,
        "unschedulable" => Outcome::Unschedulable,
        "never-starts" => Outcome::NeverStarts,
        "vanishes" => Outcome::Vanishes,
        other => Outcome::Exit(other.strip_prefix("exit=")?.trim().parse().ok()?),
    })
}

/// `10s`, `200ms`, `1m30s`, `1.5h`; a bare number is seconds.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = 0.0;
    if let Ok(secs) = rest.parse::<f64>() {
        total = secs;
        rest = "";
    } else if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_len = rest[digits..].find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len() - digits);
        let secs = match &rest[digits..digits + unit_len] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        total += number * secs;
        rest = &rest[digits + unit_len..];
    }
    Duration::try_from_secs_f64(total).ok().map(|duration| duration.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        let millis = |text| duration(text).map(|d| d.as_millis());
        assert_eq!(millis("10s"), Some(10_000));
        assert_eq!(millis("200ms"), Some(200));
        assert_eq!(millis("1m30s"), Some(90_000));
        assert_eq!(millis("1.5h"), Some(5_400_000));
        assert_eq!(millis("0"), Some(0));
        for wrong in ["", "s", "10x", "-3s", "1e400s"] {
            assert_eq!(millis(wrong), None, "{wrong}");
        }
    }
}
