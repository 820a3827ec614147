//! Kubernetes, as far as it matters here: a name is given once, pods live and end, and someone else may delete a Job.

use crate::{
    steps::Happens,
    world::{Attempt, Job, Kube, Life, Row, STRANGER, World},
};

impl Job {
    /// The attempt that holds the slot, or was the last to hold it.
    pub fn current(&self) -> usize {
        usize::from(self.tries.max(1) - 1)
    }

    pub fn attempt(&self) -> &Attempt {
        &self.attempts[self.current()]
    }

    /// Whether the attempt was made, and no longer holds the slot.
    pub fn is_over(&self, attempt: usize) -> bool {
        let holds = self.row.holds_a_slot() && attempt == self.current();
        attempt < usize::from(self.tries) && !holds
    }

    /// The Kubernetes Job that is on record, if it is there.
    pub fn recorded(&self) -> Option<Kube> {
        self.attempt().kube.filter(|it| it.nonce == self.attempt().nonce && it.uid == self.uid)
    }

    pub fn is_live(&self) -> bool {
        self.attempts.iter().any(Attempt::is_live)
    }

    /// A create with this nonce was made, or may have been.
    pub fn doubt(&mut self, nonce: u8) {
        self.sent |= self.row == Row::Claimed && self.claims == nonce;
    }
}

impl Attempt {
    /// Whether anything of it is in the cluster, on its way there, or more than was to be.
    pub fn is_there(&self) -> bool {
        let too_many = self.made > 1 && !self.excused;
        self.kube.is_some() || self.orphan || self.late != 0 || self.removing || too_many
    }

    /// Has a pod, or a Job that may start one.
    pub fn is_live(&self) -> bool {
        self.orphan || self.kube.is_some_and(|it| it.nonce != STRANGER && !it.is_dead())
    }
}

impl Kube {
    /// Has no terminal condition.
    pub fn is_active(&self) -> bool {
        matches!(self.life, Life::Waiting | Life::Live)
    }

    /// Has a pod that lives.
    pub fn is_alive(self) -> bool {
        matches!(self.life, Life::Live | Life::EndedAlive)
    }

    /// Has ended, and so have its pods.
    pub fn is_dead(&self) -> bool {
        matches!(self.life, Life::Failed | Life::Complete)
    }
}

impl World {
    /// What the API server makes of a create: the name is the attempt's, and a name is given once.
    pub fn create(&mut self, j: usize, attempt: usize, nonce: u8) -> Option<u8> {
        let job = &mut self.jobs[j];
        job.doubt(nonce);
        if job.attempts[attempt].kube.is_some() {
            return None;
        }
        self.broken.begun_beside_another |= job.attempts[..attempt].iter().any(Attempt::is_live);
        let it = &mut job.attempts[attempt];
        it.made += 1;
        it.kube = Some(Kube { nonce, uid: it.made, life: Life::Waiting, deleting: false });
        Some(it.made)
    }

    /// What the API server makes of a removal: in the background, so that pods outlive their Job if they can.
    pub fn remove(&mut self, j: usize, attempt: usize) {
        let over = self.jobs[j].is_over(attempt);
        let it = &mut self.jobs[j].attempts[attempt];
        let Some(kube) = it.kube else { return };
        self.broken.stranger_touched |= kube.nonce == STRANGER;
        self.broken.removed_while_current |= !over;
        self.broken.removed_alive |= kube.is_active();
        self.broken.removed_before_saved |= !kube.is_active() && !it.saved;
        self.broken.removed_before_recorded |= !kube.is_active() && !over;
        it.orphan |= kube.is_alive();
        it.kube = None;
    }
}

pub fn happens(world: &mut World, j: usize, attempt: usize, does: Happens) {
    let claimed = world.jobs[j].row == Row::Claimed;
    let it = &mut world.jobs[j].attempts[attempt];
    let live = |it: &mut Attempt, life| it.kube = it.kube.map(|kube| Kube { life, ..kube });
    match does {
        Happens::PodStarts => live(it, Life::Live),
        Happens::Completes => live(it, Life::Complete),
        Happens::PodDies => live(it, Life::Failed),
        Happens::Fails => {
            world.left.failures -= 1;
            live(it, Life::Failed);
        }
        Happens::EndsBeforeItsPod => {
            world.left.deadlines -= 1;
            live(it, Life::EndedAlive);
        }
        Happens::Gone => it.kube = None,
        Happens::OrphanDies => it.orphan = false,
        Happens::SomeoneDeletes => {
            world.left.deletes -= 1;
            it.excused |= claimed;
            it.orphan |= it.kube.is_some_and(Kube::is_alive);
            it.kube = None;
        }
        Happens::LateCreateArrives => {
            let nonce = it.late.trailing_zeros() as u8;
            it.late &= it.late - 1;
            world.create(j, attempt, nonce);
        }
        Happens::LateCreateIsLost => it.late &= it.late - 1,
    }
}
