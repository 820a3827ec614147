//! Names and identifiers that have rules, each a type, so that one cannot be passed for another.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A job. UUIDv7 and never reused: after a failover that lost commits, a sequence would hand out its numbers again, and
/// a Kubernetes Job named after one would meet a stranger's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(description = "A job's id: a UUIDv7, never reused.")]
pub struct JobId(pub Uuid);

impl JobId {
    /// A new id, later in order than those this process made before.
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }
}

impl Default for JobId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// One process of Longshore. Random at each start, so that a restarted replica is never taken for its former self.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReplicaId(pub Uuid);

impl ReplicaId {
    pub fn new() -> Self {
        Self(Uuid::new_v4())
    }
}

impl Default for ReplicaId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an attempt writes on its Kubernetes Job to recognise it by: random, made by the database when it is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce(pub Uuid);

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The uid that Kubernetes gave to a Job.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KubeUid(pub String);

/// The number of an attempt, counted from 1; 0 on a job that was never claimed.
pub type AttemptNo = i32;

/// The longest name a Kubernetes Job may have: its pods carry it in a label, and label values end at 63 characters.
pub const KUBE_NAME_CHARS: usize = 63;

/// The name of the Kubernetes Job of one attempt: readable, and a function of the job and the attempt alone, so that a
/// create that is repeated meets its own earlier self.
///
/// ```
/// use longshore::id::{JobId, kube_name};
/// let id: JobId = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
/// assert_eq!(kube_name("Nightly report!", id, 2), "nightly-report-01890a5dac96774bbcceb302099a8057-2");
/// ```
pub fn kube_name(name: &str, id: JobId, attempt: AttemptNo) -> String {
    let tail = format!("{}-{attempt}", id.0.simple());
    let room = KUBE_NAME_CHARS.saturating_sub(tail.len() + 1);
    let mut slug = String::new();
    for c in name.chars() {
        let c = if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        if slug.len() < room && !(c == '-' && (slug.is_empty() || slug.ends_with('-'))) {
            slug.push(c);
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { format!("job-{tail}") } else { format!("{slug}-{tail}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_job_name_gives_a_valid_kubernetes_name(name in ".{0,80}", attempt in 1..i32::MAX) {
            let id = JobId::new();
            let kube = kube_name(&name, id, attempt);
            prop_assert!(kube.len() <= KUBE_NAME_CHARS, "{kube}");
            prop_assert!(kube.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{kube}");
            prop_assert!(kube.starts_with(|c: char| c.is_ascii_alphanumeric()));
            let tail = format!("{}-{attempt}", id.0.simple());
            prop_assert!(kube.ends_with(&tail));
        }
    }
}
