//! What may go wrong, how it is said, and with which exit code.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    exit::Exit,
    output::{Format, note},
    text::{self, Shown, clean},
};

/// A command that did not do what it was asked for.
#[derive(Debug)]
pub enum Failure {
    /// The command line, or a file it names, is wrong.
    Usage { what: String, fix: String },
    /// The text can be no job's id, so the server was not asked.
    NoSuchJob { id: String },
    /// No answer came. `unsure` says that one of the requests may have arrived.
    Unreachable { url: String, cause: String, unsure: bool },
    /// Longshore said no.
    Refused(Box<Refusal>),
    /// What answered does not talk like Longshore.
    Foreign { url: String, what: String, status: Option<u16>, unsure: bool },
    /// A text of which only a part came.
    CutOff { cause: String },
    /// A submission of which it is not known whether it was accepted.
    Unsure { cause: Box<Failure>, key: String },
    /// What was found out could not be printed.
    Stdout(std::io::Error),
}

/// An answer that is a problem document (RFC 9457).
#[derive(Debug)]
pub struct Refusal {
    pub status: u16,
    pub problem: Problem,
    /// The document as it came, for programs.
    pub document: Value,
    pub unsure: bool,
}

/// The parts of a problem document that people read.
#[derive(Debug, Default, Deserialize)]
pub struct Problem {
    pub code: Shown,
    #[serde(default)]
    title: Shown,
    #[serde(default)]
    detail: Shown,
    #[serde(default)]
    errors: Vec<Fault>,
}

#[derive(Debug, Deserialize)]
struct Fault {
    #[serde(default)]
    pointer: Shown,
    #[serde(default)]
    detail: Shown,
}

impl Failure {
    pub fn usage(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Usage { what: what.into(), fix: fix.into() }
    }

    /// The same about one of several things.
    pub fn at(self, place: &str) -> Self {
        match self {
            Self::Usage { what, fix } => Self::Usage { what: format!("{place}: {what}"), fix },
            other => other,
        }
    }

    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage { .. } => Exit::Usage,
            Self::NoSuchJob { .. } => Exit::NotFound,
            Self::Unreachable { .. } | Self::CutOff { .. } => Exit::RequestFailed,
            Self::Foreign { status, .. } => status.map_or(Exit::RequestFailed, |it| Exit::of_refusal(it, "")),
            Self::Refused(it) => Exit::of_refusal(it.status, it.problem.code.as_str()),
            Self::Unsure { cause, .. } => cause.exit(),
            Self::Stdout(err) if err.kind() == std::io::ErrorKind::BrokenPipe => Exit::ReaderGone,
            Self::Stdout(_) => Exit::RequestFailed,
        }
    }

    /// Whether the next request would fail in the same way, whatever it asks for.
    pub fn is_for_all(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Foreign { .. } | Self::Stdout(_) => true,
            Self::Refused(it) => matches!(it.status, 401 | 403 | 429 | 502..=504),
            Self::Usage { .. } | Self::NoSuchJob { .. } | Self::CutOff { .. } | Self::Unsure { .. } => false,
        }
    }

    /// Whether a replica that goes, or a proxy that will not wait, may be all that is wrong.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Foreign { status, .. } => status.is_some_and(|it| matches!(it, 502..=504)),
            Self::Refused(it) => matches!(it.status, 502..=504),
            Self::Usage { .. }
            | Self::NoSuchJob { .. }
            | Self::CutOff { .. }
            | Self::Unsure { .. }
            | Self::Stdout(_) => false,
        }
    }

    /// Whether what was asked for may have been done nevertheless.
    pub fn is_unsure(&self) -> bool {
        match self {
            Self::Unreachable { unsure, .. } | Self::Foreign { unsure, .. } => *unsure,
            Self::Refused(it) => it.unsure,
            Self::Unsure { .. } => true,
            Self::Usage { .. } | Self::NoSuchJob { .. } | Self::CutOff { .. } | Self::Stdout(_) => false,
        }
    }

    /// The same, after an earlier request may have been carried out.
    pub fn or_unsure(mut self, earlier: bool) -> Self {
        match &mut self {
            Self::Unreachable { unsure, .. } | Self::Foreign { unsure, .. } => *unsure |= earlier,
            Self::Refused(it) => it.unsure |= earlier,
            Self::Usage { .. }
            | Self::NoSuchJob { .. }
            | Self::CutOff { .. }
            | Self::Unsure { .. }
            | Self::Stdout(_) => {}
        }
        self
    }

    /// Says it on stderr, to programs as a problem document.
    pub fn report(&self, format: Format) -> Exit {
        let exit = self.exit();
        if exit == Exit::ReaderGone {
            return exit;
        }
        match format {
            Format::Json | Format::Jsonl => note(&text::json(&self.document(), false)),
            Format::Table | Format::Wide | Format::Name => self.lines().iter().for_each(|it| note(&clean(it))),
        }
        exit
    }

    /// What went wrong, without the remedy.
    pub fn in_a_line(&self) -> String {
        self.lines().first().map(|it| it.trim_start_matches("error: ").to_owned()).unwrap_or_default()
    }

    fn lines(&self) -> Vec<String> {
        match self {
            Self::Usage { what, fix } => vec![format!("error: {what}"), format!("fix: {fix}")],
            Self::NoSuchJob { id } => {
                vec![format!("error: there is no job {id:?}"), "fix: ids are UUIDs; `longshore list` shows them".into()]
            }
            Self::Unreachable { url, cause, .. } => vec![
                format!("error: no answer from Longshore at {url}: {cause}"),
                "fix: is it running there? Give another address with --url or LONGSHORE_URL".into(),
            ],
            Self::Refused(it) => it.lines(),
            Self::Foreign { url, what, .. } => vec![
                format!("error: what answers at {url} does not talk like Longshore: {what}"),
                "fix: give Longshore's address with --url or LONGSHORE_URL".into(),
            ],
            Self::CutOff { cause } => {
                vec![format!("error: the text was cut off: {cause}"), "fix: ask for it again; it begins anew".into()]
            }
            Self::Unsure { cause, key } => {
                let mut lines = cause.lines();
                lines.push("error: the job may have been accepted, or not".into());
                lines.push(format!("fix: submit the same again with --idempotency-key {key}; it is not made twice"));
                lines
            }
            Self::Stdout(err) => vec![format!("error: cannot write to stdout: {err}")],
        }
    }

    fn document(&self) -> Value {
        let code = match self {
            Self::Refused(it) => return it.document.clone(),
            Self::Unsure { cause, key } => {
                let mut document = cause.document();
                if let Value::Object(fields) = &mut document {
                    fields.insert("idempotency_key".into(), key.clone().into());
                }
                return document;
            }
            Self::Usage { .. } => "usage",
            Self::NoSuchJob { .. } => "no_such_job",
            Self::Unreachable { .. } => "unreachable",
            Self::Foreign { .. } => "not_longshore",
            Self::CutOff { .. } => "cut_off",
            Self::Stdout(_) => "output_failed",
        };
        let lines = self.lines();
        let line = |prefix| lines.iter().find_map(|it| it.strip_prefix(prefix));
        json!({"type": "about:blank", "code": code, "title": line("error: "), "fix": line("fix: ")})
    }
}

