//! What an entry of type `sqs` says, with its bounds.

use std::time::Duration;

use http::Uri;
use serde::Deserialize;

use super::super::config::{Entry, Unusable, time};

/// For how long a message may be kept from others at a time: within the shortest, three requests that keep it must find their
/// way; SQS takes no more than the longest.
const VISIBILITY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(12 * 3600));
/// How long a poll may wait: without any wait an idle queue would be asked without end; SQS waits no longer than the longest.
const WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(20));
/// How many polls a replica may have under way. Each holds ten messages of 1 MiB in memory at most.
const RECEIVERS: (usize, usize) = (1, 16);
/// How many messages may be held. SQS has 120,000 of a queue in flight at most, 20,000 of a FIFO queue.
const HELD: (i64, i64) = (1, 100_000);
/// Each ten of them cost a request every third of `visibility_timeout`.
const HELD_BY_DEFAULT: i64 = 1_000;
/// A queue's URL, such as it is to be written.
const SUCH_AS: &str = "https://sqs.eu-central-1.amazonaws.com/123456789012/mails";

/// When a message is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delete {
    /// As soon as its job is committed.
    #[default]
    OnCommit,
    /// When its job succeeded; it goes back to its queue when that failed for good.
    OnSuccess,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    queue_url: Option<String>,
    region: Option<String>,
    endpoint_url: Option<String>,
    #[serde(default)]
    delete: Delete,
    #[serde(default = "default_visibility", deserialize_with = "time")]
    visibility_timeout: Duration,
    #[serde(default = "default_wait", deserialize_with = "time")]
    wait: Duration,
    #[serde(default = "default_receivers")]
    receivers: usize,
    max_held: Option<i64>,
}

fn default_visibility() -> Duration {
    Duration::from_secs(120)
}

fn default_wait() -> Duration {
    Duration::from_secs(10)
}

fn default_receivers() -> usize {
    1
}

/// An entry, checked.
#[derive(Debug, Clone)]
pub struct Config {
    pub queue_url: String,
    /// Of the entry, else as the queue's URL says; none leaves it to the environment.
    pub region: Option<String>,
    pub endpoint_url: Option<String>,
    pub delete: Delete,
    pub visibility_timeout: Duration,
    pub wait: Duration,
    pub receivers: usize,
    pub max_held: i64,
}

impl Config {
    pub fn of(entry: &Entry) -> Result<Self, Unusable> {
        let own: Fields = entry.own()?;
        let missing = || entry.wrong("queue_url", format!("is missing; give the URL of a queue, such as {SUCH_AS}"));
        let queue_url = own.queue_url.ok_or_else(missing)?;
        let queue = address(&queue_url).map_err(|cause| entry.wrong("queue_url", cause))?;
        if queue.path().trim_matches('/').is_empty() {
            return Err(entry.wrong("queue_url", format!("names no queue; it is such as {SUCH_AS}")));
        }
        if let Some(endpoint) = &own.endpoint_url {
            address(endpoint).map_err(|cause| entry.wrong("endpoint_url", cause))?;
        }
        if own.region.as_ref().is_some_and(|it| it.is_empty() || !it.chars().all(is_of_region)) {
            return Err(entry.wrong("region", "must be a region such as eu-central-1"));
        }
        seconds("visibility_timeout", own.visibility_timeout, VISIBILITY, entry)?;
        seconds("wait", own.wait, WAIT, entry)?;
        if !(RECEIVERS.0..=RECEIVERS.1).contains(&own.receivers) {
            return Err(entry.wrong("receivers", format!("must be {} to {}", RECEIVERS.0, RECEIVERS.1)));
        }
        if own.max_held.is_some_and(|it| !(HELD.0..=HELD.1).contains(&it)) {
            return Err(entry.wrong("max_held", format!("must be {} to {}", HELD.0, HELD.1)));
        }
        if own.max_held.is_some() && own.delete == Delete::OnCommit {
            return Err(entry.wrong("max_held", "goes with `delete: on_success`; without that no message is held"));
        }
        Ok(Self {
            region: own.region.or_else(|| region_of(queue.host().unwrap_or_default())),
            queue_url,
            endpoint_url: own.endpoint_url,
            delete: own.delete,
            visibility_timeout: own.visibility_timeout,
            wait: own.wait,
            receivers: own.receivers,
            max_held: own.max_held.unwrap_or(HELD_BY_DEFAULT),
        })
    }
}

/// A URL that may be shown to everybody.
fn address(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|_| format!("is not a URL such as {SUCH_AS}"))?;
    if !matches!(uri.scheme_str(), Some("https" | "http")) || uri.host().is_none_or(str::is_empty) {
        return Err(format!("is not a URL such as {SUCH_AS}"));
    }
    if uri.authority().is_some_and(|it| it.as_str().contains('@')) || uri.query().is_some() {
        return Err("must have no user, password or query: it is shown to everybody, and credentials come from \
                    the environment"
            .into());
    }
    Ok(uri)
}

