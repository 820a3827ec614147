//! The lifecycle of a job: its states, and the edges between them.
//!
//! ```text
//!      ╭────────────────────────────── tried again, or put aside ───────────────────────────────╮
//!      ▼                                                                                        │
//!  scheduled ──▶ pending ──▶ claimed ──▶ created ──▶ running ──▶ succeeded                       │
//!      │            │ ▲        │ │ │        │ │         │ │  ╲──▶ failed    claimed, created,    │
//!      │            │ ╰────────╯ │ │        │ │         │ ▼                 running, stopping ───╯
//!      │            │            │ │        │ ╰──▶ stopping ──▶ succeeded | failed | cancelled
//!      ╰────────────┴────────────╯ ╰────────╯
//!         ▼ cancelled | failed         ▼ succeeded | failed
//! ```
//!
//! A job whose attempt ended badly, and that is to be tried again, is scheduled for the next one: see `retry.rs`. Not drawn:
//! one that failed or was cancelled is pending again, and one that is pending scheduled again, when somebody asks for it.
//! `claimed` and `created` are both called `starting` outside: a slot is held, and nothing runs yet. They are two types
//! because they own different data. While a job is claimed, one replica answers for creating its Kubernetes Job, and
//! survivors take it over when that replica dies; once it is created, its uid is known and every replica watches it.
//!
//! A state is a type and owns exactly the data that state has; the CHECK constraints of `longshore.jobs` say the same
//! again. An edge is one line of `edges!` below. A move along an edge compiles:
//!
//! ```no_run
//! use longshore::{lifecycle::{Claimed, Created, Facts}, store::{jobs::Job, moves::Moves}};
//! async fn created(moves: &Moves, job: Job<Claimed>, to: Created) {
//!     let _ = moves.advance(job, to, &Facts::default()).await;
//! }
//! ```
//!
//! A move without one does not:
//!
//! ```compile_fail,E0277
//! use longshore::{lifecycle::{Created, Facts, Succeeded}, store::{jobs::Job, moves::Moves}};
//! async fn resurrect(moves: &Moves, job: Job<Succeeded>, to: Created) {
//!     let _ = moves.advance(job, to, &Facts::default()).await;
//! }
//! ```

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{KubeUid, Nonce, ReplicaId};

/// Declares an enum of words: each variant with its name outside.
macro_rules! words {
    ($(#[$meta:meta])* $kind:ident { $($(#[doc = $doc:literal])* $variant:ident = $name:tt,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        pub enum $kind {
            $($(#[doc = $doc])* #[serde(rename = $name)] $variant,)+
        }

        impl $kind {
            pub const ALL: [$kind; [$($name),+].len()] = [$(Self::$variant),+];

            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What its comment here says, which `docs/reference` shows.
            pub fn about(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),*).trim(),)+
                }
            }

            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|it| it.name() == name)
            }
        }
    };
}

/// Waiting for its time: so many seconds from now, by the database's clock.
#[derive(Debug, Clone)]
pub struct Scheduled {
    pub in_secs: f64,
    pub wait: Wait,
}

/// Waiting for a slot.
#[derive(Debug, Clone)]
pub struct Pending;

/// Holds a slot; `replica` is creating its Kubernetes Job, which will carry `nonce`.
#[derive(Debug, Clone)]
pub struct Claimed {
    pub replica: ReplicaId,
    pub nonce: Nonce,
}

/// Holds a slot; its Kubernetes Job exists, and none of its pods runs yet.
#[derive(Debug, Clone)]
pub struct Created {
    pub nonce: Nonce,
    pub uid: KubeUid,
}

/// Holds a slot; a pod of it runs, or ran.
#[derive(Debug, Clone)]
pub struct Running {
    pub nonce: Nonce,
    pub uid: KubeUid,
}

/// Holds a slot until its Kubernetes Job and its pods are gone; then it ends as `ending` says.
#[derive(Debug, Clone)]
pub struct Stopping {
    pub nonce: Nonce,
    pub uid: KubeUid,
    pub ending: Ending,
}

/// Over: every container ended well.
#[derive(Debug, Clone)]
pub struct Succeeded {
    pub ending: Ending,
}

/// Over: it ended badly, or could not run.
#[derive(Debug, Clone)]
pub struct Failed {
    pub ending: Ending,
}

/// Over: someone asked for it to be stopped, and it was.
#[derive(Debug, Clone)]
pub struct Cancelled {
    pub ending: Ending,
}

