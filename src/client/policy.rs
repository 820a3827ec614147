//! On the command line: how often a job is tried, when it is tried again, and how long it may wait and start.

use clap::Args;
use serde_json::{Map, Value, json};

use super::{failure::Failure, text::Span};

/// The deadlines and the retries of a job.
#[derive(Debug, Clone, Default, Args)]
pub struct Policy {
    /// How long it may run, such as 90s or 1h30m
    #[arg(long, value_name = "TIME")]
    timeout: Option<Span>,
    /// How long it may take from its slot until it runs
    #[arg(long, value_name = "TIME")]
    start_timeout: Option<Span>,
    /// How long it may wait for its slot
    #[arg(long, value_name = "TIME")]
    queue_timeout: Option<Span>,
    /// How often it is tried, the first time included [default: 1]
    #[arg(long, value_name = "N", help_heading = "Retries")]
    max_attempts: Option<i32>,
    /// How long to wait before it is tried again: always as long, such as 30s, or as the API takes it, such as
    /// '{"type":"exponential","initial":"10s","max":"10m"}'
    #[arg(long, value_name = "TIME", value_parser = backoff, help_heading = "Retries")]
    backoff: Option<Value>,
    /// Try it again only where an attempt ended with one of these reasons, such as job_failed,lost
    #[arg(long, value_name = "REASON,…", value_delimiter = ',', help_heading = "Retries")]
    retry_on: Vec<String>,
    /// Try it again only where its container ended with one of these exit codes
    #[arg(long, value_name = "N,…", value_delimiter = ',', help_heading = "Retries")]
    retry_exit_codes: Vec<i32>,
    /// How often it may be interrupted, as by a node that goes, without that being counted as an attempt
    #[arg(long, value_name = "N", help_heading = "Retries")]
    max_interruptions: Option<i32>,
}

/// A backoff in one of its two spellings.
fn backoff(text: &str) -> Result<Value, String> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|err| format!("is not JSON: {err}"));
    }
    let span: Span = text.parse()?;
    Ok(span.text.into())
}

impl Policy {
    /// Adds what was given to the body of a request.
    pub fn write(self, body: &mut Map<String, Value>) -> Result<(), Failure> {
        let fields = [
            ("timeout", self.timeout.map(|it| it.text.into())),
            ("start_timeout", self.start_timeout.map(|it| it.text.into())),
            ("queue_timeout", self.queue_timeout.map(|it| it.text.into())),
            ("max_attempts", self.max_attempts.map(Value::from)),
            ("backoff", self.backoff),
        ];
        body.extend(given(fields));
        let some = |it: &Value| !it.as_array().is_some_and(Vec::is_empty);
        let retry = [
            ("on", Some(json!(self.retry_on)).filter(some)),
            ("exit_codes", Some(json!(self.retry_exit_codes)).filter(some)),
            ("max_interruptions", self.max_interruptions.map(Value::from)),
        ];
        let mut retry = given(retry).peekable();
        if retry.peek().is_none() {
            return Ok(());
        }
        let into = body.entry("retry").or_insert(Value::Null);
        if into.is_null() {
            *into = json!({});
        }
        match into {
            Value::Object(fields) => fields.extend(retry),
            _ => {
                let fix = "make `retry` an object, such as {\"on\": [\"job_failed\"]}, or give arguments only";
                return Err(Failure::usage("the file has a `retry` that is not an object", fix));
            }
        }
        Ok(())
    }
}

fn given<const N: usize>(fields: [(&str, Option<Value>); N]) -> impl Iterator<Item = (String, Value)> {
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        policy: Policy,
    }

    fn written(line: &str, file: Value) -> Option<Result<Value, u8>> {
        let words = shlex::split(line).unwrap_or_default();
        let cli = Cli::try_parse_from(["submit".to_owned()].into_iter().chain(words)).ok()?;
        let mut body = file.as_object().cloned().unwrap_or_default();
        let done = cli.policy.write(&mut body).map_err(|it| it.exit().code());
        Some(done.map(|()| Value::Object(body)))
    }

    #[test]
    fn every_argument_has_its_field() {
        let line = "--timeout 90s --start-timeout 5m --queue-timeout 1h30m --max-attempts 3 --backoff 30s \
                    --retry-on job_failed,lost --retry-exit-codes 1,137 --max-interruptions 0";
        let expected = json!({
            "timeout": "90s", "start_timeout": "5m", "queue_timeout": "1h30m", "max_attempts": 3, "backoff": "30s",
            "retry": {"on": ["job_failed", "lost"], "exit_codes": [1, 137], "max_interruptions": 0}
        });
        assert_eq!(written(line, json!({})), Some(Ok(expected)));
        assert_eq!(written("", json!({})), Some(Ok(json!({}))));
    }

    #[test]
    fn a_backoff_may_be_given_as_the_api_takes_it() {
        let line = r#"--backoff '{"type":"exponential","initial":"10s","factor":2}'"#;
        let expected = json!({"backoff": {"type": "exponential", "initial": "10s", "factor": 2}});
        assert_eq!(written(line, json!({})), Some(Ok(expected)));
    }

    #[test]
    fn arguments_are_added_to_the_files_policy() {
        let file = json!({"backoff": {"type": "fixed"}, "retry": {"except_exit_codes": [2], "on": ["lost"]}});
        let expected = json!({"backoff": "1m", "retry": {"except_exit_codes": [2], "on": ["job_failed"]}});
        assert_eq!(written("--backoff 1m --retry-on job_failed", file), Some(Ok(expected)));
        assert_eq!(written("--retry-on lost", json!({"retry": 3})), Some(Err(2)));
    }

    #[test]
    fn what_is_no_policy_is_refused_before_anything_is_asked() {
        for line in
            ["--backoff soon", "--backoff '{'", "--retry-exit-codes 1,x", "--max-attempts many", "--timeout -5s"]
        {
            assert_eq!(written(line, json!({})), None, "{line}");
        }
    }
}
