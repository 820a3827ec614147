//! Which jobs are meant: read from the query of a list, and from the body of a bulk request.

use jiff::Timestamp;

use crate::{
    lifecycle::{Reason, StateName},
    spec::{self, Fault, NAME_CHARS, escape},
    store::walk::{Filter, Name},
};

/// The most labels a filter may name. Each is one more index to try, and one more look at each job.
const LABELS: usize = 8;

/// A filter as it was written.
#[derive(Debug, Default)]
pub struct Wanted {
    pub states: Option<Vec<String>>,
    pub queue: Option<String>,
    pub name: Option<String>,
    pub labels: Vec<(String, Option<String>)>,
    pub reason: Option<String>,
    pub created_after: Option<String>,
    pub created_before: Option<String>,
}

impl Wanted {
    /// The filter, or everything that is wrong with it, each named below `at`. Spans such as `1h` are counted back from `now`.
    pub fn read(self, at: &str, now: Timestamp) -> Result<Filter, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut wrong = |field: &str, detail: String| faults.push(Fault::new(format!("{at}/{field}"), detail));
        let mut states = Vec::new();
        for state in self.states.iter().flatten() {
            match StateName::from_name(state.trim()) {
                Some(state) if states.contains(&state) => {}
                Some(state) => states.push(state),
                None => {
                    let all = StateName::ALL.map(StateName::name).join(", ");
                    wrong("state", format!("has {state:?}, which is none of {all}"));
                }
            }
        }
        if self.states.is_some_and(|it| it.is_empty()) {
            wrong("state", "names no state; leave it out for all".into());
        }
        for (field, value) in [("queue", &self.queue), ("name", &self.name)] {
            if let Err(detail) = value.as_deref().map_or(Ok(()), check_text) {
                wrong(field, detail);
            }
        }
        if let Some(reason) = self.reason.as_deref().filter(|it| Reason::from_name(it).is_none()) {
            let all = Reason::ALL.map(Reason::name).join(", ");
            wrong("reason", format!("is {reason:?}, which is none of {all}"));
        }
        if self.labels.len() > LABELS {
            wrong("labels", format!("has {} labels; {LABELS} are the most", self.labels.len()));
        }
        for (key, value) in &self.labels {
            let checked =
                spec::check_qualified_name(key).and_then(|()| value.as_deref().map_or(Ok(()), spec::check_label_value));
            if let Err(detail) = checked {
                wrong(&format!("labels/{}", escape(key)), detail);
            }
        }
        let mut time = |field: &str, text: Option<&str>| match text.map(|it| point_in_time(it, now)).transpose() {
            Ok(time) => time,
            Err(detail) => {
                wrong(field, detail);
                None
            }
        };
        let created_after = time("created_after", self.created_after.as_deref());
        let created_before = time("created_before", self.created_before.as_deref());
        let filter = Filter {
            states,
            queue: self.queue,
            name: self.name.map(Name::new),
            labels: self.labels,
            reason: self.reason,
            created_after,
            created_before,
            seq_most: None,
        };
        if faults.is_empty() { Ok(filter) } else { Err(faults) }
    }
}

fn check_text(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("must not be empty".into());
    }
    if text.contains('\0') {
        return Err("must not contain the character U+0000".into());
    }
    // What is longer than any name finds nothing, though a pattern may be.
    if text.chars().count() > 2 * NAME_CHARS {
        return Err(format!("has more than {} characters", 2 * NAME_CHARS));
    }
    Ok(())
}

/// A time, or how long ago it was.
fn point_in_time(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let wrong =
        || format!("is {text:?}, and must be a time such as 2026-11-21T06:00:00Z, or how long ago, such as 90m");
    let ago = spec::duration(text).map_err(|_| wrong())?;
    now.checked_sub(ago).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-21T06:00:00Z".parse().unwrap()
    }

    #[test]
    fn everything_that_is_wrong_is_named_at_once() {
        let wanted = Wanted {
            states: Some(vec!["pending".into(), "gone".into()]),
            queue: Some(String::new()),
            name: Some("a\0b".into()),
            labels: vec![("a/b".into(), Some("no spaces".into()))],
            reason: Some("bad luck".into()),
            created_after: Some("yesterday".into()),
            created_before: Some("1h".into()),
        };
        let pointers: Vec<String> =
            wanted.read("/filter", now()).unwrap_err().into_iter().map(|it| it.pointer).collect();
        let expected = ["state", "queue", "name", "reason", "labels/a~1b", "created_after"];
        assert_eq!(pointers, expected.map(|it| format!("/filter/{it}")));
    }

    #[test]
    fn a_time_is_given_as_such_or_as_how_long_ago_it_was() {
        let read = |text: &str| point_in_time(text, now()).map(|it| it.to_string());
        assert_eq!(read("1h30m"), Ok("2026-11-21T04:30:00Z".into()));
        assert_eq!(read("2026-11-21T07:00:00+02:00"), Ok("2026-11-21T05:00:00Z".into()));
        for text in ["", "-1h", "tomorrow", "99999999999999d", "2026-11-21"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
