//! What can be done about a Kubernetes Job that no attempt accounts for.

use crate::{
    cluster::{salvage::Salvaged, seen::SeenJob},
    id::kube_name,
    spec::check_queue,
    store::{
        Conn, Error,
        recover::{self, Found, Known},
    },
};

use super::Action;

/// What to do.
#[derive(Debug, PartialEq)]
pub enum Mending<'a> {
    Adopt { version: i64, holds: bool },
    Rebuild { salvaged: &'a Salvaged, spec_hash: &'a str },
}

impl Mending<'_> {
    /// What it is called, and why.
    pub fn told(&self) -> (Action, &'static str) {
        match self {
            Self::Adopt { holds: false, .. } => (Action::Adopt, "its row waits, and goes on with it"),
            Self::Adopt { holds: true, .. } => (Action::Adopt, "its row is at an earlier attempt, and goes on with it"),
            Self::Rebuild { .. } => (Action::Rebuild, "its job has no row, and is given one"),
        }
    }

    /// Answers whether the row was still as it was read.
    pub async fn carry_out(&self, conn: &mut Conn, found: &Found) -> Result<bool, Error> {
        match self {
            Self::Adopt { version, .. } => recover::adopt(conn, found, *version).await,
            Self::Rebuild { salvaged, spec_hash } => {
                recover::rebuild(conn, found, &salvaged.name, &salvaged.queue, &salvaged.spec, spec_hash).await
            }
        }
    }
}

/// Whether `row`, of the job that it names, can go on with this Kubernetes Job; or why not.
pub fn decide<'a>(
    seen: &'a SeenJob,
    salvaged: Option<&'a Salvaged>,
    row: Option<&Known>,
) -> Result<(Found, Mending<'a>), &'static str> {
    let (Some((job, attempt)), Some(nonce), Some(spec_hash)) = (seen.attempt, seen.nonce, seen.spec_hash.as_deref())
    else {
        return Err("its labels and annotations do not say which attempt it is");
    };
    let name = row.map(|it| &it.name).or(salvaged.map(|it| &it.name));
    let name = name.ok_or("no row knows its job, and it does not say what it was made for")?;
    if attempt < 1 || kube_name(name, job, attempt) != seen.name {
        return Err("its name is not the one that its job and attempt have");
    }
    let found = Found {
        job,
        attempt,
        nonce,
        namespace: seen.namespace.clone(),
        kube_name: seen.name.clone(),
        uid: seen.uid.clone(),
    };
    let Some(row) = row else {
        let salvaged = salvaged.ok_or("it does not say what it was made for")?;
        check_queue(&salvaged.queue).map_err(|_| "its queue is not one that can be")?;
        return Ok((found, Mending::Rebuild { salvaged, spec_hash }));
    };
    let holds = match row.state.as_str() {
        "scheduled" | "pending" => false,
        "starting" | "running" | "stopping" => true,
        _ => return Err("its job is over, by its row"),
    };
    if row.namespace != seen.namespace {
        return Err("its job runs in another namespace, by its row");
    }
    if row.spec_hash.as_deref() != Some(spec_hash) {
        return Err("its job does something else, by its row");
    }
    if attempt <= row.attempt {
        return Err("its attempt is on record with another nonce");
    }
    Ok((found, Mending::Adopt { version: row.version, holds }))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use crate::{
        cluster::seen::Phase,
        id::{JobId, KubeUid, Nonce},
        spec::Spec,
    };

    use super::*;

    fn seen(job: JobId) -> SeenJob {
        SeenJob {
            namespace: "jobs".into(),
            name: kube_name("a", job, 2),
            uid: KubeUid("uid".into()),
            resource_version: None,
            attempt: Some((job, 2)),
            nonce: Some(Nonce(Uuid::nil())),
            spec_hash: Some("hash".into()),
            deleting: false,
            suspended: false,
            phase: Phase::Active,
            ended_pods: 0,
        }
    }

    fn row(job: JobId) -> Known {
        Known {
            job,
            version: 7,
            name: "a".into(),
            namespace: "jobs".into(),
            state: "pending".into(),
            attempt: 1,
            spec_hash: Some("hash".into()),
        }
    }

    #[test]
    fn a_row_goes_on_with_what_agrees_with_it_and_with_nothing_else() {
        let job = JobId::new();
        let is_adopted = |seen: &SeenJob, row: &Known| match decide(seen, None, Some(row)) {
            Ok((found, Mending::Adopt { version: 7, .. })) => found.job == job && found.attempt == 2,
            _ => false,
        };
        assert!(is_adopted(&seen(job), &row(job)));
        assert!(is_adopted(&seen(job), &Known { state: "running".into(), ..row(job) }));
        for other in [
            Known { state: "succeeded".into(), ..row(job) },
            Known { attempt: 2, ..row(job) },
            Known { attempt: 3, ..row(job) },
            Known { name: "b".into(), ..row(job) },
            Known { namespace: "other".into(), ..row(job) },
            Known { spec_hash: Some("other".into()), ..row(job) },
            Known { spec_hash: None, ..row(job) },
        ] {
            assert!(!is_adopted(&seen(job), &other), "{other:?}");
        }
        for other in [
            SeenJob { attempt: None, ..seen(job) },
            SeenJob { nonce: None, ..seen(job) },
            SeenJob { spec_hash: None, ..seen(job) },
            SeenJob { name: "a-2".into(), ..seen(job) },
        ] {
            assert!(!is_adopted(&other, &row(job)), "{other:?}");
        }
    }

    #[test]
    fn a_job_without_a_row_is_rebuilt_only_if_it_says_what_it_was() {
        let job = JobId::new();
        let salvaged = Salvaged { name: "a".into(), queue: "default".into(), spec: Spec::default() };
        let is_rebuilt = |salvaged: Option<&Salvaged>| {
            matches!(decide(&seen(job), salvaged, None), Ok((_, Mending::Rebuild { .. })))
        };
        assert!(is_rebuilt(Some(&salvaged)));
        assert!(!is_rebuilt(Some(&Salvaged { name: "b".into(), ..salvaged.clone() })));
        assert!(!is_rebuilt(Some(&Salvaged { queue: "no queue".into(), ..salvaged.clone() })));
        assert!(!is_rebuilt(None));
    }
}
