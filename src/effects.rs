//! Every effect that Longshore has on the world outside its process, in one list, each passed through [`at`].
//!
//! With the cargo feature `failpoints`, and only then, `LONGSHORE_FAILPOINT=<effect>:<moment>[:<skip>]` makes a process
//! die just before or just after one effect, or lose its answer, the first `skip` times excepted. A test walks the whole
//! list, so that a new effect is tested for a crash on either side of it from the day it is written here.

/// One kind of effect: a commit in the database, or a request to Kubernetes that changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    Submit,
    TakeIn,
    Promote,
    Claim,
    TakeOver,
    HandBack,
    CreateJob,
    RecordCreated,
    RecordRunning,
    RequestCancel,
    TryAgain,
    ChangeJob,
    RecordStopping,
    DeleteJob,
    RecordEnding,
    RecordRetry,
    PutAside,
    Expire,
    TellWait,
    KeepLog,
    RemoveJob,
    RemoveJobs,
    Sweep,
}

impl Effect {
    pub const ALL: [Effect; 23] = [
        Self::Submit,
        Self::TakeIn,
        Self::Promote,
        Self::Claim,
        Self::TakeOver,
        Self::HandBack,
        Self::CreateJob,
        Self::RecordCreated,
        Self::RecordRunning,
        Self::RequestCancel,
        Self::TryAgain,
        Self::ChangeJob,
        Self::RecordStopping,
        Self::DeleteJob,
        Self::RecordEnding,
        Self::RecordRetry,
        Self::PutAside,
        Self::Expire,
        Self::TellWait,
        Self::KeepLog,
        Self::RemoveJob,
        Self::RemoveJobs,
        Self::Sweep,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::TakeIn => "take_in",
            Self::Promote => "promote",
            Self::Claim => "claim",
            Self::TakeOver => "take_over",
            Self::HandBack => "hand_back",
            Self::CreateJob => "create_job",
            Self::RecordCreated => "record_created",
            Self::RecordRunning => "record_running",
            Self::RequestCancel => "request_cancel",
            Self::TryAgain => "try_again",
            Self::ChangeJob => "change_job",
            Self::RecordStopping => "record_stopping",
            Self::DeleteJob => "delete_job",
            Self::RecordEnding => "record_ending",
            Self::RecordRetry => "record_retry",
            Self::PutAside => "put_aside",
            Self::Expire => "expire",
            Self::TellWait => "tell_wait",
            Self::KeepLog => "keep_log",
            Self::RemoveJob => "remove_job",
            Self::RemoveJobs => "remove_jobs",
            Self::Sweep => "sweep",
        }
    }
}

/// An error that can say: the request was sent, and no answer came.
pub trait LostAnswer {
    fn lost_answer() -> Self;
}

/// Runs one effect.
pub async fn at<T, E: LostAnswer>(effect: Effect, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    at_all(&[effect], work).await
}

/// Runs effects that happen at once, in one commit.
pub async fn at_all<T, E: LostAnswer>(effects: &[Effect], work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    #[cfg(feature = "failpoints")]
    for effect in effects {
        failpoint::hit(*effect, failpoint::Moment::Before);
    }
    let answer = work.await;
    #[cfg(feature = "failpoints")]
    if answer.is_ok() && effects.iter().any(|it| failpoint::hit(*it, failpoint::Moment::After)) {
        return Err(E::lost_answer());
    }
    let _ = effects;
    answer
}

#[cfg(feature = "failpoints")]
mod failpoint {
    use std::sync::{
        LazyLock,
        atomic::{AtomicI64, Ordering},
    };

    use super::Effect;

    #[derive(PartialEq)]
    pub enum Moment {
        Before,
        After,
    }

    struct Planted {
        effect: String,
        moment: String,
        /// How many more times the effect passes unharmed.
        skip: AtomicI64,
    }

    static PLANTED: LazyLock<Option<Planted>> = LazyLock::new(|| {
        let text = std::env::var("LONGSHORE_FAILPOINT").ok()?;
        let mut parts = text.split(':');
        let (effect, moment) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        let skip = parts.next().and_then(|it| it.parse().ok()).unwrap_or(0);
        Some(Planted { effect, moment, skip: AtomicI64::new(skip) })
    });

    /// Does what was planted for this effect; true when its answer is to be lost.
    pub fn hit(effect: Effect, moment: Moment) -> bool {
        let Some(planted) = PLANTED.as_ref().filter(|it| it.effect == effect.name()) else { return false };
        let now = match planted.moment.as_str() {
            "before" => moment == Moment::Before,
            _ => moment == Moment::After,
        };
        if !now || planted.skip.fetch_sub(1, Ordering::SeqCst) != 0 {
            return false;
        }
        eprintln!("failpoint {}:{} taken", planted.effect, planted.moment);
        if planted.moment == "lose" {
            return true;
        }
        // As kill -9 would end it: no destructor, no flush.
        std::process::abort();
    }
}
