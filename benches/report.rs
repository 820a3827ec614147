//! What was measured: each line a figure of ours, what it stands beside, and the goal.

use std::{fmt::Write as _, fs, path::Path, process::Command, time::Instant};

use serde::Serialize;

/// One line of the report.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    pub row: String,
    /// What was measured of ours.
    pub what: String,
    pub ours: f64,
    pub unit: &'static str,
    /// What it stands beside, and its figure in the same unit.
    pub beside: Option<(String, f64)>,
    /// What was to be reached, of the ratio where there is one.
    pub goal: Option<Goal>,
    /// More to say about it.
    pub note: String,
}

/// A bound, of ours divided by what it stands beside, or of ours alone.
#[derive(Debug, Clone, Copy, Serialize)]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Line {
    /// What the goal is about.
    fn measure(&self) -> f64 {
        self.beside.as_ref().map_or(self.ours, |(_, limit)| self.ours / limit)
    }

    fn verdict(&self) -> String {
        match self.goal {
            None => String::new(),
            Some(Goal::AtLeast(goal)) if self.measure() >= goal => format!("≥ {goal}: met"),
            Some(Goal::AtLeast(goal)) => format!("≥ {goal}: **missed**"),
            Some(Goal::AtMost(goal)) if self.measure() <= goal => format!("≤ {goal}: met"),
            Some(Goal::AtMost(goal)) => format!("≤ {goal}: **missed**"),
        }
    }
}

/// Everything that was measured in one run.
pub struct Report {
    full: bool,
    started: Instant,
    row: String,
    lines: Vec<Line>,
    missing: Vec<(String, String)>,
}

impl Report {
    pub fn new(full: bool) -> Self {
        Self { full, started: Instant::now(), row: String::new(), lines: Vec::new(), missing: Vec::new() }
    }

    pub fn begin(&mut self, row: String) {
        println!("\n== {row}");
        self.row = row;
    }

    /// Adds a line that stands beside another figure.
    pub fn beside(&mut self, what: impl Into<String>, ours: f64, unit: &'static str, limit: (&str, f64), goal: Goal) {
        self.add(what.into(), ours, unit, Some((limit.0.to_owned(), limit.1)), Some(goal), String::new());
    }

    /// Adds a figure that stands for itself.
    pub fn alone(&mut self, what: impl Into<String>, ours: f64, unit: &'static str, goal: Option<Goal>) {
        self.add(what.into(), ours, unit, None, goal, String::new());
    }

    /// Says more about the last line.
    pub fn note(&mut self, note: impl Into<String>) {
        if let Some(line) = self.lines.last_mut() {
            line.note = note.into();
            println!("    {}", line.note);
        }
    }

    fn add(
        &mut self,
        what: String,
        ours: f64,
        unit: &'static str,
        beside: Option<(String, f64)>,
        goal: Option<Goal>,
        note: String,
    ) {
        let line = Line { row: self.row.clone(), what, ours, unit, beside, goal, note };
        println!("{}", plain(&line));
        self.lines.push(line);
    }

    /// This row could not be measured here.
    pub fn could_not(&mut self, why: &str) {
        println!("could not be measured: {why}");
        self.missing.push((self.row.clone(), why.to_owned()));
    }

    /// Writes the raw figures and the table of docs/benchmarks.md.
    pub fn write(self, dir: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(dir)?;
        let machine = machine();
        let secs = self.started.elapsed().as_secs();
        let raw = serde_json::json!({
            "machine": machine, "full": self.full, "secs": secs, "lines": self.lines, "not_measured": self.missing,
        });
        fs::write(dir.join("latest.json"), serde_json::to_string_pretty(&raw)?)?;
        let mut text = format!("{machine}. {} set, {secs} s.\n\n", if self.full { "Full" } else { "Short" });
        text +=
            "| row | what | Longshore | beside | ratio | goal | |\n| --- | --- | ---: | ---: | ---: | --- | --- |\n";
        for line in &self.lines {
            let beside = line.beside.as_ref().map_or_else(String::new, |(name, it)| format!("{name}: {}", short(*it)));
            let ratio = line.beside.as_ref().map_or_else(String::new, |_| format!("{:.2}", line.measure()));
            let (row, what, ours, unit) = (&line.row, &line.what, short(line.ours), line.unit);
            let _ = writeln!(
                text,
                "| {row} | {what} | {ours} {unit} | {beside} | {ratio} | {} | {} |",
                line.verdict(),
                line.note
            );
        }
        for (row, why) in &self.missing {
            let _ = writeln!(text, "| {row} | could not be measured: {why} | | | | | |");
        }
        fs::write(dir.join("latest.md"), &text)?;
        println!("\n{text}");
        anyhow::ensure!(self.missing.is_empty(), "not everything could be measured");
        Ok(())
    }
}

fn plain(line: &Line) -> String {
    let beside = line.beside.as_ref().map_or_else(String::new, |(name, it)| {
        format!(" | {name} {} {}| ratio {:.3}", short(*it), line.unit, line.measure())
    });
    format!("{}: {} {}{beside} | {}", line.what, short(line.ours), line.unit, line.verdict())
}

/// A figure with three digits that mean something.
fn short(figure: f64) -> String {
    match figure.abs() {
        it if it >= 1000.0 => format!("{figure:.0}"),
        it if it >= 10.0 => format!("{figure:.1}"),
        it if it >= 0.1 => format!("{figure:.2}"),
        _ => format!("{figure:.4}"),
    }
}

/// The machine and the versions of what was measured.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, |it| it.get());
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib: u64 = memory.split_whitespace().nth(1).and_then(|it| it.parse().ok()).unwrap_or(0);
    let said = |program: &str, flag: &str| {
        let output = Command::new(program).arg(flag).output().ok();
        output.map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned()).unwrap_or_default()
    };
    let kernel = said("uname", "-r");
    let pgbench = said(&crate::world::pg_program("pgbench"), "--version");
    format!("{cores} cores, {} GiB, Linux {kernel}, {pgbench}, Longshore {}", kib >> 20, env!("CARGO_PKG_VERSION"))
}

/// The middle of several.
pub fn median(mut figures: Vec<f64>) -> f64 {
    quantile(&mut figures, 0.5)
}

/// The smallest figure that so large a part of all does not exceed; 0 of none.
pub fn quantile(figures: &mut [f64], part: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    let last = figures.len().saturating_sub(1);
    figures.get((last as f64 * part).round() as usize).copied().unwrap_or(0.0)
}
