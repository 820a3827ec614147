//! `list`: jobs page by page, so that a list of any length takes no more memory than a page.

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Exit, Failure, Format,
    filter::Filter,
    http::{Ask, Http},
    listed::PAGE,
    output::{self, Paged, cell, note, print},
    text::{self, Clock, Shown},
    view::Job,
};

/// All that hold a slot come at once; so many at most.
const RUNNING: u64 = 10_000;

/// The arguments of `list`.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    filter: Filter,
    /// Only jobs that ended, or are stopped, for this reason, such as job_failed
    #[arg(long)]
    reason: Option<String>,
    /// What waits for a slot, in the order in which it will start
    #[arg(long, conflicts_with_all = ["Filter", "reason"])]
    pending: bool,
    /// What holds a slot, longest first
    #[arg(long, conflicts_with_all = ["Filter", "reason", "pending"])]
    running: bool,
    /// Show at most so many jobs
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Show all jobs there are
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// How to print them; `json` is one array
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Value>,
    next: Option<String>,
}

/// Lists jobs.
pub async fn run(http: &Http, list: &List) -> Result<Exit, Failure> {
    let mut left = if list.all { u64::MAX } else { list.limit };
    let mut cursor = None;
    let mut sheet = Sheet::new(list);
    loop {
        let (page, jobs) = list.page(http, cursor.as_deref(), left).await?;
        left = left.saturating_sub(page.items.len() as u64);
        sheet.add(&page.items, &jobs)?;
        // A page may be empty and yet not the last: the server looks at no more than so many jobs for one. A cursor that stays
        // where it is would go on for ever.
        let has_more = page.next.is_some() && page.next != cursor;
        cursor = page.next;
        if left == 0 || !has_more {
            // What holds a slot comes without a cursor, so that only its number tells whether it was cut.
            sheet.end(has_more || list.running && (left == 0 || sheet.jobs == RUNNING))?;
            return Ok(Exit::Done);
        }
    }
}

impl List {
    async fn page(&self, http: &Http, cursor: Option<&str>, left: u64) -> Result<(Page, Vec<Job>), Failure> {
        let path: &[&str] = match (self.pending, self.running) {
            (true, _) => &["jobs", "pending"],
            (_, true) => &["jobs", "running"],
            _ => &["jobs"],
        };
        let ask = (self.filter.query(Ask::get(path)))
            .query("reason", self.reason.as_ref())
            .query("cursor", cursor)
            .query("limit", Some(left.min(if self.running { RUNNING } else { PAGE })));
        let answer = http.send(ask).await?;
        let page = match &answer.body {
            Value::Array(items) => {
                Page { items: items.clone(), next: answer.link.as_deref().and_then(next_cursor).map(str::to_owned) }
            }
            _ => answer.read()?,
        };
        let jobs = page.items.iter().map(|it| answer.read_part(it)).collect::<Result<_, _>>()?;
        Ok((page, jobs))
    }
}

/// The cursor of a header such as `</jobs/pending?limit=2&cursor=1_2>; rel="next"`.
fn next_cursor(link: &str) -> Option<&str> {
    let (target, relation) = link.trim().strip_prefix('<')?.split_once('>')?;
    let cursor = target.split_once('?')?.1.split('&').find_map(|it| it.strip_prefix("cursor="))?;
    relation.contains("rel=\"next\"").then_some(cursor)
}

/// What is printed, as it grows.
struct Sheet<'a> {
    list: &'a List,
    table: Paged,
    clock: Clock,
    jobs: u64,
}

impl<'a> Sheet<'a> {
    fn new(list: &'a List) -> Self {
        let header: &[&str] = match (list.pending, list.running) {
            (true, _) => &["ID", "NAME", "QUEUE", "PRIORITY", "SUBMITTED"],
            (_, true) => &["ID", "NAME", "QUEUE", "PRIORITY", "STATE", "HOLDS A SLOT SINCE"],
            _ if list.output == Format::Wide => &[
                "ID",
                "NAME",
                "QUEUE",
                "PRIORITY",
                "STATE",
                "SUBMITTED",
                "STARTED",
                "ENDED",
                "ATTEMPT",
                "NAMESPACE",
                "LABELS",
                "MESSAGE",
            ],
            _ => &["ID", "NAME", "QUEUE", "PRIORITY", "STATE", "SUBMITTED", "ENDED"],
        };
        Self { list, table: Paged::new(header), clock: output::clock(), jobs: 0 }
    }

    fn add(&mut self, items: &[Value], jobs: &[Job]) -> Result<(), Failure> {
        match self.list.output {
            Format::Json => {
                let mut text = String::new();
                for item in items {
                    text.push_str(if self.jobs == 0 { "[" } else { ",\n " });
                    text.push_str(&text::json(item, false));
                    self.jobs += 1;
                }
                return if text.is_empty() { Ok(()) } else { output::print_part(text.as_bytes()) };
            }
            Format::Jsonl => items.iter().try_for_each(|it| print(&text::json(it, false)))?,
            Format::Name if !jobs.is_empty() => {
                print(&jobs.iter().map(|it| format!("job/{}", it.job_id)).collect::<Vec<_>>().join("\n"))?;
            }
            Format::Table | Format::Wide if !jobs.is_empty() => {
                let rows = jobs.iter().map(|it| self.row(it)).collect();
                print(&self.table.page(rows))?;
            }
            Format::Name | Format::Table | Format::Wide => {}
        }
        self.jobs += jobs.len() as u64;
        Ok(())
    }

    fn end(&self, has_more: bool) -> Result<(), Failure> {
        match (self.list.output, self.jobs) {
            (Format::Json, 0) => print("[]")?,
            (Format::Json, _) => print("]")?,
            (Format::Table | Format::Wide | Format::Jsonl | Format::Name, _) => {}
        }
        if self.jobs == 0 {
            note("No jobs match.");
        } else if has_more && matches!(self.list.output, Format::Table | Format::Wide) {
            note(&format!("These are the first {}; --all shows all there are, --limit others.", self.jobs));
        }
        Ok(())
    }

    fn row(&self, job: &Job) -> Vec<String> {
        let mut row =
            vec![job.job_id.to_string(), cell(job.name.as_str()), job.queue.to_string(), job.priority.to_string()];
        match (self.list.pending, self.list.running) {
            (true, _) => row.push(self.clock.tell_maybe(job.created_at)),
            (_, true) => row.extend([job.state.to_string(), self.clock.tell_maybe(job.claimed_at)]),
            _ if self.list.output == Format::Wide => row.extend([
                job.state_text(),
                self.clock.tell_maybe(job.created_at),
                self.clock.tell_maybe(job.started_at),
                self.clock.tell_maybe(job.finished_at),
                job.attempt.map_or_else(|| "-".into(), |it| it.to_string()),
                job.namespace.to_string(),
                cell(&job.labels_text()),
                cell(job.message.as_ref().map(Shown::as_str).unwrap_or_default()),
            ]),
            _ => row.extend([
                job.state_text(),
                self.clock.tell_maybe(job.created_at),
                self.clock.tell_maybe(job.finished_at),
            ]),
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_in_its_header() {
        assert_eq!(next_cursor("</jobs/pending?limit=2&cursor=-1_42>; rel=\"next\""), Some("-1_42"));
        assert_eq!(next_cursor("</jobs/pending?cursor=1_2>; rel=\"prev\""), None);
        for nonsense in ["", "<", "<>", "</jobs>; rel=\"next\"", "cursor=1"] {
            assert_eq!(next_cursor(nonsense), None);
        }
    }
}
