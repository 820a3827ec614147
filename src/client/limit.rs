//! `limit`: how many jobs may hold a slot at once, of all queues together.

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;

use super::{
    Exit, Failure, Format,
    http::{Ask, Http},
    output::print,
};

/// The arguments of `limit`.
#[derive(Debug, Args)]
pub struct Limit {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// How to print it; `json` is one object
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub output: Format,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the cap and how many slots are held
    Get,
    /// Set the cap for all replicas; what runs goes on, and nothing starts until enough has ended
    Set {
        /// How many jobs may hold a slot at once; 0 starts none
        #[arg(value_name = "N")]
        cap: i32,
    },
}

/// The cap, and how much of it is held.
#[derive(Deserialize)]
pub struct Limits {
    pub cap: i64,
    held: i64,
}

/// Shows or sets the cap.
pub async fn run(http: &Http, limit: &Limit) -> Result<Exit, Failure> {
    let answer = match limit.verb {
        None | Some(Verb::Get) => http.send(Ask::get(&["limits"])).await?,
        Some(Verb::Set { cap }) => http.send(Ask::put(&["limits"], &json!({"cap": cap}))).await?,
    };
    let limits: Limits = answer.read()?;
    print(&match limit.output {
        Format::Table | Format::Wide => format!("{} of {} slots held", limits.held, limits.cap),
        Format::Json | Format::Jsonl => limit.output.json(&answer.body),
        Format::Name => limits.cap.to_string(),
    })?;
    Ok(Exit::Done)
}
