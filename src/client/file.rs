//! What a file on the command line says: requests and Jobs, as JSON or YAML, one or many.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::failure::Failure;

/// The largest file that is read, in bytes: a hundred thousand requests of two kilobytes each, and not all of the memory.
const FILE_BYTES: u64 = 256 * 1024 * 1024;
/// The largest file of YAML, in bytes: YAML is for people, and much slower to read.
const YAML_BYTES: usize = 16 * 1024 * 1024;
/// How deep YAML may go.
const YAML_DEPTH: usize = 100;
/// How many things YAML may say in all.
const YAML_NODES: usize = 1_000_000;
/// How many things its aliases may come to, against a small file that unfolds without end.
const YAML_ALIASED: usize = 100_000;

/// What there is in a file.
#[derive(Debug, PartialEq)]
pub enum Filed {
    One(Value),
    /// In their order.
    Many(Vec<Value>),
}

/// A file's text; `-` is stdin.
pub fn text(path: &PathBuf) -> Result<String, Failure> {
    let shown = shown(path);
    let failed = |err: std::io::Error| {
        Failure::usage(format!("cannot read {shown}: {err}"), "give a file that can be read, or `-` for stdin")
    };
    let mut bytes = Vec::new();
    let read = match path.as_os_str() == "-" {
        true => std::io::stdin().lock().take(FILE_BYTES + 1).read_to_end(&mut bytes),
        false => std::fs::File::open(path).and_then(|it| it.take(FILE_BYTES + 1).read_to_end(&mut bytes)),
    };
    if read.map_err(failed)? as u64 > FILE_BYTES {
        let fix = "give it in parts";
        return Err(Failure::usage(format!("{shown} is longer than {FILE_BYTES} bytes"), fix));
    }
    String::from_utf8(bytes)
        .map_err(|_| Failure::usage(format!("{shown} is not text in UTF-8"), "give JSON or YAML in UTF-8"))
}

/// The requests and Jobs in a file.
pub fn read(path: &PathBuf) -> Result<Filed, Failure> {
    let text = text(path)?;
    parse(&text).map_err(|(what, fix)| Failure::usage(format!("{} {what}", shown(path)), fix))
}

fn shown(path: &Path) -> String {
    if path.as_os_str() == "-" { "stdin".into() } else { path.display().to_string() }
}

/// Whether a text is JSON rather than YAML.
pub fn is_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '['])
}

fn parse(text: &str) -> Result<Filed, (String, &'static str)> {
    let documents = match is_json(text) {
        true => serde_json::Deserializer::from_str(text)
            .into_iter()
            .collect::<Result<Vec<Value>, _>>()
            .map_err(|err| (format!("is not JSON: {err}"), "give one request, an array of them, or one in a line"))?,
        false => yaml(text)?,
    };
    let mut documents = documents.into_iter();
    match (documents.next(), documents.next()) {
        (None, _) => Err(("is empty".into(), "give a request, such as {\"name\": \"job1\"}, or a batch/v1 Job")),
        (Some(Value::Array(all)), None) => Ok(Filed::Many(all)),
        (Some(one), None) => Ok(Filed::One(one)),
        (Some(first), Some(second)) => Ok(Filed::Many([first, second].into_iter().chain(documents).collect())),
    }
}

fn yaml(text: &str) -> Result<Vec<Value>, (String, &'static str)> {
    if text.len() > YAML_BYTES {
        return Err((format!("is YAML of more than {YAML_BYTES} bytes"), "give it as JSON, one request in a line"));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: YAML_DEPTH, max_nodes: YAML_NODES },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: YAML_ALIASED },
        // As kubectl reads it: `defaultMode: 0644`.
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options).map_err(|err| {
        (format!("is neither JSON nor YAML: {err}"), "give a request or a batch/v1 Job in one of them")
    })?;
    // What `---` leaves at either end.
    Ok(documents.into_iter().filter(|it| !it.is_null()).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_or_many_in_either_language() {
        let a = || json!({"name": "a"});
        let both = || Filed::Many(vec![json!({"name": "a"}), json!({"name": "b"})]);
        for one in ["{\"name\": \"a\"}\n", "name: a\n", "---\nname: a\n---\n", "# for kubectl\n---\nname: a\n"] {
            assert_eq!(parse(one), Ok(Filed::One(a())), "{one}");
        }
        for many in [
            "{\"name\":\"a\"}\n{\"name\":\"b\"}\n",
            " [{\"name\":\"a\"}, {\"name\":\"b\"}]",
            "name: a\n---\nname: b\n",
            "- name: a\n- name: b\n",
        ] {
            assert_eq!(parse(many), Ok(both()), "{many}");
        }
        assert_eq!(parse("mode: 0644\n"), Ok(Filed::One(json!({"mode": 0o644}))));
    }

    #[test]
    fn what_cannot_be_read_is_told_and_what_unfolds_without_end_is_stopped() {
        let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for (before, it) in ('a'..'i').zip('b'..='i') {
            bomb += &format!("{it}: &{it} [*{before}{}]\n", format!(",*{before}").repeat(9));
        }
        let deep = format!("a: {}", "[".repeat(200));
        for wrong in ["", "\n", "---\n", "{", "{\"a\":1} x", "a: b: c", bomb.as_str(), deep.as_str()] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
