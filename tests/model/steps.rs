//! Every step of the world, when it can be taken and what it does; one that the code takes in two moments is two steps.

use stateright::{Model, Property};

use crate::{
    Longshore, cluster,
    mutant::Mutant,
    properties,
    world::{At, Claim, Hand, Kube, Life, Row, STRANGER, Set, Task, World},
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
        does: Happens,
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
    /// Before it was applied or after: the sender cannot tell.
    LoseAnswer,
    Look,
    Record,
    CancelUnsent,
    HandBack,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hands {
    Decide(Hand),
    Apply,
    /// `dispose`: of a Job whose outcome is recorded.
    Remove,
    /// `dispose`: of a Job whose attempt is over, and that still runs.
    StopLeftover,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happens {
    PodStarts,
    Ends,
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
            world.jobs[0].kube = Some(Kube { nonce: STRANGER, uid: STRANGER, life: Life::Live, deleting: false });
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
            Step::Cluster { j, does } => cluster::happens(&mut next, j, does),
            Step::Cancel { j } => {
                next.left.cancels -= 1;
                match next.jobs[j].row {
                    Row::Pending => self.finish(&mut next, j),
                    _ => next.jobs[j].wish = true,
                }
            }
        }
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
                    let job = &mut world.jobs[j];
                    (job.row, job.nonce) = (Row::Claimed, job.nonce + 1);
                    world.replicas[r].owns.put(j, true);
                    world.replicas[r].claimed.put(j, self.mutant == Some(Mutant::InheritsNothingItOnceClaimed));
                    world.moved(j);
                }
            }
            Does::TakeOver { j } => {
                world.disown(j);
                world.replicas[r].owns.put(j, true);
                // `claimed_by is distinct from $1`, when the claim is read again.
                world.jobs[j].inherited = !world.replicas[r].claimed.has(j);
                if self.mutant == Some(Mutant::TakesOverWithItsOwnNonce) {
                    world.jobs[j].nonce += 1;
                }
                world.moved(j);
            }
            Does::Spawn { j } => {
                let never_sent = !world.jobs[j].inherited && !world.replicas[r].doubtful.has(j);
                let nonce = world.jobs[j].nonce;
                world.replicas[r].tasks[j] = Task { at: At::Ready, nonce, never_sent, lapsed: false, stale: false };
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

    fn task_does(&self, world: &mut World, r: usize, j: usize, does: TaskDoes) {
        let task = world.replicas[r].tasks[j];
        let to = |world: &mut World, at| world.replicas[r].tasks[j].at = at;
        match does {
            TaskDoes::FindLeaseHeld => to(world, At::Checked),
            TaskDoes::GiveUpTheJob => world.end_task(r, j),
            TaskDoes::Send => {
                to(world, At::Sent);
                world.replicas[r].doubtful.put(j, true);
            }
            TaskDoes::ServerApplies => {
                let made = world.jobs[j].create(task.nonce);
                to(world, made.map_or(At::Exists, |uid| At::Made { uid }));
            }
            TaskDoes::PutOff => {
                world.left.faults -= 1;
                to(world, At::Ready);
                if task.never_sent {
                    world.replicas[r].doubtful.put(j, false);
                }
            }
            TaskDoes::LoseAnswer => {
                world.left.faults -= 1;
                if task.at == At::Sent && self.late_creates {
                    world.jobs[j].late |= 1 << task.nonce;
                }
                world.jobs[j].doubt(task.nonce);
                to(world, At::Ready);
                world.replicas[r].tasks[j].never_sent = false;
            }
            TaskDoes::Look => {
                let ours = |it: Kube| it.nonce == task.nonce || self.mutant == Some(Mutant::Takes409ForItsOwn);
                to(
                    world,
                    match world.jobs[j].kube {
                        Some(kube) if ours(kube) => At::Made { uid: kube.uid },
                        Some(_) => At::Taken,
                        None => At::Vanished,
                    },
                );
            }
            TaskDoes::Record => {
                if !task.stale || self.mutant == Some(Mutant::RecordsUnguarded) {
                    match task.at {
                        At::Made { uid } => self.record_created(world, j, uid),
                        _ => self.finish(world, j),
                    }
                }
                world.end_task(r, j);
                world.replicas[r].doubtful.put(j, false);
            }
            TaskDoes::CancelUnsent => {
                if !task.stale {
                    self.finish(world, j);
                }
                world.end_task(r, j);
            }
            TaskDoes::HandBack => self.hand_back(world, r, j),
        }
    }

    fn hand_back(&self, world: &mut World, r: usize, j: usize) {
        let still = match self.mutant == Some(Mutant::HandsBackUnguarded) {
            true => world.replicas[r].owns.has(j),
            false => !world.replicas[r].tasks[j].stale,
        };
        world.end_task(r, j);
        if still {
            let sending = world.replicas.iter().any(|it| it.tasks[j].at == At::Sent);
            world.broken.handed_back_after_a_send |= sending || world.jobs[j].sent;
            world.disown(j);
            world.replicas.iter_mut().for_each(|it| it.claimed.put(j, false));
            let job = &mut world.jobs[j];
            (job.row, job.inherited, job.sent) = (Row::Pending, false, false);
            world.moved(j);
        }
    }

    fn reconciler_does(&self, world: &mut World, j: usize, does: Hands) {
        let job = &mut world.jobs[j];
        match does {
            Hands::Decide(hand) => job.hand = hand,
            Hands::Apply => match std::mem::take(&mut job.hand) {
                Hand::Empty => {}
                Hand::Adopt(uid) => self.record_created(world, j, uid),
                Hand::Start => world.advance(j, Row::Running),
                Hand::Stop if self.mutant == Some(Mutant::FreesTheSlotOfWhatItStops) => self.finish(world, j),
                Hand::Stop => world.advance(j, Row::Stopping),
                Hand::Finish => self.finish(world, j),
                Hand::Delete => {
                    let may_have_ended = self.mutant == Some(Mutant::DeletesWhatMayHaveEnded);
                    let seen = job.recorded().filter(|it| may_have_ended || it.is_active());
                    if let Some(mut kube) = seen {
                        world.broken.removed_before_recorded |= !kube.is_active();
                        kube.deleting = true;
                        job.kube = Some(kube);
                    }
                }
            },
            Hands::Remove => {
                world.broken.removed_before_recorded |= job.row != Row::Finished;
                world.broken.stranger_touched |= job.kube.is_some_and(|it| it.nonce == STRANGER);
                job.orphan |= job.kube.is_some_and(Kube::is_alive);
                job.kube = None;
            }
            Hands::StopLeftover => {
                world.broken.stranger_touched |= job.kube.is_some_and(|it| it.nonce == STRANGER);
                job.kube = job.kube.map(|it| Kube { deleting: true, ..it });
            }
        }
    }

    fn record_created(&self, world: &mut World, j: usize, uid: u8) {
        world.broken.stranger_touched |= uid == STRANGER;
        world.disown(j);
        world.jobs[j].uid = uid;
        world.jobs[j].inherited = false;
        world.advance(j, Row::Created);
    }

    /// Frees the slot. What a finished row no longer needs is forgotten.
    fn finish(&self, world: &mut World, j: usize) {
        let job = world.jobs[j];
        let alive = job.orphan || job.kube.is_some_and(|it| it.nonce != STRANGER && it.life != Life::Ended);
        world.broken.slot_freed_while_alive |= alive;
        world.disown(j);
        world.replicas.iter_mut().for_each(|it| it.claimed.put(j, false));
        world.advance(j, Row::Finished);
        let job = &mut world.jobs[j];
        (job.uid, job.wish, job.inherited, job.sent) = (0, false, false, false);
    }

    pub fn free(&self, world: &World) -> u8 {
        self.cap.saturating_sub(world.jobs.iter().filter(|it| it.row.holds_a_slot()).count() as u8)
    }
}

