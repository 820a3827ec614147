//! Which jobs a list is about: all of it is in the query string, so that a page can be reloaded, sent to someone, and gone
//! back to; and in the form of whoever changes many at once.

use serde_json::{Map, Value};

use super::{ask::encoded, form::Fields};

/// What a list is narrowed by. What is empty does not narrow it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub state: String,
    pub queue: String,
    pub name: String,
    /// Labels such as `team=blue`, or `team` for any value, separated by commas.
    pub label: String,
    pub reason: String,
    /// A time, or how long ago.
    pub since: String,
}

impl Filter {
    pub fn read(fields: &Fields) -> Self {
        let take = |name: &str| fields.get(name).trim().to_owned();
        Self {
            state: take("state"),
            queue: take("queue"),
            name: take("name"),
            label: take("label"),
            reason: take("reason"),
            since: take("since"),
        }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether nothing but the state narrows it.
    pub fn is_of_state(&self) -> bool {
        Self { state: String::new(), ..self.clone() }.is_empty()
    }

    /// As the page's own form has it: each field that narrows, by its name.
    pub fn fields(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("state", &self.state),
            ("queue", &self.queue),
            ("name", &self.name),
            ("label", &self.label),
            ("reason", &self.reason),
            ("since", &self.since),
        ];
        all.into_iter().filter(|it| !it.1.is_empty()).map(|it| (it.0, it.1.as_str())).collect()
    }

    /// The query of this list on a page.
    pub fn query(&self) -> String {
        pairs(self.fields())
    }

    /// The same in another state.
    pub fn query_in(&self, state: &str) -> String {
        Self { state: state.to_owned(), ..self.clone() }.query()
    }

    fn labels(&self) -> impl Iterator<Item = &str> {
        self.label.split(',').map(str::trim).filter(|it| !it.is_empty())
    }

    /// The query of the same list of the API.
    pub fn api_query(&self) -> String {
        let plain = self.fields().into_iter().filter(|it| it.0 != "label" && it.0 != "since").collect::<Vec<_>>();
        let labels = self.labels().map(|it| ("label", it));
        let since = (!self.since.is_empty()).then_some(("created_after", self.since.as_str()));
        pairs(plain.into_iter().chain(labels).chain(since))
    }

    /// As `POST /bulk` takes it, of jobs submitted before `until`.
    pub fn bulk(&self, until: &str) -> Value {
        let mut filter = Map::new();
        let mut put = |key: &str, value: &str| {
            if !value.is_empty() {
                filter.insert(key.into(), value.into());
            }
        };
        put("queue", &self.queue);
        put("name", &self.name);
        put("created_after", &self.since);
        put("created_before", until);
        if !self.state.is_empty() {
            filter.insert("state".into(), self.state.split(',').collect());
        }
        let labels: Map<String, Value> = self
            .labels()
            .map(|it| match it.split_once('=') {
                Some((key, value)) => (key.to_owned(), value.into()),
                None => (it.to_owned(), Value::Null),
            })
            .collect();
        if !labels.is_empty() {
            filter.insert("labels".into(), labels.into());
        }
        filter.into()
    }

    /// The command that lists the same.
    pub fn command(&self) -> String {
        let mut words = vec!["longshore".to_owned(), "list".to_owned()];
        for (name, value) in self.fields() {
            match name {
                "label" => self.labels().for_each(|it| words.extend(["-l".to_owned(), it.to_owned()])),
                name => words.extend([format!("--{name}"), value.to_owned()]),
            }
        }
        shlex::try_join(words.iter().map(String::as_str)).unwrap_or_default()
    }
}

fn pairs<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pairs: Vec<String> = fields.into_iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_the_same_on_the_page_in_the_api_in_bulk_and_on_the_command_line() {
        let filter = Filter {
            state: "pending,scheduled".into(),
            name: "night *&".into(),
            label: "team=blue, tier".into(),
            since: "1h".into(),
            ..Filter::default()
        };
        let again: Vec<(String, String)> = filter.fields().into_iter().map(|it| (it.0.into(), it.1.into())).collect();
        assert_eq!(Filter::read(&Fields(again)), filter);
        assert_eq!(
            filter.api_query(),
            "state=pending%2Cscheduled&name=night%20%2A%26&label=team%3Dblue&label=tier&created_after=1h"
        );
        let bulk = serde_json::json!({"state": ["pending", "scheduled"], "name": "night *&", "created_after": "1h",
            "created_before": "x", "labels": {"team": "blue", "tier": null}});
        assert_eq!(filter.bulk("x"), bulk);
        assert_eq!(
            filter.command(),
            "longshore list --state 'pending,scheduled' --name 'night *&' -l 'team=blue' -l tier --since 1h"
        );
    }
}
