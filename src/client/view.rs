//! A job as the server tells it, read leniently: what is not known here is left out, what is missing is empty.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, de::IgnoredAny};

use crate::lifecycle::StateName;

use super::{
    eta::{self, Eta},
    exit::Exit,
    reason::{self, Why},
    text::{Clock, Shown},
};

/// A job, of a list or whole.
#[derive(Debug, Deserialize)]
pub struct Job {
    pub job_id: Shown,
    pub name: Shown,
    #[serde(default)]
    pub queue: Shown,
    #[serde(default)]
    pub namespace: Shown,
    #[serde(default)]
    pub priority: i32,
    pub state: Shown,
    pub reason: Option<Shown>,
    pub message: Option<Shown>,
    #[serde(default)]
    pub labels: BTreeMap<Shown, Shown>,
    pub created_at: Option<Timestamp>,
    pub run_at: Option<Timestamp>,
    pub claimed_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub cancel_requested_at: Option<Timestamp>,
    pub queue_position: Option<Shown>,
    /// The current attempt, or the last.
    pub attempt: Option<i64>,
    /// How often it may be tried.
    pub max_attempts: Option<i64>,
    pub failed_attempts: Option<i64>,
    pub interruptions: Option<i64>,
    /// When it may start, which for a retry is after its backoff.
    pub due_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "reason::maybe")]
    pub why: Option<Why>,
    #[serde(default, deserialize_with = "eta::maybe")]
    pub eta: Option<Eta>,
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    pub spec: Option<Spec>,
}

/// One attempt of a job.
#[derive(Debug, Deserialize)]
pub struct Attempt {
    pub attempt: i32,
    pub kube_name: Option<Shown>,
    pub node: Option<Shown>,
    pub pod: Option<Shown>,
    pub exit_code: Option<i32>,
    pub reason: Option<Shown>,
    pub message: Option<Shown>,
    /// The container that decided how it ended.
    pub container: Option<Shown>,
    /// What the container said of its end, in the file that Kubernetes has for that.
    pub termination_message: Option<Shown>,
    /// What became of its log.
    pub log: Option<Shown>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

/// What a job is to do, as far as it is described.
#[derive(Debug, Default, Deserialize)]
pub struct Spec {
    pub image: Option<Shown>,
    #[serde(default)]
    pub command: Vec<Shown>,
    #[serde(default)]
    pub args: Vec<Shown>,
    pub parallelism: Option<i32>,
    pub completions: Option<i32>,
    pub service_account: Option<Shown>,
    pub timeout_secs: Option<i64>,
    pub manifest: Option<IgnoredAny>,
}

impl Attempt {
    /// The pod, and the container in it where that is known.
    pub fn place(&self) -> String {
        match (&self.pod, &self.container) {
            (Some(pod), Some(container)) => format!("{pod}/{container}"),
            (Some(pod), None) => pod.to_string(),
            (None, _) => "-".into(),
        }
    }

    /// How it ended, in words: Longshore's, and the container's own where it left some.
    pub fn words(&self) -> String {
        let message = self.message.as_ref().map(Shown::to_string).unwrap_or_default();
        match self.termination_message.as_ref().filter(|it| !it.is_empty()) {
            Some(said) if message.is_empty() => format!("it said: {said}"),
            Some(said) if !message.contains(said.as_str()) => format!("{message}; it said: {said}"),
            _ => message,
        }
    }
}

impl Job {
    /// The first attempt after number `shown`.
    pub fn attempt_after(&self, shown: u32) -> Option<u32> {
        self.attempts.iter().filter_map(|it| u32::try_from(it.attempt).ok()).filter(|it| *it > shown).min()
    }

    /// Also by its time, so that a state of a later version is waited for no longer than it lasts.
    pub fn is_finished(&self) -> bool {
        StateName::from_name(self.state.as_str()).is_some_and(StateName::is_finished) || self.finished_at.is_some()
    }

    /// Its labels, as one would type them.
    pub fn labels_text(&self) -> String {
        self.labels.iter().map(|(key, it)| format!("{key}={it}")).collect::<Vec<_>>().join(", ")
    }

