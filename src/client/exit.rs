//! The exit codes, which scripts rely on.

use std::process::ExitCode;

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done; where it was waited for, the job has succeeded.
    Done,
    /// The request failed: the server, the network, or refused.
    RequestFailed,
    /// The command line, or the file it names, is wrong; nothing was asked of the server.
    Usage,
    /// What was asked about has yet to happen.
    NotYet,
    NotFound,
    /// 401 or 403.
    NotAllowed,
    /// The request contradicts its own rules or what is there: 409, 412 or 422.
    Conflict,
    /// The queue is full, or there were too many requests, and it stayed so.
    Full,
    JobFailed,
    JobCancelled,
    /// The job ran, or waited, for longer than it was given.
    JobDeadline,
    /// The Kubernetes Job was taken away by someone else.
    JobLost,
    /// `--timeout` ran out, as coreutils' `timeout` says it.
    TimedOut,
    /// Whoever read our output went away, as a shell says it of a program that SIGPIPE ended.
    ReaderGone,
    /// As the container that decided how the job ended.
    OfContainer(u8),
}

impl Exit {
    /// All but [`Exit::OfContainer`], in the order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::Done,
        Self::RequestFailed,
        Self::Usage,
        Self::NotYet,
        Self::NotFound,
        Self::NotAllowed,
        Self::Conflict,
        Self::Full,
        Self::JobFailed,
        Self::JobCancelled,
        Self::JobDeadline,
        Self::JobLost,
        Self::TimedOut,
        Self::ReaderGone,
    ];

    /// What it means, which `docs/reference` shows.
    pub fn about(self) -> &'static str {
        match self {
            Self::Done => "done; where it was waited for, the job has succeeded",
            Self::RequestFailed => "the request failed: the server, the network",
            Self::Usage => {
                "the command line, or the file it names, is wrong; or a question had to be asked and nobody was there"
            }
            Self::NotYet => "`why`: the job still waits",
            Self::NotFound => "no such job, log, queue, source or template",
            Self::NotAllowed => "not allowed (401, 403)",
            Self::Conflict => "refused (409, 412, 422)",
            Self::Full => "the queue is full, or there were too many requests, and it stayed so (429)",
            Self::JobFailed => "the job failed",
            Self::JobCancelled => "the job was cancelled",
            Self::JobDeadline => "the job waited, took to start or ran for longer than it was given",
            Self::JobLost => "the job was lost: someone else deleted its Kubernetes Job",
            Self::TimedOut => "`--timeout` ran out",
            Self::ReaderGone => "whoever read the output went away",
            Self::OfContainer(_) => "with `--exit-code-from-job`: as the container that decided how the job ended",
        }
    }

    /// The number that scripts see.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::RequestFailed => 1,
            Self::Usage => 2,
            Self::NotYet => 3,
            Self::NotFound => 4,
            Self::NotAllowed => 5,
            Self::Conflict => 6,
            Self::Full => 7,
            Self::JobFailed => 10,
            Self::JobCancelled => 11,
            Self::JobDeadline => 12,
            Self::JobLost => 13,
            Self::TimedOut => 124,
            Self::ReaderGone => 141,
            Self::OfContainer(code) => code,
        }
    }

    /// What a finished job means for whoever waited for it.
    pub fn of_ending(state: &str, reason: Option<&str>) -> Self {
        match (state, reason) {
            ("succeeded", _) => Self::Done,
            (_, Some("deadline_exceeded" | "queue_timeout" | "start_timeout")) => Self::JobDeadline,
            (_, Some("lost")) => Self::JobLost,
            ("cancelled", _) => Self::JobCancelled,
            _ => Self::JobFailed,
        }
    }

    /// What a refusal means. A 404 that is not about a thing, but about the path, is no "not found" for a script.
    pub fn of_refusal(status: u16, code: &str) -> Self {
        match status {
            401 | 403 => Self::NotAllowed,
            404 if !code.is_empty() && code != "no_such_path" => Self::NotFound,
            409 | 412 | 422 => Self::Conflict,
            429 => Self::Full,
            _ => Self::RequestFailed,
        }
    }

    /// Of several things, the first that is not [`Exit::Done`].
    pub fn first_bad(all: impl IntoIterator<Item = Self>) -> Self {
        all.into_iter().find(|it| *it != Self::Done).unwrap_or(Self::Done)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_has_the_documented_code() {
        let code = |state, reason| Exit::of_ending(state, Some(reason)).code();
        assert_eq!(code("succeeded", "completed"), 0);
        assert_eq!(code("failed", "job_failed"), 10);
        assert_eq!(code("failed", "manifest_rejected"), 10);
        assert_eq!(code("cancelled", "cancelled"), 11);
        assert_eq!(code("failed", "deadline_exceeded"), 12);
        assert_eq!(code("cancelled", "queue_timeout"), 12);
        assert_eq!(code("failed", "lost"), 13);
        assert_eq!(Exit::of_ending("a state of a later version", None).code(), 10);
        assert_eq!(Exit::TimedOut.code(), 124);
    }

    #[test]
    fn every_refusal_has_the_documented_code() {
        let code = |status, code| Exit::of_refusal(status, code).code();
        assert_eq!(code(400, "invalid_json"), 1);
        assert_eq!(code(403, "cross_site"), 5);
        assert_eq!(code(404, "no_such_job"), 4);
        assert_eq!(code(404, "no_such_path"), 1);
        assert_eq!(code(404, ""), 1);
        assert_eq!(code(409, "already_finished"), 6);
        assert_eq!(code(422, "invalid_fields"), 6);
        assert_eq!(code(429, "queue_full"), 7);
        assert_eq!(code(503, "outcome_unknown"), 1);
    }

    #[test]
    fn of_several_the_first_that_is_not_done_counts() {
        assert_eq!(Exit::first_bad([]), Exit::Done);
        assert_eq!(Exit::first_bad([Exit::Done, Exit::JobLost, Exit::JobFailed]), Exit::JobLost);
    }
}
