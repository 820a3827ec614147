//! What serde says of something that does not fit its type, told as one wrong field: which one it is as a JSON Pointer, and
//! in no more words than it takes to mend it.

use std::error::Error;

use serde_path_to_error::{Path, Segment};

use crate::spec::Fault;

/// The most names that are listed where one is not known; of more, the nearest is told, if one is near.
const LISTED: usize = 8;

/// The field at which the reading stopped, and why.
pub fn fault(path: &Path, err: &impl Error) -> Fault {
    let told = err.to_string();
    let pointer: String = path.iter().map(pointed).collect();
    // Serde tells of these at the object that has them, or not.
    for (before, after) in [("missing field `", "`"), ("duplicate field `", "`")] {
        if let Some((name, _)) = told.strip_prefix(before).and_then(|it| it.split_once(after)) {
            return Fault::new(format!("{pointer}/{}", escaped(name)), told);
        }
    }
    let key = match path.iter().next_back() {
        Some(Segment::Map { key } | Segment::Enum { variant: key }) => key,
        _ => return Fault::new(pointer, told),
    };
    let known = format!("unknown field `{key}`");
    let fewer = told.strip_prefix(&known).and_then(|names| nearest(key, names));
    Fault::new(pointer, fewer.map_or(told, |it| known + &it))
}

/// What to say instead of the `names` of all fields that there are. None: they are few.
fn nearest(key: &str, names: &str) -> Option<String> {
    let names: Vec<&str> = names.split('`').skip(1).step_by(2).collect();
    // A slip in every third letter is still the same word.
    let distance = |name: &str| strsim::damerau_levenshtein(key, name);
    let near = names.iter().map(|it| (distance(it), *it)).min().filter(|(slips, it)| *slips <= it.len().div_ceil(3));
    match near {
        Some((_, name)) => Some(format!("; did you mean `{name}`?")),
        None if names.len() > LISTED => Some("; /docs has the names of all".into()),
        None => None,
    }
}

fn pointed(segment: &Segment) -> String {
    match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } | Segment::Enum { variant: key } => format!("/{}", escaped(key)),
        // It is not known where the reading stopped below this.
        Segment::Unknown => String::new(),
    }
}

/// A name as RFC 6901 has it in a pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use axum::extract::Query;
    use serde_json::{Value, json};

    use super::super::{
        Problem,
        jobs::{WaitQuery, given},
        reader::read,
        wire::SubmitRequest,
    };

    /// The pointer and the detail of the one wrong field of a submission, and the detail of the whole.
    fn told(request: &Value) -> [String; 3] {
        let problem = read::<SubmitRequest>(request.to_string().as_bytes()).map(|_| ()).unwrap_err();
        let problem: Value = serde_json::to_value::<Problem>(problem).unwrap();
        let text = |pointer: &str| problem.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        [text("/errors/0/pointer"), text("/errors/0/detail"), text("/detail")]
    }

    #[test]
    fn a_wrong_field_is_pointed_at_whatever_its_name_has_in_it() {
        let labels = json!({"name": "x", "labels": {"app.kubernetes.io/name": 5}});
        assert_eq!(told(&labels)[0], "/labels/app.kubernetes.io~1name");
        assert_eq!(told(&json!({"name": "x", "a~b[0]/c.d": 1}))[0], "/a~0b[0]~1c.d");
        assert_eq!(told(&json!({"name": "x", "args": ["a", 1]}))[0], "/args/1");
        assert_eq!(told(&json!({"name": "x", "retry": {"on": 5}}))[0], "/retry/on");
    }

    #[test]
    fn a_field_that_is_not_there_or_there_twice_is_pointed_at() {
        let [pointer, detail, _] = told(&json!({"priority": 1}));
        assert_eq!((pointer.as_str(), detail.starts_with("missing field `name`")), ("/name", true), "{detail}");
        let twice = read::<SubmitRequest>(br#"{"name": "a", "retry": {"on": [], "on": []}}"#).map(|_| ()).unwrap_err();
        assert_eq!(serde_json::to_value(twice).unwrap()["errors"][0]["pointer"], "/retry/on");
        let [pointer, _, whole] = told(&json!([1]));
        assert!(pointer.is_empty() && whole.starts_with("invalid type"), "{whole:?}");
    }

    #[test]
    fn a_parameter_is_pointed_at_and_a_time_without_a_unit_is_told_how_to_write_it() {
        let asked = |query: &str| {
            let query = Query::<WaitQuery>::try_from_uri(&format!("/jobs/x/wait?{query}").parse().unwrap());
            serde_json::to_value(given(query).map(|_| ()).unwrap_err()).unwrap()["errors"][0].take()
        };
        let bare = asked("timeout=30");
        assert_eq!(bare["pointer"], "/timeout");
        assert!(bare["detail"].as_str().unwrap().contains("write 30s"), "{bare}");
        assert_eq!(asked("timeuot=30s")["detail"], "unknown field `timeuot`; did you mean `timeout`?");
    }

    #[test]
    fn an_unknown_field_is_told_with_the_one_that_was_meant_and_not_with_all() {
        let of = |name: &str| told(&json!({"name": "x", name: 1}))[1].clone();
        for (slip, meant) in
            [("prioritty", "priority"), ("maxAttempts", "max_attempts"), ("serviceAccount", "service_account")]
        {
            assert_eq!(of(slip), format!("unknown field `{slip}`; did you mean `{meant}`?"));
        }
        assert_eq!(of("colour"), "unknown field `colour`; /docs has the names of all");
        assert_eq!(of("x`, expected `"), "unknown field `x`, expected ``; /docs has the names of all");
        let [_, few, _] = told(&json!({"name": "x", "retry": {"colour": 1}}));
        assert!(few.starts_with("unknown field `colour`, expected "), "{few}");
    }
}
