//! Which jobs are meant, by what they have in common: for lists, and for what is done to many at once.

use clap::{Args, builder::PossibleValuesParser};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::lifecycle::StateName;

use super::{http::Ask, text::Span};

/// A job has to pass all that are given.
#[derive(Debug, Default, Args)]
pub struct Filter {
    /// Only jobs in this state, or in one of these
    #[arg(long, value_name = "STATE,…", value_delimiter = ',')]
    #[arg(value_parser = PossibleValuesParser::new(StateName::ALL.map(StateName::name)))]
    state: Vec<String>,
    /// Only jobs of this queue
    #[arg(long)]
    queue: Option<String>,
    /// Only jobs with this name; `*` stands for any characters, as in 'etl*'
    #[arg(long)]
    name: Option<String>,
    /// Only jobs with this label, as often as needed
    #[arg(short, long, value_name = "KEY[=VALUE]", value_parser = label)]
    label: Vec<String>,
    /// Only jobs submitted since then: a time, or how long ago, such as 2h
    #[arg(long, value_name = "WHEN", value_parser = when)]
    since: Option<String>,
    /// Only jobs submitted before then: a time, or how long ago
    #[arg(long, value_name = "WHEN", value_parser = when)]
    until: Option<String>,
}

fn label(text: &str) -> Result<String, String> {
    match text.split('=').next() {
        Some(key) if !key.is_empty() => Ok(text.into()),
        _ => Err("must be KEY=VALUE, or KEY alone for any value".into()),
    }
}

/// As the API takes it, which reads both spellings.
fn when(text: &str) -> Result<String, String> {
    match text.parse::<Timestamp>().is_ok() || text.parse::<Span>().is_ok() {
        true => Ok(text.into()),
        false => {
            Err("must be a time with its offset, such as 2030-01-31T08:00:00Z, or how long ago, such as 2h".into())
        }
    }
}

impl Filter {
    pub fn is_empty(&self) -> bool {
        let Self { state, queue, name, label, since, until } = self;
        let some = [queue, name, since, until].iter().any(|it| it.is_some());
        !some && state.is_empty() && label.is_empty()
    }

    /// As the parameters of a list.
    pub fn query<'a>(&self, ask: Ask<'a>) -> Ask<'a> {
        let states = Some(self.state.join(",")).filter(|it| !it.is_empty());
        let ask = ask
            .query("state", states)
            .query("queue", self.queue.as_ref())
            .query("name", self.name.as_ref())
            .query("created_after", self.since.as_ref())
            .query("created_before", self.until.as_ref());
        self.label.iter().fold(ask, |ask, it| ask.query("label", Some(it)))
    }

    /// As the filter of a bulk request.
    pub fn document(&self) -> Value {
        let label = |it: &String| match it.split_once('=') {
            Some((key, value)) => (key.to_owned(), Value::from(value)),
            None => (it.clone(), Value::Null),
        };
        let labels: Map<_, _> = self.label.iter().map(label).collect();
        let fields = [
            ("state", Some(json!(self.state)).filter(|_| !self.state.is_empty())),
            ("queue", self.queue.clone().map(Value::from)),
            ("name", self.name.clone().map(Value::from)),
            ("labels", Some(Value::Object(labels)).filter(|_| !self.label.is_empty())),
            ("created_after", self.since.clone().map(Value::from)),
            ("created_before", self.until.clone().map(Value::from)),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    /// For people, in the words in which it was given.
    pub fn words(&self) -> String {
        let flag = |name: &str, value: &Option<String>| value.as_ref().map(|it| format!("--{name} {it}"));
        let states = Some(self.state.join(",")).filter(|it| !it.is_empty());
        let mut words: Vec<String> = self.label.iter().map(|it| format!("-l {it}")).collect();
        words.extend(flag("queue", &self.queue));
        words.extend(flag("name", &self.name));
        words.extend(flag("state", &states));
        words.extend(flag("since", &self.since));
        words.extend(flag("until", &self.until));
        super::text::clean(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        filter: Filter,
    }

    fn parse(line: &str) -> Option<Filter> {
        let words = shlex::split(line).unwrap_or_default();
        Cli::try_parse_from(["list".to_owned()].into_iter().chain(words)).ok().map(|it| it.filter)
    }

    #[test]
    fn a_filter_is_what_the_api_takes() {
        let line = "-l team=a --label urgent -l empty= --queue q --name 'etl*' --state pending,running --since 2h \
                    --until 2030-01-31T08:00:00Z";
        let filter = parse(line).unwrap();
        assert_eq!(
            filter.document(),
            json!({
                "labels": {"team": "a", "urgent": null, "empty": ""}, "queue": "q", "name": "etl*",
                "state": ["pending", "running"], "created_after": "2h", "created_before": "2030-01-31T08:00:00Z"
            })
        );
        assert!(!filter.is_empty() && filter.words().starts_with("-l team=a -l urgent -l empty= --queue q"));
        assert!(parse("").is_some_and(|it| it.is_empty() && it.document() == json!({})));
    }

    #[test]
    fn what_is_no_filter_is_refused_before_anything_is_asked() {
        for line in ["--state gone", "-l =x", "-l ''", "--since yesterday", "--until -5s"] {
            assert!(parse(line).is_none(), "{line}");
        }
    }
}
