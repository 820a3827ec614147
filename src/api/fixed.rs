//! What a file fixes of requests that are yet to come: checked when the file is read, and not by the first that is refused.
//!
//! Of a part of a request only that is told which no rest of it could mend. Otherwise a file that is right would be refused.

use serde_json::{Map, Value};

use crate::{
    cluster::{manifest::Defaults, policy::PodPolicy},
    spec::{Fault, Submission},
};

use super::{acceptable, reader, templated, wire::SubmitRequest};

/// What a part is called that does not say: whatever it will be, its name is right.
const NAMED: &str = "named-later";
/// What may be right together with something that the rest says, beside what that is.
const HANGS_ON: [(&str, &str); 1] = [("volume_mounts", "volumes")];

/// What the policy may ask for and a queue's defaults may give.
const OF_QUEUE: &str = "timeout";

/// What this installation takes, as far as its flags say.
pub struct Served<'a> {
    pub namespaces: &'a [String],
    pub policy: &'a PodPolicy,
    pub defaults: &'a Defaults,
    /// Whether a request that says nothing of what to run is filled from a template.
    pub default_template: bool,
}

/// What is wrong with a part of a request in every installation.
pub fn faults_of_part(part: &Map<String, Value>) -> Vec<Fault> {
    let defaults = reader::anywhere();
    match submission_of(part) {
        Err(faults) => faults,
        Ok(submission) => unmendable(acceptable::build(&submission, &defaults).err().unwrap_or_default(), part),
    }
}

impl Served<'_> {
    /// What is wrong with a part of a request in this installation.
    pub fn faults_of_part(&self, part: &Map<String, Value>) -> Vec<Fault> {
        unmendable(self.faults(part), part)
    }

    /// What is wrong with a request in this installation, as far as neither its template nor its queue says it. Nobody is
    /// asked.
    pub fn faults_of(&self, request: &Map<String, Value>) -> Vec<Fault> {
        if self.is_templated(request) {
            return self.faults_of_part(request);
        }
        let mut faults = self.faults(request);
        faults.retain(|it| request.contains_key(it.field()) || it.field() != OF_QUEUE);
        faults
    }

    /// Whether a template makes the Job of a request.
    pub fn is_templated(&self, request: &Map<String, Value>) -> bool {
        templated::names_one(request) || (self.default_template && !templated::says_what_to_run(request))
    }

    fn faults(&self, request: &Map<String, Value>) -> Vec<Fault> {
        let submission = match submission_of(request) {
            Ok(submission) => submission,
            Err(faults) => return faults,
        };
        if request.contains_key("namespace") && !self.namespaces.contains(&submission.namespace) {
            let detail = format!(
                "{:?} is none of the namespaces that this installation serves: {}; add `--namespace {}`, or use one of those",
                submission.namespace,
                self.namespaces.join(", "),
                submission.namespace
            );
            return vec![Fault::new("/namespace", detail)];
        }
        match acceptable::build(&submission, self.defaults) {
            Ok(job) => self.policy.check(job, &submission.spec).err().unwrap_or_default(),
            Err(faults) => faults,
        }
    }
}

fn submission_of(part: &Map<String, Value>) -> Result<Submission, Vec<Fault>> {
    let mut whole = part.clone();
    whole.entry("name").or_insert(NAMED.into());
    let read = reader::read::<SubmitRequest>(Value::Object(whole).to_string().as_bytes());
    read.map_err(|it| it.errors().to_vec())?.into_submission(None, "default")
}

/// Those faults that are in the part itself.
fn unmendable(mut faults: Vec<Fault>, part: &Map<String, Value>) -> Vec<Fault> {
    let needs = |field: &str| HANGS_ON.iter().find(|it| it.0 == field).map(|it| it.1);
    faults.retain(|it| {
        let field = it.field();
        part.contains_key(field) && needs(field).is_none_or(|other| part.contains_key(other))
    });
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    fn pointers(faults: &[Fault]) -> Vec<&str> {
        faults.iter().map(|it| it.pointer.as_str()).collect()
    }

    #[test]
    fn of_a_part_what_nothing_else_could_mend_is_told_and_what_may_come_yet_is_not() {
        for (part, at) in [
            (json!({"imagee": "x"}), ""),
            (json!({"priority": "high"}), "/priority"),
            (json!({"timeout": 30}), "/timeout"),
            (json!({"queue": "no spaces"}), "/queue"),
            (json!({"image": ""}), "/image"),
            (json!({"max_attempts": 0}), "/max_attempts"),
            (json!({"resources": {"limits": {"memory": "128mi"}}}), "/resources/limits/memory"),
            (json!({"labels": {"a b": "c"}, "template": "mail"}), "/labels/a b"),
            (json!({"image": "a", "manifest": {}}), "/image"),
        ] {
            let found = faults_of_part(&map(part.clone()));
            let known = found.iter().any(|it| at.is_empty() || it.pointer == at);
            assert!(known, "{part}: {found:?}");
        }
        for right in [
            json!({}),
            json!({"args": ["a"], "queue": "mails"}),
            json!({"template": "mail", "params": {"a": 1}, "env": {"A": "b"}}),
            json!({"completion_mode": "Indexed"}),
            json!({"volume_mounts": [{"name": "later", "mountPath": "/a"}]}),
        ] {
            assert_eq!(faults_of_part(&map(right.clone())), [], "{right}");
        }
    }

    #[test]
    fn an_installation_refuses_namespaces_and_pods_that_it_does_not_take() {
        let policy = PodPolicy::parse("images: ['registry.example/*']", "p").unwrap();
        let (namespaces, defaults) = (["jobs".to_owned()], reader::anywhere());
        let served = Served { namespaces: &namespaces, policy: &policy, defaults: &defaults, default_template: false };
        let prod = served.faults_of_part(&map(json!({"namespace": "prod"})));
        assert_eq!(pointers(&prod), ["/namespace"]);
        assert!(prod[0].detail.contains("serves: jobs; add `--namespace prod`"), "{prod:?}");
        assert_eq!(served.faults_of_part(&map(json!({"namespace": "jobs", "queue": "a"}))), []);
        let image = map(json!({"image": "elsewhere/a:1", "name": "a"}));
        assert_eq!(served.faults_of_part(&image)[0].rule, Some("images"));
        assert_eq!(pointers(&served.faults_of_part(&map(json!({"queue": "a"})))), [""; 0], "its image may come yet");
        let whole = map(json!({"name": "a"}));
        assert_eq!(pointers(&served.faults_of(&whole)), ["/image"], "it would run the default one");
        let limited = PodPolicy::parse("max: {active_deadline: 1h}", "p").unwrap();
        let of_queue = Served { policy: &limited, ..served };
        assert_eq!(of_queue.faults_of(&whole), [], "its queue may say how long it may run");
        assert_eq!(pointers(&of_queue.faults_of(&map(json!({"name": "a", "timeout": "2h"})))), ["/timeout"]);
        let mut served = Served { policy: &policy, ..of_queue };
        served.default_template = true;
        assert_eq!(served.faults_of(&whole), [], "the template says what it runs");
        assert_eq!(served.faults_of(&image).len(), 1);
    }
}
