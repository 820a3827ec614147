//! What a reconciler does: it applies what was decided, and clears away what is over.

use crate::{
    Longshore,
    mutant::Mutant,
    steps::Hands,
    world::{ATTEMPTS, Hand, Job, Kube, Row, STRANGER, Why, World},
};

impl Longshore {
    pub fn reconciler_does(&self, world: &mut World, j: usize, does: Hands) {
        match does {
            Hands::Decide(hand) => {
                world.left.overdue -= u8::from(hand == Hand::Stop(Why::Overdue));
                world.left.queue_timeouts -= u8::from(hand == Hand::Expire);
                world.jobs[j].hand = hand;
            }
            Hands::Apply => self.apply(world, j),
            Hands::SaveLog { attempt } => world.jobs[j].attempts[attempt].saved = true,
            Hands::Remove { attempt } => self.remove(world, j, attempt),
            Hands::SendRemoval { attempt } => {
                world.left.slow_removals -= 1;
                world.jobs[j].attempts[attempt].removing = true;
            }
            Hands::RemovalArrives { attempt } => {
                world.jobs[j].attempts[attempt].removing = false;
                self.remove(world, j, attempt);
            }
            Hands::StopLeftover { attempt } => {
                let kube = &mut world.jobs[j].attempts[attempt].kube;
                world.broken.stranger_touched |= kube.is_some_and(|it| it.nonce == STRANGER);
                *kube = kube.map(|it| Kube { deleting: true, ..it });
            }
        }
    }

    fn apply(&self, world: &mut World, j: usize) {
        let job = &mut world.jobs[j];
        match std::mem::take(&mut job.hand) {
            Hand::Empty => {}
            Hand::Adopt(uid) => {
                let current = job.current();
                self.record_created(world, j, current, uid)
            }
            Hand::Start => world.advance(j, Row::Running),
            Hand::Stop(_) if self.mutant == Some(Mutant::FreesTheSlotOfWhatItStops) => self.finish(world, j),
            Hand::Stop(why) => world.advance(j, Row::Stopping(why)),
            Hand::Finish | Hand::Expire => self.finish(world, j),
            Hand::Retry => {
                // The wish is no move: it leaves the version that was read as it is, so the statement asks for it.
                let unasked = matches!(
                    self.mutant,
                    Some(Mutant::RetriesWithoutAskingForTheWish | Mutant::RetriesByWhatItStoppedFor)
                );
                if !job.wish || unasked {
                    self.back_off(world, j);
                }
            }
            Hand::Delete => {
                let may_have_ended = self.mutant == Some(Mutant::DeletesWhatMayHaveEnded);
                let seen = job.recorded().filter(|it| may_have_ended || it.is_active());
                if let Some(mut kube) = seen {
                    world.broken.removed_before_recorded |= !kube.is_active();
                    kube.deleting = true;
                    let current = job.current();
                    job.attempts[current].kube = Some(kube);
                }
            }
        }
    }

    fn remove(&self, world: &mut World, j: usize, attempt: usize) {
        for other in 0..ATTEMPTS {
            if other == attempt || self.mutant == Some(Mutant::RemovesByTheJobAlone) {
                world.remove(j, other);
            }
        }
    }

    pub fn record_created(&self, world: &mut World, j: usize, attempt: usize, uid: u8) {
        world.broken.stranger_touched |= uid == STRANGER;
        world.broken.attempts_mixed_up |= attempt != world.jobs[j].current();
        world.disown(j);
        world.jobs[j].uid = uid;
        world.jobs[j].inherited = false;
        world.advance(j, Row::Created);
    }

    /// What an attempt that ended badly comes to.
    pub fn fail(&self, world: &mut World, j: usize) {
        match self.may_retry(&world.jobs[j]) {
            true => self.back_off(world, j),
            false => self.finish(world, j),
        }
    }

    pub fn may_retry(&self, job: &Job) -> bool {
        let by_what_it_stopped_for = self.mutant == Some(Mutant::RetriesByWhatItStoppedFor);
        let unwished = !job.wish || by_what_it_stopped_for && job.row == Row::Stopping(Why::Overdue);
        job.tries < self.attempts && unwished
    }

    /// Frees the slot, for the next attempt to ask for one anew.
    fn back_off(&self, world: &mut World, j: usize) {
        self.free_the_slot(world, j, Row::Scheduled);
    }

    /// Frees the slot, for good.
    pub fn finish(&self, world: &mut World, j: usize) {
        self.free_the_slot(world, j, Row::Finished);
        world.jobs[j].wish = false;
    }

    /// What the row no longer needs is forgotten.
    fn free_the_slot(&self, world: &mut World, j: usize, to: Row) {
        world.broken.slot_freed_while_alive |= world.jobs[j].is_live();
        world.disown(j);
        world.replicas.iter_mut().for_each(|it| it.claimed.put(j, false));
        world.advance(j, to);
        let job = &mut world.jobs[j];
        (job.uid, job.inherited, job.sent) = (0, false, false);
        if job.tries > 0 && !self.logs {
            let current = job.current();
            job.attempts[current].saved = true;
        }
    }
}
