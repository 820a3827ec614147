//! What a pretend container prints, and when: the lines of its log are spread over its run.
//!
//! A line is made when it is asked for, by its number, so that following a log of many megabytes does not make it anew
//! for each look. Numbers never change: a line that was not printed before the end never gets one.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::sim::behaviour::ANNOTATION_PREFIX;
use crate::sim::control::Run;
use crate::sim::state::{Object, texts};

/// Of a numbered line, with its end.
const LINE_BYTES: usize = 100;
/// A log is held in memory as a whole when it is asked for as a whole.
const LOG_MAX_BYTES: usize = 64 * 1024 * 1024;

pub struct Script {
    began: Timestamp,
    duration: Duration,
    /// When it ended, and the exit code.
    ended: Option<(Timestamp, i64)>,
    head: Vec<String>,
    said: Vec<String>,
    numbered_bytes: usize,
    long_bytes: usize,
}

impl Script {
    /// None where the container printed nothing and never will: its program did not start.
    pub fn of(pod: &Object, run: Option<&Run>, container: &str) -> Option<Script> {
        let (spec, status, is_init) = find(pod, container)?;
        let state = &status["state"];
        let last = &status["lastState"]["terminated"];
        let terminated = if state["terminated"].is_object() { &state["terminated"] } else { last };
        if terminated["reason"] == "StartError" {
            return None;
        }
        let behaviour = run.map(|run| &run.behaviour);
        let acts = !is_init || behaviour.is_some_and(|behaviour| behaviour.in_init);
        let run = run.filter(|_| acts);
        let time = |value: &Value| value.as_str().and_then(|at| at.parse::<Timestamp>().ok());
        let told = time(&state["running"]["startedAt"]).or_else(|| time(&terminated["startedAt"])).unwrap_or_default();
        let began = run.and_then(|run| run.started).unwrap_or(told);
        let over = || run.and_then(|run| run.ended).or_else(|| time(&terminated["finishedAt"])).unwrap_or(began);
        let code = terminated["exitCode"].as_i64().filter(|_| !state["running"].is_object());
        let annotation = |name: &str| pod.annotation(&format!("{ANNOTATION_PREFIX}{name}")).filter(|_| acts);
        let bytes = |name: &str| annotation(name).and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        Some(Script {
            began,
            duration: behaviour.map_or(Duration::ZERO, |behaviour| behaviour.duration),
            ended: code.map(|code| (over(), code)),
            head: head(pod, spec),
            said: annotation("log").into_iter().flat_map(str::lines).map(str::to_owned).collect(),
            numbered_bytes: LOG_MAX_BYTES.min(bytes("log-bytes")),
            long_bytes: LOG_MAX_BYTES.min(bytes("log-line-bytes")),
        })
    }

    /// How many lines there are by now.
    pub fn count(&self, now: Timestamp) -> usize {
        self.head.len() + self.printed(now) + usize::from(self.ended.is_some())
    }

    /// A line there is by now, and when it was printed.
    pub fn line(&self, number: usize, now: Timestamp) -> (Timestamp, String) {
        if let Some(line) = self.head.get(number) {
            return (self.began, line.clone());
        }
        let body = number - self.head.len();
        match self.ended {
            Some((at, code)) if body >= self.printed(now) => {
                let secs = at.as_second() - self.began.as_second();
                (at, format!("longshore-sim: exit code {code} after {secs} s"))
            }
            _ => (self.at(body), self.body_line(body)),
        }
    }

    /// When the next line comes; none when all were printed.
    pub fn next_at(&self, now: Timestamp) -> Option<Timestamp> {
        let printed = self.printed(now);
        (self.ended.is_none() && printed < self.body_len()).then(|| self.at(printed))
    }

    fn body_len(&self) -> usize {
        self.said.len() + self.numbered() + usize::from(self.long_bytes > 0)
    }

    fn numbered(&self) -> usize {
        self.numbered_bytes.div_ceil(LINE_BYTES)
    }

    /// How many lines of the body were printed before it ended, or by now.
    fn printed(&self, now: Timestamp) -> usize {
        let until = self.ended.map_or(now, |(at, _)| at);
        let elapsed = u128::try_from(until.duration_since(self.began).as_nanos()).unwrap_or(0);
        let all = self.body_len();
        let due = (elapsed * all as u128).checked_div(self.duration.as_nanos()).map_or(all as u128, |due| due + 1);
        all.min(usize::try_from(due).unwrap_or(all))
    }

    fn at(&self, body: usize) -> Timestamp {
        let nanos = (self.duration.as_nanos() * body as u128).div_ceil(self.body_len().max(1) as u128);
        let since = SignedDuration::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX));
        self.began.checked_add(since).unwrap_or(Timestamp::MAX)
    }

    fn body_line(&self, body: usize) -> String {
        if let Some(line) = self.said.get(body) {
            return line.clone();
        }
        let number = body - self.said.len();
        if number >= self.numbered() {
            return "x".repeat(self.long_bytes);
        }
        let mut line = format!("{:.<width$}", format!("line {} ", number + 1), width = LINE_BYTES - 1);
        line.truncate((self.numbered_bytes - number * LINE_BYTES).min(LINE_BYTES) - 1);
        line
    }
}

/// The container by this name, its status, and whether it is an init container.
pub fn find<'a>(pod: &'a Object, name: &str) -> Option<(&'a Value, &'a Value, bool)> {
    let lists = [("containers", "containerStatuses", false), ("initContainers", "initContainerStatuses", true)];
    lists.into_iter().find_map(|(specs, statuses, is_init)| {
        let named = |list: &'a Value| list.as_array().into_iter().flatten().find(|item| item["name"] == name);
        let spec = named(&pod.value["spec"][specs])?;
        Some((spec, named(&pod.value["status"][statuses]).unwrap_or(&Value::Null), is_init))
    })
}

fn head(pod: &Object, spec: &Value) -> Vec<String> {
    let image = spec["image"].as_str().unwrap_or_default();
    let command: Vec<&str> = [texts(&spec["command"]), texts(&spec["args"])].concat();
    let first = format!("longshore-sim: {} on sim-node pretends to run image {image}", pod.name());
    let second = match command.as_slice() {
        [] => "longshore-sim: with the image's own command".to_owned(),
        words => format!("$ {}", shlex::try_join(words.iter().copied()).unwrap_or_default()),
    };
    vec![first, second]
}