impl World {
    fn advance(&mut self, j: usize, to: Row) {
        self.broken.finished_row_changed |= self.jobs[j].row == Row::Finished;
        self.jobs[j].row = to;
        self.moved(j);
    }

    /// Every reading of the row is out of date. A reconciler's write would lose: it is as if it had never decided.
    fn moved(&mut self, j: usize) {
        self.jobs[j].hand = Hand::Empty;
        for replica in &mut self.replicas {
            let task = &mut replica.tasks[j];
            task.stale = task.at != At::Nowhere;
        }
    }

    fn disown(&mut self, j: usize) {
        self.replicas.iter_mut().for_each(|it| it.owns.put(j, false));
    }

    fn end_task(&mut self, r: usize, j: usize) {
        self.replicas[r].tasks[j] = Task::default();
    }

    /// What was sent travels on; a transaction is rolled back; the rows go on naming the dead until they are taken over.
    fn die(&mut self, r: usize) {
        let replica = &mut self.replicas[r];
        (replica.up, replica.stopping, replica.claim, replica.doubtful) = (false, false, Claim::None, Set::default());
        for (task, job) in replica.tasks.iter_mut().zip(&mut self.jobs) {
            let task = std::mem::take(task);
            if task.at == At::Sent {
                job.late |= 1 << task.nonce;
                job.doubt(task.nonce);
            }
        }
    }
}
