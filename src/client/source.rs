//! `source`: the queues elsewhere that feed this one, how they do, and pausing them.

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;

use super::{
    Exit, Failure, Format,
    http::{Answer, Ask, Http},
    listed::Listed,
    output::{Paged, note, print},
    text::Shown,
};

/// The arguments of `source`.
#[derive(Debug, Args)]
pub struct Source {
    #[command(subcommand)]
    verb: Verb,
    /// How to print them; `json` of a list is one array
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub output: Format,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List sources by name
    List,
    /// Show a source
    Get { name: String },
    /// Take nothing more from it until it is resumed; what was taken goes on
    Pause { name: String },
    /// Take from it again
    Resume { name: String },
}

#[derive(Deserialize)]
struct View {
    name: Shown,
    r#type: Shown,
    #[serde(default)]
    reads: Shown,
    #[serde(default)]
    paused: bool,
    #[serde(default)]
    running: bool,
    #[serde(default)]
    failing: bool,
    #[serde(default)]
    received: i64,
    #[serde(default)]
    submitted: i64,
    #[serde(default)]
    duplicates: i64,
    #[serde(default)]
    refused: i64,
    waiting: Option<i64>,
    last_error: Option<Trouble>,
}

#[derive(Deserialize)]
struct Trouble {
    message: Shown,
}

/// Shows or sets sources.
pub async fn run(http: &Http, source: &Source) -> Result<Exit, Failure> {
    let answer = match &source.verb {
        Verb::List => return list(http, source.output).await,
        Verb::Get { name } => http.send(Ask::get(&["sources", name])).await?,
        Verb::Pause { name } => set_paused(http, name, true).await?,
        Verb::Resume { name } => set_paused(http, name, false).await?,
    };
    let view: View = answer.read()?;
    print(&match source.output {
        Format::Table | Format::Wide => table(source.output).page(vec![row(&view, source.output)]),
        Format::Json | Format::Jsonl => source.output.json(&answer.body),
        Format::Name => view.name.to_string(),
    })?;
    if let (Format::Table, true, Some(error)) = (source.output, view.failing, &view.last_error) {
        note(&format!("It fails: {}", error.message));
    }
    Ok(Exit::Done)
}

async fn set_paused(http: &Http, name: &str, paused: bool) -> Result<Answer, Failure> {
    http.send(Ask::patch(&["sources", name], &json!({"paused": paused}))).await
}

async fn list(http: &Http, format: Format) -> Result<Exit, Failure> {
    let sources: Listed<View> = Listed::whole(http, &["sources"], None).await?;
    let none = "There are no sources; `serve --sources FILE` runs them.";
    let rows = |them: &[View]| them.iter().map(|it| row(it, format)).collect();
    sources.print(format, none, |it| &it.name, |them| table(format).page(rows(them)))?;
    Ok(Exit::Done)
}

const COLUMNS: &[&str] = &["NAME", "TYPE", "STATE", "WAITING", "RECEIVED", "SUBMITTED", "DUPLICATES", "REFUSED"];
const WIDE: &[&str] =
    &["NAME", "TYPE", "STATE", "WAITING", "RECEIVED", "SUBMITTED", "DUPLICATES", "REFUSED", "READS", "LAST ERROR"];

fn table(format: Format) -> Paged {
    Paged::new(if format == Format::Wide { WIDE } else { COLUMNS })
}

fn row(it: &View, format: Format) -> Vec<String> {
    let state = match (it.running, it.paused, it.failing) {
        (false, _, _) => "not running",
        (_, true, _) => "paused",
        (_, _, true) => "failing",
        _ => "running",
    };
    let mut cells = vec![
        it.name.to_string(),
        it.r#type.to_string(),
        state.to_owned(),
        it.waiting.map_or_else(|| "-".into(), |it| it.to_string()),
        it.received.to_string(),
        it.submitted.to_string(),
        it.duplicates.to_string(),
        it.refused.to_string(),
    ];
    if format == Format::Wide {
        cells.push(it.reads.to_string());
        cells.push(it.last_error.as_ref().map_or_else(|| "-".into(), |it| it.message.to_string()));
    }
    cells
}
