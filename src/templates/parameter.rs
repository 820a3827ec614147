//! The parameters that a template declares, and the values that a request gives them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::spec::{Fault, escape};

/// The most parameters of a template: more of them than a request is likely to spell right.
pub const PARAMETERS: usize = 64;
/// The longest name of a parameter, in characters: Kubernetes' own limit for most names.
pub const NAME_CHARS: usize = 63;

/// What values a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ParameterKind)]
pub enum Kind {
    String,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    Boolean,
}

impl Kind {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::String => value.is_string(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
        }
    }

    fn says(self) -> &'static str {
        match self {
            Self::String => "a string",
            Self::Integer => "a whole number",
            Self::Number => "a number",
            Self::Boolean => "true or false",
        }
    }

    /// Some value of this kind, to try a template with.
    fn example(self) -> Value {
        match self {
            Self::String => "x".into(),
            Self::Integer | Self::Number => 1.into(),
            Self::Boolean => true.into(),
        }
    }
}

/// One parameter of a template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TemplateParameter)]
pub struct Parameter {
    /// What requests call it: letters, digits, `_` and `-`, beginning with a letter or `_`.
    pub name: String,
    /// `string`, `integer`, `number` or `boolean`.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What it is where a request does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// Whether a request has to say it: true, unless there is a default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The only values that it takes.
    #[serde(default, rename = "enum", skip_serializing_if = "Option::is_none")]
    pub one_of: Option<Vec<Value>>,
}

impl Parameter {
    fn is_required(&self) -> bool {
        self.default.is_none() && self.required.unwrap_or(true)
    }

    /// Whether a request may leave it without any value.
    pub fn may_be_missing(&self) -> bool {
        self.default.is_none() && !self.is_required()
    }

    fn check(&self, value: &Value) -> Result<(), String> {
        if !self.kind.fits(value) {
            return Err(format!("must be {}", self.kind.says()));
        }
        match &self.one_of {
            Some(values) if !values.contains(value) => {
                let values: Vec<String> = values.iter().map(Value::to_string).collect();
                Err(format!("must be one of {}", values.join(", ")))
            }
            _ => Ok(()),
        }
    }
}

/// Whether `name` can be a parameter's.
fn is_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.len() <= NAME_CHARS
        && name.chars().all(inner)
}

/// What is wrong with these declarations.
pub fn faults(parameters: &[Parameter]) -> Vec<Fault> {
    let mut faults = Vec::new();
    if parameters.len() > PARAMETERS {
        let detail = format!("declares {} parameters; {PARAMETERS} are the most", parameters.len());
        faults.push(Fault::new("/parameters", detail));
    }
    let mut names = BTreeSet::new();
    for (index, it) in parameters.iter().enumerate() {
        let mut fault = |field: &str, detail: String| {
            faults.push(Fault::new(format!("/parameters/{index}{field}"), detail));
        };
        if !is_name(&it.name) {
            let detail = "must be letters, digits, `_` and `-`, beginning with a letter or `_`";
            fault("/name", format!("{detail}, {NAME_CHARS} at most"));
        }
        if !names.insert(&it.name) {
            fault("/name", format!("`{}` is declared twice", it.name));
        }
        if it.default.is_some() && it.required == Some(true) {
            fault("/required", "must not be true where there is a default: it would never be used".into());
        }
        for (place, value) in it.one_of.iter().flatten().enumerate() {
            if !it.kind.fits(value) {
                fault(&format!("/enum/{place}"), format!("must be {}", it.kind.says()));
            }
        }
        if it.one_of.as_ref().is_some_and(Vec::is_empty) {
            fault("/enum", "must have a value; leave it out to take any".into());
        } else if let Some(Err(detail)) = it.default.as_ref().map(|value| it.check(value)) {
            fault("/default", detail);
        }
    }
    faults
}

/// The value of each parameter that has one: the request's, else the default. Or every one that is wrong.
pub fn values(parameters: &[Parameter], given: &Map<String, Value>) -> Result<BTreeMap<String, Value>, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut values = BTreeMap::new();
    for it in parameters {
        let pointer = || format!("/params/{}", escape(&it.name));
        match given.get(&it.name).filter(|value| !value.is_null()) {
            Some(value) => match it.check(value) {
                Ok(()) => drop(values.insert(it.name.clone(), value.clone())),
                Err(detail) => faults.push(Fault::new(pointer(), detail)),
            },
            None if it.is_required() => {
                faults.push(Fault::new(pointer(), format!("is required: {}", it.kind.says())));
            }
            None => values.extend(it.default.clone().map(|value| (it.name.clone(), value))),
        }
    }
    for name in given.keys().filter(|name| parameters.iter().all(|it| it.name != **name)) {
        let known: Vec<&str> = parameters.iter().map(|it| it.name.as_str()).collect();
        let detail = match known.is_empty() {
            true => "is not a parameter of the template, which has none".to_owned(),
            false => format!("is not a parameter of the template, which has {}", known.join(", ")),
        };
        faults.push(Fault::new(format!("/params/{}", escape(name)), detail));
    }
    if faults.is_empty() { Ok(values) } else { Err(faults) }
}

/// A value for each parameter, to try the template with.
pub fn examples(parameters: &[Parameter]) -> BTreeMap<String, Value> {
    let example = |it: &Parameter| {
        let first = it.one_of.as_ref().and_then(|values| values.first());
        it.default.as_ref().or(first).cloned().unwrap_or_else(|| it.kind.example())
    };
    parameters.iter().map(|it| (it.name.clone(), example(it))).collect()
}
