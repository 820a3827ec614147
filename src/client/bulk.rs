//! What is done to all jobs that pass a filter: counted first, asked about where a person is there, then done in parts.

use std::io::{IsTerminal, Write};

use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Exit, Failure, Format,
    filter::Filter,
    http::{Ask, Http},
    output::{note, print},
};

/// The arguments of whatever can be done to many jobs.
#[derive(Debug, Args)]
pub struct Many {
    #[command(flatten)]
    pub filter: Filter,
    /// Say how many jobs it would be, and change nothing
    #[arg(long, conflicts_with = "ids")]
    dry_run: bool,
    /// Do not ask whether these are the jobs that are meant
    #[arg(short, long, conflicts_with = "ids")]
    yes: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub enum Action {
    Cancel,
    Reprioritize(i32),
}

/// What one request, or all of them together, came to.
#[derive(Debug, Default, Deserialize)]
struct Count {
    matched: u64,
    done: u64,
    skipped: u64,
    next: Option<String>,
}

impl Many {
    /// Does it, for all jobs that pass.
    pub async fn run(&self, http: &Http, action: Action, format: Format) -> Result<Exit, Failure> {
        if self.filter.is_empty() {
            let fix = "give IDs, or say which jobs with -l, --queue, --name, --state, --since or --until";
            return Err(Failure::usage("neither jobs nor a filter were given", fix));
        }
        let can_ask = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        if !self.dry_run && !self.yes && !can_ask {
            let fix = "give --yes to go on without being asked, or --dry-run to see how many jobs it would be";
            return Err(Failure::usage("this may change many jobs, and there is nobody to ask", fix));
        }
        if self.dry_run || !self.yes {
            let counted = self.ask(http, action, true).await?;
            if self.dry_run {
                match format {
                    Format::Json | Format::Jsonl => print(&format.json(&counted.document(true)))?,
                    _ => print(&jobs(counted.matched))?,
                }
                return Ok(Exit::Done);
            }
            if counted.matched == 0 {
                note("No jobs match.");
                return Ok(Exit::Done);
            }
            let question =
                format!("{} {} that match {}? [y/N] ", action.verb(), jobs(counted.matched), self.filter.words());
            if !confirmed(&question) {
                note("Nothing was changed.");
                return Ok(Exit::Done);
            }
        }
        let done = self.ask(http, action, false).await?;
        match format {
            Format::Json | Format::Jsonl => print(&format.json(&done.document(false)))?,
            Format::Table | Format::Wide | Format::Name => print(&action.line(&done))?,
        }
        Ok(Exit::Done)
    }

    /// Asks until all is done. What was done before a failure is told, as it stays done.
    async fn ask(&self, http: &Http, action: Action, dry_run: bool) -> Result<Count, Failure> {
        let mut body: Map<String, Value> = action.fields();
        body.insert("filter".into(), self.filter.document());
        body.insert("dry_run".into(), dry_run.into());
        let mut total = Count::default();
        loop {
            let asked = Value::Object(body.clone());
            let count: Count = match http.send(Ask::post(&["bulk"], &asked)).await.and_then(|it| it.read()) {
                Ok(count) => count,
                Err(failure) => {
                    if total.done > 0 {
                        note(&format!("note: it broke off, and so far: {}", action.line(&total)));
                    }
                    return Err(failure);
                }
            };
            total.add(&count);
            match count.next {
                Some(next) => body.insert("cursor".into(), next.into()),
                None => return Ok(total),
            };
        }
    }
}

impl Count {
    fn add(&mut self, other: &Self) {
        self.matched += other.matched;
        self.done += other.done;
        self.skipped += other.skipped;
    }

    fn document(&self, dry_run: bool) -> Value {
        json!({"matched": self.matched, "done": self.done, "skipped": self.skipped, "dry_run": dry_run})
    }
}

impl Action {
    fn fields(self) -> Map<String, Value> {
        let (action, priority) = match self {
            Self::Cancel => ("cancel", None),
            Self::Reprioritize(priority) => ("reprioritize", Some(("priority".to_owned(), priority.into()))),
        };
        [("action".to_owned(), action.into())].into_iter().chain(priority).collect()
    }

    fn verb(self) -> String {
        match self {
            Self::Cancel => "Cancel".into(),
            Self::Reprioritize(priority) => format!("Give priority {priority} to"),
        }
    }

    fn line(self, count: &Count) -> String {
        let done = match self {
            Self::Cancel => format!("{} cancelled or being stopped", jobs(count.done)),
            Self::Reprioritize(priority) => format!("{} now of priority {priority}", jobs(count.done)),
        };
        match count.skipped {
            0 => done,
            skipped => format!("{done}; {skipped} left as they were"),
        }
    }
}

fn jobs(count: u64) -> String {
    if count == 1 { "1 job".into() } else { format!("{count} jobs") }
}

/// Whether a person says yes. Whatever else is said, the end of the input as well, is no.
fn confirmed(question: &str) -> bool {
    let mut err = std::io::stderr().lock();
    let _ = err.write_all(question.as_bytes()).and_then(|()| err.flush());
    let mut answer = String::new();
    let _ = std::io::stdin().read_line(&mut answer);
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_told_with_what_was_not() {
        let count = |done, skipped| Count { matched: done + skipped, done, skipped, next: None };
        assert_eq!(Action::Cancel.line(&count(1, 0)), "1 job cancelled or being stopped");
        assert_eq!(Action::Reprioritize(-3).line(&count(12, 4)), "12 jobs now of priority -3; 4 left as they were");
        assert_eq!(Value::Object(Action::Reprioritize(5).fields()), json!({"action": "reprioritize", "priority": 5}));
        assert_eq!(Value::Object(Action::Cancel.fields()), json!({"action": "cancel"}));
    }
}
