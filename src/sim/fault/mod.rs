//! Faults to inject: which requests they hit, what they do, and how often they did it.
//!
//! A rule counts only what took effect, so that a test which claims to have survived a fault can show that there was
//! one. The simulated server asks here before and after each request, and for each event of a watch; without rules
//! that costs one atomic load.

mod rule;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

use super::state::{Refusal, Resource};
use rule::refusal;
pub use rule::{Asked, Effect, Rule};

/// A rule as it is listed.
#[derive(Clone, Debug, Serialize)]
pub struct Armed {
    pub id: u64,
    #[serde(flatten)]
    pub rule: Rule,
    /// How often it took effect.
    pub took: u64,
}

/// Shared by the server and whoever injects; a clone is the same list.
#[derive(Clone)]
pub struct Faults(Arc<Inner>);

struct Inner {
    rules: Mutex<Vec<Armed>>,
    any: AtomicBool,
    forget: AtomicBool,
    clock: AtomicU64,
    changed: watch::Sender<u64>,
}

/// What shall happen to one request.
#[derive(Debug, Default)]
pub struct Plan {
    pub before: Duration,
    pub after: Duration,
    pub refusal: Option<Refusal>,
    pub drop_request: bool,
    pub drop_answer: bool,
    pub stale: Option<Duration>,
    pub clock_off_secs: Option<i64>,
}

impl Default for Faults {
    fn default() -> Self {
        Faults(Arc::new(Inner {
            rules: Mutex::default(),
            any: AtomicBool::new(false),
            forget: AtomicBool::new(false),
            clock: AtomicU64::new(1),
            changed: watch::Sender::new(0),
        }))
    }
}

impl Armed {
    fn is_spent(&self) -> bool {
        self.rule.times.is_some_and(|times| self.took >= times)
    }

    /// Whether it hits this time; if so, that counts.
    fn hits(&mut self, asked: &Asked) -> bool {
        let chance = self.rule.probability.unwrap_or(1.0);
        let hit = !self.is_spent() && self.rule.matches(asked) && (chance >= 1.0 || rand::random::<f64>() < chance);
        self.took += u64::from(hit);
        hit
    }
}

impl Faults {
    pub fn add(&self, rule: Rule) -> u64 {
        let id = self.tick();
        let forgets = rule.effect == Effect::ExpireWatches;
        let mut rules = self.lock();
        rules.push(Armed { id, rule, took: 0 });
        self.0.any.store(true, Ordering::Release);
        self.0.forget.fetch_or(forgets, Ordering::AcqRel);
        drop(rules);
        self.0.changed.send_modify(|n| *n += 1);
        id
    }

    /// Puts these rules in the place of all there are.
    pub fn set(&self, rules: Vec<Rule>) -> Vec<u64> {
        self.clear();
        rules.into_iter().map(|rule| self.add(rule)).collect()
    }

    pub fn remove(&self, id: u64) -> bool {
        let mut rules = self.lock();
        let before = rules.len();
        rules.retain(|armed| armed.id != id);
        let removed = rules.len() < before;
        self.0.any.store(!rules.is_empty(), Ordering::Release);
        drop(rules);
        self.0.changed.send_modify(|n| *n += 1);
        removed
    }

    pub fn clear(&self) {
        self.lock().clear();
        self.0.any.store(false, Ordering::Release);
        self.0.changed.send_modify(|n| *n += 1);
    }

    pub fn list(&self) -> Vec<Armed> {
        self.lock().clone()
    }

    /// How often a rule took effect.
    pub fn took(&self, id: u64) -> u64 {
        self.lock().iter().find(|armed| armed.id == id).map_or(0, |armed| armed.took)
    }

    /// Wakes when rules are added or removed.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// A number greater than that of every rule so far; a watch remembers when it was opened.
    pub(super) fn tick(&self) -> u64 {
        self.0.clock.fetch_add(1, Ordering::AcqRel)
    }

