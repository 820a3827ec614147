//! What the task that creates the Kubernetes Job of one claim does: `scheduler::create`.

use crate::{
    Longshore,
    mutant::Mutant,
    steps::TaskDoes,
    world::{At, Kube, Row, World},
};

impl Longshore {
    pub fn task_does(&self, world: &mut World, r: usize, j: usize, does: TaskDoes) {
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
                let made = world.create(j, task.attempt(), task.nonce);
                to(world, made.map_or(At::Exists, |uid| At::Made { uid }));
            }
            TaskDoes::PutOff => {
                world.left.faults -= 1;
                to(world, At::Ready);
                if task.never_sent {
                    world.replicas[r].doubtful.put(j, false);
                }
            }
            TaskDoes::Refuse => {
                world.left.refusals -= 1;
                to(world, At::Refused);
                if task.never_sent {
                    world.replicas[r].doubtful.put(j, false);
                }
            }
            TaskDoes::Insist => to(world, At::Ready),
            TaskDoes::PutAside => self.give_back(world, r, j, Row::Scheduled),
            TaskDoes::LoseAnswer => {
                world.left.faults -= 1;
                if task.at == At::Sent && self.late_creates {
                    world.jobs[j].attempts[task.attempt()].late |= 1 << task.nonce;
                }
                world.jobs[j].doubt(task.nonce);
                to(world, At::Ready);
                world.replicas[r].tasks[j].never_sent = false;
            }
            TaskDoes::Look => {
                let ours = |it: Kube| it.nonce == task.nonce || self.mutant == Some(Mutant::Takes409ForItsOwn);
                to(
                    world,
                    match world.jobs[j].attempts[task.attempt()].kube {
                        Some(kube) if ours(kube) => At::Made { uid: kube.uid },
                        Some(_) => At::Taken,
                        None => At::Vanished,
                    },
                );
            }
            TaskDoes::Record => {
                if self.may_record(world, r, j) {
                    match task.at {
                        At::Made { uid } => self.record_created(world, j, task.attempt(), uid),
                        At::Vanished | At::Unmade => self.fail(world, j),
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
            TaskDoes::StopSending => self.stop_sending(world, r, j),
            TaskDoes::FindOverdue => {
                world.left.overdue -= 1;
                match (task.never_sent, task.stale) {
                    (false, _) => self.stop_sending(world, r, j),
                    (true, stale) => {
                        world.end_task(r, j);
                        if !stale {
                            self.fail(world, j);
                        }
                    }
                }
            }
            TaskDoes::LookForIt => {
                let found = world.jobs[j].attempts[task.attempt()].kube.filter(|it| it.nonce == task.nonce);
                to(world, found.map_or(At::Unmade, |it| At::Made { uid: it.uid }));
            }
            TaskDoes::HandBack => self.give_back(world, r, j, Row::Pending),
        }
    }

    fn stop_sending(&self, world: &mut World, r: usize, j: usize) {
        let at_once = self.mutant == Some(Mutant::GivesUpWithoutALook);
        world.replicas[r].tasks[j].at = if at_once { At::Unmade } else { At::GivenUp };
    }

    fn may_record(&self, world: &World, r: usize, j: usize) -> bool {
        let replica = &world.replicas[r];
        match self.mutant {
            Some(Mutant::RecordsUnguarded) => true,
            Some(Mutant::RecordsByReplicaAlone) => replica.owns.has(j),
            _ => !replica.tasks[j].stale,
        }
    }

    /// Gives a claim back, and its attempt's number with it.
    fn give_back(&self, world: &mut World, r: usize, j: usize, to: Row) {
        let still = match self.mutant == Some(Mutant::HandsBackUnguarded) {
            true => world.replicas[r].owns.has(j),
            false => !world.replicas[r].tasks[j].stale,
        };
        world.end_task(r, j);
        if still {
            let sending = world.replicas.iter().any(|it| it.tasks[j].at == At::Sent);
            world.broken.given_back_though_made |= sending || world.jobs[j].sent;
            world.disown(j);
            world.replicas.iter_mut().for_each(|it| it.claimed.put(j, false));
            let job = &mut world.jobs[j];
            let current = job.current();
            job.attempts[current].nonce = 0;
            let keeps_the_number = to == Row::Scheduled && self.mutant == Some(Mutant::PutsAsideTheNumberToo);
            job.tries -= u8::from(!keeps_the_number);
            (job.inherited, job.sent) = (false, false);
            world.advance(j, to);
        }
    }
}
