//! How a message becomes a request such as `POST /jobs` takes. Pure: what a filter makes of it, the desk asks.
//!
//! Messages are written by whoever may write to the queue. What the file says of the job, no message can change.

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::{Map, Value, json};

use crate::{
    api::{Served, faults_of_part},
    spec::Fault,
};

/// How large a variable may be, in bytes: Linux takes 128 KiB for one, its name included.
const VARIABLE_BYTES: usize = 96 * 1024;
/// What variables of messages are called.
const VARIABLE_PREFIX: &str = "MESSAGE_";

/// A message, as it came.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// What its queue knows it by, whatever happens to it.
    pub id: String,
    pub body: Body,
    pub attributes: BTreeMap<String, String>,
    /// Its own priority, where the queue has such a thing and the file wants it.
    pub priority: Option<i32>,
}

/// What is in a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    Text(String),
    Json(Value),
}

impl Default for Body {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl Body {
    /// As JSON, if it can be read as such.
    fn json(&self) -> Result<Value, String> {
        match self {
            Self::Json(value) => Ok(value.clone()),
            Self::Text(text) => serde_json::from_str(text).map_err(|err| format!("its body is not JSON: {err}")),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Json(value) => value.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// What the body of a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request such as `POST /jobs` takes.
    Request,
    /// The values of the template's parameters.
    Params,
    /// Anything; the job finds it in its environment.
    Env,
}

/// A jq filter that makes the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    Text(String),
    File(PathBuf),
}

/// How messages of one source become requests.
#[derive(Debug, Clone)]
pub struct Shape {
    job: Map<String, Value>,
    kind: Kind,
    pub filter: Option<Filter>,
}

impl Shape {
    /// Takes its fields out of an entry; an error is a field and what is wrong with it.
    pub fn take(fields: &mut Map<String, Value>) -> Result<Self, (String, String)> {
        let job = match fields.remove("job") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(job)) => job,
            Some(_) => return Err(("job".into(), "must be a mapping such as POST /jobs takes".into())),
        };
        if let Some(fault) = faults_of_part(&job).into_iter().next() {
            return Err(of_job(fault));
        }
        if job.contains_key("idempotency_key") {
            return Err(("job.idempotency_key".into(), "would make one job of all messages; leave it out".into()));
        }
        let mut text = |field: &str| match fields.remove(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err((field.to_owned(), "must be text".to_owned())),
        };
        let filter = match (text("filter")?, text("filter_file")?) {
            (Some(_), Some(_)) => return Err(("filter_file".into(), "cannot be combined with `filter`".into())),
            (filter, file) => filter.map(Filter::Text).or(file.map(|it| Filter::File(it.into()))),
        };
        let body = text("body")?;
        if filter.is_some() && body.is_some() {
            return Err((
                "body".into(),
                "cannot be combined with a filter, which sees the body and makes the request".into(),
            ));
        }
        let kind = match body.as_deref() {
            None if job.contains_key("template") => Kind::Params,
            None | Some("request") => Kind::Request,
            Some("params") => Kind::Params,
            Some("env") => Kind::Env,
            Some(_) => return Err(("body".into(), "must be request, params or env".into())),
        };
        if kind == Kind::Params && job.contains_key("params") {
            return Err((
                "job.params".into(),
                "cannot be combined with `body: params`: they come with each message".into(),
            ));
        }
        Ok(Self { job, kind, filter })
    }

    /// Whether messages add no more to the file's jobs than variables.
    fn says_all(&self) -> bool {
        self.kind == Kind::Env && self.filter.is_none()
    }

    /// A field of its jobs that this installation would refuse whatever comes, and why.
    pub fn refused(&self, source: &str, served: &Served<'_>) -> Option<(String, String)> {
        let faults = match self.says_all().then(|| self.request(source, &Message::default(), None)) {
            Some(Ok(request)) => served.faults_of(&request),
            _ => served.faults_of_part(&self.job),
        };
        if self.kind == Kind::Params && self.filter.is_none() && !served.is_templated(&self.job) {
            let cause = "is missing, and messages have the values of its parameters; name one, or give another `body`";
            return Some(("job.template".into(), cause.into()));
        }
        faults.into_iter().next().map(of_job)
    }

    /// Whether it is the file that a fault of a request comes from, so that any message would have met it. Where it may be
    /// the message, it is taken to be: one that is kept for ever would hold up the others.
    pub fn is_to_blame(&self, fault: &Fault) -> bool {
        let field = fault.field();
        let fixed = self.job.contains_key(field)
            || (field == "template" && !self.leaves_template())
            || (field != "env" && self.says_all());
        fixed && (fault.rule.is_some() || field == "namespace")
    }

    /// Whether a message may name the template that makes its job.
    pub fn leaves_template(&self) -> bool {
        !self.job.contains_key("template") && (self.filter.is_some() || self.kind == Kind::Request)
    }

