//! What must hold in every world, and what must come up in some so that the model is known to go there.

use stateright::Property;

use crate::{
    Longshore,
    world::{At, Life, Row, STRANGER, World},
};

pub const ROWS_WITHIN_CAP: &str = "no more rows hold a slot than the cap allows";
pub const LIVE_WITHIN_CAP: &str = "no more jobs have a live Job or pod than the cap allows";
pub const CREATED_ONCE: &str = "an attempt makes one Kubernetes Job";
pub const SECOND_UNRECORDED: &str = "no row takes a second Job of its attempt for its own";
pub const FINISHED_STAYS: &str = "a finished row never changes";
pub const RECORDED_FIRST: &str = "a Job that ended is removed only after its outcome is recorded";
pub const HANDED_BACK_UNSENT: &str = "a claim is handed back only if nothing was sent";
pub const FREED_WHEN_DEAD: &str = "a slot is freed only when no pod lives, nor a Job that may start one";
pub const STRANGER_UNTOUCHED: &str = "a stranger's Job is neither adopted nor deleted";
pub const ALL_ENDS_WELL: &str = "at rest every job has ended, and nothing is left in the cluster";

pub fn all(model: &Longshore) -> Vec<Property<Longshore>> {
    let (always, sometimes) = (Property::<Longshore>::always, Property::<Longshore>::sometimes);
    let mut all = vec![
        always(ROWS_WITHIN_CAP, |it, world| {
            world.jobs.iter().filter(|it| it.row.holds_a_slot()).count() <= usize::from(it.cap)
        }),
        always(LIVE_WITHIN_CAP, |it, world| {
            let is_live = |job: &&crate::world::Job| {
                job.orphan || job.kube.is_some_and(|it| it.nonce != STRANGER && it.life != Life::Ended)
            };
            world.jobs.iter().filter(is_live).count() <= usize::from(it.cap)
        }),
        always(CREATED_ONCE, |_, world| world.jobs.iter().all(|it| it.made <= 1 || it.excused)),
        always(SECOND_UNRECORDED, |_, world| world.jobs.iter().all(|it| it.uid <= 1 || it.excused)),
        always(FINISHED_STAYS, |_, world| !world.broken.finished_row_changed),
        always(RECORDED_FIRST, |_, world| !world.broken.removed_before_recorded),
        always(HANDED_BACK_UNSENT, |_, world| !world.broken.handed_back_after_a_send),
        always(FREED_WHEN_DEAD, |_, world| !world.broken.slot_freed_while_alive),
        always(STRANGER_UNTOUCHED, |_, world| !world.broken.stranger_touched),
        always(ALL_ENDS_WELL, |it, world| it.is_in_order(world) || !it.is_at_rest(world)),
        sometimes("all is done", |it, world| it.is_in_order(world)),
    ];
    let left = &model.trouble;
    if model.late_creates {
        all.push(sometimes("a late create meets its own earlier self", |_, world| {
            world.jobs.iter().any(|it| it.late == 1 << it.nonce && it.recorded().is_some())
        }));
        all.push(sometimes("a late create makes a Job whose attempt is over", |_, world| {
            world.jobs.iter().any(|it| it.row == Row::Finished && it.kube.is_some_and(|kube| kube.uid > 1))
        }));
    }
    if left.crashes > 0 {
        all.push(sometimes("a survivor meets the Job of the dead", |_, world| {
            world.replicas.iter().any(|replica| {
                replica.tasks.iter().zip(&world.jobs).any(|(task, job)| {
                    let same = job.kube.is_some_and(|it| it.nonce == task.nonce);
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
            world.jobs.iter().any(|it| it.row == Row::Pending && it.nonce > 0)
        }));
    }
    if left.cancels > 0 {
        all.push(sometimes("a job completes while it is being stopped", |_, world| {
            world
                .jobs
                .iter()
                .any(|it| it.row == Row::Stopping && it.recorded().is_some_and(|it| it.life == Life::Ended))
        }));
    }
    if left.deletes > 0 {
        all.push(sometimes("a pod outlives the Job that someone deleted", |_, world| {
            world.jobs.iter().any(|it| it.row.holds_a_slot() && it.orphan)
        }));
    }
    all
}

impl Longshore {
    fn is_in_order(&self, world: &World) -> bool {
        world.jobs[..self.jobs].iter().all(|it| {
            let nothing_left = it.kube.is_none_or(|it| it.nonce == STRANGER) && !it.orphan && it.late == 0;
            it.row == Row::Finished && nothing_left
        })
    }

    fn is_at_rest(&self, world: &World) -> bool {
        let mut owed = Vec::new();
        self.progress(world, &mut owed);
        owed.is_empty()
    }
}
