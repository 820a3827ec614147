//! The audit log, as the real API server writes it: one audit.k8s.io/v1 event a line.
//!
//! Lines are written while the state is locked, in the order of the commits, and handed to the operating system before
//! the lock is released. So nobody, neither a client nor a watcher, can react to a change that is not in the log yet,
//! not even when this process is killed the moment after: the witness that reads the log never sees an effect without
//! its cause.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use jiff::Timestamp;
use serde_json::json;

use super::state::{Call, Refusal};

pub struct Audit {
    file: Option<File>,
    /// Whole lines since the last flush; they are written in one call, so that a kill hardly ever halves one.
    lines: Vec<u8>,
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
        let file = match path {
            Some(path) => Some(open(path)?),
            None => None,
        };
        Ok(Audit { file, lines: Vec::new() })
    }

    pub fn is_on(&self) -> bool {
        self.file.is_some()
    }

    pub fn write(&mut self, call: &Call, answer: Answer<'_>) {
        if self.is_on() && call.resource.audited() {
            line(&mut self.lines, call, answer);
        }
    }

    pub fn flush(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        if let Some(Err(error)) = self.file.as_mut().map(|file| file.write_all(&self.lines)) {
            tracing::error!(%error, "the audit log cannot be written; it ends here");
            self.file = None;
        }
        self.lines.clear();
    }
}

/// Appends; and ends the line that a killed predecessor may have left half written.
fn open(path: &Path) -> std::io::Result<File> {
    let mut file = File::options().create(true).append(true).read(true).open(path)?;
    let mut last = [b'\n'];
    if file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    if last != [b'\n'] {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

fn line(out: &mut Vec<u8>, call: &Call, answer: Answer<'_>) {
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
    out.extend_from_slice(event.as_bytes());
    for (field, object) in [("requestObject", answer.request), ("responseObject", answer.response)] {
        if let Some(object) = object.filter(|_| !reads) {
            out.extend_from_slice(format!(",\"{field}\":").as_bytes());
            out.extend_from_slice(object);
        }
    }
    out.extend_from_slice(b"}\n");
}

fn micros(at: Timestamp) -> String {
    format!("{at:.6}")
}
