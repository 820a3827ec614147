//! What must hold in every world, and what must come up in some so that the model is known to go there.

use stateright::Property;

use crate::{
    Longshore,
    world::{At, Attempt, Job, Life, Row, STRANGER, Why, World},
};

pub const ROWS_WITHIN_CAP: &str = "no more rows hold a slot than the cap allows";
pub const LIVE_WITHIN_CAP: &str = "no more jobs have a live Job or pod than the cap allows";
pub const CREATED_ONCE: &str = "an attempt makes one Kubernetes Job";
pub const SECOND_UNRECORDED: &str = "no row takes a second Job of its attempt for its own";
pub const FINISHED_STAYS: &str = "a finished row never changes";
pub const RECORDED_FIRST: &str = "a Job that ended is removed only after its outcome is recorded";
pub const GIVEN_BACK_UNMADE: &str = "a claim is given back only if nothing can have been made under it";
pub const FREED_WHEN_DEAD: &str = "a slot is freed only when no pod lives, nor a Job that may start one";
pub const STRANGER_UNTOUCHED: &str = "a stranger's Job is neither adopted nor deleted";
pub const HELD_CURRENT: &str = "no Job of another attempt is held to be the current one";
pub const ONE_AFTER_ANOTHER: &str = "no attempt is begun while something of an earlier one lives";
pub const CANCELLED_WAITS_NOT: &str = "no job waits, to be tried or tried again, that someone wants cancelled";
pub const TRIED_AS_OFTEN: &str = "no job is tried more often than it may be";
pub const SAVED_FIRST: &str = "a Job that ended is removed only after its log is saved";
pub const REMOVED_WHEN_OVER: &str = "no Job is removed of an attempt that is not over";
pub const REMOVED_WHEN_ENDED: &str = "no Job is removed that has not ended";
pub const ALL_ENDS_WELL: &str = "at rest every job has ended, and nothing is left in the cluster";

pub fn all(model: &Longshore) -> Vec<Property<Longshore>> {
    let (always, sometimes) = (Property::<Longshore>::always, Property::<Longshore>::sometimes);
    let mut all = vec![
        always(ROWS_WITHIN_CAP, |it, world| {
            world.jobs.iter().filter(|it| it.row.holds_a_slot()).count() <= usize::from(it.cap)
        }),
        always(LIVE_WITHIN_CAP, |it, world| world.jobs.iter().filter(|it| it.is_live()).count() <= usize::from(it.cap)),
        always(CREATED_ONCE, |_, world| {
            world.jobs.iter().all(|it| it.attempts.iter().all(|it| it.made <= 1 || it.excused))
        }),
        always(SECOND_UNRECORDED, |_, world| world.jobs.iter().all(|it| it.uid <= 1 || it.attempt().excused)),
        always(FINISHED_STAYS, |_, world| !world.broken.finished_row_changed),
        always(RECORDED_FIRST, |_, world| !world.broken.removed_before_recorded),
        always(GIVEN_BACK_UNMADE, |_, world| !world.broken.given_back_though_made),
        always(FREED_WHEN_DEAD, |_, world| !world.broken.slot_freed_while_alive),
        always(STRANGER_UNTOUCHED, |_, world| !world.broken.stranger_touched),
        always(ALL_ENDS_WELL, |it, world| it.is_in_order(world) || !it.is_at_rest(world)),
        sometimes("all is done", |it, world| it.is_in_order(world)),
    ];
    all.extend(promises(model));
    let left = &model.trouble;
    if model.late_creates {
        all.push(sometimes("a late create meets its own earlier self", |_, world| {
            world.jobs.iter().any(|it| it.attempt().late == 1 << it.attempt().nonce && it.recorded().is_some())
        }));
        all.push(sometimes("a late create makes a Job whose attempt is over", |_, world| {
            world.jobs.iter().any(|it| {
                it.row == Row::Finished && it.attempts.iter().any(|it| it.kube.is_some_and(|kube| kube.uid > 1))
            })
        }));
    }
    if left.crashes > 0 {
        all.push(sometimes("a survivor meets the Job of the dead", |_, world| {
            world.replicas.iter().any(|replica| {
                replica.tasks.iter().zip(&world.jobs).any(|(task, job)| {
                    let same = job.attempts[task.attempt()].kube.is_some_and(|it| it.nonce == task.nonce);
                    task.at == At::Exists && job.inherited && same
                })
            })
        }));
    }
    if left.pauses > 0 {
        all.push(sometimes("a sleeper finds its job taken over", |_, world| {
            world.replicas.iter().any(|it| {
                (0..it.tasks.len())
                    .any(|j| it.leased && it.tasks[j].at == At::Ready && it.tasks[j].stale && !it.owns.has(j))
            })
        }));
    }
    if left.shutdowns > 0 {
        all.push(sometimes("a claim is handed back", |_, world| {
            world.jobs.iter().any(|it| it.row == Row::Pending && it.tries == 0 && it.claims > 0)
        }));
    }
    if left.cancels > 0 {
        all.push(sometimes("a job completes while it is being stopped", |_, world| {
            world.jobs.iter().any(|it| {
                it.row == Row::Stopping(Why::Cancel) && it.recorded().is_some_and(|it| it.life == Life::Complete)
            })
        }));
    }
    if left.deletes > 0 {
        all.push(sometimes("a pod outlives the Job that someone deleted", |_, world| {
            world.jobs.iter().any(|it| it.row.holds_a_slot() && it.attempt().orphan)
        }));
    }
    all.extend(again(model));
    all
}

