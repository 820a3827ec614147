//! The audit log, as the real API server writes it: one audit.k8s.io/v1 event a line.
//!
//! Lines are written while the state is locked, in the order of the commits, and handed to the operating system before
//! the lock is released. So nobody, neither a client nor a watcher, can react to a change that is not in the log yet,
//! not even when this process is killed the moment after: the witness that reads the log never sees an effect without
//! its cause.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use jiff::Timestamp;
use serde_json::json;

use super::state::{Call, Refusal};

pub struct Audit {
    out: Option<BufWriter<File>>,
}

/// How a request was answered.
pub struct Answer<'a> {
    pub code: u16,
    pub refusal: Option<&'a Refusal>,
    pub request: Option<&'a [u8]>,
    pub response: Option<&'a [u8]>,
}

impl Audit {
    pub fn open(path: Option<&Path>) -> std::io::Result<Audit> {
        let out = match path {
            Some(path) => Some(BufWriter::new(File::options().create(true).append(true).open(path)?)),
            None => None,
        };
        Ok(Audit { out })
    }

    pub fn is_on(&self) -> bool {
        self.out.is_some()
    }

    pub fn write(&mut self, call: &Call, answer: Answer<'_>) {
        let Some(out) = self.out.as_mut().filter(|_| call.resource.audited()) else { return };
        if let Err(error) = line(out, call, answer) {
            tracing::error!(%error, "the audit log cannot be written; it ends here");
            self.out = None;
        }
    }

    pub fn flush(&mut self) {
        if let Some(out) = self.out.as_mut()
            && let Err(error) = out.flush()
        {
            tracing::error!(%error, "the audit log cannot be written; it ends here");
            self.out = None;
        }
    }
}

fn line(out: &mut BufWriter<File>, call: &Call, answer: Answer<'_>) -> std::io::Result<()> {
    let info = call.resource.info();
    let mut about = json!({"resource": info.plural, "apiVersion": "v1"});
    for (field, value) in [
        ("namespace", call.namespace.as_str()),
        ("name", call.name.as_str()),
        ("apiGroup", info.group),
        ("subresource", call.subresource.as_str()),
    ] {
        if !value.is_empty() {
            about[field] = value.into();
        }
    }
    let mut status = json!({"metadata": {}, "code": answer.code});
    if let Some(refusal) = answer.refusal {
        status["status"] = "Failure".into();
        status["reason"] = refusal.reason.as_str().into();
        status["message"] = refusal.message.as_str().into();
    }
    let reads = matches!(call.verb, "get" | "list" | "watch");
    let mut event = json!({
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": if reads { "Metadata" } else { "RequestResponse" },
        "auditID": uuid::Uuid::new_v4().to_string(),
        "stage": "ResponseComplete",
        "requestURI": call.uri,
        "verb": call.verb,
        "user": {"username": call.actor.user, "groups": call.actor.groups},
        "sourceIPs": [call.actor.ip],
        "userAgent": call.actor.agent,
        "objectRef": about,
        "responseStatus": status,
        "requestReceivedTimestamp": micros(call.received),
        "stageTimestamp": micros(Timestamp::now()),
    })
    .to_string();
    event.pop();
    out.write_all(event.as_bytes())?;
    for (field, object) in [("requestObject", answer.request), ("responseObject", answer.response)] {
        if let Some(object) = object.filter(|_| !reads) {
            write!(out, ",\"{field}\":")?;
            out.write_all(object)?;
        }
    }
    out.write_all(b"}\n")
}

fn micros(at: Timestamp) -> String {
    format!("{at:.6}")
}
