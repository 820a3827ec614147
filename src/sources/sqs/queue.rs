//! A queue of Amazon's, or of whoever speaks as it does: receive, keep from others, give back, delete. What a message says,
//! others judge.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use aws_config::{BehaviorVersion, Region, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_sqs::{
    Client,
    types::{
        BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
        Message as Raw, MessageSystemAttributeName as Told, QueueAttributeName as Attribute,
    },
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::sync::OnceCell;

use super::{
    super::shape::{Body, Message},
    config::Config,
};

/// The most messages of one request, by SQS's own rule.
pub const BATCH: usize = 10;
/// How long one request may take, above what it is asked to wait for messages.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(3);
/// What is told of a message beside what its sender wrote, and does not change when it comes again. SQS takes no attributes
/// of senders that begin so, so that nobody can pass off one for the other.
const OWN_ATTRIBUTES: &str = "AWS.";
const KNOWN: [Told; 5] =
    [Told::SenderId, Told::SentTimestamp, Told::MessageGroupId, Told::MessageDeduplicationId, Told::SequenceNumber];

/// A message that came, and under which handle it is known until it comes again.
#[derive(Debug)]
pub struct Received {
    pub message: Message,
    pub handle: String,
    sent: Option<SystemTime>,
}

impl Received {
    /// None of one without an id or handle, which no queue of Amazon's sends.
    fn of(raw: Raw) -> Option<Self> {
        let known = |it: &Told| raw.attributes().and_then(|all| all.get(it)).cloned();
        let sent = known(&Told::SentTimestamp).and_then(|it| it.parse().ok());
        let sent = sent.and_then(|millis| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis)));
        let mut attributes: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in raw.message_attributes().into_iter().flatten() {
            let binary = || value.binary_value().map(|it| BASE64_STANDARD.encode(it.as_ref()));
            if let Some(value) = value.string_value().map(str::to_owned).or_else(binary) {
                attributes.insert(name.clone(), value);
            }
        }
        attributes.extend(KNOWN.iter().filter_map(|it| Some((format!("{OWN_ATTRIBUTES}{it}"), known(it)?))));
        let body = Body::Text(raw.body.unwrap_or_default());
        let message = Message { id: raw.message_id?, body, attributes, priority: None };
        Some(Self { message, handle: raw.receipt_handle?, sent })
    }

    /// How long ago it was sent, by SQS's clock and ours.
    pub fn age(&self) -> Option<Duration> {
        self.sent.map(|it| it.elapsed().unwrap_or_default())
    }
}

/// What of a request for several messages did not succeed.
#[derive(Debug)]
pub struct Failure {
    /// Which of them, from 0.
    pub at: usize,
    /// Whether it never will: the handle is not known any more, or the message is gone.
    pub for_good: bool,
    pub why: String,
}

/// What a queue is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub redrives: bool,
    pub retention: Duration,
}

pub struct Queue {
    config: Config,
    /// Made with the first request: it takes requests to find out who we are.
    client: OnceCell<Client>,
}

impl Queue {
    pub fn new(config: Config) -> Self {
        Self { config, client: OnceCell::new() }
    }

    /// Waits for messages, and takes some: `most` and [`BATCH`] at most.
    pub async fn receive(&self, most: usize) -> anyhow::Result<Vec<Received>> {
        let request = self.client().await?.receive_message().queue_url(&self.config.queue_url);
        let request = request.max_number_of_messages(most.clamp(1, BATCH) as i32);
        let request = request.visibility_timeout(secs(self.config.visibility_timeout));
        let request = request.wait_time_seconds(secs(self.config.wait));
        let request = request.message_attribute_names("All").message_system_attribute_names(Told::All);
        let answer = request.send().await.context("cannot receive from SQS")?;
        Ok(answer.messages.unwrap_or_default().into_iter().filter_map(Received::of).collect())
    }

