//! Which steps can be taken now: those the world owes ([`Longshore::progress`]), and those that are trouble. A world in
//! which nothing is owed is at rest, and must be in order without any further luck.

use crate::{
    Longshore,
    mutant::Mutant,
    steps::{Does, Hands, Happens, Step, TaskDoes},
    world::{ATTEMPTS, At, Claim, Hand, Job, Kube, Life, Row, STRANGER, Set, Trouble, Why, World},
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
            for attempt in 0..ATTEMPTS {
                self.disposing(&world.jobs[j], j, attempt, steps);
                happening(&world.jobs[j], j, attempt, steps);
            }
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
        let in_time = self.late_creates || world.jobs[j].attempt().late == 0;
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
                let unwished = !job.wish || self.mutant == Some(Mutant::HandsBackWhatIsToBeCancelled);
                match replica.stopping {
                    true if may_hand_back && unwished => push(TaskDoes::HandBack),
                    true if may_hand_back => {}
                    false if replica.leased && !lapsed && !reread => push(TaskDoes::FindLeaseHeld),
                    true | false => push(TaskDoes::GiveUpTheJob),
                }
                if task.never_sent && job.wish {
                    push(TaskDoes::CancelUnsent);
                }
                if !task.never_sent && job.wish {
                    push(TaskDoes::StopSending);
                }
            }
            At::Refused => {
                push(TaskDoes::Insist);
                let unsent = task.never_sent || self.mutant == Some(Mutant::PutsAsideWhatMayBeMade);
                if unsent && !job.wish {
                    push(TaskDoes::PutAside);
                }
            }
            At::Checked => push(TaskDoes::Send),
            At::Sent => push(TaskDoes::ServerApplies),
            At::Exists => push(TaskDoes::Look),
            At::Made { .. } | At::Taken | At::Unmade => push(TaskDoes::Record),
            At::GivenUp if replica.stopping || !replica.leased || task.lapsed => push(TaskDoes::GiveUpTheJob),
            At::GivenUp => {
                let it = &job.attempts[task.attempt()];
                let in_flight = it.late != 0 && !self.late_creates;
                let lives = it.orphan && self.mutant != Some(Mutant::GivesUpBesideItsPods);
                if !in_flight && (it.kube.is_some() || !lives) {
                    push(TaskDoes::LookForIt);
                }
            }
            // What vanished may have been its own, and left a pod behind.
            At::Vanished
                if !job.attempts[task.attempt()].orphan || self.mutant == Some(Mutant::FreesTheSlotOfWhatVanished) =>
            {
                push(TaskDoes::Record);
            }
            At::Vanished => {}
        }
    }

    /// `decide`, and the applying of what was decided.
    fn reconciling(&self, job: &Job, j: usize, steps: &mut Vec<Step>) {
        let mut push = |does| steps.push(Step::Reconciler { j, does });
        if job.hand != Hand::Empty {
            return push(Hands::Apply);
        }
        match job.row {
            Row::Pending | Row::Finished => {}
            Row::Scheduled => steps.push(Step::Promote { j }),
            Row::Claimed => {
                let adopts =
                    matches!(self.mutant, Some(Mutant::AdoptsUnderTheSendersFeet | Mutant::AdoptsThoughSendersReread));
                if let Some(kube) = job.attempt().kube.filter(|it| adopts && it.nonce == job.attempt().nonce) {
                    push(Hands::Decide(Hand::Adopt(kube.uid)));
                }
            }
            Row::Created | Row::Running | Row::Stopping(_) => match job.recorded() {
                Some(kube) => self.decide(job, kube).into_iter().for_each(|it| push(Hands::Decide(it))),
                None if self.is_gone(job) => push(Hands::Decide(self.ends_badly(job))),
                None => {}
            },
        }
    }

    /// `dispose`, and what comes before it: of the Job of an attempt that is over.
    fn disposing(&self, job: &Job, j: usize, attempt: usize, steps: &mut Vec<Step>) {
        let mut push = |does| steps.push(Step::Reconciler { j, does });
        let it = &job.attempts[attempt];
        if it.removing {
            push(Hands::RemovalArrives { attempt });
        }
        let Some(kube) = it.kube.filter(|kube| kube.nonce == it.nonce && kube.nonce != STRANGER) else { return };
        let overlooked = self.mutant == Some(Mutant::DisposesOfTheLastAttemptAlone) && attempt != job.current();
        if !job.is_over(attempt) || overlooked {
            return;
        }
        let saved = it.saved || self.mutant == Some(Mutant::RemovesBeforeSaving);
        match kube.is_active() {
            true if !kube.deleting => push(Hands::StopLeftover { attempt }),
            true => {}
            false if saved => push(Hands::Remove { attempt }),
            false => {}
        }
        if !kube.is_active() && !it.saved {
            push(Hands::SaveLog { attempt });
        }
    }

    fn decide(&self, job: &Job, kube: Kube) -> Option<Hand> {
        let stopping = matches!(job.row, Row::Stopping(_));
        let deletes = stopping && !kube.deleting;
        let counts_them = self.mutant != Some(Mutant::CountsPodsByTheUidOnRecord);
        match kube.life {
            Life::Failed | Life::Complete if job.attempt().orphan && counts_them => None,
            Life::Complete => Some(Hand::Finish),
            Life::Failed => Some(self.ends_badly(job)),
            Life::EndedAlive if deletes && self.mutant == Some(Mutant::DeletesWhatMayHaveEnded) => Some(Hand::Delete),
            Life::EndedAlive if self.mutant == Some(Mutant::RetriesBesideItsPods) => Some(self.ends_badly(job)),
            Life::EndedAlive => None,
            Life::Waiting | Life::Live if stopping => deletes.then_some(Hand::Delete),
            Life::Waiting | Life::Live if job.wish => Some(Hand::Stop(Why::Cancel)),
            Life::Live if job.row == Row::Created => Some(Hand::Start),
            Life::Waiting | Life::Live => None,
        }
    }

    fn ends_badly(&self, job: &Job) -> Hand {
        if self.may_retry(job) { Hand::Retry } else { Hand::Finish }
    }

    /// What the API server answers to `Step::Confirm`, about the Job and its pods.
    fn is_gone(&self, job: &Job) -> bool {
        let other_uid = self.mutant != Some(Mutant::TellsGoneByTheNonce);
        let job_is_gone = job.attempt().kube.is_none_or(|it| other_uid || it.nonce != job.attempt().nonce);
        job_is_gone && (!job.attempt().orphan || self.mutant == Some(Mutant::ConfirmsTheJobWithoutItsPods))
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
                    At::Nowhere | At::Ready | At::Checked | At::Refused => {}
                    At::Vanished | At::Taken | At::GivenUp | At::Unmade => {}
                }
            }
            for j in 0..self.jobs {
                let mut push = |does| steps.push(Step::Task { r, j, does });
                match replica.tasks[j].at {
                    At::Sent if left.refusals > 0 => push(TaskDoes::Refuse),
                    At::Ready if left.overdue > 0 => push(TaskDoes::FindOverdue),
                    _ => {}
                }
            }
        }
        for j in 0..self.jobs {
            self.troubling(&world.jobs[j], j, left, steps);
        }
    }

    fn troubling(&self, job: &Job, j: usize, left: &Trouble, steps: &mut Vec<Step>) {
        if left.cancels > 0 && !job.wish && !matches!(job.row, Row::Stopping(Why::Cancel) | Row::Finished) {
            steps.push(Step::Cancel { j });
        }
        let runs = matches!(job.row, Row::Created | Row::Running) && job.recorded().is_some_and(|it| it.is_active());
        let decides = [
            (Hand::Stop(Why::Overdue), left.overdue > 0 && runs && !job.wish),
            (Hand::Expire, left.queue_timeouts > 0 && job.row.waits()),
        ];
        let can = decides.into_iter().filter(|(_, can)| *can && job.hand == Hand::Empty);
        steps.extend(can.map(|(hand, _)| Step::Reconciler { j, does: Hands::Decide(hand) }));
        for (attempt, it) in job.attempts.iter().enumerate() {
            let ours = it.kube.filter(|it| it.nonce != STRANGER);
            let runs = ours.is_some_and(|it| it.life == Life::Live);
            let does = [
                (Happens::Fails, left.failures > 0 && runs),
                (Happens::EndsBeforeItsPod, left.deadlines > 0 && runs),
                (Happens::SomeoneDeletes, left.deletes > 0 && ours.is_some_and(|it| !it.deleting)),
            ];
            let can = does.into_iter().filter(|(_, can)| *can);
            steps.extend(can.map(|(does, _)| Step::Cluster { j, attempt, does }));
            let ended = ours.is_some_and(|kube| kube.nonce == it.nonce && !kube.is_active());
            if left.slow_removals > 0 && job.is_over(attempt) && ended && it.saved && !it.removing {
                steps.push(Step::Reconciler { j, does: Hands::SendRemoval { attempt } });
            }
        }
    }
}

/// What Kubernetes and the network do by themselves.
fn happening(job: &Job, j: usize, attempt: usize, steps: &mut Vec<Step>) {
    let mut push = |does| steps.push(Step::Cluster { j, attempt, does });
    let job = &job.attempts[attempt];
    if let Some(kube) = job.kube.filter(|it| it.nonce != STRANGER) {
        match kube.life {
            Life::Waiting if !kube.deleting => push(Happens::PodStarts),
            Life::Live => push(Happens::Completes),
            Life::EndedAlive => push(Happens::PodDies),
            Life::Waiting | Life::Failed | Life::Complete => {}
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