/// Why a job ended, for programs and for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    pub reason: Reason,
    pub message: String,
}

impl Ending {
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// What is learnt about an attempt on the way. What is not known leaves what is kept as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    pub node: Option<String>,
    pub pod: Option<String>,
    pub container: Option<String>,
    pub exit_code: Option<i32>,
    /// What the container, or the kubelet for it, said when it ended; at most 4 KiB by Kubernetes' own limit.
    pub termination_message: Option<String>,
    /// By the node's clock.
    pub started_at: Option<Timestamp>,
}

/// How an attempt ended, as it is kept with the attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptEnd {
    pub ending: Ending,
    /// Whether it counts against `max_attempts`, as a failure; none when it is no failure at all.
    pub counts: Option<bool>,
    /// Whether the end of its log is to be kept; none: it was not asked for, or it has been kept.
    pub log: Option<Log>,
}

words! {
    /// What is still to be done about the end of an attempt's log.
    Log {
        /// It is to be kept before the Kubernetes Job goes.
        Wanted = "wanted",
        /// There is nothing left to keep it from.
        Missing = "missing",
    }
}

words! {
    /// Of which attempts the end of the log is kept.
    KeepLogs {
        None = "none",
        Failed = "failed",
        All = "all",
    }
}

impl KeepLogs {
    /// Whether the log of an attempt that ends so is kept.
    pub const fn wants(self, reason: Reason) -> bool {
        match self {
            Self::None => false,
            Self::Failed => !matches!(reason, Reason::Completed | Reason::Cancelled | Reason::Quota),
            Self::All => true,
        }
    }
}

words! {
    /// The stable, machine-readable reason of an ending. Documented in `docs/lifecycle.md`.
    Reason {
        /// Every pod ended with exit code 0.
        Completed = "completed",
        /// A container ended with another exit code, as often as the manifest allows.
        JobFailed = "job_failed",
        /// A container used more memory than its limit.
        OomKilled = "oom_killed",
        /// The node was short of something and put the pod out.
        Evicted = "evicted",
        /// A pod of higher priority took its place.
        Preempted = "preempted",
        /// Its node was lost.
        NodeLost = "node_lost",
        /// Someone, or a drain of the node, deleted its pod.
        PodDeleted = "pod_deleted",
        /// An image could not be had.
        ImagePull = "image_pull",
        /// A container cannot be made, or cannot begin, as it is described.
        ConfigError = "config_error",
        /// No node took its pod in time.
        Unschedulable = "unschedulable",
        /// No container of it ran in time.
        StartTimeout = "start_timeout",
        /// It ran for longer than its `timeout`.
        DeadlineExceeded = "deadline_exceeded",
        /// It waited for longer than its `queue_timeout`.
        QueueTimeout = "queue_timeout",
        /// Its pods were over a quota, and it was stopped to wait for a better moment: never the end of a job.
        Quota = "quota",
        /// Someone asked for it to be stopped.
        Cancelled = "cancelled",
        /// Kubernetes refused the manifest for good.
        ManifestRejected = "manifest_rejected",
        /// What was asked of it, in SQL, cannot be accepted.
        Refused = "refused",
        /// Another Kubernetes Job has the name that this attempt's must have.
        NameConflict = "name_conflict",
        /// Its Kubernetes Job was deleted by someone else.
        Lost = "lost",
    }
}

impl Reason {
    /// Whether the cluster ended it, and the job has no part in that.
    pub const fn is_interruption(self) -> bool {
        matches!(self, Self::Evicted | Self::Preempted | Self::NodeLost | Self::PodDeleted)
    }
}

words! {
    /// What a job waits for, where there is more to say than its state says. Documented in `docs/lifecycle.md`.
    WaitCode {
        /// The pause after an attempt that failed.
        Backoff = "backoff",
        /// A quota on Kubernetes Jobs in its namespace is used up.
        Quota = "quota",
        /// A quota of its namespace leaves no room for its pods.
        PodQuota = "pod_quota",
        /// Longshore may not create Jobs in its namespace, or there is no such namespace.
        NotPermitted = "not_permitted",
        /// Kubernetes does not answer a create well.
        ApiTrouble = "api_trouble",
        /// An image cannot be had so far.
        ImagePull = "image_pull",
        /// A container cannot be made so far.
        ConfigError = "config_error",
        /// A volume cannot be mounted so far.
        VolumeMount = "volume_mount",
        /// No node takes its pod so far.
        Unschedulable = "unschedulable",
        /// Kubernetes makes no pod for it so far.
        NoPod = "no_pod",
        /// Its Kubernetes Job is suspended, by its manifest or by someone else.
        Suspended = "suspended",
    }
}

