//! What a simulated pod will do, read from its annotations `sim.longshore.dev/…` (which a pod has from its template or its Job).

use std::time::Duration;

use serde_json::Value;

#[derive(Clone, Debug, PartialEq)]
pub struct Behaviour {
    pub outcome: Outcome,
    /// How a pod that was in trouble ends once that has healed.
    pub then: Outcome,
    /// From being created to the end of its trouble; it stays in trouble when absent.
    pub heals_after: Option<Duration>,
    /// Its first init container is the one that does all this.
    pub in_init: bool,
    /// How long it runs.
    pub duration: Duration,
    /// From being bound to running.
    pub start: Duration,
    /// How long it takes to end when it is asked to.
    pub stop: Duration,
    pub termination_message: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It runs, and ends by itself.
    Exit(i64),
    OomKilled,
    /// It runs, and something ends it.
    Evicted,
    Preempted,
    NodeLost,
    PodDeleted,
    Vanishes,
    /// Its program cannot be started, and that is its end.
    StartError,
    /// It never runs, unless that heals.
    Stuck(Trouble),
}

/// What keeps a pod from running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    NoPod,
    Unschedulable,
    NeverStarts,
    Mount,
    ImagePull,
    InvalidImageName,
    ImageNeverPull,
    ImageInspect,
    Config,
    Create,
    Run,
}

pub const ANNOTATION_PREFIX: &str = "sim.longshore.dev/";

/// Where Longshore says which attempt a Job and its pods are.
const ATTEMPT_LABEL: &str = "longshore.dev/attempt";

/// Longer than any test or demo; keeps sums with it away from overflow.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl Behaviour {
    /// What a pod's metadata says, and the defaults for what it does not.
    pub fn read(metadata: &Value, defaults: &Behaviour) -> Behaviour {
        let find = |name: &str| metadata["annotations"][format!("{ANNOTATION_PREFIX}{name}")].as_str();
        let time = |name: &str, default: Duration| find(name).and_then(duration).unwrap_or(default);
        let attempt = metadata["labels"][ATTEMPT_LABEL].as_str().and_then(|text| text.parse().ok()).unwrap_or(1);
        Behaviour {
            outcome: find("outcome").and_then(|list| outcome(of_attempt(list, attempt))).unwrap_or(defaults.outcome),
            then: find("then").and_then(outcome).unwrap_or(defaults.then),
            heals_after: find("heals-after").and_then(duration).or(defaults.heals_after),
            in_init: find("in").map_or(defaults.in_init, |place| place == "init"),
            duration: time("duration", defaults.duration),
            start: time("start", defaults.start),
            stop: time("stop", defaults.stop),
            termination_message: find("termination-message").map(str::to_owned),
        }
    }
}

/// The entry of an attempt, counted from one; the last one stands for all later ones.
fn of_attempt(list: &str, attempt: usize) -> &str {
    let before = attempt.saturating_sub(1).min(list.matches(',').count());
    list.split(',').nth(before).unwrap_or_default()
}

fn outcome(text: &str) -> Option<Outcome> {
    Some(match text.trim() {
        "succeed" => Outcome::Exit(0),
        "fail" => Outcome::Exit(1),
        "oom-killed" => Outcome::OomKilled,
        "evicted" => Outcome::Evicted,
        "preempted" => Outcome::Preempted,
        "node-lost" => Outcome::NodeLost,
        "pod-deleted" => Outcome::PodDeleted,
        "vanishes" => Outcome::Vanishes,
        "start-error" => Outcome::StartError,
        "no-pod" => Outcome::Stuck(Trouble::NoPod),
        "unschedulable" => Outcome::Stuck(Trouble::Unschedulable),
        "never-starts" => Outcome::Stuck(Trouble::NeverStarts),
        "mount-error" => Outcome::Stuck(Trouble::Mount),
        "image-pull-error" => Outcome::Stuck(Trouble::ImagePull),
        "invalid-image-name" => Outcome::Stuck(Trouble::InvalidImageName),
        "image-never-pull" => Outcome::Stuck(Trouble::ImageNeverPull),
        "image-inspect-error" => Outcome::Stuck(Trouble::ImageInspect),
        "config-error" => Outcome::Stuck(Trouble::Config),
        "create-error" => Outcome::Stuck(Trouble::Create),
        "run-error" => Outcome::Stuck(Trouble::Run),
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

    #[test]
    fn each_attempt_has_its_entry_and_the_last_one_repeats() {
        let defaults = crate::sim::SimConfig::default().behaviour();
        let outcome = |list: &str, attempt: &str| {
            let metadata = serde_json::json!({
                "labels": {"longshore.dev/attempt": attempt}, "annotations": {"sim.longshore.dev/outcome": list},
            });
            Behaviour::read(&metadata, &defaults).outcome
        };
        for (attempt, expected) in [("1", 7), ("2", 1), ("3", 0), ("99", 0), ("0", 7), ("x", 7)] {
            assert_eq!(outcome("exit=7, fail ,succeed", attempt), Outcome::Exit(expected), "{attempt}");
        }
        assert_eq!(outcome("oom-killed", "4"), Outcome::OomKilled);
        assert_eq!(outcome("nonsense,fail", "1"), Outcome::Exit(0));
    }
}
