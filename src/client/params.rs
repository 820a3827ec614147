//! What a template is filled with on the command line. A shell knows text only, so a value becomes what the template
//! declares its parameter to be; what does not fit is sent as it is, for the server to say what is wrong.

use std::collections::BTreeMap;

use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Number, Value, json};

use super::{
    failure::Failure,
    http::{Ask, Http},
};

/// The values of a template's parameters.
#[derive(Debug, Clone, Default, Args)]
pub struct Params {
    /// Fill a parameter of the template, as often as needed; it becomes a number or a boolean where the template says so
    #[arg(long, value_name = "PARAMETER=VALUE", value_parser = set, help_heading = "Templates")]
    set: Vec<(String, String)>,
    /// Fill a parameter with a JSON value, such as lines=1000
    #[arg(long, value_name = "PARAMETER=JSON", value_parser = set_json, help_heading = "Templates")]
    set_json: Vec<(String, Value)>,
}

fn set(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("must be PARAMETER=VALUE".into()),
    }
}

fn set_json(text: &str) -> Result<(String, Value), String> {
    let (name, value) = set(text)?;
    let value = serde_json::from_str(&value).map_err(|err| format!("is not JSON after the `=`: {err}"))?;
    Ok((name, value))
}

/// The parameters of the templates that were asked about, so that each is asked about once.
pub type Declared = BTreeMap<String, Vec<Parameter>>;

#[derive(Deserialize)]
struct Template {
    #[serde(default)]
    parameters: Vec<Parameter>,
}

/// A parameter as its template declares it.
#[derive(Deserialize)]
pub struct Parameter {
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

impl Params {
    /// Adds them to a request that names its template.
    pub async fn write(&self, http: &Http, body: &mut Value, known: &mut Declared) -> Result<(), Failure> {
        if self.set.is_empty() && self.set_json.is_empty() {
            return Ok(());
        }
        let Some(name) = body.get("template").and_then(Value::as_str).map(str::to_owned) else {
            let fix = "name it with --template; `longshore template list` shows them";
            return Err(Failure::usage("--set fills a template, and none was named", fix));
        };
        if !self.set.is_empty() && !known.contains_key(&name) {
            let template: Template = http.send(Ask::get(&["templates", &name])).await?.read()?;
            known.insert(name.clone(), template.parameters);
        }
        let declared = known.get(&name).map(Vec::as_slice).unwrap_or_default();
        let set = self.set.iter().map(|(name, text)| (name.clone(), typed(declared, name, text)));
        let given: Map<String, Value> = set.chain(self.set_json.iter().cloned()).collect();
        let Some(fields) = body.as_object_mut() else { return Ok(()) };
        let into = fields.entry("params").or_insert(Value::Null);
        if into.is_null() {
            *into = json!({});
        }
        match into {
            Value::Object(params) => params.extend(given),
            _ => {
                let fix = "make `params` an object, such as {\"file\": \"a.csv\"}, or give --set only";
                return Err(Failure::usage("the file has `params` that are not an object", fix));
            }
        }
        Ok(())
    }
}

fn typed(declared: &[Parameter], name: &str, text: &str) -> Value {
    let kind = declared.iter().find(|it| it.name == name).map_or("string", |it| it.kind.as_str());
    let read = match kind {
        "integer" => text.parse::<i64>().ok().map(Value::from),
        "number" => text.parse::<Number>().ok().map(Value::from),
        "boolean" => text.parse::<bool>().ok().map(Value::from),
        _ => None,
    };
    read.unwrap_or_else(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_becomes_what_its_parameter_is() {
        let kinds = [("s", "string"), ("i", "integer"), ("n", "number"), ("b", "boolean"), ("x", "a later kind")];
        let declared = kinds.map(|(name, kind)| Parameter { name: name.into(), kind: kind.into() });
        let typed = |name: &str, text: &str| typed(&declared, name, text);
        assert_eq!([typed("s", "10"), typed("i", "10"), typed("b", "true")], [json!("10"), json!(10), json!(true)]);
        assert_eq!([typed("n", "10"), typed("n", "0.5"), typed("n", "1e3")], [json!(10), json!(0.5), json!(1e3)]);
        assert_eq!([typed("i", "ten"), typed("b", "yes"), typed("n", "")], [json!("ten"), json!("yes"), json!("")]);
        assert_eq!([typed("x", "1"), typed("unknown", "1")], [json!("1"), json!("1")]);
    }

    #[test]
    fn a_parameter_is_named_before_the_first_equals_sign() {
        assert_eq!(set("url=http://x/?a=b"), Ok(("url".into(), "http://x/?a=b".into())));
        assert_eq!(set("empty="), Ok(("empty".into(), String::new())));
        assert_eq!(set_json("list=[1,2]"), Ok(("list".into(), json!([1, 2]))));
        assert!(set("none").is_err() && set("=x").is_err() && set_json("a=b").is_err());
    }
}