/// Promises that only some configurations can break: each costs time in every world.
fn promises(model: &Longshore) -> Vec<Property<Longshore>> {
    let always = Property::<Longshore>::always;
    let (mut all, left, twice) = (Vec::new(), &model.trouble, model.attempts > 1);
    if twice {
        all.push(always(HELD_CURRENT, |_, world| !world.broken.attempts_mixed_up));
        all.push(always(ONE_AFTER_ANOTHER, |_, world| !world.broken.begun_beside_another));
    }
    if twice || left.refusals > 0 {
        all.push(always(TRIED_AS_OFTEN, |it, world| world.jobs.iter().all(|job| job.tries <= it.attempts)));
    }
    if left.cancels > 0 {
        all.push(always(CANCELLED_WAITS_NOT, |_, world| world.jobs.iter().all(|it| !(it.row.waits() && it.wish))));
    }
    if twice || model.logs || left.slow_removals > 0 {
        all.push(always(SAVED_FIRST, |_, world| !world.broken.removed_before_saved));
        all.push(always(REMOVED_WHEN_OVER, |_, world| !world.broken.removed_while_current));
        all.push(always(REMOVED_WHEN_ENDED, |_, world| !world.broken.removed_alive));
    }
    all
}

/// That a configuration with more than one attempt, and with what may send a claim or a job back, goes there.
fn again(model: &Longshore) -> Vec<Property<Longshore>> {
    let sometimes = Property::<Longshore>::sometimes;
    let (mut all, left) = (Vec::new(), &model.trouble);
    let twice = model.attempts > 1;
    if twice {
        all.push(sometimes("a second attempt runs", |_, world| {
            world.jobs.iter().any(|it| it.row == Row::Running && it.tries > 1)
        }));
    }
    if twice && left.failures > 0 {
        all.push(sometimes("a second attempt runs while the first one's Job is still there", |_, world| {
            world.jobs.iter().any(|it| it.row == Row::Running && it.tries > 1 && it.attempts[0].kube.is_some())
        }));
    }
    if twice && model.late_creates {
        all.push(sometimes("a late create makes a Job of an attempt that is over while another runs", |_, world| {
            world.jobs.iter().any(|it| it.row == Row::Running && it.tries > 1 && it.attempts[0].is_live())
        }));
    }
    if left.refusals > 0 {
        all.push(sometimes("a claim is put aside", |_, world| {
            world.jobs.iter().any(|it| it.row == Row::Scheduled && it.claims > it.tries)
        }));
    }
    if left.overdue > 0 {
        all.push(sometimes("a job completes while it is being stopped for its deadline", |_, world| {
            let complete = |it: &Job| it.recorded().is_some_and(|it| it.life == Life::Complete);
            world.jobs.iter().any(|it| it.row == Row::Stopping(Why::Overdue) && complete(it))
        }));
    }
    if left.faults > 0 && (left.overdue > 0 || left.cancels > 0) {
        all.push(sometimes("a claim is given up whose Job was made", |_, world| {
            world.replicas.iter().any(|replica| {
                replica.tasks.iter().zip(&world.jobs).any(|(task, job)| {
                    let made = job.attempts[task.attempt()].kube.is_some_and(|it| it.nonce == task.nonce);
                    task.at == At::GivenUp && !task.stale && made
                })
            })
        }));
    }
    if left.overdue > 0 && left.cancels > 0 {
        all.push(sometimes("a cancel finds the job being stopped for its deadline", |_, world| {
            world.jobs.iter().any(|it| it.row == Row::Stopping(Why::Overdue) && it.wish)
        }));
    }
    if left.slow_removals > 0 {
        all.push(sometimes("a removal arrives after another one", |_, world| {
            world.jobs.iter().any(|it| it.attempts.iter().any(|it| it.removing && it.kube.is_none()))
        }));
    }
    all
}

impl Longshore {
    fn is_in_order(&self, world: &World) -> bool {
        world.jobs[..self.jobs].iter().all(|it| {
            let nothing_left = |it: &Attempt| {
                it.kube.is_none_or(|it| it.nonce == STRANGER) && !it.orphan && it.late == 0 && !it.removing
            };
            it.row == Row::Finished && it.attempts.iter().all(nothing_left)
        })
    }

    fn is_at_rest(&self, world: &World) -> bool {
        let mut owed = Vec::new();
        self.progress(world, &mut owed);
        owed.is_empty()
    }
}