    /// Keeps messages from others for `time` from now on; for none at all gives them back.
    pub async fn keep(&self, handles: &[&str], time: Duration) -> anyhow::Result<Vec<Failure>> {
        let mut failures = Vec::new();
        for (nth, some) in handles.chunks(BATCH).enumerate() {
            let entries = some.iter().enumerate().map(|(at, handle)| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(at.to_string());
                entry.receipt_handle(*handle).visibility_timeout(secs(time)).build()
            });
            let entries = entries.collect::<Result<Vec<_>, _>>()?;
            let request = self.client().await?.change_message_visibility_batch().queue_url(&self.config.queue_url);
            let answer = request.set_entries(Some(entries)).send().await.context("cannot keep messages of SQS")?;
            failures.extend(answer.failed.iter().filter_map(|it| failure(nth * BATCH, it)));
        }
        Ok(failures)
    }

    pub async fn delete(&self, handles: &[&str]) -> anyhow::Result<Vec<Failure>> {
        let mut failures = Vec::new();
        for (nth, some) in handles.chunks(BATCH).enumerate() {
            let entries = some.iter().enumerate().map(|(at, handle)| {
                DeleteMessageBatchRequestEntry::builder().id(at.to_string()).receipt_handle(*handle).build()
            });
            let entries = entries.collect::<Result<Vec<_>, _>>()?;
            let request = self.client().await?.delete_message_batch().queue_url(&self.config.queue_url);
            let answer = request.set_entries(Some(entries)).send().await.context("cannot delete messages of SQS")?;
            failures.extend(answer.failed.iter().filter_map(|it| failure(nth * BATCH, it)));
        }
        Ok(failures)
    }

    /// How many messages could be received now, and how many by state.
    pub async fn counts(&self) -> anyhow::Result<(Option<i64>, BTreeMap<String, i64>)> {
        let states = [
            ("visible", Attribute::ApproximateNumberOfMessages),
            ("delayed", Attribute::ApproximateNumberOfMessagesDelayed),
            ("in_flight", Attribute::ApproximateNumberOfMessagesNotVisible),
        ];
        let found = self.attributes(states.iter().map(|it| it.1.clone()).collect()).await?;
        let count = |it: &Attribute| found.get(it).and_then(|it| it.parse::<i64>().ok());
        let by_state = states.iter().filter_map(|(name, it)| Some(((*name).to_owned(), count(it)?)));
        Ok((count(&Attribute::ApproximateNumberOfMessages), by_state.collect()))
    }

    pub async fn settings(&self) -> anyhow::Result<Settings> {
        let found = self.attributes(vec![Attribute::RedrivePolicy, Attribute::MessageRetentionPeriod]).await?;
        let retention = found.get(&Attribute::MessageRetentionPeriod).and_then(|it| it.parse().ok());
        Ok(Settings {
            redrives: found.get(&Attribute::RedrivePolicy).is_some_and(|it| !it.is_empty()),
            retention: Duration::from_secs(retention.unwrap_or_default()),
        })
    }

    async fn attributes(&self, names: Vec<Attribute>) -> anyhow::Result<std::collections::HashMap<Attribute, String>> {
        let request = self.client().await?.get_queue_attributes().queue_url(&self.config.queue_url);
        let answer = request.set_attribute_names(Some(names)).send().await;
        Ok(answer.context("cannot read the attributes of a queue of SQS")?.attributes.unwrap_or_default())
    }

    /// Who we are is told by the environment, the profile, the web identity, the container or the instance, in this order.
    async fn client(&self) -> anyhow::Result<&Client> {
        let made = self.client.get_or_try_init(|| async {
            let http = aws_smithy_http_client::Builder::new();
            let http = http.tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
            let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http);
            if let Some(region) = &self.config.region {
                loader = loader.region(Region::new(region.clone()));
            }
            if let Some(endpoint) = &self.config.endpoint_url {
                loader = loader.endpoint_url(endpoint);
            }
            let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT);
            let timeouts = timeouts.operation_attempt_timeout(self.config.wait + ANSWER).build();
            let config = loader.timeout_config(timeouts).retry_config(RetryConfig::standard()).load().await;
            // Not kept, so that it is looked for again.
            anyhow::ensure!(
                config.region().is_some(),
                "no region is known: give `region`, or set AWS_REGION in the environment"
            );
            Ok(Client::new(&config))
        });
        made.await
    }
}

fn secs(time: Duration) -> i32 {
    time.as_secs().try_into().unwrap_or(i32::MAX)
}

fn failure(offset: usize, entry: &BatchResultErrorEntry) -> Option<Failure> {
    let why = format!("{}: {}", entry.code(), entry.message().unwrap_or("no reason given"));
    Some(Failure { at: offset + entry.id().parse::<usize>().ok()?, for_good: entry.sender_fault(), why })
}

#[cfg(test)]
mod tests {
    use aws_sdk_sqs::types::MessageAttributeValue;

    use super::*;

    #[test]
    fn attributes_of_senders_and_those_of_the_queue_are_not_taken_for_each_other() {
        let value =
            |text: &str| MessageAttributeValue::builder().data_type("String").string_value(text).build().unwrap();
        let bytes = MessageAttributeValue::builder().data_type("Binary").binary_value(b"\x00\xff".to_vec().into());
        let raw = Raw::builder().message_id("m").receipt_handle("h").body("{}");
        let raw = raw.message_attributes("SenderId", value("boss")).message_attributes("raw", bytes.build().unwrap());
        let raw = raw.attributes(Told::SenderId, "AIDA").attributes(Told::ApproximateReceiveCount, "3");
        let received = Received::of(raw.attributes(Told::SentTimestamp, "0").build()).unwrap();
        let attributes: Vec<_> = received.message.attributes.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(attributes, ["AWS.SenderId=AIDA", "AWS.SentTimestamp=0", "SenderId=boss", "raw=AP8="]);
        assert!(received.age().unwrap() > Duration::from_secs(1_000_000_000));
        assert!(Received::of(Raw::builder().body("{}").build()).is_none());
        let ahead =
            Raw::builder().message_id("m").receipt_handle("h").attributes(Told::SentTimestamp, "99999999999999999");
        assert_eq!(
            Received::of(ahead.build()).unwrap().age().unwrap_or_default(),
            Duration::ZERO,
            "a clock ahead of ours"
        );
    }
}
