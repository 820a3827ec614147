//! Which steps can be taken now: those the world owes ([`Longshore::progress`]), and those that are trouble. A world in
//! which nothing is owed is at rest, and must be in order without any further luck.

use crate::{
    Longshore,
    mutant::Mutant,
    steps::{Does, Hands, Happens, Step, TaskDoes},
    world::{At, Claim, Hand, Job, Kube, Life, Row, STRANGER, Set, World},
};

impl Longshore {
    /// Steps that a fair world takes sooner or later. None of them undoes another, so every run comes to rest.
    pub fn progress(&self, world: &World, steps: &mut Vec<Step>) {
        for r in 0..self.replicas {
            self.claiming(world, r, steps);
            for j in 0..self.jobs {
                if self.may_take_over(world, r, j) {
                    steps.push(Step::Replica { r, does: Does::TakeOver { j } });
                }
                self.creating(world, r, j, steps);
            }
        }
        for j in 0..self.jobs {
            self.reconciling(&world.jobs[j], j, steps);
            happening(&world.jobs[j], j, steps);
        }
    }

    fn claiming(&self, world: &World, r: usize, steps: &mut Vec<Step>) {
        let mut push = |does| steps.push(Step::Replica { r, does });
        let replica = &world.replicas[r];
        let pending =
            (0..self.jobs).filter(|j| world.jobs[*j].row == Row::Pending).fold(Set::default(), |mut set, j| {
                set.put(j, true);
                set
            });
        let locked = world.replicas.iter().any(|it| matches!(it.claim, Claim::Locked | Claim::Counted { .. }));
        match replica.claim {
            Claim::None if replica.up && replica.leased && !replica.stopping => {
                if pending != Set::default() && self.free(world) > 0 {
                    match self.mutant == Some(Mutant::CountsInTheLocksSnapshot) {
                        true => push(Does::Snapshot),
                        false if !locked => push(Does::Lock),
                        false => {}
                    }
                }
            }
            Claim::None => {}
            Claim::Snapshot { .. } if !locked => push(Does::Lock),
            Claim::Snapshot { .. } => {}
            Claim::Locked => push(Does::Count),
            Claim::Counted { free } => {
                let fits = |jobs: &u8| jobs & !pending.0 == 0 && jobs.count_ones() <= u32::from(free);
                let some = u8::from(pending != Set::default());
                for jobs in (some..1 << self.jobs).filter(fits) {
                    push(Does::Commit { jobs: Set(jobs) });
                }
            }
        }
        if replica.up && !replica.leased {
            push(Does::Beat);
        }
        if !replica.up && replica.leased {
            push(Does::LeaseExpires);
        }
        if replica.stopping && replica.claim == Claim::None && replica.tasks.iter().all(|it| it.at == At::Nowhere) {
            push(Does::Exit);
        }
    }

    /// Under the assumption, whatever a dead replica sent has been applied or given up before a survivor begins.
    fn may_take_over(&self, world: &World, r: usize, j: usize) -> bool {
        let replica = &world.replicas[r];
        let orphaned = || world.owner(j).is_some_and(|owner| owner != r && !world.replicas[owner].leased);
        let in_time = self.late_creates || world.jobs[j].late == 0;
        replica.up && replica.leased && !replica.stopping && in_time && orphaned()
    }

    fn creating(&self, world: &World, r: usize, j: usize, steps: &mut Vec<Step>) {
        let mut push = |does| steps.push(Step::Task { r, j, does });
        let (replica, job) = (&world.replicas[r], &world.jobs[j]);
        let task = &replica.tasks[j];
        match task.at {
            At::Nowhere => {
                if replica.up && replica.leased && !replica.stopping && replica.owns.has(j) {
                    steps.push(Step::Replica { r, does: Does::Spawn { j } });
                }
            }
            At::Ready => {
                let lapsed = task.lapsed && self.mutant != Some(Mutant::TrustsALeaseThatLapsed);
                let reread = task.stale && self.mutant == Some(Mutant::AdoptsThoughSendersReread);
                let may_hand_back = task.never_sent || self.mutant == Some(Mutant::HandsBackAfterASend);
                match replica.stopping {
                    true if may_hand_back => push(TaskDoes::HandBack),
                    false if replica.leased && !lapsed && !reread => push(TaskDoes::FindLeaseHeld),
                    true | false => push(TaskDoes::GiveUpTheJob),
                }
                if task.never_sent && job.wish {
                    push(TaskDoes::CancelUnsent);
                }
            }
            At::Checked => push(TaskDoes::Send),
            At::Sent => push(TaskDoes::ServerApplies),
            At::Exists => push(TaskDoes::Look),
            At::Made { .. } | At::Taken => push(TaskDoes::Record),
            // What vanished may have been its own, and left a pod behind.
            At::Vanished if !job.orphan || self.mutant == Some(Mutant::FreesTheSlotOfWhatVanished) => {
                push(TaskDoes::Record);
            }
            At::Vanished => {}
        }
    }

