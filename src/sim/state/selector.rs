//! Label and field selectors, as lists, watches and deletes of collections take them.

use serde_json::Value;

use super::object::Record;
use super::refusal::Refusal;
use super::resource::Resource;

/// Every requirement must hold; none selects everything.
#[derive(Clone, Debug, Default)]
pub struct LabelSelector(Vec<Requirement>);

#[derive(Clone, Debug)]
enum Requirement {
    In(String, Vec<String>),
    /// Also true where the label is absent.
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

#[derive(Clone, Debug, Default)]
pub struct FieldSelector(Vec<(String, bool, String)>);

impl LabelSelector {
    pub fn parse(text: &str) -> Result<LabelSelector, Refusal> {
        let mut requirements = Vec::new();
        for part in split_outside_parentheses(text) {
            if !part.trim().is_empty() {
                requirements.push(requirement(part.trim())?);
            }
        }
        Ok(LabelSelector(requirements))
    }

    pub fn matches(&self, object: &Record) -> bool {
        self.matches_labels(object.labels())
    }

    pub fn matches_labels(&self, labels: &[(String, String)]) -> bool {
        let label = |wanted: &String| labels.iter().find(|(key, _)| key == wanted).map(|(_, value)| value);
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => label(key).is_some_and(|label| values.contains(label)),
            Requirement::NotIn(key, values) => label(key).is_none_or(|label| !values.contains(label)),
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::Absent(key) => label(key).is_none(),
        })
    }
}

fn requirement(part: &str) -> Result<Requirement, Refusal> {
    let unparsable = || Refusal::bad_request(format!("unable to parse requirement: {part:?}"));
    if let Some(key) = part.strip_prefix('!') {
        return Ok(Requirement::Absent(label_key(key).ok_or_else(unparsable)?));
    }
    if let Some((head, list)) = part.split_once('(') {
        let list = list.trim_end().strip_suffix(')').ok_or_else(unparsable)?;
        let values = list.split(',').map(|value| value.trim().to_owned()).collect();
        let mut words = head.split_whitespace();
        let key = words.next().and_then(label_key).ok_or_else(unparsable)?;
        return match (words.next(), words.next()) {
            (Some("in"), None) => Ok(Requirement::In(key, values)),
            (Some("notin"), None) => Ok(Requirement::NotIn(key, values)),
            _ => Err(unparsable()),
        };
    }
    for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
        if let Some((key, value)) = part.split_once(operator) {
            let key = label_key(key).ok_or_else(unparsable)?;
            let values = vec![value.trim().to_owned()];
            return Ok(if equal { Requirement::In(key, values) } else { Requirement::NotIn(key, values) });
        }
    }
    label_key(part).map(Requirement::Exists).ok_or_else(unparsable)
}

fn label_key(text: &str) -> Option<String> {
    let key = text.trim();
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    (!key.is_empty() && key.chars().all(fits)).then(|| key.to_owned())
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut inside) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            '(' => inside = true,
            ')' => inside = false,
            ',' if !inside => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

impl FieldSelector {
    pub fn parse(resource: Resource, text: &str) -> Result<FieldSelector, Refusal> {
        let mut terms = Vec::new();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let (field, equal, value) = if let Some((field, value)) = part.split_once("!=") {
                (field, false, value)
            } else if let Some((field, value)) = part.split_once('=') {
                (field, true, value.trim_start_matches('='))
            } else {
                return Err(Refusal::bad_request(format!("invalid selector: '{part}'; can't understand '{part}'")));
            };
            let field = field.trim();
            if !selectable(resource).any(|known| known == field) {
                return Err(Refusal::bad_request(format!("field label not supported: {field}")));
            }
            terms.push((field.to_owned(), equal, value.to_owned()));
        }
        Ok(FieldSelector(terms))
    }

    pub fn matches(&self, object: &Record) -> bool {
        self.0.iter().all(|(field, equal, value)| (object.field(field) == value) == *equal)
    }
}

pub fn field_of(value: &Value, field: &str) -> String {
    let path = match field {
        "status.successful" => "status.succeeded",
        "source" => "source.component",
        other => other,
    };
    match path.split('.').fold(value, |value, key| &value[key]) {
        Value::String(text) => text.clone(),
        Value::Null if field == "status.successful" => "0".to_owned(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The fields of a kind that selectors may name.
pub fn selectable(resource: Resource) -> impl Iterator<Item = &'static str> {
    let own: &[&str] = match resource {
        Resource::Pods => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "status.phase",
            "status.podIP",
        ],
        Resource::Events => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        Resource::Jobs => &["status.successful"],
        Resource::Namespaces => &["status.phase"],
        Resource::Nodes | Resource::ConfigMaps | Resource::Quotas => &[],
    };
    ["metadata.name", "metadata.namespace"].into_iter().chain(own.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::super::object::Object;
    use super::*;
    use serde_json::json;

    fn labelled(labels: Value) -> Object {
        Object::new(json!({"kind": "Pod", "metadata": {"name": "a", "labels": labels}, "status": {"phase": "Running"}}))
    }

    #[test]
    fn every_form_of_a_label_selector_selects() {
        let object = labelled(json!({"app": "x", "tier": "back"}));
        for (selector, selected) in [
            ("", true),
            ("app=x", true),
            ("app==x,tier=back", true),
            ("app!=x", false),
            ("other!=x", true),
            ("app in (y, x)", true),
            ("app notin (y,x)", false),
            ("app in (x),tier notin (front)", true),
            ("app", true),
            ("!app", false),
            ("!other,tier", true),
        ] {
            let parsed = LabelSelector::parse(selector).map(|s| s.matches(object.record()));
            assert_eq!(parsed.ok(), Some(selected), "{selector}");
        }
        assert!(LabelSelector::parse("a b c").is_err());
        assert!(LabelSelector::parse("a in (b").is_err());
    }

    #[test]
    fn a_field_selector_refuses_fields_without_an_index() {
        let object = labelled(json!({}));
        let running = FieldSelector::parse(Resource::Pods, "status.phase=Running,metadata.name!=b")
            .map(|s| s.matches(object.record()));
        assert_eq!(running.ok(), Some(true));
        assert!(FieldSelector::parse(Resource::Jobs, "status.phase=Running").is_err());
    }
}
