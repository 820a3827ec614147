//! The fields of a job on the command line, and the request they make together with a file.

use clap::Args;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{failure::Failure, policy::Policy, text::Span};

/// What a job is to be.
#[derive(Debug, Clone, Default, Args)]
pub struct Fields {
    /// What the job is called; names need not be unique [default: that of --file]
    #[arg(required_unless_present = "file")]
    name: Option<String>,
    /// Higher starts first [default: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    priority: Option<i32>,
    /// The queue it waits in [default: default]
    #[arg(long)]
    queue: Option<String>,
    /// The Kubernetes namespace it runs in [default: the server's]
    #[arg(long, value_name = "NS")]
    namespace: Option<String>,
    /// Make it from this template; then what comes after `--` is added to the template's arguments
    #[arg(long, help_heading = "Templates")]
    template: Option<String>,
    /// The image it runs [default: the server's]
    #[arg(long)]
    image: Option<String>,
    /// An environment variable, as often as needed
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    env: Vec<Pair>,
    /// A label for the Job and its pods, as often as needed
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    label: Vec<Pair>,
    /// An annotation for the Job and its pods, as often as needed
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    annotation: Vec<Pair>,
    /// Start it no sooner than after this time, such as 15m
    #[arg(long, value_name = "TIME", conflicts_with = "run_at")]
    delay: Option<Span>,
    /// Start it no sooner than then, such as 2030-01-31T08:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = timestamp)]
    run_at: Option<Timestamp>,
    /// How many of its pods run at once
    #[arg(long, value_name = "N")]
    parallelism: Option<i32>,
    /// How many of its pods have to succeed
    #[arg(long, value_name = "N")]
    completions: Option<i32>,
    /// The service account its pods run as
    #[arg(long, value_name = "NAME")]
    service_account: Option<String>,
    #[command(flatten)]
    policy: Policy,
    /// The command it runs, after `--` [default: that of the image]
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pair {
    key: String,
    value: String,
}

fn pair(text: &str) -> Result<Pair, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok(Pair { key: key.into(), value: value.into() }),
        _ => Err("must be KEY=VALUE".into()),
    }
}

fn timestamp(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "must be a time with its offset, such as 2030-01-31T08:00:00Z".into())
}

impl Fields {
    /// Whether a name was given, which is one job's.
    pub fn has_name(&self) -> bool {
        self.name.is_some()
    }

    /// The body of the request, and the idempotency key in it: the given one, else the file's, else a new one.
    pub fn request(
        self,
        file: Option<Value>,
        key: Option<String>,
        new_key: impl FnOnce() -> String,
    ) -> Result<(Value, String), Failure> {
        let mut body = base(file)?;
        let key = match (key, body.get("idempotency_key")) {
            (Some(key), _) => key,
            (None, Some(Value::String(key))) => key.clone(),
            (None, Some(Value::Null) | None) => new_key(),
            (None, Some(_)) => return Err(of_file("has an `idempotency_key` that is not a string")),
        };
        body.insert("idempotency_key".into(), json!(key));
        if !body.contains_key("name") && self.name.is_none() {
            return Err(of_file("does not say what the job is called"));
        }
        self.write(&mut body)?;
        Ok((Value::Object(body), key))
    }