fn is_of_region(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-'
}

/// The region in the name of one of Amazon's own hosts: what is signed for another is refused there.
fn region_of(host: &str) -> Option<String> {
    let host = host.to_ascii_lowercase();
    if ![".amazonaws.com", ".amazonaws.com.cn", ".api.aws"].iter().any(|it| host.ends_with(it)) {
        return None;
    }
    let mut labels = host.split('.').skip_while(|it| !matches!(*it, "sqs" | "sqs-fips"));
    labels.nth(1).filter(|it| it.contains('-')).map(str::to_owned)
}

/// SQS counts these times in whole seconds.
fn seconds(field: &str, given: Duration, (least, most): (Duration, Duration), entry: &Entry) -> Result<(), Unusable> {
    if given.subsec_nanos() == 0 && given >= least && given <= most {
        return Ok(());
    }
    let (least, most) = (least.as_secs(), most.as_secs());
    Err(entry.wrong(field, format!("must be whole seconds, {least}s to {most}s")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::config::parse;

    fn of(fields: &str) -> Result<Config, String> {
        let text = format!("sources:\n- {{name: mails, type: sqs{fields}}}");
        Config::of(&parse(&text, "sources.yaml").unwrap()[0]).map_err(|err| err.to_string())
    }

    #[test]
    fn a_queue_url_is_all_it_takes_and_tells_the_region() {
        let config = of(", queue_url: \"https://sqs.eu-central-1.amazonaws.com/123456789012/mails\"").unwrap();
        assert_eq!(config.region.as_deref(), Some("eu-central-1"));
        assert_eq!((config.delete, config.receivers, config.max_held), (Delete::OnCommit, 1, 1_000));
        for (host, region) in [
            ("sqs.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("vpce-0a-1b.sqs.us-east-1.vpce.amazonaws.com", Some("us-east-1")),
            ("sqs.us-west-2.api.aws", Some("us-west-2")),
            ("queue.amazonaws.com", None),
            ("sqs.eu-central-1.localhost.localstack.cloud", None),
            ("sqs.us-east-1.amazonaws.com.example.org", None),
        ] {
            assert_eq!(region_of(host).as_deref(), region, "{host}");
        }
        let given =
            of(", queue_url: \"http://localhost:4566/0/q\", region: us-east-1, delete: on_success, max_held: 5");
        let given = given.unwrap();
        assert_eq!((given.region.as_deref(), given.delete, given.max_held), (Some("us-east-1"), Delete::OnSuccess, 5));
    }

    #[test]
    fn what_is_wrong_is_told_with_the_entry_the_field_and_the_remedy() {
        let url = ", queue_url: \"https://sqs.eu-central-1.amazonaws.com/1/q\"";
        let with = |more: &str| of(&format!("{url}{more}")).unwrap_err();
        let told = of("").unwrap_err();
        assert!(
            told.starts_with("sources.yaml: source mails: queue_url: is missing; give the URL of a queue"),
            "{told}"
        );
        for bad in
            ["mails", "arn:aws:sqs:eu-central-1:1:mails", "ftp://a/b", "https://", "https://h/", "https://h/q?a=b"]
        {
            let told = of(&format!(", queue_url: \"{bad}\"")).unwrap_err();
            assert!(told.starts_with("sources.yaml: source mails: queue_url: "), "{bad}: {told}");
        }
        let secret = of(", queue_url: \"https://user:hunter2@h/1/q\"").unwrap_err();
        assert!(secret.contains("must have no user") && !secret.contains("hunter2"), "{secret}");
        let zero = with(", wait: 0s");
        assert_eq!(zero, "sources.yaml: source mails: wait: must be whole seconds, 1s to 20s");
        assert!(with(", wait: 1500ms").contains("wait: must be whole seconds"));
        assert!(with(", visibility_timeout: 13h").contains("visibility_timeout: must be whole seconds, 5s to 43200s"));
        assert!(with(", receivers: 17").contains("receivers: must be 1 to 16"));
        assert!(with(", delete: on_success, max_held: 0").contains("max_held: must be 1 to 100000"));
        assert!(with(", max_held: 10").contains("goes with `delete: on_success`"));
        assert!(with(", delete: never").contains("source mails: delete: unknown variant `never`"));
        assert!(with(", endpoint_url: \"localhost:4566\"").contains("endpoint_url: is not a URL"));
        assert!(with(", region: \"eu central\"").contains("region: must be a region such as"));
        assert!(with(", queue: a").contains("unknown field `queue`"));
    }
}
