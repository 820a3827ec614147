//! The file that says which sources there are: read whole, checked whole, before anything starts.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::spec::{check_dns_label, duration};

use super::shape::{Filter, Shape};

/// The largest file, in bytes; one of many sources has some kilobytes.
const FILE_BYTES: u64 = 1024 * 1024;
/// The most sources: each has loops of its own at every replica.
const SOURCES: usize = 100;

/// Why a file of sources cannot be used: where it is wrong, and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("cannot read {file}")]
    Read {
        file: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{file}: {cause}")]
    Whole { file: String, cause: String },
    #[error("{file}: source {entry}: {field}: {cause}")]
    Field { file: String, entry: String, field: String, cause: String },
}

/// One entry of the file, of a type that is not looked at yet.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Where it is from, for errors.
    pub file: String,
    pub name: String,
    pub kind: String,
    /// How a message becomes a job.
    pub shape: Shape,
    /// Whether it begins paused, where it was never run before.
    pub paused: bool,
    /// Where the file is: what it names is looked for from there.
    folder: PathBuf,
    fields: Map<String, Value>,
}

/// Reads the file.
pub fn read(file: &Path) -> Result<Vec<Entry>, Unusable> {
    let name = file.display().to_string();
    let unread = |source| Unusable::Read { file: name.clone(), source };
    if std::fs::metadata(file).map_err(unread)?.len() > FILE_BYTES {
        let cause = format!("is larger than {FILE_BYTES} bytes");
        return Err(Unusable::Whole { file: name, cause });
    }
    parse(&std::fs::read_to_string(file).map_err(unread)?, &name)
}

/// `file` is where the text is from, for errors.
pub fn parse(text: &str, file: &str) -> Result<Vec<Entry>, Unusable> {
    let whole = |cause: String| Unusable::Whole { file: file.to_owned(), cause };
    let value: Value = serde_saphyr::from_str(text).map_err(|err| whole(err.to_string()))?;
    let Value::Object(mut top) = value else {
        return Err(whole("must be a mapping with the key `sources`".into()));
    };
    let Some(Value::Array(entries)) = top.remove("sources") else {
        return Err(whole("must have a list `sources`".into()));
    };
    if let Some(other) = top.keys().next() {
        return Err(whole(format!("has `{other}`, which is unknown; there is only `sources`")));
    }
    if entries.len() > SOURCES {
        return Err(whole(format!("has {} sources; {SOURCES} are the most", entries.len())));
    }
    let mut names = HashSet::new();
    let mut read = Vec::with_capacity(entries.len());
    for (nth, entry) in entries.into_iter().enumerate() {
        let entry = Entry::take(file, nth, entry)?;
        if !names.insert(entry.name.clone()) {
            return Err(entry.wrong("name", "is the name of another source, too"));
        }
        read.push(entry);
    }
    Ok(read)
}

impl Entry {
    fn take(file: &str, nth: usize, entry: Value) -> Result<Self, Unusable> {
        let wrong = |entry: &str, field: &str, cause: &str| Unusable::Field {
            file: file.to_owned(),
            entry: entry.to_owned(),
            field: field.to_owned(),
            cause: cause.to_owned(),
        };
        let place = format!("#{}", nth + 1);
        let Value::Object(mut fields) = entry else { return Err(wrong(&place, "", "must be a mapping")) };
        let mut text = |field: &str, entry: &str, such: &str| match fields.remove(field) {
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(wrong(entry, field, "must be text")),
            None => Err(wrong(entry, field, &format!("is missing; give {such}"))),
        };
        let name = text("name", &place, "a name such as mails")?;
        check_dns_label(&name).map_err(|cause| wrong(&format!("{name:?}"), "name", &cause))?;
        let kind = text("type", &name, super::TYPES)?;
        let paused = match fields.remove("paused") {
            None => false,
            Some(Value::Bool(paused)) => paused,
            Some(_) => return Err(wrong(&name, "paused", "must be true or false")),
        };
        let mut shape = Shape::take(&mut fields).map_err(|(field, cause)| wrong(&name, &field, &cause))?;
        let folder = std::path::absolute(file).ok().and_then(|it| it.parent().map(Path::to_owned)).unwrap_or_default();
        if let Some(Filter::File(file)) = &mut shape.filter {
            *file = folder.join(&file);
        }
        Ok(Self { file: file.to_owned(), name, kind, shape, paused, folder, fields })
    }

