//! Reads a request body, and finds the fields Kubernetes would not know.
//!
//! The typed structs of k8s-openapi serve as the schema: what does not survive a round trip through them is unknown.
//! Keys that occur twice are found while parsing, since a JSON map has already forgotten them.

use k8s_openapi::api::{batch::v1 as batch, core::v1 as core};
use serde::de::{DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, Serialize};
use serde_json::{Map, Value};

use super::refusal::Refusal;
use super::resource::Resource;

/// The query parameter `fieldValidation`; a server's default is to warn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validation {
    Ignore,
    Warn,
    Strict,
}

impl Validation {
    pub fn parse(text: &str) -> Result<Validation, Refusal> {
        match text {
            "" | "Warn" => Ok(Validation::Warn),
            "Ignore" => Ok(Validation::Ignore),
            "Strict" => Ok(Validation::Strict),
            other => Err(Refusal::new(
                422,
                "Invalid",
                format!("CreateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: {other:?}"),
            )),
        }
    }
}

pub struct Decoded {
    pub value: Value,
    pub warnings: Vec<String>,
}

/// Any JSON, with the paths of the keys that occur twice.
pub fn parse(body: &[u8]) -> Result<(Value, Vec<String>), Refusal> {
    let mut twice = Vec::new();
    let mut reader = serde_json::Deserializer::from_slice(body);
    let seed = Spot { path: String::new(), twice: &mut twice };
    let value = seed.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    let value =
        value.map_err(|error| Refusal::bad_request(format!("couldn't parse the request body as JSON: {error}")))?;
    Ok((value, twice))
}

/// An object of this kind, without the fields that are unknown to it.
pub fn decode(resource: Resource, body: &[u8], validation: Validation) -> Result<Decoded, Refusal> {
    let (value, twice) = parse(body)?;
    examine(resource, value, &twice, validation)
}

/// The same for a value that was put together here, by a patch.
pub fn examine(resource: Resource, value: Value, twice: &[String], validation: Validation) -> Result<Decoded, Refusal> {
    check_kind(resource, &value)?;
    let known = prune(resource, &value)?;
    if validation == Validation::Ignore {
        return Ok(Decoded { value: known, warnings: Vec::new() });
    }
    let mut wrong: Vec<String> = Vec::new();
    lost("", &value, &known, &mut wrong);
    let mut wrong: Vec<String> = wrong.iter().map(|path| format!("unknown field \"{path}\"")).collect();
    wrong.extend(twice.iter().map(|path| format!("duplicate field \"{path}\"")));
    if validation == Validation::Strict && !wrong.is_empty() {
        let kind = resource.info().kind;
        return Err(Refusal::bad_request(format!(
            "{kind} in version \"v1\" cannot be handled as a {kind}: strict decoding error: {}",
            wrong.join(", ")
        )));
    }
    Ok(Decoded { value: known, warnings: wrong })
}

fn check_kind(resource: Resource, value: &Value) -> Result<(), Refusal> {
    let (kind, version) = (value["kind"].as_str(), value["apiVersion"].as_str());
    let right = kind.is_none_or(|k| k == resource.info().kind) && version.is_none_or(|v| v == resource.api_version());
    if right && value.is_object() {
        return Ok(());
    }
    Err(Refusal::bad_request(format!(
        "the API version in the data ({}, kind {}) does not match the expected ({}, kind {})",
        version.unwrap_or_default(),
        kind.unwrap_or_default(),
        resource.api_version(),
        resource.info().kind
    )))
}

/// The value as the typed struct of its kind sees it; wrong types are refused.
pub fn prune(resource: Resource, value: &Value) -> Result<Value, Refusal> {
    let mut value = value.clone();
    for path in ["/spec", "/spec/template/spec"] {
        quantities_to_text(value.pointer_mut(path));
    }
    let pruned = match resource {
        Resource::Jobs => round_trip::<batch::Job>(value),
        Resource::Pods => round_trip::<core::Pod>(value),
        Resource::ConfigMaps => round_trip::<core::ConfigMap>(value),
        Resource::Namespaces => round_trip::<core::Namespace>(value),
        Resource::Nodes => round_trip::<core::Node>(value),
        Resource::Quotas => round_trip::<core::ResourceQuota>(value),
        Resource::Events => round_trip::<core::Event>(value),
    };
    let kind = resource.info().kind;
    pruned.map_err(|error| {
        Refusal::bad_request(format!("{kind} in version \"v1\" cannot be handled as a {kind}: {error}"))
    })
}

fn round_trip<T: DeserializeOwned + Serialize>(value: Value) -> Result<Value, String> {
    let typed: T = serde_path_to_error::deserialize(value)
        .map_err(|error| format!("json: {}: {}", error.path(), error.inner()))?;
    serde_json::to_value(typed).map_err(|error| error.to_string())
}

/// `cpu: 1` is as good as `cpu: "1"` to Kubernetes, but not to the typed struct.
fn quantities_to_text(spec: Option<&mut Value>) {
    let Some(spec) = spec else { return };
    let containers = ["containers", "initContainers"].map(|list| spec[list].as_array().map_or(0, Vec::len));
    for (list, count) in ["containers", "initContainers"].into_iter().zip(containers) {
        for index in 0..count {
            for part in ["limits", "requests"] {
                let amounts =
                    spec.pointer_mut(&format!("/{list}/{index}/resources/{part}")).and_then(Value::as_object_mut);
                amounts.into_iter().flatten().for_each(|(_, amount)| number_to_text(amount));
            }
        }
    }
    if let Some(hard) = spec.get_mut("hard").and_then(Value::as_object_mut) {
        hard.iter_mut().for_each(|(_, amount)| number_to_text(amount));
    }
}

fn number_to_text(amount: &mut Value) {
    if amount.is_number() {
        *amount = amount.to_string().into();
    }
}

/// Paths present in `given` and absent from `known`. A null is no field.
fn lost(path: &str, given: &Value, known: &Value, found: &mut Vec<String>) {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            for (key, value) in given.iter().filter(|(_, value)| !value.is_null()) {
                let path = join(path, key);
                match known.get(key) {
                    Some(kept) => lost(&path, value, kept, found),
                    None => found.push(path),
                }
            }
        }
        (Value::Array(given), Value::Array(known)) => {
            for (index, (value, kept)) in given.iter().zip(known).enumerate() {
                lost(&format!("{path}[{index}]"), value, kept, found);
            }
        }
        _ => {}
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Reads a JSON value and notes keys that occur twice.
struct Spot<'a> {
    path: String,
    twice: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Spot<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Spot<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let path = format!("{}[{}]", self.path, items.len());
            match seq.next_element_seed(Spot { path, twice: self.twice })? {
                Some(item) => items.push(item),
                None => return Ok(items.into()),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let path = join(&self.path, &key);
            if map.contains_key(&key) {
                self.twice.push(path.clone());
            }
            let value = access.next_value_seed(Spot { path, twice: self.twice })?;
            map.insert(key, value);
        }
        Ok(map.into())
    }
}