/// What a job waits for, for programs and for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    pub code: WaitCode,
    pub message: String,
}

impl Wait {
    pub fn new(code: WaitCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

words! {
    /// The words that the API's `state` and the column `longshore.jobs.state` use.
    StateName {
        Scheduled = "scheduled",
        Pending = "pending",
        Starting = "starting",
        Running = "running",
        Stopping = "stopping",
        Succeeded = "succeeded",
        Failed = "failed",
        Cancelled = "cancelled",
    }
}

impl StateName {
    /// Whether a job in this state has ended.
    pub const fn is_finished(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// Whether a job in this state holds a slot.
    pub const fn holds_slot(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Stopping)
    }
}

/// What a state is called in the database, and which columns it owns there.
pub trait State {
    const NAME: StateName;
    fn columns(&self) -> Columns<'_>;
}

/// Every column that a state may own. One that the state does not own is null.
#[derive(Debug, Default)]
pub struct Columns<'a> {
    pub replica: Option<ReplicaId>,
    pub nonce: Option<Nonce>,
    pub uid: Option<&'a KubeUid>,
    pub ending: Option<&'a Ending>,
    pub due_in_secs: Option<f64>,
    pub wait: Option<&'a Wait>,
}

/// An edge of the lifecycle, from `Self` to `To`.
#[diagnostic::on_unimplemented(
    message = "a job cannot go from `{Self}` to `{To}`",
    label = "no such edge in the lifecycle",
    note = "the edges are drawn in src/lifecycle.rs"
)]
pub trait LeadsTo<To: State>: State {}

/// Proof that an edge exists, for set-based SQL that spells its states out.
pub struct Edge<From, To>(std::marker::PhantomData<(From, To)>);

impl<From: LeadsTo<To>, To: State> Edge<From, To> {
    pub const EXISTS: Self = Self(std::marker::PhantomData);
}

macro_rules! edges {
    ($($from:ident => $($to:ident)|+;)+) => {
        $($(impl LeadsTo<$to> for $from {})+)+

        /// Every edge by the names its ends have in the database, which a test holds against the trigger there.
        pub const EDGES: &[(StateName, StateName)] = &[$($((<$from as State>::NAME, <$to as State>::NAME)),+),+];
    };
}

edges! {
    Scheduled => Pending | Failed | Cancelled;
    Pending => Claimed | Scheduled | Failed | Cancelled;
    Claimed => Claimed | Pending | Scheduled | Created | Failed | Cancelled;
    Created => Running | Stopping | Scheduled | Succeeded | Failed;
    Running => Stopping | Scheduled | Succeeded | Failed;
    Stopping => Scheduled | Succeeded | Failed | Cancelled;
    Failed => Pending;
    Cancelled => Pending;
}

macro_rules! states {
    ($($state:ident = $name:ident, |$it:ident| $columns:expr;)+) => {
        $(impl State for $state {
            const NAME: StateName = StateName::$name;
            fn columns(&self) -> Columns<'_> {
                let $it = self;
                $columns
            }
        })+
    };
}

states! {
    Scheduled = Scheduled, |it| Columns { due_in_secs: Some(it.in_secs), wait: Some(&it.wait), ..Columns::default() };
    Pending = Pending, |_it| Columns::default();
    Claimed = Starting, |it| Columns { replica: Some(it.replica), nonce: Some(it.nonce), ..Columns::default() };
    Created = Starting, |it| Columns { nonce: Some(it.nonce), uid: Some(&it.uid), ..Columns::default() };
    Running = Running, |it| Columns { nonce: Some(it.nonce), uid: Some(&it.uid), ..Columns::default() };
    Stopping = Stopping, |it| Columns {
        nonce: Some(it.nonce), uid: Some(&it.uid), ending: Some(&it.ending), ..Columns::default()
    };
    Succeeded = Succeeded, |it| Columns { ending: Some(&it.ending), ..Columns::default() };
    Failed = Failed, |it| Columns { ending: Some(&it.ending), ..Columns::default() };
    Cancelled = Cancelled, |it| Columns { ending: Some(&it.ending), ..Columns::default() };
}
