//! What the model remembers: rows, replicas, Kubernetes objects, messages. Small, flat and ordered, because millions are kept.
//!
//! Three abstractions keep it finite. A row's `version` is not counted: whoever holds a reading of a row is marked `stale`
//! when the row moves, which is what comparing versions finds out. Time is not counted: a lease is alive or expired, and
//! whatever a slow process does, it does by being overtaken. Names are forgotten: worlds that differ only in which replica
//! or which job is which are one world.

/// The most jobs and replicas; a configuration uses the first of them.
pub const JOBS: usize = 3;
pub const REPLICAS: usize = 3;
/// The most attempts of a job.
pub const ATTEMPTS: usize = 2;
/// The nonce and the uid of a Job that is not of our making.
pub const STRANGER: u8 = 0;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct World {
    pub jobs: [Job; JOBS],
    pub replicas: [Replica; REPLICAS],
    pub left: Trouble,
    /// What must never happen, and did.
    pub broken: Broken,
}

/// How much trouble is still to come: it bounds the space.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Trouble {
    /// Replicas that crash.
    pub crashes: u8,
    /// Replicas that are shut down.
    pub shutdowns: u8,
    /// Leases that run out though their replica lives: it was paused, or cut off from the database.
    pub pauses: u8,
    /// Requests and answers that are lost or given up, and requests that are put off (429).
    pub faults: u8,
    pub cancels: u8,
    /// Jobs that someone else deletes, with `kubectl`'s default: in the background, so that pods outlive them.
    pub deletes: u8,
    /// Jobs that end while their pod still lives: past their deadline, as Kubernetes before 1.31 tells it.
    pub deadlines: u8,
    /// Jobs that fail.
    pub failures: u8,
    /// Creates that are refused for now, for example by a quota.
    pub refusals: u8,
    /// Attempts that are stopped for another reason than a cancel: they start too late, run too long, or cannot start.
    pub overdue: u8,
    /// Jobs that wait longer than their queue's time-out.
    pub queue_timeouts: u8,
    /// Removals that arrive long after they were decided.
    pub slow_removals: u8,
}

/// Moves that break a promise, noticed as they are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Broken {
    pub finished_row_changed: bool,
    pub slot_freed_while_alive: bool,
    pub removed_before_recorded: bool,
    pub given_back_though_made: bool,
    pub stranger_touched: bool,
    /// What was recorded of one attempt came of another.
    pub attempts_mixed_up: bool,
    /// A Job was made while something of an earlier attempt lived.
    pub begun_beside_another: bool,
    pub removed_before_saved: bool,
    /// A removal hit the Job of an attempt that was not over.
    pub removed_while_current: bool,
    /// A removal hit a Job that had not ended.
    pub removed_alive: bool,
}

/// A row of `longshore.jobs`, and its attempts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Job {
    pub row: Row,
    /// How often the job was tried, the current attempt included. A claim that is given back frees its attempt's number, so
    /// the name of the Kubernetes Job stays the same.
    pub tries: u8,
    /// How often the job was claimed: the last nonce.
    pub claims: u8,
    /// The Kubernetes Job of the current attempt that is on record.
    pub uid: u8,
    pub wish: bool,
    /// Whether the claim was ever taken over.
    pub inherited: bool,
    /// Whether a create was made under the current nonce, or may have been.
    pub sent: bool,
    /// What a reconciler decided and has yet to do.
    pub hand: Hand,
    pub attempts: [Attempt; ATTEMPTS],
}

/// A row of `longshore.attempts`, what Kubernetes has under the attempt's name, and what is on its way there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attempt {
    /// On record.
    pub nonce: u8,
    pub kube: Option<Kube>,
    /// Whether a pod lives whose Job is gone.
    pub orphan: bool,
    /// Creates whose sender waits no longer, by nonce: each may still arrive, or be lost.
    pub late: u8,
    /// How many Kubernetes Jobs were made of it: the last one's uid.
    pub made: u8,
    /// Whether someone deleted its Job before any replica could record it, so that making it again is all one can do.
    pub excused: bool,
    /// Whether its log was saved, or found to be missing.
    pub saved: bool,
    /// Whether a removal of it is on its way.
    pub removing: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Row {
    #[default]
    Pending,
    /// Backs off, after an attempt that ended badly or a claim that was put aside.
    Scheduled,
    Claimed,
    Created,
    Running,
    Stopping(Why),
    Finished,
}

impl Row {
    pub fn holds_a_slot(self) -> bool {
        matches!(self, Self::Claimed | Self::Created | Self::Running | Self::Stopping(_))
    }

    pub fn waits(self) -> bool {
        matches!(self, Self::Pending | Self::Scheduled)
    }
}

/// What a job is being stopped for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Why {
    Cancel,
    Overdue,
}