    /// `decide`, `dispose`, and the applying of what was decided.
    fn reconciling(&self, job: &Job, j: usize, steps: &mut Vec<Step>) {
        let mut push = |does| steps.push(Step::Reconciler { j, does });
        if job.hand != Hand::Empty {
            return push(Hands::Apply);
        }
        match (job.row, job.kube) {
            (Row::Pending, _) | (Row::Finished, None) => {}
            (Row::Claimed, kube) => {
                let adopts =
                    matches!(self.mutant, Some(Mutant::AdoptsUnderTheSendersFeet | Mutant::AdoptsThoughSendersReread));
                if let Some(kube) = kube.filter(|it| adopts && it.nonce == job.nonce) {
                    push(Hands::Decide(Hand::Adopt(kube.uid)));
                }
            }
            (Row::Created | Row::Running | Row::Stopping, _) => match job.recorded() {
                Some(kube) => self.decide(job, kube).into_iter().for_each(|it| push(Hands::Decide(it))),
                None if self.is_gone(job) => push(Hands::Decide(Hand::Finish)),
                None => {}
            },
            (Row::Finished, Some(kube)) if kube.nonce != job.nonce || kube.nonce == STRANGER => {}
            (Row::Finished, Some(kube)) => match kube.life {
                Life::EndedAlive | Life::Ended => push(Hands::Remove),
                Life::Waiting | Life::Live if !kube.deleting => push(Hands::StopLeftover),
                Life::Waiting | Life::Live => {}
            },
        }
    }

    fn decide(&self, job: &Job, kube: Kube) -> Option<Hand> {
        let stopping = job.row == Row::Stopping;
        let deletes = stopping && !kube.deleting;
        match kube.life {
            Life::Ended if !job.orphan || self.mutant == Some(Mutant::CountsPodsByTheUidOnRecord) => Some(Hand::Finish),
            Life::Ended => None,
            Life::EndedAlive => {
                (deletes && self.mutant == Some(Mutant::DeletesWhatMayHaveEnded)).then_some(Hand::Delete)
            }
            Life::Waiting | Life::Live if stopping => deletes.then_some(Hand::Delete),
            Life::Waiting | Life::Live if job.wish => Some(Hand::Stop),
            Life::Live if job.row == Row::Created => Some(Hand::Start),
            Life::Waiting | Life::Live => None,
        }
    }

    /// What the API server answers to `Step::Confirm`, about the Job and its pods.
    fn is_gone(&self, job: &Job) -> bool {
        let other_uid = self.mutant != Some(Mutant::TellsGoneByTheNonce);
        let job_is_gone = job.kube.is_none_or(|it| other_uid || it.nonce != job.nonce);
        job_is_gone && (!job.orphan || self.mutant == Some(Mutant::ConfirmsTheJobWithoutItsPods))
    }

    /// Steps that nobody wants, and that must do no harm.
    pub fn trouble(&self, world: &World, steps: &mut Vec<Step>) {
        let left = &world.left;
        // Someone is always left to finish the work.
        let spare = world.replicas.iter().filter(|it| it.up && !it.stopping).count() > 1;
        for r in 0..self.replicas {
            let replica = &world.replicas[r];
            // Under the assumption, a create that was begun is over before the lease is.
            let sending = replica.tasks.iter().any(|it| matches!(it.at, At::Checked | At::Sent));
            let does = [
                (Does::Crash, left.crashes > 0 && replica.up && (spare || replica.stopping)),
                (Does::Shutdown, left.shutdowns > 0 && replica.up && spare && !replica.stopping),
                (
                    Does::LeaseExpires,
                    left.pauses > 0 && replica.up && replica.leased && (self.late_creates || !sending),
                ),
            ];
            let can = does.into_iter().filter(|(_, can)| *can);
            steps.extend(can.map(|(does, _)| Step::Replica { r, does }));
            for j in (0..self.jobs).filter(|_| left.faults > 0) {
                let mut push = |does| steps.push(Step::Task { r, j, does });
                match replica.tasks[j].at {
                    At::Sent => {
                        push(TaskDoes::PutOff);
                        push(TaskDoes::LoseAnswer);
                    }
                    At::Made { .. } | At::Exists => push(TaskDoes::LoseAnswer),
                    At::Nowhere | At::Ready | At::Checked | At::Vanished | At::Taken => {}
                }
            }
        }
        for j in 0..self.jobs {
            let job = &world.jobs[j];
            let ours = job.kube.filter(|it| it.nonce != STRANGER);
            if left.cancels > 0 && !job.wish && !matches!(job.row, Row::Stopping | Row::Finished) {
                steps.push(Step::Cancel { j });
            }
            let does = [
                (Happens::EndsBeforeItsPod, left.deadlines > 0 && ours.is_some_and(|it| it.life == Life::Live)),
                (Happens::SomeoneDeletes, left.deletes > 0 && ours.is_some_and(|it| !it.deleting)),
            ];
            let can = does.into_iter().filter(|(_, can)| *can);
            steps.extend(can.map(|(does, _)| Step::Cluster { j, does }));
        }
    }
}

/// What Kubernetes and the network do by themselves.
fn happening(job: &Job, j: usize, steps: &mut Vec<Step>) {
    let mut push = |does| steps.push(Step::Cluster { j, does });
    if let Some(kube) = job.kube.filter(|it| it.nonce != STRANGER) {
        match kube.life {
            Life::Waiting if !kube.deleting => push(Happens::PodStarts),
            Life::Live => push(Happens::Ends),
            Life::EndedAlive => push(Happens::PodDies),
            Life::Waiting | Life::Ended => {}
        }
        if kube.deleting && kube.life != Life::EndedAlive {
            push(Happens::Gone);
        }
    }
    if job.orphan {
        push(Happens::OrphanDies);
    }
    if job.late != 0 {
        push(Happens::LateCreateArrives);
        push(Happens::LateCreateIsLost);
    }
}