    /// A path that the file names: a relative one is beside it, wherever the process was started.
    pub fn path(&self, named: &Path) -> PathBuf {
        self.folder.join(named)
    }

    /// The same without what its type has of its own, for one of several sources that come of it.
    pub fn bare(&self) -> Self {
        Self { fields: Map::new(), ..self.clone() }
    }

    /// What its type has of its own.
    pub fn own<T: DeserializeOwned>(&self) -> Result<T, Unusable> {
        serde_path_to_error::deserialize(Value::Object(self.fields.clone())).map_err(|err| {
            let path = err.path().to_string();
            self.wrong(if path == "." { "" } else { &path }, err.into_inner())
        })
    }

    /// An error about one of its fields.
    pub fn wrong(&self, field: &str, cause: impl std::fmt::Display) -> Unusable {
        Unusable::Field {
            file: self.file.clone(),
            entry: self.name.clone(),
            field: field.to_owned(),
            cause: cause.to_string(),
        }
    }
}

/// A duration such as `30s`, for the types' own fields: `#[serde(deserialize_with = "config::time")]`.
pub fn time<'de, D: serde::Deserializer<'de>>(from: D) -> Result<std::time::Duration, D::Error> {
    let text: String = serde::Deserialize::deserialize(from)?;
    duration(&text).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        parse(text, "sources.yaml").unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_is_told_with_file_entry_field_and_remedy() {
        assert!(told("- a").contains("sources.yaml: must be a mapping"));
        assert!(told("sources: []\nsource: []").contains("`source`"));
        assert!(told("sources:\n- type: sqs").contains("source #1: name: is missing; give"));
        assert!(told("sources:\n- {name: Mails, type: sqs}").contains("source \"Mails\": name: must be 1 to 63"));
        assert!(told("sources:\n- {name: mails}").contains("source mails: type: is missing; give sqs"));
        let twice = told("sources:\n- {name: mails, type: sqs}\n- {name: mails, type: sqs}");
        assert!(twice.contains("source mails: name: is the name of another"), "{twice}");
        let body = told("sources:\n- {name: mails, type: sqs, body: raw}");
        assert!(body.contains("source mails: body: must be request, params or env"), "{body}");
    }

    #[test]
    fn a_slip_in_job_is_told_with_file_source_and_field() {
        let told = told("sources:\n- {name: mails, type: sqs, job: {image: a, timeout: 30}}");
        assert!(told.starts_with("sources.yaml: source mails: job.timeout: invalid type"), "{told}");
        let paused = self::told("sources:\n- {name: mails, type: sqs, paused: later}");
        assert!(paused.contains("source mails: paused: must be true or false"), "{paused}");
    }

    #[test]
    fn what_the_file_names_is_beside_it() {
        let text = "sources:\n- {name: a, type: sqs, filter_file: a.jq}\n- {name: b, type: sqs, filter_file: /b.jq}";
        let entries = parse(text, "/etc/longshore/sources.yaml").unwrap();
        let files: Vec<_> = entries.iter().map(|it| it.shape.filter.clone().unwrap()).collect();
        assert_eq!(files, ["/etc/longshore/a.jq", "/b.jq"].map(|it| Filter::File(it.into())));
        assert_eq!(entries[0].path(Path::new("jobs.json")), Path::new("/etc/longshore/jobs.json"));
        let here = parse(text, "sources.yaml").unwrap();
        assert_eq!(here[0].path(Path::new("a")), std::env::current_dir().unwrap().join("a"));
    }

    #[test]
    fn a_misspelt_field_of_a_type_is_told_by_its_path() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Own {
            #[serde(deserialize_with = "time")]
            wait: std::time::Duration,
        }
        let entries = parse("sources:\n- {name: mails, type: sqs, wait: soon}\n- {name: b, type: sqs, wait: 2s}", "f");
        let entries = entries.unwrap();
        assert!(entries[0].own::<Own>().unwrap_err().to_string().contains("f: source mails: wait: \"soon\" is not a"));
        assert_eq!(entries[1].own::<Own>().unwrap().wait, std::time::Duration::from_secs(2));
        let entries = parse("sources:\n- {name: mails, type: sqs, wiat: 1s}", "f").unwrap();
        assert!(entries[0].own::<Own>().unwrap_err().to_string().contains("unknown field `wiat`"));
    }
}