/// A step of `reconcile::decide`, decided and not yet applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hand {
    #[default]
    Empty,
    Adopt(u8),
    Start,
    Stop(Why),
    Delete,
    /// The Job ended, or was confirmed to be gone.
    Finish,
    /// It ended badly or is gone, and is to be tried again.
    Retry,
    /// The job waited for too long.
    Expire,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kube {
    pub nonce: u8,
    pub uid: u8,
    pub life: Life,
    /// In the foreground: it goes when its pods are gone.
    pub deleting: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Life {
    /// No pod yet.
    Waiting,
    Live,
    /// The Job says that it failed, and its pod is yet to die.
    EndedAlive,
    Failed,
    Complete,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Replica {
    /// Whether its process runs. One that starts again is another replica.
    pub up: bool,
    /// Whether its lease is alive by the database's clock.
    pub leased: bool,
    pub stopping: bool,
    pub claim: Claim,
    /// The rows whose `replica` it is.
    pub owns: Set,
    /// The attempts whose `claimed_by` it is. Kept only where it matters.
    pub claimed: Set,
    /// Jobs of which this process does not know what became of its create.
    pub doubtful: Set,
    pub tasks: [Task; JOBS],
}

/// A transaction that claims, between its statements.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Claim {
    #[default]
    None,
    /// The lock's statement has its snapshot, and not yet the lock.
    Snapshot {
        free: u8,
    },
    Locked,
    Counted {
        free: u8,
    },
}

/// A task that creates the Kubernetes Job of one claim: `scheduler::create`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Task {
    pub at: At,
    /// From the row as it was read, as is the nonce.
    pub attempt: u8,
    pub nonce: u8,
    pub never_sent: bool,
    /// The lease ran out since the row was read.
    pub lapsed: bool,
    /// The row moved since it was read.
    pub stale: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum At {
    #[default]
    Nowhere,
    /// About to look at the lease; before the first send or after a pause.
    Ready,
    /// The lease was found to hold.
    Checked,
    /// The request is on its way.
    Sent,
    /// Refused for now, and not made.
    Refused,
    /// Made, or recognised; the answer is on its way.
    Made { uid: u8 },
    /// 409; the answer is on its way.
    Exists,
    /// 409, and then nothing was there.
    Vanished,
    /// A stranger's.
    Taken,
    /// To be cancelled, or overdue, and it may have been made: nothing more is sent, and it is looked for.
    GivenUp,
    /// It was looked for, and neither it nor a pod of it was there.
    Unmade,
}

impl Task {
    pub fn attempt(&self) -> usize {
        usize::from(self.attempt)
    }
}

/// A set of jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Set(pub u8);

impl Set {
    pub fn has(self, job: usize) -> bool {
        self.0 & (1 << job) != 0
    }

    pub fn put(&mut self, job: usize, there: bool) {
        self.0 = self.0 & !(1 << job) | u8::from(there) << job;
    }

    fn renamed(self, order: &[usize; JOBS]) -> Self {
        let mut renamed = Self::default();
        for (to, from) in order.iter().enumerate() {
            renamed.put(to, self.has(*from));
        }
        renamed
    }
}

impl World {
    /// The replica that the row of `job` names.
    pub fn owner(&self, job: usize) -> Option<usize> {
        self.replicas.iter().position(|it| it.owns.has(job))
    }

    /// What is over, and of which nothing is left that could still do anything, is forgotten.
    pub fn forget(&mut self) {
        for j in 0..JOBS {
            for a in 0..ATTEMPTS {
                if self.jobs[j].is_over(a) && !self.jobs[j].attempts[a].is_there() && !self.is_worked_at(j, a) {
                    self.jobs[j].attempts[a] = Attempt::default();
                }
            }
            let job = &self.jobs[j];
            if job.row == Row::Finished && job.tries > 0 && job.hand == Hand::Empty {
                let left = (0..ATTEMPTS).any(|a| job.attempts[a] != Attempt::default() || self.is_worked_at(j, a));
                if !left {
                    self.jobs[j] = Job { row: Row::Finished, ..Job::default() };
                    for replica in &mut self.replicas {
                        replica.doubtful.put(j, false);
                        replica.claimed.put(j, false);
                    }
                }
            }
        }
    }

    /// Whether a task still thinks that it creates the attempt.
    fn is_worked_at(&self, j: usize, attempt: usize) -> bool {
        self.replicas.iter().any(|it| it.tasks[j].at != At::Nowhere && it.tasks[j].attempt() == attempt)
    }

    /// The same world with its replicas and jobs named in the one order that all worlds like it share.
    pub fn unnamed(self, jobs: usize, replicas: usize) -> Self {
        const ORDERS: [[usize; JOBS]; 6] = [[0, 1, 2], [1, 0, 2], [0, 2, 1], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let orders = match jobs {
            0 | 1 => &ORDERS[..1],
            2 => &ORDERS[..2],
            _ => &ORDERS[..],
        };
        let mut best = self.renamed(&ORDERS[0], replicas);
        for order in &orders[1..] {
            best = best.min(self.renamed(order, replicas));
        }
        best
    }

    fn renamed(&self, order: &[usize; JOBS], replicas: usize) -> Self {
        let mut renamed = *self;
        if order != &[0, 1, 2] {
            for (to, from) in order.iter().enumerate() {
                renamed.jobs[to] = self.jobs[*from];
            }
            for (to, from) in renamed.replicas.iter_mut().zip(&self.replicas) {
                for (nth, job) in order.iter().enumerate() {
                    to.tasks[nth] = from.tasks[*job];
                }
                to.owns = from.owns.renamed(order);
                to.claimed = from.claimed.renamed(order);
                to.doubtful = from.doubtful.renamed(order);
            }
        }
        renamed.replicas[..replicas].sort_unstable();
        renamed
    }
}
