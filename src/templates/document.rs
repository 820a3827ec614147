//! A template as it is written: YAML or JSON, a plain Job or a Job with parameters around it. Pure.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::spec::{self, Fault};

use super::{
    parameter::{self, Parameter},
    tree::Tree,
};

/// The largest template, in bytes: what a ConfigMap holds, and more than any Job.
pub const SOURCE_BYTES: usize = 1024 * 1024;
/// How deep a YAML template may be: JSON's own reader stops at 128, and a Job is some 15 deep.
const YAML_DEPTH: usize = 100;
/// The most nodes of a YAML template, and the most that its aliases may come to: a Job has a few hundred, and an alias of
/// aliases grows without end.
const YAML_NODES: usize = 100_000;
const YAML_ALIASED: usize = 10_000;
/// The longest text of a parser's that is passed on, in characters.
const SAID_CHARS: usize = 300;
/// What a template may name besides its parameters.
pub const BUILTINS: [&str; 2] = ["job.name", "job.queue"];

/// How a template is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = TemplateForm)]
pub enum Form {
    Yaml,
    Json,
}

impl Form {
    pub fn name(self) -> &'static str {
        match self {
            Self::Yaml => "yaml",
            Self::Json => "json",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// What a request may add to what a template says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = TemplateAddition)]
pub enum Addition {
    Env,
    Args,
    Labels,
    Annotations,
}

impl Addition {
    pub const ALL: [Self; 4] = [Self::Env, Self::Args, Self::Labels, Self::Annotations];
}

/// What a request gets that does not say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TemplateDefaults)]
pub struct Defaults {
    /// As a request has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// As a request has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// As a request has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub timeout: Option<Span>,
    /// As a request has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub start_timeout: Option<Span>,
    /// As a request has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub queue_timeout: Option<Span>,
    /// As a request has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<i32>,
}

/// A duration as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    text: String,
    pub is: Duration,
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let is = spec::duration(&text).map_err(de::Error::custom)?;
        Ok(Self { text, is })
    }
}

/// A Job with parameters, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    description: Option<String>,
    #[serde(default)]
    parameters: Vec<Parameter>,
    #[serde(default)]
    defaults: Defaults,
    additions: Option<Vec<Addition>>,
    manifest: Value,
}

/// A template that can be filled.
#[derive(Debug, Clone)]
pub struct Template {
    pub description: Option<String>,
    pub parameters: Vec<Parameter>,
    pub defaults: Defaults,
    pub additions: Vec<Addition>,
    pub tree: Tree,
    /// Where the Job stands in what was written: nowhere special, or under `manifest`.
    pub at: &'static str,
    pub form: Form,
    pub source: String,
}

impl Template {
    /// Reads what was written, or names everything that is wrong with it by itself; [`super::check`] tells more.
    pub fn read(source: &str, form: Form) -> Result<Self, Vec<Fault>> {
        let written = value(source, form).map_err(|detail| vec![Fault::new("", detail)])?;
        let is_job =
            written.get("manifest").is_none() && (written.get("kind").is_some() || written.get("spec").is_some());
        let (at, document) = match is_job {
            true => ("", Document::of_job(written)),
            false => ("/manifest", Document::read(written)?),
        };
        let mut faults = parameter::faults(&document.parameters);
        faults.extend(document.defaults.faults());
        let tree = match Tree::read(document.manifest, at) {
            Ok(tree) => tree,
            Err(more) => {
                faults.extend(more);
                return Err(faults);
            }
        };
        faults.extend(unmatched(&document.parameters, &tree, at));
        if !faults.is_empty() {
            return Err(faults);
        }
        let additions = document.additions.unwrap_or_else(|| Addition::ALL.to_vec());
        let Document { description, parameters, defaults, .. } =
            Document { manifest: Value::Null, additions: None, ..document };
        Ok(Self { description, parameters, defaults, additions, tree, at, form, source: source.to_owned() })
    }

    /// The parameter that alone makes the field at this pointer, or the text in it.
    pub fn parameter_at(&self, pointer: &str) -> Option<&str> {
        let mut there = self.tree.uses.iter().filter(|it| it.pointer == pointer);
        let only = there.next().filter(|_| there.next().is_none())?;
        self.parameters.iter().map(|it| it.name.as_str()).find(|name| *name == only.name)
    }

    /// Whether the field at this pointer is the same whatever is given: nothing that is filled in is above it, in it or below.
    pub fn fixes(&self, pointer: &str) -> bool {
        let holds = |outer: &str, inner: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        !self.tree.uses.iter().any(|it| holds(&it.pointer, pointer) || holds(pointer, &it.pointer))
    }