    /// What the entry says of its jobs, where it says nothing of messages.
    pub fn plain(&self) -> Option<&Map<String, Value>> {
        (self.kind == Kind::Request && self.filter.is_none()).then_some(&self.job)
    }

    /// The queue that every job of it goes into, if that is known beforehand.
    pub fn queue(&self) -> Option<&str> {
        match self.job.get("queue") {
            Some(queue) => queue.as_str(),
            None if self.kind != Kind::Request && self.filter.is_none() && !self.job.contains_key("template") => {
                Some("default")
            }
            None => None,
        }
    }

    /// What a filter sees of a message.
    pub fn seen_by_filter(source: &str, message: &Message) -> Value {
        let body = message.body.json().unwrap_or_else(|_| message.body.text().into());
        json!({"source": source, "id": message.id, "body": body, "attributes": message.attributes})
    }

    /// The request that a message is for. `made`: what the filter made of it, where there is one.
    pub fn request(&self, source: &str, message: &Message, made: Option<Value>) -> Result<Map<String, Value>, String> {
        let mut request = match (made, self.kind) {
            (Some(made), _) => object(made, "the filter's output")?,
            (None, Kind::Request) => object(message.body.json()?, "its body")?,
            (None, Kind::Params) => {
                Map::from_iter([("params".into(), object(message.body.json()?, "its body")?.into())])
            }
            (None, Kind::Env) => Map::from_iter([("env".into(), self.env(message)?)]),
        };
        for (field, value) in &self.job {
            // The variables of a message and those of the file were put together.
            if field == "env" && self.kind == Kind::Env && self.filter.is_none() {
                continue;
            }
            if request.get(field).is_some_and(|it| it != value) {
                return Err(format!("`{field}` is fixed for source {source}; leave it out of the message"));
            }
            request.insert(field.clone(), value.clone());
        }
        if !request.contains_key("priority")
            && let Some(priority) = message.priority
        {
            request.insert("priority".into(), priority.into());
        }
        if !request.contains_key("name") {
            request.insert("name".into(), source.into());
        }
        Ok(request)
    }

    /// The variables that tell a job of its message, in the form in which the file has its own.
    fn env(&self, message: &Message) -> Result<Value, String> {
        let mut told = BTreeMap::from([
            (format!("{VARIABLE_PREFIX}ID"), message.id.clone()),
            (format!("{VARIABLE_PREFIX}BODY"), message.body.text()),
        ]);
        for (name, value) in &message.attributes {
            told.insert(format!("{VARIABLE_PREFIX}ATTRIBUTE_{}", variable(name)), value.clone());
        }
        if let Some((name, _)) = told.iter().find(|it| it.1.len() > VARIABLE_BYTES) {
            return Err(format!("is too large for the variable {name}, which takes {VARIABLE_BYTES} bytes"));
        }
        match self.job.get("env") {
            None | Some(Value::Null) => Ok(json!(told)),
            Some(Value::Object(given)) => {
                let mut all = given.clone();
                // What the file fixed stays.
                for (name, value) in told {
                    all.entry(name).or_insert(value.into());
                }
                Ok(all.into())
            }
            Some(Value::Array(given)) => {
                let named = |it: &Value| it["name"].as_str().map(str::to_owned);
                let fixed: Vec<String> = given.iter().filter_map(named).collect();
                let told = told.into_iter().filter(|it| !fixed.contains(&it.0));
                let told = told.map(|(name, value)| json!({"name": name, "value": value}));
                Ok(given.iter().cloned().chain(told).collect())
            }
            Some(other) => Ok(other.clone()),
        }
    }
}

/// A fault of `job`, told by its field.
fn of_job(fault: Fault) -> (String, String) {
    (format!("job{}", fault.pointer.replace('/', ".").replace("~1", "/").replace("~0", "~")), fault.detail)
}

