//! The lifecycle of a job: its states, and the edges between them.
//!
//! ```text
//!  scheduled ──▶ pending ──▶ claimed ──▶ created ──▶ running ──▶ succeeded
//!      │            │ ▲        │ │ │        │ │         │ │  ╲──▶ failed
//!      │            │ ╰────────╯ │ │        │ │         │ ▼
//!      │            │            │ │        │ ╰──▶ stopping ──▶ succeeded | failed | cancelled
//!      ╰────────────┴────────────╯ ╰────────╯
//!         ▼ cancelled                  ▼ succeeded | failed
//! ```
//!
//! `claimed` and `created` are both called `starting` outside: a slot is held, and nothing runs yet. They are two types
//! because they own different data. While a job is claimed, one replica answers for creating its Kubernetes Job, and
//! survivors take it over when that replica dies; once it is created, its uid is known and every replica watches it.
//!
//! A state is a type and owns exactly the data that state has; the CHECK constraints of `longshore.jobs` say the same
//! again. An edge is one line of `edges!` below. A move along an edge compiles:
//!
//! ```no_run
//! use longshore::{id::ReplicaId, lifecycle::{Claimed, Created, Facts}, store::{Conn, jobs::{Job, advance}}};
//! async fn created(conn: &mut Conn, by: ReplicaId, job: Job<Claimed>, to: Created) {
//!     let _ = advance(conn, by, job, to, &Facts::default()).await;
//! }
//! ```
//!
//! A move without one does not:
//!
//! ```compile_fail,E0277
//! use longshore::{id::ReplicaId, lifecycle::{Created, Facts, Succeeded}, store::{Conn, jobs::{Job, advance}}};
//! async fn resurrect(conn: &mut Conn, by: ReplicaId, job: Job<Succeeded>, to: Created) {
//!     let _ = advance(conn, by, job, to, &Facts::default()).await;
//! }
//! ```

use jiff::Timestamp;

use crate::id::{KubeUid, Nonce, ReplicaId};

/// Waiting for its time.
#[derive(Debug, Clone)]
pub struct Scheduled {
    pub run_at: Timestamp,
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
    pub exit_code: Option<i32>,
    /// By the node's clock.
    pub started_at: Option<Timestamp>,
}

/// The stable, machine-readable reason of an ending. Documented in `docs/lifecycle.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Every pod ended with exit code 0.
    Completed,
    /// A container ended with another exit code, as often as the manifest allows.
    JobFailed,
    /// It ran for longer than its `timeout`.
    DeadlineExceeded,
    /// Someone asked for it to be stopped.
    Cancelled,
    /// Kubernetes refused the manifest for good.
    ManifestRejected,
    /// Another Kubernetes Job has the name that this attempt's must have.
    NameConflict,
    /// Its Kubernetes Job was deleted by someone else.
    Lost,
}

impl Reason {
    pub const ALL: [Reason; 7] = [
        Self::Completed,
        Self::JobFailed,
        Self::DeadlineExceeded,
        Self::Cancelled,
        Self::ManifestRejected,
        Self::NameConflict,
        Self::Lost,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::JobFailed => "job_failed",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Cancelled => "cancelled",
            Self::ManifestRejected => "manifest_rejected",
            Self::NameConflict => "name_conflict",
            Self::Lost => "lost",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }
}

/// The words that the API's `state` and the column `longshore.jobs.state` use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StateName {
    Scheduled,
    Pending,
    Starting,
    Running,
    Stopping,
    Succeeded,
    Failed,
    Cancelled,
}

impl StateName {
    pub const ALL: [StateName; 8] = [
        Self::Scheduled,
        Self::Pending,
        Self::Starting,
        Self::Running,
        Self::Stopping,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Pending => "pending",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// Whether a job in this state has ended.
    pub const fn is_finished(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
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
    Scheduled => Pending | Cancelled;
    Pending => Claimed | Cancelled;
    Claimed => Claimed | Pending | Created | Failed | Cancelled;
    Created => Running | Stopping | Succeeded | Failed;
    Running => Stopping | Succeeded | Failed;
    Stopping => Succeeded | Failed | Cancelled;
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
    Scheduled = Scheduled, |_it| Columns::default();
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
