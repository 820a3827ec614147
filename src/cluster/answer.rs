//! What an answer of the API server means, told apart in one place.
//!
//! | answer | means |
//! | --- | --- |
//! | 409 `AlreadyExists` | look who it is |
//! | 400, 413, 422 | this manifest will never be accepted |
//! | 403 by an admission plug-in or webhook | the same |
//! | 403 quota, RBAC, namespace terminating; 404 of the namespace; 401 | not now, and not this job's fault |
//! | 429, other 409 (quota conflict), 5xx, time-out, broken connection | not now; after 5xx, time-out and a broken connection the Job may exist all the same |

use std::time::Duration;

use kube::core::Status;

use crate::{effects::LostAnswer, lifecycle::WaitCode};

use super::pod;

/// Why a Job was not created, or is not known to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateFailure {
    /// A Job of that name is there; whose, was not looked into yet.
    Exists,
    /// A stranger's Job has the name.
    NameTaken,
    /// A Job of that name was there and is gone: it may have been ours, so it must not be made again.
    Vanished,
    /// Kubernetes will never accept the manifest.
    Refused { message: String },
    /// It may go well later.
    NotNow {
        code: WaitCode,
        message: String,
        retry_after: Option<Duration>,
        /// Whether the Job may have been made all the same.
        may_exist: bool,
    },
}

impl CreateFailure {
    pub fn timed_out(after: Duration) -> Self {
        Failure::timed_out(after).into()
    }
}

impl From<Failure> for CreateFailure {
    fn from(failure: Failure) -> Self {
        let Failure { message, retry_after } = failure;
        Self::NotNow { code: WaitCode::ApiTrouble, message, retry_after, may_exist: true }
    }
}

impl LostAnswer for CreateFailure {
    fn lost_answer() -> Self {
        Failure::lost_answer().into()
    }
}

/// Why another request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Kubernetes: {message}")]
pub struct Failure {
    pub message: String,
    pub retry_after: Option<Duration>,
}

impl Failure {
    pub fn timed_out(after: Duration) -> Self {
        Self { message: format!("no answer within {after:?}"), retry_after: None }
    }
}

impl LostAnswer for Failure {
    fn lost_answer() -> Self {
        Self { message: "the answer was lost".into(), retry_after: None }
    }
}

/// Reads the answer to a create that was not a success.
pub fn of_create(err: kube::Error) -> CreateFailure {
    let kube::Error::Api(status) = &err else {
        let may_exist = !never_left(&err);
        let Failure { message, retry_after } = of_request(err);
        return CreateFailure::NotNow { code: WaitCode::ApiTrouble, message, retry_after, may_exist };
    };
    let message = text(status);
    let retry_after = retry_after(status);
    let later = |code, may_exist| CreateFailure::NotNow { code, message: message.clone(), retry_after, may_exist };
    match status.code {
        409 if status.reason == "AlreadyExists" => CreateFailure::Exists,
        400 | 413 | 422 => CreateFailure::Refused { message },
        403 if is_over_quota(&message) => later(WaitCode::Quota, false),
        403 if is_not_permitted(&message) => later(WaitCode::NotPermitted, false),
        403 if is_not_ready(&message) => later(WaitCode::ApiTrouble, false),
        403 => CreateFailure::Refused { message },
        401 | 404 => later(WaitCode::NotPermitted, false),
        409 if message.contains("resourcequotas") => later(WaitCode::Quota, false),
        409 | 429 => later(WaitCode::ApiTrouble, false),
        500 if message.contains("request is too large") => CreateFailure::Refused { message },
        _ => later(WaitCode::ApiTrouble, true),
    }
}

/// Whether the connection was never made.
fn never_left(err: &kube::Error) -> bool {
    let kube::Error::Service(cause) = err else { return false };
    cause.downcast_ref::<hyper_util::client::legacy::Error>().is_some_and(|it| it.is_connect())
}

/// Reads the answer to any other request that was not a success.
pub fn of_request(err: kube::Error) -> Failure {
    match &err {
        kube::Error::Api(status) => Failure { message: text(status), retry_after: retry_after(status) },
        err => Failure { message: crate::error::chain(err), retry_after: None },
    }
}

