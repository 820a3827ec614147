//! What to do about a Kubernetes Job that no current attempt accounts for. Pure.

use crate::{
    cluster::seen::{Phase, SeenJob},
    store::records::Record,
};

use super::decide::WATCH_LAG_SECS;

/// What to do about a Kubernetes Job that no current attempt accounts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftover {
    Keep,
    /// Its attempt is over, and the end of its log is still to be kept.
    SaveLog,
    /// Its outcome is recorded, and it was kept for long enough.
    Remove,
    /// It belongs to an attempt that is over, or to an earlier one, and still runs.
    Stop,
    /// It carries our labels and not our nonce, or no row knows it: never touched, for rows may have been lost.
    Report,
}

/// Decides about the Kubernetes Job of one attempt, given what is on record of that attempt.
pub fn dispose(record: Option<&Record>, job: &SeenJob, keep_secs: f64) -> Leftover {
    // A copy that someone made of one of ours carries its marks, under another name.
    let is_ours = record.is_some_and(|it| job.nonce == Some(it.nonce) && job.name == it.kube_name);
    match (record, &job.phase) {
        (None, Phase::Active | Phase::Complete | Phase::Failed { .. }) => Leftover::Report,
        (Some(_), Phase::Active | Phase::Complete | Phase::Failed { .. }) if !is_ours => Leftover::Report,
        (Some(record), Phase::Active | Phase::Complete | Phase::Failed { .. }) if record.current || job.deleting => {
            Leftover::Keep
        }
        (Some(record), Phase::Active) => match record.finished_secs {
            // Another replica's watch was ahead of ours and saw it end. Any other Job of the attempt is a late one.
            Some(secs) if secs < WATCH_LAG_SECS && record.uid.as_ref() == Some(&job.uid) => Leftover::Keep,
            Some(_) | None => Leftover::Stop,
        },
        (Some(record), Phase::Complete | Phase::Failed { .. }) if record.log_wanted => Leftover::SaveLog,
        (Some(record), Phase::Complete | Phase::Failed { .. }) => match record.finished_secs {
            Some(secs) if secs < keep_secs => Leftover::Keep,
            Some(_) | None => Leftover::Remove,
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        id::{JobId, KubeUid, Nonce},
        reconcile::decide::tests::{any_phase, seen_job},
    };

    proptest! {
        #[test]
        fn a_leftover_is_touched_only_when_it_is_ours_and_its_attempt_is_over(
            current in any::<bool>(), known in any::<bool>(), ours in any::<bool>(), deleting in any::<bool>(),
            late in any::<bool>(), copied in any::<bool>(), log_wanted in any::<bool>(), phase in any_phase(), finished in proptest::option::of(0.0..100.0_f64), keep in 0.0..100.0_f64,
        ) {
            let record = Record {
                job: JobId(uuid::Uuid::nil()),
                attempt: 1,
                nonce: Nonce(uuid::Uuid::nil()),
                kube_name: if copied { "original-1" } else { "job-1" }.into(),
                uid: Some(KubeUid(if late { "another" } else { "uid" }.into())),
                current,
                finished_secs: finished,
                log_wanted,
                pod: None,
                container: None,
            };
            let nonce = if ours { record.nonce } else { Nonce(uuid::Uuid::max()) };
            let job = SeenJob { nonce: Some(nonce), ..seen_job(phase.clone(), deleting) };
            let decided = dispose(known.then_some(&record), &job, keep);
            if matches!(decided, Leftover::Remove | Leftover::Stop) {
                prop_assert!(known && ours && !current && !deleting && !copied);
            }
            if decided == Leftover::Remove {
                prop_assert!(!log_wanted, "the evidence goes with it");
                prop_assert!(finished.is_none_or(|it| it >= keep) && phase != Phase::Active);
            }
            if decided == Leftover::Stop {
                prop_assert!((late || finished.is_none_or(|it| it >= WATCH_LAG_SECS)) && phase == Phase::Active);
            }
        }
    }
}
