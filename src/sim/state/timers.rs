//! What is due when: one ordered table instead of a task per pod.
//!
//! Each thing (a Job, a pod) has at most one due time, so a Job with a time-to-live of a day costs one entry, and none
//! once it is gone.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Due {
    /// The Job controller looks at this Job again.
    Job(Uuid),
    /// The garbage collector looks at what this deleted owner left behind.
    Dependents(Uuid),
    /// The pretend node takes the next step of this pod.
    Pod(Uuid),
    /// The pretend node ends this pod, which is being deleted.
    Stop(Uuid),
    /// Somebody makes this pod and its Job disappear.
    Vanish(Uuid),
    /// The namespace controller empties this namespace.
    Namespace(Uuid),
}

#[derive(Clone, Default)]
pub struct Timers {
    order: BTreeMap<(Instant, u64), Due>,
    when: HashMap<Due, (Instant, u64)>,
    next: u64,
}

impl Timers {
    /// Sets the time, unless an earlier one is set.
    pub fn by(&mut self, due: Due, at: Instant) {
        if self.when.get(&due).is_none_or(|&(set, _)| at < set) {
            self.set(due, at);
        }
    }

    pub fn set(&mut self, due: Due, at: Instant) {
        self.cancel(due);
        self.next += 1;
        self.order.insert((at, self.next), due);
        self.when.insert(due, (at, self.next));
    }

    pub fn cancel(&mut self, due: Due) {
        if let Some(slot) = self.when.remove(&due) {
            self.order.remove(&slot);
        }
    }

    pub fn earliest(&self) -> Option<Instant> {
        self.order.first_key_value().map(|((at, _), _)| *at)
    }

    pub fn take_due(&mut self, now: Instant) -> Option<Due> {
        let (&slot, &due) = self.order.first_key_value()?;
        if slot.0 > now {
            return None;
        }
        self.order.remove(&slot);
        self.when.remove(&due);
        Some(due)
    }
}