impl Problem {
    fn lines(&self) -> Vec<String> {
        let Self { code, title, detail, errors } = self;
        let title = if title.is_empty() { code } else { title };
        let mut lines = match errors.is_empty() {
            true if detail.is_empty() => vec![format!("error: {title}")],
            true => vec![format!("error: {title}: {detail}")],
            false => vec![format!("error: {title}")],
        };
        for Fault { pointer, detail } in errors {
            lines.push(match pointer.is_empty() {
                true => format!("field: {detail}"),
                false => format!("field: {pointer} {detail}"),
            });
        }
        lines
    }

    /// What is wrong with one of many, which are told apart by `place`.
    pub fn lines_at(&self, place: &str) -> Vec<String> {
        self.lines().iter().map(|it| it.replacen(": ", &format!(": {place}: "), 1)).collect()
    }
}

impl Refusal {
    fn lines(&self) -> Vec<String> {
        let mut lines = self.problem.lines();
        let fix = match self.problem.code.as_str() {
            "no_such_job" => Some("`longshore list` shows the jobs there are"),
            "no_such_queue" => {
                Some("`longshore queue list` shows the queues there are; `longshore queue set` makes one")
            }
            "no_such_source" => Some("`longshore source list` shows the sources there are"),
            "no_such_template" => Some("`longshore template list` shows the templates there are"),
            "not_retryable" => Some("only a job that failed or was cancelled can be tried again"),
            "events_gone" => {
                Some("begin anew, without the events in between; `longshore events ID` has those of a job")
            }
            "idempotency_key_reused" => Some("give each job an --idempotency-key of its own, or none"),
            "no_such_path" | "wrong_method" => Some("use a `longshore` of the server's version, and check --url"),
            "no_log" => Some("`longshore get ID` says how far the job came"),
            "queue_full" => Some("submit it again later"),
            _ if self.status >= 500 => Some("try it again; if that does not help, the server's log says why"),
            _ => None,
        };
        lines.extend(fix.map(|it| format!("fix: {it}")));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, document: Value) -> Failure {
        let problem = Problem::deserialize(&document).unwrap_or_default();
        Failure::Refused(Box::new(Refusal { status, problem, document, unsure: false }))
    }

    #[test]
    fn every_wrong_field_gets_its_line() {
        let failure = refusal(
            422,
            json!({"code": "invalid_fields", "title": "Some fields are wrong", "detail": "all in one", "errors": [
                {"pointer": "/image", "detail": "has \u{1b}[31mspaces"}, {"pointer": "", "detail": "unknown field"}
            ]}),
        );
        assert_eq!(
            failure.lines(),
            ["error: Some fields are wrong", "field: /image has [31mspaces", "field: unknown field"]
        );
        assert_eq!(failure.exit(), Exit::Conflict);
    }

    #[test]
    fn an_unknown_outcome_says_how_to_ask_again() {
        let cause = Failure::Unreachable { url: "http://x/".into(), cause: "reset".into(), unsure: true };
        let failure = Failure::Unsure { cause: Box::new(cause), key: "k1".into() };
        assert!(failure.lines().iter().any(|it| it.starts_with("fix:") && it.contains("--idempotency-key k1")));
        assert_eq!(failure.document().get("idempotency_key"), Some(&json!("k1")));
        assert_eq!(failure.exit(), Exit::RequestFailed);
    }

    #[test]
    fn a_reader_that_left_is_no_error_to_speak_of() {
        let failure = Failure::Stdout(std::io::ErrorKind::BrokenPipe.into());
        assert_eq!(failure.report(Format::Table).code(), 141);
    }
}
