//! All objects of one kind, and the last changes made to them.
//!
//! The history is a ring of bounded length. Watchers read from it at their own pace and own nothing of it, so a slow
//! watcher costs no memory: it falls off the ring and is told 410, as on the real server. The ring also answers what
//! the shelf looked like at an earlier revision (each change knows what it replaced), which is what makes the later
//! pages of a list consistent with the first.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use super::object::{Key, Object, Record};
use super::refusal::Refusal;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    Added,
    Modified,
    Deleted,
}

impl Happened {
    pub fn word(self) -> &'static str {
        match self {
            Happened::Added => "ADDED",
            Happened::Modified => "MODIFIED",
            Happened::Deleted => "DELETED",
        }
    }
}

pub struct Change {
    pub revision: u64,
    pub at: std::time::Instant,
    pub happened: Happened,
    /// The object after the change; for a deletion its last state.
    pub object: Arc<Record>,
    pub previous: Option<Arc<Record>>,
}

#[derive(Clone, Default)]
pub struct Shelf {
    objects: BTreeMap<Key, Arc<Object>>,
    history: VecDeque<Arc<Change>>,
    /// Changes up to this revision are no longer in the history.
    forgotten: u64,
}

impl Shelf {
    pub fn get(&self, key: &Key) -> Option<&Arc<Object>> {
        self.objects.get(key)
    }

    /// Takes an object out, for who puts its next state in at once.
    pub fn take(&mut self, key: &Key) -> Option<Arc<Object>> {
        self.objects.remove(key)
    }

    pub fn in_namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<Object>> {
        let from = (namespace.to_owned(), String::new());
        self.objects.range(from..).map(|(_, object)| object).take_while(move |o| o.namespace() == namespace)
    }

    pub fn apply(&mut self, change: Change, object: Arc<Object>, keep: usize) {
        match change.happened {
            Happened::Added | Happened::Modified => self.objects.insert(change.object.key.clone(), object),
            Happened::Deleted => self.objects.remove(&change.object.key),
        };
        self.history.push_back(Arc::new(change));
        while self.history.len() > keep {
            self.forget_oldest();
        }
    }

    /// Compacts the whole history: every older resource version is from now on expired.
    pub fn forget(&mut self, now: u64) {
        self.history.clear();
        self.forgotten = now;
    }

    fn forget_oldest(&mut self) {
        if let Some(change) = self.history.pop_front() {
            self.forgotten = change.revision;
        }
    }

    /// The changes after a revision, oldest first, at most `max` of them.
    pub fn since(&self, revision: u64, current: u64, max: usize) -> Result<Vec<Arc<Change>>, Refusal> {
        self.remembers(revision, current)?;
        let start = self.history.partition_point(|change| change.revision <= revision);
        Ok(self.history.range(start..).take(max).cloned().collect())
    }

    /// The objects after `after` in key order as they were at `revision`, at most `max` that are `wanted`.
    pub fn page(&self, page: Page<'_>, current: u64) -> Result<Vec<Arc<Object>>, Refusal> {
        self.remembers(page.revision, current)?;
        let then = self.differences(page.revision);
        let bounds = (page.after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let mut now = self.objects.range::<Key, _>(bounds).filter(|(key, _)| !then.contains_key(*key)).peekable();
        let mut old = then.range::<Key, _>(bounds).filter_map(|(k, o)| o.as_ref().map(|o| (k, o))).peekable();
        let mut found = Vec::new();
        while found.len() < page.max {
            let take_old = match (now.peek(), old.peek()) {
                (None, None) => break,
                (Some(_), None) => false,
                (None, Some(_)) => true,
                (Some((a, _)), Some((b, _))) => b < a,
            };
            let (key, record, object) = if take_old {
                let Some((key, record)) = old.next() else { break };
                (key, record, None)
            } else {
                let Some((key, object)) = now.next() else { break };
                (key, object.record(), Some(object))
            };
            if page.namespace.is_none_or(|namespace| key.0 == namespace) && (page.wanted)(record) {
                found.push(object.cloned().unwrap_or_else(|| Arc::new(record.object())));
            }
        }
        Ok(found)
    }

    /// The newest revision that is at least `age` old.
    pub fn revision_before(&self, moment: std::time::Instant, current: u64) -> u64 {
        let newer = self.history.partition_point(|change| change.at <= moment);
        match self.history.get(newer) {
            Some(change) => change.revision.saturating_sub(1).max(self.forgotten),
            None => current,
        }
    }

    /// What each key changed since `revision` held at that revision.
    fn differences(&self, revision: u64) -> BTreeMap<Key, Option<Arc<Record>>> {
        let start = self.history.partition_point(|change| change.revision <= revision);
        let mut then = BTreeMap::new();
        for change in self.history.range(start..).rev() {
            then.insert(change.object.key.clone(), change.previous.clone());
        }
        then
    }

    fn remembers(&self, revision: u64, current: u64) -> Result<(), Refusal> {
        if revision < self.forgotten {
            return Err(Refusal::expired(format!("too old resource version: {revision} ({current})")));
        }
        Ok(())
    }
}

pub struct Page<'a> {
    pub revision: u64,
    pub namespace: Option<&'a str>,
    pub after: Option<&'a Key>,
    pub max: usize,
    pub wanted: &'a dyn Fn(&Record) -> bool,
}
