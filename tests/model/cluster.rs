//! Kubernetes, as far as it matters here: a name is given once, pods live and end, and someone else may delete a Job.

use crate::{
    steps::Happens,
    world::{Job, Kube, Life, Row, World},
};

impl Job {
    /// The Kubernetes Job that is on record, if it is there.
    pub fn recorded(&self) -> Option<Kube> {
        self.kube.filter(|it| it.nonce == self.nonce && it.uid == self.uid)
    }

    /// A create with this nonce was made, or may have been.
    pub fn doubt(&mut self, nonce: u8) {
        self.sent |= self.row == Row::Claimed && self.nonce == nonce;
    }

    /// What the API server makes of a create: the name is the attempt's, and a name is given once.
    pub fn create(&mut self, nonce: u8) -> Option<u8> {
        self.doubt(nonce);
        if self.kube.is_some() {
            return None;
        }
        self.made += 1;
        self.kube = Some(Kube { nonce, uid: self.made, life: Life::Waiting, deleting: false });
        Some(self.made)
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
}

pub fn happens(world: &mut World, j: usize, does: Happens) {
    let job = &mut world.jobs[j];
    let live = |job: &mut Job, life| job.kube = job.kube.map(|it| Kube { life, ..it });
    match does {
        Happens::PodStarts => live(job, Life::Live),
        Happens::Ends | Happens::PodDies => live(job, Life::Ended),
        Happens::EndsBeforeItsPod => {
            world.left.deadlines -= 1;
            live(job, Life::EndedAlive);
        }
        Happens::Gone => job.kube = None,
        Happens::OrphanDies => job.orphan = false,
        Happens::SomeoneDeletes => {
            world.left.deletes -= 1;
            job.excused |= job.row == Row::Claimed;
            job.orphan |= job.kube.is_some_and(Kube::is_alive);
            job.kube = None;
        }
        Happens::LateCreateArrives => {
            let nonce = job.late.trailing_zeros() as u8;
            job.late &= job.late - 1;
            job.create(nonce);
        }
        Happens::LateCreateIsLost => job.late &= job.late - 1,
    }
}