// The API server says 403 for a quota, for a missing permission of ours and for a namespace that is going away, and has no
// field that tells them from a policy's denial; these are the words it has used since 1.20.

pub(super) fn is_over_quota(message: &str) -> bool {
    message.contains("exceeded quota") || message.contains("status unknown for quota")
}

pub(super) fn is_not_permitted(message: &str) -> bool {
    message.contains("is being terminated") || message.contains("cannot create resource")
}

/// An API server that has just started says so until its admission plug-ins have caught up.
pub(super) fn is_not_ready(message: &str) -> bool {
    message.contains("not yet ready to handle request") || message.contains("caches not synchronized")
}

fn text(status: &Status) -> String {
    let reason = if status.reason.is_empty() { "error" } else { &status.reason };
    // A webhook may have written it.
    pod::cut(&format!("{} ({} {reason})", status.message, status.code))
}

fn retry_after(status: &Status) -> Option<Duration> {
    let secs = status.details.as_ref().map_or(0, |it| it.retry_after_seconds);
    (secs > 0).then(|| Duration::from_secs(secs.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(code: u16, reason: &str, message: &str) -> CreateFailure {
        let status =
            Status { code, reason: reason.into(), message: message.into(), ..Status::failure(message, reason) };
        of_create(kube::Error::Api(Box::new(status)))
    }

    fn not_now(failure: &CreateFailure) -> Option<bool> {
        match failure {
            CreateFailure::NotNow { may_exist, .. } => Some(*may_exist),
            _ => None,
        }
    }

    #[test]
    fn what_a_create_waits_for_is_told_apart() {
        let code = |code, message| match answered(code, "Forbidden", message) {
            CreateFailure::NotNow { code, .. } => Some(code),
            _ => None,
        };
        assert_eq!(code(403, "jobs \"a\" is forbidden: exceeded quota: q"), Some(WaitCode::Quota));
        assert_eq!(code(409, "Operation cannot be fulfilled on resourcequotas \"q\""), Some(WaitCode::Quota));
        assert_eq!(code(403, "User \"x\" cannot create resource \"jobs\""), Some(WaitCode::NotPermitted));
        assert_eq!(code(404, "namespaces \"x\" not found"), Some(WaitCode::NotPermitted));
        assert_eq!(code(429, "slow down"), Some(WaitCode::ApiTrouble));
        assert_eq!(code(403, "denied by policy"), None);
    }

    #[test]
    fn what_a_webhook_says_can_be_kept_whatever_it_says() {
        let CreateFailure::Refused { message } = answered(403, "Forbidden", &"no\0".repeat(100_000)) else {
            panic!("a denial is a refusal")
        };
        assert!(!message.contains('\0') && message.chars().count() <= 4096);
    }

    #[test]
    fn each_answer_is_told_apart() {
        assert_eq!(answered(409, "AlreadyExists", "jobs \"a\" already exists"), CreateFailure::Exists);
        let conflict = answered(409, "Conflict", "Operation cannot be fulfilled on resourcequotas \"q\"");
        assert_eq!(not_now(&conflict), Some(false));
        assert!(matches!(answered(422, "Invalid", "spec.template: Required"), CreateFailure::Refused { .. }));
        assert!(matches!(answered(403, "Forbidden", "denied by policy no-root"), CreateFailure::Refused { .. }));
        for waits in [
            answered(403, "Forbidden", "jobs \"a\" is forbidden: exceeded quota: q, requested: count/jobs.batch=1"),
            answered(403, "Forbidden", "User \"x\" cannot create resource \"jobs\" in API group \"batch\""),
            answered(403, "Forbidden", "unable to create new content in namespace x because it is being terminated"),
            answered(403, "Forbidden", "jobs \"a\" is forbidden: not yet ready to handle request"),
            answered(404, "NotFound", "namespaces \"x\" not found"),
            answered(429, "TooManyRequests", "slow down"),
        ] {
            assert_eq!(not_now(&waits), Some(false), "{waits:?}");
        }
        for unclear in [answered(500, "InternalError", "etcd"), answered(504, "Timeout", "request timed out")] {
            assert_eq!(not_now(&unclear), Some(true), "{unclear:?}");
        }
    }
}