    pub(super) fn plan(&self, asked: &Asked) -> Plan {
        let mut plan = Plan::default();
        if !self.any() {
            return plan;
        }
        for armed in self.lock().iter_mut() {
            match &armed.rule.effect {
                Effect::Delay { before_ms, after_ms } => {
                    let waits = (Duration::from_millis(*before_ms), Duration::from_millis(*after_ms));
                    if armed.hits(asked) {
                        plan.before += waits.0;
                        plan.after += waits.1;
                    }
                }
                Effect::Status { .. } | Effect::ExceededQuota | Effect::NotAllowed => {
                    if plan.refusal.is_none() && armed.hits(asked) {
                        plan.refusal = Some(refusal(&armed.rule.effect, asked));
                    }
                }
                Effect::DropAnswer => plan.drop_answer |= armed.hits(asked),
                Effect::DropRequest => plan.drop_request |= armed.hits(asked),
                Effect::Stale { age_ms } => {
                    let age = Duration::from_millis(*age_ms);
                    if ["get", "list"].contains(&asked.verb.as_str()) && armed.hits(asked) {
                        plan.stale = Some(age);
                    }
                }
                Effect::ClockOff { secs } => {
                    let secs = *secs;
                    if armed.hits(asked) {
                        plan.clock_off_secs = Some(secs);
                    }
                }
                Effect::CutWatches | Effect::ExpireWatches | Effect::SilentWatch => {}
                Effect::LoseEvent | Effect::RepeatEvent | Effect::PauseControllers | Effect::PauseNode => {}
            }
        }
        plan
    }

    /// Why the cluster's own controller may not create a pod, if a rule is about pods by name: a rule about everything
    /// is meant for clients.
    pub(super) fn refuses_pod(&self, asked: &Asked) -> Option<Refusal> {
        let refuses =
            |effect: &Effect| matches!(effect, Effect::Status { .. } | Effect::ExceededQuota | Effect::NotAllowed);
        let meant = |armed: &&mut Armed| armed.rule.resource.as_deref() == Some("pods") && refuses(&armed.rule.effect);
        if !self.any() {
            return None;
        }
        let mut rules = self.lock();
        rules.iter_mut().filter(meant).find_map(|armed| armed.hits(asked).then(|| refusal(&armed.rule.effect, asked)))
    }

    /// Whether a watch opened at `opened` is to end now: with nothing, or with 410.
    pub(super) fn ends_watch(&self, asked: &Asked, opened: u64) -> Option<Effect> {
        if !self.any() {
            return None;
        }
        let mut rules = self.lock();
        let swept = |armed: &&mut Armed| {
            armed.id > opened && matches!(armed.rule.effect, Effect::CutWatches | Effect::ExpireWatches)
        };
        rules.iter_mut().filter(swept).find_map(|armed| armed.hits(asked).then(|| armed.rule.effect.clone()))
    }

    /// Whether this happens to a watch, or to one of its events, now.
    pub(super) fn strikes(&self, asked: &Asked, effect: &Effect) -> bool {
        self.any() && self.lock().iter_mut().any(|armed| armed.rule.effect == *effect && armed.hits(asked))
    }

    /// Whether a rule with this effect stands, without it counting. Such a rule stands until it is removed.
    pub(super) fn stands(&self, asked: &Asked, effect: &Effect) -> bool {
        let holds = |armed: &Armed| armed.rule.effect == *effect && armed.rule.matches(asked);
        self.any() && self.lock().iter().any(holds)
    }

    pub(super) fn pauses(&self, effect: &Effect) -> bool {
        if !self.any() {
            return false;
        }
        let mut rules = self.lock();
        let standing = rules.iter_mut().find(|armed| armed.rule.effect == *effect);
        standing.is_some_and(|armed| {
            armed.took += 1;
            true
        })
    }

    /// The kinds whose history is to be forgotten since this was last asked.
    pub(super) fn take_forgotten(&self) -> Vec<Resource> {
        if !self.0.forget.load(Ordering::Acquire) || !self.0.forget.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        let rules = self.lock();
        let wanted = |resource: &Resource| {
            rules.iter().filter(|armed| armed.rule.effect == Effect::ExpireWatches).any(|armed| {
                armed.rule.resource.as_deref().is_none_or(|plural| plural == "*" || plural == resource.info().plural)
            })
        };
        Resource::ALL.into_iter().filter(wanted).collect()
    }

    pub(super) fn any(&self) -> bool {
        self.0.any.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Armed>> {
        self.0.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