    /// The manifest for a request, or every parameter that is wrong.
    pub fn fill(&self, given: &Map<String, Value>, name: &str, queue: &str) -> Result<Value, Vec<Fault>> {
        let mut values = parameter::values(&self.parameters, given)?;
        values.extend(builtins(name, queue));
        self.tree.fill(&values).ok_or_else(|| {
            let detail = format!("make a manifest of over {} bytes", super::tree::RENDERED_BYTES);
            vec![Fault::new("/params", detail)]
        })
    }
}

/// The values of what a template may name besides its parameters.
pub fn builtins(name: &str, queue: &str) -> BTreeMap<String, Value> {
    let values = [name, queue].map(|it| Value::String(it.to_owned()));
    BUILTINS.map(str::to_owned).into_iter().zip(values).collect()
}

impl Document {
    fn of_job(manifest: Value) -> Self {
        Self { description: None, parameters: Vec::new(), defaults: Defaults::default(), additions: None, manifest }
    }

    fn read(written: Value) -> Result<Self, Vec<Fault>> {
        serde_path_to_error::deserialize(&written).map_err(|err| {
            let path = err.path().to_string();
            let pointer = match path.as_str() {
                "." => String::new(),
                path => format!("/{}", path.replace(['.', '['], "/").replace(']', "")),
            };
            let detail = match written.is_object() {
                true => {
                    format!("{}; a template is a batch/v1 Job, or an object with one in `manifest`", err.into_inner())
                }
                false => "must be a batch/v1 Job, or an object with one in `manifest`".to_owned(),
            };
            vec![Fault::new(pointer, detail)]
        })
    }
}

impl Defaults {
    fn faults(&self) -> Vec<Fault> {
        let secs = |it: &Option<Span>| it.as_ref().map(|it| it.is.as_secs_f64());
        let asked = spec::Submission {
            name: "template".into(),
            priority: 0,
            queue: self.queue.clone().unwrap_or_else(|| "default".into()),
            namespace: "default".into(),
            start: spec::Start::Now,
            idempotency_key: None,
            policy: crate::retry::Policy {
                max_attempts: self.max_attempts.unwrap_or(1),
                timeout_secs: secs(&self.timeout),
                start_timeout_secs: secs(&self.start_timeout),
                queue_timeout_secs: secs(&self.queue_timeout),
                ..Default::default()
            },
            spec: spec::Spec::default(),
        };
        let under = |it: Fault| Fault::new(format!("/defaults{}", it.pointer), it.detail);
        asked.faults().into_iter().map(under).collect()
    }
}

/// Placeholders without a parameter, parameters without a placeholder, and values that may be missing within a text.
fn unmatched(parameters: &[Parameter], tree: &Tree, at: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    for it in &tree.uses {
        let pointer = || format!("{at}{}", it.pointer);
        let parameter = parameters.iter().find(|parameter| parameter.name == it.name);
        if parameter.is_none() && !BUILTINS.contains(&it.name.as_str()) {
            let detail =
                format!("`{{{{ {} }}}}` is neither a declared parameter nor {}", it.name, BUILTINS.join(" or "));
            faults.push(Fault::new(pointer(), format!("{detail}; for two braces write `{{{{{{{{`")));
        }
        if parameter.is_some_and(Parameter::may_be_missing) && !it.whole {
            let detail = format!("`{}` may be missing, and stands within a text: give it a default", it.name);
            faults.push(Fault::new(pointer(), detail));
        }
    }
    for (index, it) in parameters.iter().enumerate() {
        if tree.uses.iter().all(|found| found.name != it.name) {
            let detail = format!("`{}` is not used in the manifest", it.name);
            faults.push(Fault::new(format!("/parameters/{index}/name"), detail));
        }
    }
    faults
}

/// The text as a value, or what is wrong with it.
fn value(source: &str, form: Form) -> Result<Value, String> {
    if source.len() > SOURCE_BYTES {
        return Err(format!("has {} bytes; {SOURCE_BYTES} are the most", source.len()));
    }
    match form {
        Form::Json => serde_json::from_str(source).map_err(|err| format!("is not JSON: {err}")),
        Form::Yaml => {
            let options = serde_saphyr::options! {
                budget: serde_saphyr::budget! {
                    max_documents: 1,
                    max_depth: YAML_DEPTH,
                    max_nodes: YAML_NODES,
                },
                alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: YAML_ALIASED },
                // As kubectl reads it: `defaultMode: 0644`.
                legacy_octal_numbers: true,
                with_snippet: false,
            };
            serde_saphyr::from_str_with_options(source, options).map_err(|err| {
                let said: String = err.to_string().chars().take(SAID_CHARS).collect();
                format!("is not YAML: {said}")
            })
        }
    }
}

#[cfg(test)]
mod tests;
