//! `top`: who holds a slot and what comes next, on one screen.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::{
    Exit, Failure, Format,
    http::{Ask, Http},
    limit::Limits,
    output::{self, Paged, cell, print, print_part},
    slots::{self, Slots},
    text::{self, Clock},
    view::Job,
};

/// How long a screen stays before it is drawn again.
const REDRAW: Duration = Duration::from_secs(2);
/// How many of those that wait are shown.
const PENDING: usize = 10;
/// The lines of a screen that are neither of those: headings, what is left out, and the cursor's.
const OTHERS: usize = 7;
/// The lines of a screen whose size is not known.
const LINES: u16 = 24;

/// The arguments of `top`.
#[derive(Debug, Args)]
pub struct Top {
    /// Draw it again every two seconds, until Ctrl-C
    #[arg(short, long)]
    watch: bool,
    /// How to print it; `json` is one object, with --watch one in a line
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// What is on the screen.
struct Screen {
    slots: Slots,
    pending: Value,
    waiting: Vec<Job>,
    /// How many slots there are.
    cap: i64,
}

/// Shows the slots and what waits for them.
pub async fn run(http: &Http, top: &Top) -> Result<Exit, Failure> {
    let is_drawn = top.watch && output::is_watched() && matches!(top.output, Format::Table | Format::Wide);
    if is_drawn {
        print_part(CLEAR)?;
    }
    loop {
        let screen = Screen::ask(http).await?;
        match top.output {
            Format::Table | Format::Wide if is_drawn => {
                let lines = terminal_size::terminal_size().map_or(LINES, |(_, height)| height.0);
                let holders = usize::from(lines).saturating_sub(PENDING + OTHERS).max(1);
                print_part(redrawn(&screen.text(holders, output::clock())).as_bytes())?;
            }
            Format::Table | Format::Wide => print(&screen.text(usize::MAX, output::clock()))?,
            Format::Json if !top.watch => print(&text::json(&screen.document(), true))?,
            Format::Json | Format::Jsonl => print(&text::json(&screen.document(), false))?,
            Format::Name => screen.names()?,
        }
        if !top.watch {
            return Ok(Exit::Done);
        }
        if !is_drawn && matches!(top.output, Format::Table | Format::Wide) {
            print("")?;
        }
        tokio::time::sleep(REDRAW).await;
    }
}

/// Empties the screen.
const CLEAR: &[u8] = b"\x1b[2J";

/// Over what is there, line by line, so that nothing flickers; and each line cut where the screen ends, not wrapped.
fn redrawn(text: &str) -> String {
    let mut drawn = "\u{1b}[?7l\u{1b}[H".to_owned();
    for line in text.lines() {
        drawn.push_str(line);
        drawn.push_str("\u{1b}[K\n");
    }
    drawn.push_str("\u{1b}[J\u{1b}[?7h");
    drawn
}

impl Screen {
    async fn ask(http: &Http) -> Result<Self, Failure> {
        let slots = Slots::ask(http).await?;
        // One more than is shown, to know whether there are more.
        let answer = http.send(Ask::get(&["jobs", "pending"]).query("limit", Some(PENDING + 1))).await?;
        let mut waiting: Vec<Job> = answer.read()?;
        if let Some(first) = waiting.first_mut()
            && first.why.is_none()
        {
            // The list may not say why each waits; of the next to start it matters.
            let id = first.job_id.to_string();
            let job: Job = http.send(Ask::get(&["jobs", &id])).await?.read()?;
            first.why = job.why;
        }
        let cap = http.send(Ask::get(&["limits"])).await?.read::<Limits>()?.cap;
        Ok(Self { slots, pending: answer.body, waiting, cap })
    }

    /// With so many of those that hold a slot at most.
    fn text(&self, most: usize, clock: Clock) -> String {
        let held = self.slots.holders.len();
        let mut parts = vec![format!("Slots: {held} of {} held", self.cap)];
        if held > 0 {
            parts.push(slots::rows(self.slots.holders.get(..most).unwrap_or(&self.slots.holders), clock));
            if held > most {
                parts.push(format!("… and {} more, which `longshore list --running` shows", held - most));
            }
        }
        parts.push(String::new());
        match self.waiting.len() {
            0 => parts.push("Pending: none".into()),
            1..=PENDING => parts.push(format!("Pending: {}, in this order", self.waiting.len())),
            _ => parts.push(format!("Pending: more than {PENDING}, these first; `longshore list --pending` shows all")),
        }
        if !self.waiting.is_empty() {
            parts.push(self.waiting_rows(clock));
        }
        parts.join("\n")
    }

    fn waiting_rows(&self, clock: Clock) -> String {
        let rows = self.waiting.iter().take(PENDING).enumerate().map(|(index, it)| {
            vec![
                (index + 1).to_string(),
                cell(it.name.as_str()),
                it.job_id.to_string(),
                it.queue.to_string(),
                it.priority.to_string(),
                clock.tell_maybe(it.created_at),
                it.why.as_ref().map(|it| cell(it.message.as_str())).unwrap_or_default(),
            ]
        });
        Paged::new(&["#", "NAME", "ID", "QUEUE", "PRIORITY", "SUBMITTED", "WHY"]).page(rows.collect())
    }

    fn document(&self) -> Value {
        let pending: Vec<_> = self.pending.as_array().into_iter().flatten().take(PENDING).collect();
        json!({
            "held": self.slots.holders.len(),
            "cap": self.cap,
            "slots": self.slots.value,
            "pending": pending,
        })
    }

    fn names(&self) -> Result<(), Failure> {
        self.slots.holders.iter().try_for_each(|it| print(&format!("job/{}", it.job_id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs(count: usize) -> (Value, Vec<Job>) {
        let one = |index| json!({"job_id": format!("id{index}"), "name": "n", "state": "pending", "queue": "q"});
        let all = Value::Array((0..count).map(one).collect());
        (all.clone(), serde_json::from_value(all).unwrap())
    }

    fn screen(held: usize, waiting: usize) -> Screen {
        let ((value, holders), (pending, waiting)) = (jobs(held), jobs(waiting));
        Screen { slots: Slots { value, holders }, pending, waiting, cap: 2 }
    }

    #[test]
    fn an_idle_longshore_fits_in_two_lines() {
        assert_eq!(screen(0, 0).text(9, Clock::Utc), "Slots: 0 of 2 held\n\nPending: none");
    }

    #[test]
    fn the_cap_is_told_and_what_waits_is_cut() {
        let screen = screen(2, 11);
        let text = screen.text(1, Clock::Utc);
        assert!(text.starts_with("Slots: 2 of 2 held\nSTATE "), "{text}");
        assert!(text.contains("\n… and 1 more,"), "{text}");
        assert!(text.contains("\nPending: more than 10") && text.contains("\n10  n "), "{text}");
        assert!(!text.contains("\n11"), "{text}");
        let document = screen.document();
        assert_eq!((&document["held"], &document["cap"]), (&json!(2), &json!(2)));
        assert_eq!(document["pending"].as_array().map(Vec::len), Some(10));
    }

    #[test]
    fn a_redrawn_line_leaves_nothing_of_the_one_before() {
        assert_eq!(redrawn("a\nb"), "\u{1b}[?7l\u{1b}[Ha\u{1b}[K\nb\u{1b}[K\n\u{1b}[J\u{1b}[?7h");
    }
}
