//! `template`: the Jobs that requests fill, wherever they are kept; putting and deleting those that are stored.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Exit, Failure, Format, file,
    http::{Ask, Http},
    listed::{Listed, PAGE},
    output::{Paged, cell, note, print, print_part},
    scrub::Scrub,
    text::{Shown, json},
};

/// The arguments of `template`.
#[derive(Debug, Args)]
pub struct Template {
    #[command(subcommand)]
    verb: Verb,
    /// How to print them; `json` of a list is one array
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub output: Format,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List templates by name
    List,
    /// Describe a template and its parameters
    Get {
        name: String,
        /// Print its text and nothing else, as it was put
        #[arg(long)]
        source: bool,
    },
    /// Store a template, or put another in its place
    Put {
        name: String,
        /// Its text, YAML or JSON; `-` is stdin
        #[arg(short, long, value_name = "FILE")]
        file: PathBuf,
    },
    /// Delete a stored template; jobs that were made from it stay
    Delete { name: String },
}

#[derive(Deserialize)]
struct View {
    name: Shown,
    #[serde(default)]
    home: Shown,
    at: Option<Shown>,
    hidden_by: Option<Shown>,
    #[serde(default)]
    usable: bool,
    #[serde(default)]
    errors: Vec<Fault>,
    description: Option<Shown>,
    #[serde(default)]
    parameters: Vec<Parameter>,
    #[serde(default)]
    additions: Vec<Shown>,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Fault {
    #[serde(default)]
    pointer: Shown,
    #[serde(default)]
    detail: Shown,
}

#[derive(Deserialize)]
struct Parameter {
    name: Shown,
    #[serde(rename = "type")]
    kind: Shown,
    default: Option<Value>,
    required: Option<bool>,
    description: Option<Shown>,
}

/// Shows or keeps templates.
pub async fn run(http: &Http, template: &Template) -> Result<Exit, Failure> {
    let answer = match &template.verb {
        Verb::List => return list(http, template.output).await,
        Verb::Get { name, .. } => http.send(Ask::get(&["templates", name])).await?,
        Verb::Put { name, file } => {
            let source = file::text(file)?;
            let kind = if file::is_json(&source) { "application/json" } else { "application/yaml" };
            http.send(Ask::put_text(&["templates", name], &source, kind)).await?
        }
        Verb::Delete { name } => {
            http.send(Ask::delete(&["templates", name])).await?;
            note(&format!("The template {} is deleted.", Shown::from(name.as_str())));
            return Ok(Exit::Done);
        }
    };
    let view: View = answer.read()?;
    match (&template.verb, template.output) {
        (Verb::Get { source: true, .. }, _) => {
            let source = view.source.unwrap_or_default();
            print_part(Scrub::default().feed(source.as_bytes()).as_bytes())?;
        }
        (_, Format::Json | Format::Jsonl) => print(&template.output.json(&answer.body))?,
        (_, Format::Name) => print(view.name.as_str())?,
        (Verb::Put { .. }, Format::Table | Format::Wide) => print(&view.kept(answer.status.as_u16() == 201))?,
        (_, Format::Table | Format::Wide) => print(&view.describe())?,
    }
    Ok(Exit::Done)
}

async fn list(http: &Http, format: Format) -> Result<Exit, Failure> {
    let templates: Listed<View> = Listed::whole(http, &["templates"], Some(PAGE)).await?;
    let none = "There are no templates; `longshore template put NAME -f FILE` stores one.";
    let mut table = Paged::new(&["NAME", "HOME", "STATE", "PARAMETERS", "DESCRIPTION"]);
    templates.print(format, none, |it| &it.name, |them| table.page(them.iter().map(View::row).collect()))?;
    Ok(Exit::Done)
}

impl View {
    fn state(&self) -> String {
        match (&self.hidden_by, self.usable, self.errors.is_empty()) {
            (Some(home), _, _) => format!("hidden by {home}"),
            (None, true, true) => "good".into(),
            (None, true, false) => "broken; the last good one is used".into(),
            (None, false, _) => "broken".into(),
        }
    }

    fn row(&self) -> Vec<String> {
        let names: Vec<_> = self.parameters.iter().map(|it| it.name.as_str()).collect();
        let description = self.description.as_ref().map(|it| cell(it.as_str())).unwrap_or_default();
        vec![self.name.to_string(), self.home.to_string(), self.state(), cell(&names.join(", ")), description]
    }

    fn kept(&self, is_new: bool) -> String {
        let done = if is_new { "stored" } else { "stored in the place of what was there" };
        format!("{} {done}", self.name)
    }

    fn describe(&self) -> String {
        let mut lines = Vec::new();
        let mut say = |what: &str, text: String| {
            if !text.is_empty() {
                lines.push(format!("{:<13}{text}", format!("{what}:")));
            }
        };
        say("Name", self.name.to_string());
        say("Home", self.at.as_ref().map_or_else(|| self.home.to_string(), |at| format!("{} ({at})", self.home)));
        say("State", self.state());
        for Fault { pointer, detail } in &self.errors {
            say("Error", format!("{pointer} {detail}"));
        }
        say("Description", self.description.as_ref().map(Shown::to_string).unwrap_or_default());
        say("Takes", self.additions.iter().map(Shown::as_str).collect::<Vec<_>>().join(", "));
        if !self.parameters.is_empty() {
            let rows = self.parameters.iter().map(Parameter::row).collect();
            lines.push(String::new());
            lines.push(Paged::new(&["PARAMETER", "TYPE", "DEFAULT", "DESCRIPTION"]).page(rows));
        }
        lines.join("\n")
    }
}

impl Parameter {
    fn row(&self) -> Vec<String> {
        let default = match (&self.default, self.required.unwrap_or(true)) {
            (Some(value), _) => json(value, false),
            (None, true) => "(required)".into(),
            (None, false) => "-".into(),
        };
        let description = self.description.as_ref().map(|it| cell(it.as_str())).unwrap_or_default();
        vec![self.name.to_string(), self.kind.to_string(), default, description]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_described_with_what_it_takes_and_what_is_wrong_with_it() {
        let view: View = serde_json::from_value(serde_json::json!({
            "name": "import", "home": "file", "at": "import.yaml", "usable": true, "additions": ["env", "labels"],
            "errors": [{"pointer": "/manifest/spec/x", "detail": "unknown\u{1b} field"}], "parameters": [
                {"name": "file", "type": "string", "description": "where it is"},
                {"name": "lines", "type": "integer", "default": 1000}, {"name": "node", "type": "string", "required": false}
            ]
        }))
        .unwrap();
        assert_eq!(
            view.describe(),
            "Name:        import\n\
             Home:        file (import.yaml)\n\
             State:       broken; the last good one is used\n\
             Error:       /manifest/spec/x unknown field\n\
             Takes:       env, labels\n\
             \n\
             PARAMETER  TYPE     DEFAULT     DESCRIPTION\n\
             file       string   (required)  where it is\n\
             lines      integer  1000\n\
             node       string   -"
        );
    }
}
