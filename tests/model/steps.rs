//! Every step of the world, when it can be taken and what it does; one that the code takes in two moments is two steps.

use stateright::{Model, Property};

use crate::{
    Longshore, cluster,
    mutant::Mutant,
    properties,
    world::{At, Claim, Hand, Job, Kube, Life, Row, STRANGER, Set, Task, World},
};

/// One step. `r` is a replica, `j` a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Replica {
        r: usize,
        does: Does,
    },
    Task {
        r: usize,
        j: usize,
        does: TaskDoes,
    },
    /// A reconciler, of whichever replica: they share nothing but the rows and the cluster.
    Reconciler {
        j: usize,
        does: Hands,
    },
    Cluster {
        j: usize,
        attempt: usize,
        does: Happens,
    },
    /// What backs off may be claimed again.
    Promote {
        j: usize,
    },
    /// Someone asks for the job to be cancelled.
    Cancel {
        j: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// The lock's statement takes its snapshot: a step of its own for the mutant that counts in it.
    Snapshot,
    Lock,
    Count,
    Commit {
        jobs: Set,
    },
    TakeOver {
        j: usize,
    },
    Spawn {
        j: usize,
    },
    LeaseExpires,
    Beat,
    Crash,
    Shutdown,
    Exit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskDoes {
    FindLeaseHeld,
    GiveUpTheJob,
    Send,
    ServerApplies,
    /// 429: it was not made.
    PutOff,
    /// A quota's 403: it was not made, and will not be for a while.
    Refuse,
    /// After a refusal: sends again later.
    Insist,
    /// After a refusal: gives the claim back, to be made again later.
    PutAside,
    /// Before it was applied or after: the sender cannot tell.
    LoseAnswer,
    Look,
    Record,
    CancelUnsent,
    /// The job is to be cancelled, and may have been made.
    StopSending,
    /// It should have started by now.
    FindOverdue,
    /// After the last moment at which a request that was sent could be carried out.
    LookForIt,
    HandBack,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hands {
    Decide(Hand),
    Apply,
    /// Of an attempt whose outcome is recorded.
    SaveLog {
        attempt: usize,
    },
    /// `dispose`: of a Job whose outcome is recorded, and its log saved.
    Remove {
        attempt: usize,
    },
    /// The same, and the request takes its time.
    SendRemoval {
        attempt: usize,
    },
    RemovalArrives {
        attempt: usize,
    },
    /// `dispose`: of a Job whose attempt is over, and that still runs.
    StopLeftover {
        attempt: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happens {
    PodStarts,
    Completes,
    Fails,
    EndsBeforeItsPod,
    PodDies,
    Gone,
    OrphanDies,
    SomeoneDeletes,
    LateCreateArrives,
    LateCreateIsLost,
}

impl Model for Longshore {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let mut world = World { left: self.trouble, ..World::default() };
        for replica in &mut world.replicas[..self.replicas] {
            (replica.up, replica.leased) = (true, true);
        }
        if self.stranger {
            world.jobs[0].attempts[0].kube =
                Some(Kube { nonce: STRANGER, uid: STRANGER, life: Life::Live, deleting: false });
        }
        vec![world.unnamed(self.jobs, self.replicas)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        self.progress(world, steps);
        self.trouble(world, steps);
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut next = *world;
        match step {
            Step::Replica { r, does } => self.replica_does(&mut next, r, does),
            Step::Task { r, j, does } => self.task_does(&mut next, r, j, does),
            Step::Reconciler { j, does } => self.reconciler_does(&mut next, j, does),
            Step::Cluster { j, attempt, does } => cluster::happens(&mut next, j, attempt, does),
            Step::Promote { j } => next.advance(j, Row::Pending),
            Step::Cancel { j } => {
                next.left.cancels -= 1;
                match next.jobs[j].row.waits() {
                    true => self.finish(&mut next, j),
                    false => next.jobs[j].wish = true,
                }
            }
        }
        next.forget();
        Some(next.unnamed(self.jobs, self.replicas))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all(self)
    }
}

impl Longshore {
    fn replica_does(&self, world: &mut World, r: usize, does: Does) {
        match does {
            Does::Snapshot => world.replicas[r].claim = Claim::Snapshot { free: self.free(world) },
            Does::Lock => {
                let claim = &mut world.replicas[r].claim;
                *claim = match *claim {
                    Claim::Snapshot { free } => Claim::Counted { free },
                    Claim::None | Claim::Locked | Claim::Counted { .. } => Claim::Locked,
                };
            }
            Does::Count => {
                let free = if world.replicas[r].leased { self.free(world) } else { 0 };
                world.replicas[r].claim = if free > 0 { Claim::Counted { free } } else { Claim::None };
            }
            Does::Commit { jobs } => {
                world.replicas[r].claim = Claim::None;
                for j in (0..self.jobs).filter(|j| jobs.has(*j)) {
                    self.claim(world, r, j);
                }
            }
            Does::TakeOver { j } => {
                world.disown(j);
                world.replicas[r].owns.put(j, true);
                // `claimed_by is distinct from $1`, when the claim is read again.
                world.jobs[j].inherited = !world.replicas[r].claimed.has(j);
                if self.mutant == Some(Mutant::TakesOverWithItsOwnNonce) {
                    world.jobs[j].has_a_new_nonce();
                }
                world.moved(j);
            }
            Does::Spawn { j } => {
                let job = &world.jobs[j];
                let forgets = self.mutant == Some(Mutant::ForgetsWhatItSent);
                let never_sent = !job.inherited && (forgets || !world.replicas[r].doubtful.has(j));
                let (attempt, nonce) = (job.current() as u8, job.attempt().nonce);
                let read = Task { at: At::Ready, attempt, nonce, never_sent, lapsed: false, stale: false };
                world.replicas[r].tasks[j] = read;
            }
            Does::LeaseExpires => {
                let replica = &mut world.replicas[r];
                replica.leased = false;
                replica.tasks.iter_mut().filter(|it| it.at != At::Nowhere).for_each(|it| it.lapsed = true);
                world.left.pauses -= u8::from(replica.up);
            }
            Does::Beat => world.replicas[r].leased = true,
            Does::Crash => {
                world.left.crashes -= 1;
                world.die(r);
            }
            Does::Shutdown => {
                world.left.shutdowns -= 1;
                world.replicas[r].stopping = true;
            }
            Does::Exit => world.die(r),
        }
    }

    fn claim(&self, world: &mut World, r: usize, j: usize) {
        let hand = world.jobs[j].hand;
        world.jobs[j].tries += 1;
        world.jobs[j].has_a_new_nonce();
        world.replicas[r].owns.put(j, true);
        world.replicas[r].claimed.put(j, self.mutant == Some(Mutant::InheritsNothingItOnceClaimed));
        world.advance(j, Row::Claimed);
        if self.mutant == Some(Mutant::ExpiresUnguarded) {
            world.jobs[j].hand = hand;
        }
    }

    pub fn free(&self, world: &World) -> u8 {
        self.cap.saturating_sub(world.jobs.iter().filter(|it| it.row.holds_a_slot()).count() as u8)
    }
}

impl Job {
    fn has_a_new_nonce(&mut self) {
        self.claims += 1;
        self.attempts[self.current()].nonce = self.claims;
    }
}

impl World {
    pub fn advance(&mut self, j: usize, to: Row) {
        self.broken.finished_row_changed |= self.jobs[j].row == Row::Finished;
        self.jobs[j].row = to;
        self.moved(j);
    }

    /// Every reading of the row is out of date. A reconciler's write would lose: it is as if it had never decided.
    pub fn moved(&mut self, j: usize) {
        self.jobs[j].hand = Hand::Empty;
        for replica in &mut self.replicas {
            let task = &mut replica.tasks[j];
            task.stale = task.at != At::Nowhere;
        }
    }

    pub fn disown(&mut self, j: usize) {
        self.replicas.iter_mut().for_each(|it| it.owns.put(j, false));
    }

    pub fn end_task(&mut self, r: usize, j: usize) {
        self.replicas[r].tasks[j] = Task::default();
    }

    /// What was sent travels on; a transaction is rolled back; the rows go on naming the dead until they are taken over.
    fn die(&mut self, r: usize) {
        let replica = &mut self.replicas[r];
        (replica.up, replica.stopping, replica.claim, replica.doubtful) = (false, false, Claim::None, Set::default());
        for (task, job) in replica.tasks.iter_mut().zip(&mut self.jobs) {
            let task = std::mem::take(task);
            if task.at == At::Sent {
                job.attempts[task.attempt()].late |= 1 << task.nonce;
                job.doubt(task.nonce);
            }
        }
    }
}