    fn write(self, body: &mut Map<String, Value>) -> Result<(), Failure> {
        if self.delay.is_some() || self.run_at.is_some() {
            body.remove("delay");
            body.remove("run_at");
        }
        if let Some(template) = self.template {
            body.insert("template".into(), template.into());
        }
        let is_templated = body.get("template").is_some_and(|it| !it.is_null());
        if is_templated && !self.command.is_empty() {
            body.insert("args".into(), json!(self.command));
        } else if !self.command.is_empty() {
            // What is typed is the whole command line; the file's arguments would come after it.
            body.remove("args");
            body.insert("command".into(), json!(self.command));
        }
        let fields = [
            ("name", self.name.map(Value::from)),
            ("priority", self.priority.map(Value::from)),
            ("queue", self.queue.map(Value::from)),
            ("namespace", self.namespace.map(Value::from)),
            ("image", self.image.map(Value::from)),
            ("delay", self.delay.map(|it| it.text.into())),
            ("run_at", self.run_at.map(|it| it.to_string().into())),
            ("parallelism", self.parallelism.map(Value::from)),
            ("completions", self.completions.map(Value::from)),
            ("service_account", self.service_account.map(Value::from)),
        ];
        body.extend(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        self.policy.write(body)?;
        put_all(body, "env", self.env, put_variable)?;
        put_all(body, "labels", self.label, put_entry)?;
        put_all(body, "annotations", self.annotation, put_entry)
    }
}

fn of_file(what: &str) -> Failure {
    Failure::usage(
        format!("the file {what}"),
        "give `longshore submit NAME --file FILE` a request, such as {\"name\": \"job1\"}, or a batch/v1 Job",
    )
}

/// The request that a file stands for.
fn base(file: Option<Value>) -> Result<Map<String, Value>, Failure> {
    let fields = match file {
        None => return Ok(Map::new()),
        Some(Value::Object(fields)) => fields,
        Some(_) => return Err(of_file("is JSON, but not an object")),
    };
    match fields.get("kind").map(Value::as_str) {
        None => Ok(fields),
        Some(Some("Job")) => {
            let metadata = |name| fields.get("metadata")?.get(name)?.as_str();
            let generated = || metadata("generateName").map(|it| it.trim_end_matches('-')).filter(|it| !it.is_empty());
            let name = metadata("name").or_else(generated).map(Value::from);
            let mut body: Map<_, _> = name.map(|it| ("name".to_owned(), it)).into_iter().collect();
            body.insert("manifest".into(), Value::Object(fields));
            Ok(body)
        }
        Some(Some(kind)) => Err(of_file(&format!("is a {kind}, which is not a batch/v1 Job"))),
        Some(None) => Err(of_file("has a `kind` that is not a string")),
    }
}

/// Adds `pairs` to what `field` is, unless that is something to which nothing can be added.
fn put_all(
    body: &mut Map<String, Value>,
    field: &str,
    pairs: Vec<Pair>,
    put: impl Fn(&mut Value, Pair) -> bool,
) -> Result<(), Failure> {
    if pairs.is_empty() {
        return Ok(());
    }
    let into = body.entry(field).or_insert(Value::Null);
    match pairs.into_iter().all(|pair| put(into, pair)) {
        true => Ok(()),
        false => Err(of_file(&format!("has `{field}` in a form to which arguments cannot be added"))),
    }
}

fn put_entry(into: &mut Value, pair: Pair) -> bool {
    if into.is_null() {
        *into = json!({});
    }
    let Value::Object(fields) = into else { return false };
    fields.insert(pair.key, pair.value.into());
    true
}

/// Into Kubernetes' own list unless the file has an object: in a list, `$(A)` may refer to what comes before.
fn put_variable(into: &mut Value, pair: Pair) -> bool {
    if into.is_null() {
        *into = json!([]);
    }
    let Value::Array(list) = into else { return put_entry(into, pair) };
    let entry = json!({"name": pair.key, "value": pair.value});
    match list.iter_mut().find(|it| it.get("name") == entry.get("name")) {
        Some(same) => *same = entry,
        None => list.push(entry),
    }
    true
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        fields: Fields,
        #[arg(long)]
        file: Option<String>,
    }

    fn parse(line: &str) -> Option<Fields> {
        let words = shlex::split(line).unwrap_or_default();
        Cli::try_parse_from(["submit".to_owned()].into_iter().chain(words)).ok().map(|it| it.fields)
    }

    fn body(line: &str, file: Option<Value>) -> Result<Value, u8> {
        let fields = parse(line).unwrap_or_else(|| panic!("{line}"));
        let request = fields.request(file, None, || "new".into());
        request.map(|(body, _)| body).map_err(|it| it.exit().code())
    }

