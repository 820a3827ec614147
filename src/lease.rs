//! A replica's right to act: a heartbeat in the database, and the proof of it in this process.
//!
//! Three spans, each well inside the next, make sure that a replica has stopped creating before a survivor begins to:
//! a create is sent only while the last heartbeat that the database confirmed was *sent* less than half a lease ago; it is
//! given up after a quarter of a lease; and survivors take over after a whole one. They are measured here by a clock that
//! goes on while the machine is suspended, and there by the database's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};
use tokio_util::sync::CancellationToken;

use crate::{
    error::chain,
    id::ReplicaId,
    roles::Roles,
    store::{Db, replicas},
};

/// The shortest lease. Below it a busy machine would look dead to its peers.
pub const SHORTEST: Duration = Duration::from_secs(1);

/// Who gives signs of life.
#[derive(Debug, Clone)]
pub struct Me {
    pub id: ReplicaId,
    pub hostname: String,
    pub roles: Roles,
}

/// The lease of this replica.
pub struct Lease {
    length: Duration,
    /// When the last confirmed heartbeat was sent, in milliseconds of the boot clock; 0 before the first.
    proved_at: AtomicU64,
    /// How often it was taken up after a gap.
    tenure: AtomicU64,
}

/// One uninterrupted time of holding the lease. What was read in it may be acted on in it, and not after a gap, in which
/// others may have taken it over: a replica that slept and beats again holds its lease, but in another tenure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tenure(u64);

impl Lease {
    pub fn new(length: Duration) -> Arc<Self> {
        Arc::new(Self { length, proved_at: AtomicU64::new(0), tenure: AtomicU64::new(0) })
    }

    /// The tenure in which this replica may act now, if it may.
    pub fn tenure(&self) -> Option<Tenure> {
        // Read first: should a gap end in between, the older number is the one that is no longer good.
        let tenure = Tenure(self.tenure.load(Ordering::Acquire));
        self.is_fresh().then_some(tenure)
    }

    /// Whether this replica may still act on what it read in `tenure`.
    pub fn still_holds(&self, tenure: Tenure) -> bool {
        self.tenure() == Some(tenure)
    }

    fn is_fresh(&self) -> bool {
        let proved_at = self.proved_at.load(Ordering::Acquire);
        proved_at > 0 && boot_millis().saturating_sub(proved_at) < (self.length / 2).as_millis() as u64
    }

    /// How long others wait for a sign of life.
    pub fn length(&self) -> Duration {
        self.length
    }

    /// How long a create may take.
    pub fn create_timeout(&self) -> Duration {
        self.length / 4
    }

    /// How long nothing may be heard of the API server before this replica claims and creates nothing: longer than a create
    /// may take, so that one that is only slow does not count.
    pub fn longest_silence(&self) -> Duration {
        self.length / 2
    }

    /// How long nothing may be heard of it before this replica lets go of what it claimed: so long after the last create was
    /// sent, and given up, that a survivor may begin as it would after a death.
    pub fn lets_go_after(&self) -> Duration {
        self.length * 3
    }

    /// Gives one sign of life.
    pub async fn beat(&self, db: &Db, me: &Me) -> Result<(), crate::store::Error> {
        let sent_at = boot_millis();
        let mut conn = db.conn().await?;
        replicas::beat(&mut conn, me.id, &me.hostname, me.roles, self.length.as_secs_f64()).await?;
        self.confirm(sent_at);
        Ok(())
    }

    fn confirm(&self, sent_at: u64) {
        if !self.is_fresh() {
            self.tenure.fetch_add(1, Ordering::AcqRel);
        }
        self.proved_at.store(sent_at, Ordering::Release);
    }

    /// Gives signs of life until `stop`.
    pub async fn keep(&self, db: &Db, me: &Me, stop: CancellationToken) {
        let every = self.length / 5;
        while !stop.is_cancelled() {
            let beat = tokio::time::timeout(self.length / 2, self.beat(db, me)).await;
            match beat {
                Ok(Ok(())) => {}
                Ok(Err(err)) => {
                    db.heed(&err);
                    tracing::warn!(error = chain(&err), "could not give a sign of life");
                }
                Err(_) => db.give_up(),
            }
            stop.run_until_cancelled(tokio::time::sleep(every)).await;
        }
    }
}

/// CLOCK_BOOTTIME, which, unlike the monotonic clock, goes on while the machine is suspended.
fn boot_millis() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from);
    // The clock cannot fail on Linux; 0 would mean that no lease ever holds, which is safe.
    now.map(|it| it.as_millis() as u64 + 1).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_before_a_gap_may_not_be_acted_on_after_it() {
        let lease =
            Lease { length: Duration::from_secs(3600), proved_at: AtomicU64::new(0), tenure: AtomicU64::new(0) };
        assert_eq!(lease.tenure(), None, "no heartbeat was confirmed yet");
        lease.confirm(boot_millis());
        let before = lease.tenure().unwrap();
        lease.confirm(boot_millis());
        assert!(lease.still_holds(before), "without a gap it is the same tenure");
        // A sleep of more than half a lease.
        lease.proved_at.store(1, Ordering::Release);
        let asleep = Lease { length: Duration::from_millis(2), ..lease };
        assert!(!asleep.still_holds(before));
        asleep.confirm(boot_millis());
        assert!(!asleep.still_holds(before), "it beats again, but others may have acted meanwhile");
    }
}
