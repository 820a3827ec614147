//! SQS for a test: `tests/moto/serve.py`, which is moto, as a process of its own; and a producer that sends to it and looks
//! into its queues in plain HTTP, so that what Longshore asks through Amazon's SDK is checked by something else.

use std::{fs::File, path::Path, process::Stdio, sync::OnceLock};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::BOUND;

/// How many messages SQS takes in one request.
const BATCH: usize = 10;

pub struct Moto {
    /// With its standard input, which stays open as long as this lives.
    _child: Child,
    pub endpoint: String,
    http: reqwest::Client,
}

/// The Python that has moto, installed by the first test that needs it; the others, in processes of their own, wait for it.
fn python() -> &'static str {
    static PYTHON: OnceLock<String> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let lock = File::create(root.join("target/venv-moto.lock")).unwrap();
        lock.lock().unwrap();
        let mut command = std::process::Command::new(root.join("scripts/venv"));
        let made = command.args(["moto", "tests/moto/requirements.txt"]).current_dir(root).output().unwrap();
        assert!(made.status.success(), "no moto: {}", String::from_utf8_lossy(&made.stderr));
        format!("{}/bin/python", String::from_utf8_lossy(&made.stdout).trim())
    })
}

impl Moto {
    /// A server of its own, without queues. It ends with the test, also when that is killed, for it reads until its standard
    /// input is closed.
    pub async fn start() -> Self {
        let python = tokio::task::spawn_blocking(python).await.unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/moto/serve.py");
        let mut command = Command::new(python);
        command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        let mut child = command.spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = tokio::time::timeout(BOUND, said.next_line()).await.expect("moto is not ready").unwrap();
        let endpoint = format!("http://127.0.0.1:{}", port.expect("moto says its port"));
        Self { _child: child, endpoint, http: reqwest::Client::new() }
    }

    /// What a replica needs in its environment to find it, and nothing else of Amazon's.
    pub fn env(&self) -> Vec<(&str, &str)> {
        vec![
            ("AWS_ENDPOINT_URL", &self.endpoint),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ACCESS_KEY_ID", "harness"),
            ("AWS_SECRET_ACCESS_KEY", "harness-secret"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ]
    }

    /// One request, which must succeed.
    pub async fn ask(&self, action: &str, body: Value) -> Value {
        let request = self.http.post(&self.endpoint).header("x-amz-target", format!("AmazonSQS.{action}"));
        // Its queues are of the region that the signature names; the signature itself it does not look at.
        let scope = "AWS4-HMAC-SHA256 Credential=producer/20261121/eu-central-1/sqs/aws4_request, SignedHeaders=host, Signature=0";
        let request = request.header("authorization", scope).header("content-type", "application/x-amz-json-1.0");
        let answer = request.body(body.to_string()).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{action}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Makes a queue; answers its URL.
    pub async fn queue(&self, name: &str, attributes: Value) -> String {
        let made = self.ask("CreateQueue", json!({"QueueName": name, "Attributes": attributes})).await;
        made["QueueUrl"].as_str().unwrap().to_owned()
    }

    /// Makes a queue, and one beside it that takes what was received so often without being deleted. Answers both URLs.
    pub async fn queue_with_dead_letters(&self, name: &str, receives: u32) -> (String, String) {
        let (base, fifo) = name.strip_suffix(".fifo").map_or((name, ""), |it| (it, ".fifo"));
        let kind = if fifo.is_empty() { json!({}) } else { json!({"FifoQueue": "true"}) };
        let dead = self.queue(&format!("{base}-dead{fifo}"), kind.clone()).await;
        let arn = self.attribute(&dead, "QueueArn").await;
        let redrive = json!({"deadLetterTargetArn": arn, "maxReceiveCount": receives});
        let mut attributes = kind;
        attributes["RedrivePolicy"] = redrive.to_string().into();
        (self.queue(name, attributes).await, dead)
    }

    pub async fn attribute(&self, queue: &str, name: &str) -> String {
        let [value] = self.attributes(queue, [name]).await;
        value
    }

    async fn attributes<const N: usize>(&self, queue: &str, names: [&str; N]) -> [String; N] {
        let found =
            self.ask("GetQueueAttributes", json!({"QueueUrl": queue, "AttributeNames": names.as_slice()})).await;
        names.map(|name| {
            let value = &found["Attributes"][name];
            value.as_str().map_or_else(|| value.to_string(), str::to_owned)
        })
    }

    /// How many messages are there, seen or unseen. One that changes from one to the other at that moment may be left out.
    pub async fn messages(&self, queue: &str) -> usize {
        let names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
        self.attributes(queue, names).await.iter().map(|it| it.parse::<usize>().unwrap()).sum()
    }

    /// How many messages somebody holds.
    pub async fn invisible(&self, queue: &str) -> usize {
        self.attribute(queue, "ApproximateNumberOfMessagesNotVisible").await.parse().unwrap()
    }

    /// Sends one message; answers its id.
    pub async fn send(&self, queue: &str, body: &str) -> String {
        self.send_with(queue, body, json!({})).await
    }

    /// The same with more fields of the request, such as its attributes.
    pub async fn send_with(&self, queue: &str, body: &str, more: Value) -> String {
        let mut request = json!({"QueueUrl": queue, "MessageBody": body});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.ask("SendMessage", request).await["MessageId"].as_str().unwrap().to_owned()
    }

    /// Sends many messages; answers their ids.
    pub async fn send_all(&self, queue: &str, bodies: &[String]) -> Vec<String> {
        let mut ids = Vec::with_capacity(bodies.len());
        for some in bodies.chunks(BATCH) {
            let entries = some.iter().enumerate().map(|(at, body)| json!({"Id": at.to_string(), "MessageBody": body}));
            let entries: Vec<Value> = entries.collect();
            let sent = self.ask("SendMessageBatch", json!({"QueueUrl": queue, "Entries": entries})).await;
            let sent = sent["Successful"].as_array().unwrap().iter();
            ids.extend(sent.map(|it| it["MessageId"].as_str().unwrap().to_owned()));
        }
        ids
    }

    /// Takes what can be received now, and deletes nothing.
    pub async fn receive(&self, queue: &str) -> Vec<Value> {
        let request = json!({"QueueUrl": queue, "MaxNumberOfMessages": BATCH, "VisibilityTimeout": 600});
        let received = self.ask("ReceiveMessage", request).await;
        received["Messages"].as_array().cloned().unwrap_or_default()
    }
}
