//! Which living replica follows a job's changes at once: the one that a hash of both ranks highest (rendezvous hashing),
//! so that a replica that comes or goes moves only its own share. A preference, not a lock: when replicas disagree about
//! who is alive, two of them race, or the periodic pass is first.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::id::{JobId, ReplicaId};

/// The living replicas, seen from one of them.
pub struct Peers {
    me: ReplicaId,
    others: Vec<ReplicaId>,
}

impl Peers {
    pub fn new(me: ReplicaId, alive: Vec<ReplicaId>) -> Self {
        Self { me, others: alive.into_iter().filter(|it| *it != me).collect() }
    }

    /// Whether `job` is this replica's to follow.
    pub fn is_mine(&self, job: JobId) -> bool {
        let mine = rank(self.me, job);
        self.others.iter().all(|it| rank(*it, job) < mine)
    }
}

fn rank(replica: ReplicaId, job: JobId) -> (u64, ReplicaId) {
    // DefaultHasher::new() is the same in every process of one build; between builds a disagreement is only a race.
    let mut hasher = DefaultHasher::new();
    (replica.0, job.0).hash(&mut hasher);
    (hasher.finish(), replica)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_job_has_exactly_one_follower_and_the_shares_are_fair() {
        let all: Vec<ReplicaId> = (0..4).map(|_| ReplicaId::new()).collect();
        let mut shares = [0; 4];
        for _ in 0..1000 {
            let job = JobId::new();
            let follows = |me: &ReplicaId| Peers::new(*me, all.clone()).is_mine(job);
            let followers: Vec<usize> = (0..4).filter(|it| follows(&all[*it])).collect();
            assert_eq!(followers.len(), 1, "{followers:?}");
            shares[followers[0]] += 1;
        }
        assert!(shares.iter().all(|it| *it > 100), "{shares:?}");
    }
}
