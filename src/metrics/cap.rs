//! Whether more slots were held than a cap allows, although nobody had lowered it. That must never happen.
//!
//! A look is the cap, how many slots are held, and the version of the cap's row, in one snapshot. As long as the row is the
//! same, no claim may bring the number above the cap; it may only be above from before, because the cap was lowered under it,
//! and then it can only fall. So two looks that follow each other, of the same version, tell: if the later number is above
//! the cap and above the earlier number, something was claimed that should not have been. Whenever the row was written
//! in between, nothing is said, rather than something false.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use prometheus_client::{metrics::counter::Counter, registry::Registry};

use super::{
    GLOBAL,
    family::{Counters, Label, Set, label},
    names,
};

struct Look {
    version: String,
    held: i64,
}

pub struct CapWatch {
    last: Mutex<HashMap<Label, Look>>,
    violations: Counters<1>,
}

impl CapWatch {
    pub fn new(registry: &mut Registry) -> Self {
        let violations = Set::new(registry, &names::CAP_VIOLATIONS, Counter::default);
        violations.of([label(GLOBAL)]);
        Self { last: Mutex::default(), violations }
    }

    /// Takes a look into account that is later than the last one of the same limit.
    pub fn saw(&self, limit: Label, version: &str, cap: i64, held: i64) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.insert(limit.clone(), Look { version: version.to_owned(), held });
        drop(last);
        let violated = before.is_some_and(|it| it.version == version && held > cap.max(it.held));
        if violated {
            tracing::error!(%limit, cap, held, "more slots are held than the cap allows, and nobody lowered it");
            self.violations.of([limit]).inc();
        }
    }

    /// Forgets limits that are not there any more.
    pub fn keep_only(&self, limits: &[Label]) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|limit, _| limit == GLOBAL || limits.contains(limit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_claim_above_an_unchanged_cap_is_a_violation() {
        let watch = CapWatch::new(&mut Registry::default());
        let count = || watch.violations.of([label(GLOBAL)]).get();
        let saw = |version, cap, held| watch.saw(label(GLOBAL), version, cap, held);
        saw("1", 5, 9);
        assert_eq!(count(), 0, "of what was before the first look nothing is known");
        saw("1", 5, 8);
        saw("1", 5, 8);
        assert_eq!(count(), 0, "lowered under what was held, which falls");
        saw("1", 5, 9);
        assert_eq!(count(), 1, "it rose above the cap");
        saw("2", 3, 12);
        assert_eq!(count(), 1, "the cap was written in between: raised, used, and lowered, perhaps");
        saw("2", 3, 2);
        saw("2", 3, 3);
        assert_eq!(count(), 1);
        saw("2", 3, 4);
        assert_eq!(count(), 2);
    }
}
