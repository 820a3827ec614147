//! The rules of fault injection: what they match, and the answers they put in place of the real ones.

use serde::{Deserialize, Serialize};

use serde_json::Value;

use crate::sim::state::{Call, LabelSelector, Record, Refusal, labels};

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
    /// Only objects whose name has this in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_contains: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Only objects that this label selector selects; an object that is created counts by what it is to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<String>,
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
    /// Answers say that it is so many seconds later than it is, or earlier.
    ClockOff { secs: i64 },
    /// The cluster's controllers do nothing.
    PauseControllers,
    /// The node reports nothing, although its pods go on.
    PauseNode,
}

/// What a rule is compared with. A request outside the API (`/readyz`) is a `get` of its path.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub verb: String,
    pub resource: String,
    pub name: String,
    pub namespace: String,
    pub labels: Vec<(String, String)>,
    pub user_agent: String,
}

impl Asked {
    /// About this object, which a request does not always name: a create has it in its body.
    pub fn about(mut self, object: &Value) -> Asked {
        let metadata = &object["metadata"];
        let name = metadata["name"].as_str().or(metadata["generateName"].as_str());
        if let (true, Some(name)) = (self.name.is_empty(), name) {
            name.clone_into(&mut self.name);
        }
        self.labels = labels(object);
        self
    }

    pub fn about_record(&self, object: &Record) -> Asked {
        let (namespace, name) = object.key.clone();
        Asked { name, namespace, labels: object.labels().to_vec(), ..self.clone() }
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
            namespace: call.namespace.clone(),
            labels: Vec::new(),
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
            name_contains: None,
            namespace: None,
            labels: None,
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

    pub fn namespace(mut self, namespace: &str) -> Rule {
        self.namespace = Some(namespace.to_owned());
        self
    }

    pub fn name_contains(mut self, part: &str) -> Rule {
        self.name_contains = Some(part.to_owned());
        self
    }

    /// Only objects that this label selector selects; one that cannot be read selects none.
    pub fn labels(mut self, selector: &str) -> Rule {
        self.labels = Some(selector.to_owned());
        self
    }

    pub(super) fn matches(&self, asked: &Asked) -> bool {
        let is = |wanted: &Option<String>, actual: &str| wanted.as_deref().is_none_or(|w| w == "*" || w == actual);
        is(&self.verb, &asked.verb)
            && is(&self.resource, &asked.resource)
            && self.name.as_deref().is_none_or(|prefix| asked.name.starts_with(prefix))
            && self.name_contains.as_deref().is_none_or(|part| asked.name.contains(part))
            && is(&self.namespace, &asked.namespace)
            && self.labels.as_deref().is_none_or(|selector| selects(selector, &asked.labels))
            && self.user_agent.as_deref().is_none_or(|part| asked.user_agent.contains(part))
    }
}

fn selects(selector: &str, labels: &[(String, String)]) -> bool {
    LabelSelector::parse(selector).is_ok_and(|selector| selector.matches_labels(labels))
}

/// The answer of an effect that refuses.
pub(super) fn refusal(effect: &Effect, asked: &Asked) -> Refusal {
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