    #[test]
    fn a_name_is_a_whole_request() {
        assert_eq!(body("job1", None), Ok(json!({"name": "job1", "idempotency_key": "new"})));
        assert_eq!(
            body("job1 --priority -5", None),
            Ok(json!({"name": "job1", "priority": -5, "idempotency_key": "new"}))
        );
    }

    #[test]
    fn every_argument_has_its_field() {
        let line = "n --priority 2 --queue q --namespace ns --image i --env A=1=2 --env B='$(A) x' --env A= --label k=v \
                    --annotation a/b='c d' --timeout 90s --delay 1h30m --parallelism 2 --completions 3 \
                    --service-account sa -- sh -c 'echo --image'";
        assert_eq!(
            body(line, None),
            Ok(json!({
                "name": "n", "priority": 2, "queue": "q", "namespace": "ns", "image": "i",
                "env": [{"name": "A", "value": ""}, {"name": "B", "value": "$(A) x"}],
                "labels": {"k": "v"}, "annotations": {"a/b": "c d"}, "timeout": "90s", "delay": "1h30m",
                "parallelism": 2, "completions": 3, "service_account": "sa",
                "command": ["sh", "-c", "echo --image"], "idempotency_key": "new"
            }))
        );
    }

    #[test]
    fn what_is_typed_after_a_template_is_added_to_its_arguments() {
        let expected = json!({"name": "n", "template": "t", "args": ["--fast", "x"], "idempotency_key": "new"});
        assert_eq!(body("n --template t -- --fast x", None), Ok(expected.clone()));
        assert_eq!(body("n --file f -- --fast x", Some(json!({"template": "t"}))), Ok(expected));
    }

    #[test]
    fn arguments_override_the_file() {
        let file = json!({
            "name": "f", "idempotency_key": "filed", "run_at": "2030-01-01T00:00:00Z", "args": ["x"], "env": {"A": "1"},
            "labels": {"a": "1", "b": "2"}, "resources": {"limits": {"cpu": 1}}
        });
        assert_eq!(body("--file f", Some(file.clone())), Ok(file.clone()));
        assert_eq!(
            body("n --file f --delay 5s --env B=2 --label b=3 -- c", Some(file)),
            Ok(json!({
                "name": "n", "idempotency_key": "filed", "delay": "5s", "command": ["c"], "env": {"A": "1", "B": "2"},
                "labels": {"a": "1", "b": "3"}, "resources": {"limits": {"cpu": 1}}
            }))
        );
    }

    #[test]
    fn a_job_of_kubernetes_becomes_a_manifest_and_lends_its_name() {
        let job = |metadata: Value| json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata});
        let named = job(json!({"name": "m"}));
        let expected = json!({"name": "m", "manifest": named, "idempotency_key": "new"});
        assert_eq!(body("--file f", Some(named)), Ok(expected));
        let generated = body("--file f", Some(job(json!({"generateName": "g-"}))));
        assert_eq!(generated.ok().and_then(|it| it.get("name").cloned()), Some(json!("g")));
        assert_eq!(body("--file f", Some(job(json!({})))), Err(2));
    }

    #[test]
    fn files_that_are_no_request_are_usage_errors() {
        for file in [
            json!([]),
            json!("x"),
            json!(null),
            json!({}),
            json!({"kind": "CronJob", "metadata": {"name": "c"}}),
            json!({"kind": 1, "name": "c"}),
            json!({"name": "c", "idempotency_key": 1}),
        ] {
            assert_eq!(body("--file f", Some(file.clone())), Err(2), "{file}");
        }
        assert_eq!(body("--file f --label a=b", Some(json!({"name": "c", "labels": 1}))), Err(2));
    }

    #[test]
    fn a_wrong_command_line_is_refused_before_anything_is_asked() {
        for line in [
            "",
            "n --env A",
            "n --label =x",
            "n --delay soon",
            "n --run-at tomorrow",
            "n extra",
            "n --delay 1s --run-at 2030-01-01T00:00:00Z",
            "n --priority 9999999999",
        ] {
            assert!(parse(line).is_none(), "{line}");
        }
    }
}
