//! `queue`: the caps, bounds and pauses of queues, and how full they are.

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Exit, Failure, Format,
    http::{Answer, Ask, Http},
    listed::{Listed, PAGE},
    output::{Paged, print},
    text::Shown,
};

/// The arguments of `queue`.
#[derive(Debug, Args)]
pub struct Queue {
    #[command(subcommand)]
    verb: Verb,
    /// How to print them; `json` of a list is one array
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub output: Format,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List queues by name
    List,
    /// Show a queue
    Get { name: String },
    /// Set some of cap, max-pending, paused and defaults, and leave the others as they are; makes the queue where there is none
    Set {
        name: String,
        /// cap=N (jobs that hold a slot at once), max-pending=N (jobs that wait), paused=true or false, defaults=JSON (what
        /// submissions to it may leave out, such as {"timeout":"1h"}); `none` takes a bound, or the defaults, away
        #[arg(required = true, value_name = "KEY=VALUE", value_parser = setting)]
        settings: Vec<Setting>,
    },
    /// Start none of its jobs until it is resumed; what holds a slot goes on
    Pause { name: String },
    /// Let its jobs start again
    Resume { name: String },
}

/// What of a queue is to be different.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    field: &'static str,
    value: Value,
}

fn setting(text: &str) -> Result<Setting, String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    let field = match key {
        "cap" => "cap",
        "max-pending" | "max_pending" => "max_pending",
        "paused" => "paused",
        "defaults" => "defaults",
        _ => return Err("must be one of cap, max-pending, paused and defaults".into()),
    };
    let value = match (field, value) {
        ("paused", _) => value.parse::<bool>().map(Value::from).map_err(|_| "must be true or false".to_owned()),
        ("defaults", "none") => Ok(json!({})),
        ("defaults", _) => match serde_json::from_str(value) {
            Ok(fields @ Value::Object(_)) => Ok(fields),
            Ok(_) | Err(_) => Err(r#"must be a JSON object such as {"timeout":"1h"}, or none"#.to_owned()),
        },
        (_, "none") => Ok(Value::Null),
        (_, _) => value.parse::<u32>().map(Value::from).map_err(|_| "must be a whole number, or none".to_owned()),
    };
    Ok(Setting { field, value: value? })
}

#[derive(Deserialize)]
struct View {
    name: Shown,
    cap: Option<i64>,
    max_pending: Option<i64>,
    #[serde(default)]
    paused: bool,
    #[serde(default)]
    held: i64,
    #[serde(default)]
    pending: Shown,
    #[serde(default)]
    waiting: Shown,
}

/// Shows or sets queues.
pub async fn run(http: &Http, queue: &Queue) -> Result<Exit, Failure> {
    let answer = match &queue.verb {
        Verb::List => return list(http, queue.output).await,
        Verb::Get { name } => http.send(Ask::get(&["queues", name])).await?,
        Verb::Set { name, settings } => {
            let fields = settings.iter().map(|it| (it.field.to_owned(), it.value.clone()));
            set(http, name, fields.collect()).await?
        }
        Verb::Pause { name } => {
            set(http, name, [("paused".to_owned(), Value::from(true))].into_iter().collect()).await?
        }
        Verb::Resume { name } => http.send(Ask::patch(&["queues", name], &json!({"paused": false}))).await?,
    };
    let view: View = answer.read()?;
    print(&match queue.output {
        Format::Table | Format::Wide => table().page(vec![row(&view)]),
        Format::Json | Format::Jsonl => queue.output.json(&answer.body),
        Format::Name => view.name.to_string(),
    })?;
    Ok(Exit::Done)
}

/// A queue that there is not yet is made: its first job may come later.
async fn set(http: &Http, name: &str, fields: Map<String, Value>) -> Result<Answer, Failure> {
    let (path, body) = (["queues", name], Value::Object(fields));
    match http.send(Ask::patch(&path, &body)).await {
        Err(Failure::Refused(it)) if it.problem.code.as_str() == "no_such_queue" => {
            http.send(Ask::put(&path, &body)).await
        }
        answered => answered,
    }
}

async fn list(http: &Http, format: Format) -> Result<Exit, Failure> {
    let queues: Listed<View> = Listed::whole(http, &["queues"], Some(PAGE)).await?;
    let none = "There are no queues yet; a queue comes into being with its first job.";
    queues.print(format, none, |it| &it.name, |them| table().page(them.iter().map(row).collect()))?;
    Ok(Exit::Done)
}

fn table() -> Paged {
    Paged::new(&["NAME", "CAP", "HELD", "PENDING", "WAITING", "MAX PENDING", "PAUSED"])
}

fn row(it: &View) -> Vec<String> {
    let bound = |it: Option<i64>| it.map_or_else(|| "-".into(), |it| it.to_string());
    vec![
        it.name.to_string(),
        bound(it.cap),
        it.held.to_string(),
        it.pending.to_string(),
        it.waiting.to_string(),
        bound(it.max_pending),
        if it.paused { "yes".into() } else { "no".into() },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_what_the_api_takes() {
        let read = |text| setting(text).map(|it| (it.field, it.value)).ok();
        assert_eq!(read("cap=8"), Some(("cap", json!(8))));
        assert_eq!(read("max-pending=none"), Some(("max_pending", Value::Null)));
        assert_eq!(read("paused=true"), Some(("paused", json!(true))));
        for wrong in ["cap", "cap=", "cap=-1", "cap=many", "paused=yes", "paused=none", "colour=red", "=1"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