    /// As the container ended that decided how the job did, where one did.
    pub fn exit_of_container(&self) -> Exit {
        let code = self.attempts.iter().max_by_key(|it| it.attempt).and_then(|it| it.exit_code);
        match (self.exit(), code.and_then(|it| u8::try_from(it).ok())) {
            (Exit::Done, _) => Exit::Done,
            (_, Some(code)) if code > 0 => Exit::OfContainer(code),
            (exit, _) => exit,
        }
    }

    /// As that, or in our own words.
    pub fn exit_of(&self, container: bool) -> Exit {
        if container { self.exit_of_container() } else { self.exit() }
    }

    pub fn exit(&self) -> Exit {
        Exit::of_ending(self.state.as_str(), self.reason.as_ref().map(Shown::as_str))
    }

    /// Whether its pods have yet to run.
    pub fn is_waiting(&self) -> bool {
        matches!(self.state.as_str(), "pending" | "scheduled" | "starting") && !self.is_finished()
    }

    /// Since when it has stood as it does, as far as its times tell.
    pub fn entered_at(&self) -> Option<Timestamp> {
        match self.state.as_str() {
            "pending" | "scheduled" => self.created_at,
            "starting" => self.claimed_at,
            "running" => self.started_at.or(self.claimed_at),
            "stopping" => self.cancel_requested_at,
            _ => self.finished_at,
        }
    }

    /// Why it stands as it does: in the server's words, else in what follows from its state.
    pub fn sentence(&self, clock: Clock) -> Option<String> {
        let said = self.why.as_ref().map(|it| &it.message).filter(|it| !it.is_empty());
        if let Some(message) = said.or(self.message.as_ref().filter(|it| !it.is_empty())) {
            return Some(message.to_string());
        }
        match (self.state.as_str(), self.due_at.or(self.run_at)) {
            ("pending", _) => Some("it waits for a slot".into()),
            ("scheduled", Some(at)) => Some(format!("it is not to start before {}", clock.tell(at))),
            ("starting", _) => Some("it has a slot, and its pods do not run yet".into()),
            ("stopping", _) => Some("it keeps its slot until its pods are gone".into()),
            _ => None,
        }
    }

    /// The state, and why where a reason adds to it.
    pub fn state_text(&self) -> String {
        match &self.reason {
            Some(reason) if !matches!(reason.as_str(), "completed" | "cancelled") => {
                format!("{} ({reason})", self.state)
            }
            _ => self.state.to_string(),
        }
    }

    /// The job and how it stands, in a line.
    pub fn line(&self) -> String {
        let message = self.message.as_ref().filter(|it| !it.is_empty() && self.exit() != Exit::Done);
        let message = message.map(|it| format!(": {it}")).unwrap_or_default();
        format!("{} {} {}{message}", self.job_id, self.name, self.state_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_needed_and_nothing_hostile_comes_through() {
        let job: Job = serde_json::from_value(serde_json::json!({
            "job_id": "1", "name": "a\u{1b}[2Jb", "state": "failed", "reason": "lost", "message": "gone\nfor good", "new": {}
        }))
        .unwrap();
        assert_eq!(job.line(), "1 a[2Jb failed (lost): gone for good");
        assert!(job.is_finished());
        assert_eq!(job.exit(), Exit::JobLost);
    }

    #[test]
    fn the_container_that_ended_last_decides_where_one_did() {
        let exit = |state: &str, codes: &[Option<i32>]| {
            let attempts = codes.iter().enumerate();
            let attempts: Vec<_> =
                attempts.map(|(index, it)| serde_json::json!({"attempt": index + 1, "exit_code": it})).collect();
            let job = serde_json::json!({"job_id": "1", "name": "a", "state": state, "attempts": attempts});
            serde_json::from_value::<Job>(job).unwrap().exit_of_container().code()
        };
        assert_eq!(exit("failed", &[Some(3), Some(137)]), 137);
        assert_eq!(exit("succeeded", &[Some(3), Some(0)]), 0);
        assert_eq!(exit("failed", &[None]), 10);
        assert_eq!(exit("cancelled", &[]), 11);
        assert_eq!(exit("failed", &[Some(-1)]), 10);
        assert_eq!(exit("failed", &[Some(0)]), 10);
    }
}
