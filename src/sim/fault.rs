//! Faults to inject: which requests they hit, what they do, and how often they did it.
//!
//! A rule counts only what took effect, so that a test which claims to have survived a fault can show that there was
//! one. The simulated server asks here before and after each request, and for each event of a watch; without rules
//! that costs one atomic load.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::state::{Call, Refusal, Resource};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// As Kubernetes names it (`create`, `list`, `watch`, `deletecollection`, …); any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verb: Option<String>,
    /// Plural, with the subresource if it is about one (`jobs`, `pods/log`); any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Only objects whose name begins so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only clients whose user agent contains this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// How often it takes effect; until it is removed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// The share of matching requests it hits; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    pub effect: Effect,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// Waits before the request is carried out, and after it was, before the answer.
    Delay {
        #[serde(default)]
        before_ms: u64,
        #[serde(default)]
        after_ms: u64,
    },
    /// Answers this instead of carrying the request out.
    Status {
        code: u16,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u32>,
    },
    /// 403 in the words of a ResourceQuota that is used up.
    ExceededQuota,
    /// 403 in the words of RBAC.
    NotAllowed,
    /// Carries the request out, then cuts the connection without an answer.
    DropAnswer,
    /// Cuts the connection without carrying the request out.
    DropRequest,
    /// Closes the watches that are open when the rule is added.
    CutWatches,
    /// Forgets the history: watches that are open get 410, and so does every older resource version.
    ExpireWatches,
    /// Watches stay open and deliver nothing as long as the rule stands.
    SilentWatch,
    /// Watches skip an event.
    LoseEvent,
    /// Watches deliver an event twice.
    RepeatEvent,
    /// Lists (and gets) answer what was true this long ago, as a server that lags behind.
    Stale { age_ms: u64 },
    /// The cluster's controllers do nothing.
    PauseControllers,
    /// The node reports nothing, although its pods go on.
    PauseNode,
}

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

/// What a rule is compared with. A request outside the API (`/readyz`) is a `get` of its path.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub verb: String,
    pub resource: String,
    pub name: String,
    pub user_agent: String,
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

impl From<&Call> for Asked {
    fn from(call: &Call) -> Asked {
        let plural = call.resource.info().plural;
        Asked {
            verb: call.verb.to_owned(),
            resource: if call.subresource.is_empty() {
                plural.to_owned()
            } else {
                format!("{plural}/{}", call.subresource)
            },
            name: call.name.clone(),
            user_agent: call.actor.agent.clone(),
        }
    }
}

impl Rule {
    /// A rule about one verb on one resource, until it is removed.
    pub fn new(verb: &str, resource: &str, effect: Effect) -> Rule {
        Rule {
            verb: Some(verb.to_owned()),
            resource: Some(resource.to_owned()),
            name: None,
            user_agent: None,
            times: None,
            probability: None,
            effect,
        }
    }

    pub fn times(mut self, times: u64) -> Rule {
        self.times = Some(times);
        self
    }

    pub fn probability(mut self, probability: f64) -> Rule {
        self.probability = Some(probability);
        self
    }

    /// Only requests of clients whose user agent contains this.
    pub fn from_agent(mut self, agent: &str) -> Rule {
        self.user_agent = Some(agent.to_owned());
        self
    }

    fn matches(&self, asked: &Asked) -> bool {
        let is = |wanted: &Option<String>, actual: &str| wanted.as_deref().is_none_or(|w| w == "*" || w == actual);
        is(&self.verb, &asked.verb)
            && is(&self.resource, &asked.resource)
            && self.name.as_deref().is_none_or(|prefix| asked.name.starts_with(prefix))
            && self.user_agent.as_deref().is_none_or(|part| asked.user_agent.contains(part))
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
                Effect::CutWatches | Effect::ExpireWatches | Effect::SilentWatch => {}
                Effect::LoseEvent | Effect::RepeatEvent | Effect::PauseControllers | Effect::PauseNode => {}
            }
        }
        plan
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

    /// Whether a rule with this effect stands, without it counting.
    pub(super) fn stands(&self, asked: &Asked, effect: &Effect) -> bool {
        let holds = |armed: &Armed| armed.rule.effect == *effect && !armed.is_spent() && armed.rule.matches(asked);
        self.any() && self.lock().iter().any(holds)
    }

    pub(super) fn pauses(&self, effect: &Effect) -> bool {
        if !self.any() {
            return false;
        }
        let mut rules = self.lock();
        let standing = rules.iter_mut().find(|armed| armed.rule.effect == *effect && !armed.is_spent());
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

fn refusal(effect: &Effect, asked: &Asked) -> Refusal {
    let group = if asked.resource.starts_with("jobs") { "batch" } else { "" };
    let plural = asked.resource.split('/').next().unwrap_or_default();
    let qualified = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
    match effect {
        Effect::Status { code, reason, message, retry_after } => {
            let (usual, words) = usual(*code);
            let reason = reason.as_deref().unwrap_or(usual);
            let refusal = Refusal::new(*code, reason, message.clone().unwrap_or_else(|| words.to_owned()));
            match retry_after {
                Some(secs) => refusal.retry_after(*secs),
                None => refusal,
            }
        }
        Effect::ExceededQuota => Refusal::new(
            403,
            "Forbidden",
            format!(
                "{qualified} \"{}\" is forbidden: exceeded quota: sim-quota, requested: count/{qualified}=1, used: count/{qualified}=1, limited: count/{qualified}=1",
                asked.name
            ),
        ),
        _ => Refusal::new(
            403,
            "Forbidden",
            format!(
                "{qualified} is forbidden: User \"system:serviceaccount:default:longshore\" cannot {} resource \"{}\" in API group \"{group}\" in the namespace \"default\"",
                asked.verb, asked.resource
            ),
        ),
    }
}

/// The reason and the words that usually come with a code.
fn usual(code: u16) -> (&'static str, &'static str) {
    match code {
        400 => ("BadRequest", "the server rejected our request for an unknown reason"),
        401 => ("Unauthorized", "Unauthorized"),
        403 => ("Forbidden", "forbidden"),
        404 => ("NotFound", "the server could not find the requested resource"),
        409 => {
            ("Conflict", "the object has been modified; please apply your changes to the latest version and try again")
        }
        410 => ("Expired", "too old resource version"),
        422 => ("Invalid", "the server rejected our request due to an error in our request"),
        429 => ("TooManyRequests", "the server has received too many requests and has asked us to try again later"),
        503 => ("ServiceUnavailable", "the server is currently unable to handle the request"),
        504 => ("Timeout", "etcdserver: request timed out"),
        _ => ("InternalError", "an error on the server has prevented the request from succeeding"),
    }
}
