//! What was found, and how it is shown: a table for people, JSON for programs. Nothing that comes from a server is obeyed by
//! a terminal.

use std::fmt::Write;

use serde::Serialize;

use crate::client::text::{clean, json};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    /// It works, and not as well as it could, or not for everybody.
    Warn,
    Fail,
    /// It was not looked at, and `found` says why.
    Skipped,
}

/// One thing that a check found. The fields are stable: programs read them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub status: Status,
    /// Which of several things it is about: a namespace, a source.
    pub about: Option<String>,
    pub found: String,
    /// What comes of it, where something is wrong.
    pub why: Option<String>,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Finding {
    fn new(status: Status, found: impl Into<String>) -> Self {
        Self { check: "", status, about: None, found: found.into(), why: None, remedy: None }
    }

    pub fn ok(found: impl Into<String>) -> Self {
        Self::new(Status::Ok, found)
    }

    pub fn warn(found: impl Into<String>, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { why: Some(why.into()), remedy: Some(remedy.into()), ..Self::new(Status::Warn, found) }
    }

    pub fn fail(found: impl Into<String>, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { why: Some(why.into()), remedy: Some(remedy.into()), ..Self::new(Status::Fail, found) }
    }

    pub fn skipped(found: impl Into<String>) -> Self {
        Self::new(Status::Skipped, found)
    }

    /// It hangs on something that another check tells of.
    pub fn because_of(check: &str) -> Self {
        Self::skipped(format!("skipped because of `{check}`"))
    }

    pub fn about(self, about: impl Into<String>) -> Self {
        Self { about: Some(about.into()), ..self }
    }
}

/// Everything that was found.
pub struct Report(pub Vec<Finding>);

impl Report {
    pub fn has_failed(&self) -> bool {
        self.count(Status::Fail) > 0
    }

    fn count(&self, status: Status) -> usize {
        self.0.iter().filter(|it| it.status == status).count()
    }

    /// One array, an object for each finding.
    pub fn json(&self) -> String {
        json(&serde_json::json!(self.0), true)
    }

    /// For people. The sign and its line say the same as the colour.
    pub fn table(&self, coloured: bool) -> String {
        let width = self.0.iter().map(|it| it.check.len()).max().unwrap_or(0);
        let indent = " ".repeat(width + 4);
        let mut text = String::new();
        for it in &self.0 {
            let (sign, colour) = match it.status {
                Status::Ok => ("✔", "32"),
                Status::Warn => ("!", "33"),
                Status::Fail => ("✘", "31"),
                Status::Skipped => ("-", "2"),
            };
            let sign = if coloured { format!("\u{1b}[{colour}m{sign}\u{1b}[0m") } else { sign.to_owned() };
            let about = it.about.as_ref().map(|it| format!("{it}: ")).unwrap_or_default();
            let _ = writeln!(text, "{sign} {:width$}  {}", it.check, clean(&format!("{about}{}", it.found)));
            for (word, line) in [("why", &it.why), ("fix", &it.remedy)] {
                if let Some(line) = line {
                    let _ = writeln!(text, "{indent}{word}: {}", clean(line));
                }
            }
        }
        let (failed, warned) = (self.count(Status::Fail), self.count(Status::Warn));
        let (good, skipped) = (self.count(Status::Ok), self.count(Status::Skipped));
        let _ = write!(text, "\n{failed} failed, {warned} to look at, {good} good, {skipped} skipped");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_shown_in_one_line_and_obeyed_by_nobody() {
        let report = Report(vec![
            Finding::ok("fine"),
            Finding { check: "quota", ..Finding::warn("a\u{1b}[2J\nb", "c\rd", "e\u{202e}f").about("ns\u{9b}1m") },
        ]);
        let table = report.table(false);
        assert!(!table.chars().any(|it| it.is_control() && it != '\n'), "{table:?}");
        assert!(table.contains("! quota  ns1m: a[2J b\n         why: c d\n         fix: ef\n"), "{table}");
        assert!(table.ends_with("0 failed, 1 to look at, 1 good, 0 skipped"), "{table}");
        assert!(report.table(true).contains("\u{1b}[33m!\u{1b}[0m quota"));
        let read: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!((&read[1]["status"], &read[1]["found"]), (&"warn".into(), &"a\u{1b}[2J\nb".into()));
        assert_eq!(read[0]["remedy"], serde_json::Value::Null);
    }
}