/// The name of an attribute as the name of a variable.
fn variable(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

fn object(value: Value, what: &str) -> Result<Map<String, Value>, String> {
    match value {
        Value::Object(fields) => Ok(fields),
        _ => Err(format!("{what} is not a JSON object")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(fields: Value) -> Shape {
        let Value::Object(mut fields) = fields else { panic!("{fields}") };
        let shape = Shape::take(&mut fields).unwrap();
        assert!(fields.is_empty(), "{fields:?}");
        shape
    }

    fn message(body: &str) -> Message {
        Message {
            id: "m-1".into(),
            body: Body::Text(body.into()),
            attributes: BTreeMap::from([("trace.id".into(), "t".into())]),
            priority: None,
        }
    }

    #[test]
    fn a_message_cannot_change_what_the_file_says_of_the_job() {
        let shape = shape(json!({"job": {"queue": "mails", "priority": 5}}));
        assert_eq!(shape.queue(), Some("mails"));
        let request = shape.request("mails", &message(r#"{"name": "a", "image": "b"}"#), None).unwrap();
        assert_eq!(Value::from(request), json!({"name": "a", "image": "b", "queue": "mails", "priority": 5}));
        let same = shape.request("mails", &message(r#"{"queue": "mails"}"#), None).unwrap();
        assert_eq!(same["name"], "mails", "a job without a name is called as its source");
        for foreign in [r#"{"queue": "payments"}"#, r#"{"priority": 6}"#, r#"{"queue": null}"#] {
            let refused = shape.request("mails", &message(foreign), None).unwrap_err();
            assert!(refused.contains("is fixed for source mails"), "{refused}");
        }
        let made = shape.request("mails", &message("x"), Some(json!({"queue": "payments"})));
        assert!(made.unwrap_err().contains("`queue` is fixed"), "not by way of the filter either");
    }

    #[test]
    fn a_body_is_values_for_the_template_or_text_in_the_environment() {
        let params = shape(json!({"job": {"template": "mail"}}));
        let request = params.request("s", &message(r#"{"to": "x"}"#), None).unwrap();
        assert_eq!(Value::from(request), json!({"template": "mail", "params": {"to": "x"}, "name": "s"}));
        for bad in ["", "[1]", "{", "\"text\""] {
            assert!(params.request("s", &message(bad), None).is_err(), "{bad}");
        }
        let fixed = json!({"LEVEL": "debug", "MESSAGE_ID": "mine"});
        let env = shape(json!({"body": "env", "job": {"image": "i", "env": fixed}}));
        let request = env.request("s", &message("any text"), None).unwrap();
        let told = json!({"LEVEL": "debug", "MESSAGE_ID": "mine", "MESSAGE_BODY": "any text", "MESSAGE_ATTRIBUTE_TRACE_ID": "t"});
        assert_eq!(request["env"], told);
        let listed = shape(json!({"body": "env", "job": {"env": [{"name": "A", "value": "1"}]}}));
        let request = listed.request("s", &message("x"), None).unwrap();
        assert_eq!(request["env"].as_array().unwrap().len(), 4);
        assert!(env.request("s", &message(&"x".repeat(VARIABLE_BYTES + 1)), None).unwrap_err().contains("too large"));
    }

    #[test]
    fn a_slip_in_what_the_file_says_of_the_job_is_refused_with_its_field() {
        for (job, at) in [
            (json!({"priority": "high"}), "job.priority"),
            (json!({"labels": {"a b": "c"}}), "job.labels.a b"),
            (json!({"resources": {"limits": {"memory": "128mi"}}}), "job.resources.limits.memory"),
        ] {
            let (field, why) = Shape::take(&mut Map::from_iter([("job".to_owned(), job)])).unwrap_err();
            assert_eq!(field, at, "{why}");
        }
        let misspelt = Shape::take(&mut Map::from_iter([("job".to_owned(), json!({"quue": "a"}))])).unwrap_err();
        assert!(misspelt.0.starts_with("job") && misspelt.1.contains("unknown field `quue`"), "{misspelt:?}");
    }

    #[test]
    fn only_what_any_message_would_have_met_is_the_files_doing() {
        let fault = |pointer: &str, rule| Fault { rule, ..Fault::new(pointer, "is wrong") };
        let fixed = shape(json!({"job": {"image": "a", "namespace": "b"}}));
        assert!(fixed.is_to_blame(&fault("/namespace", None)));
        assert!(fixed.is_to_blame(&fault("/image", Some("images"))));
        // The message may have brought a manifest, with which no image goes.
        assert!(!fixed.is_to_blame(&fault("/image", None)));
        assert!(!fixed.is_to_blame(&fault("/volumes/0", Some("volumes"))));
        assert!(!fixed.is_to_blame(&fault("/template", Some("images"))) && fixed.leaves_template());
        let templated = shape(json!({"job": {"template": "a"}}));
        assert!(templated.is_to_blame(&fault("/template", Some("images"))) && !templated.leaves_template());
        assert!(!templated.is_to_blame(&fault("/params/image", Some("images"))));
        let whole = shape(json!({"body": "env", "job": {"image": "a"}}));
        assert!(whole.is_to_blame(&fault("/timeout", Some("max.active_deadline"))));
        assert!(!whole.is_to_blame(&fault("/env/MESSAGE_BODY", None)));
    }

    #[test]
    fn a_filter_sees_the_message_and_text_that_is_no_json_as_text() {
        let seen = Shape::seen_by_filter("s", &message(r#"{"a": 1}"#));
        assert_eq!(seen, json!({"source": "s", "id": "m-1", "body": {"a": 1}, "attributes": {"trace.id": "t"}}));
        assert_eq!(Shape::seen_by_filter("s", &message("plain"))["body"], "plain");
    }
}
