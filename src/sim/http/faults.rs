//! `/sim/faults`: the rules of fault injection over HTTP, while the cluster runs.
//!
//! GET lists them with how often each took effect, POST adds one or several, PUT puts one or several in the place of
//! all, DELETE removes all, or one by its id (`/sim/faults/{id}`).

use axum::body::Body;
use axum::http::Method;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{json_value, read_body, refuse};
use crate::sim::fault::{Faults, Rule};
use crate::sim::state::{LabelSelector, Refusal};

#[derive(Deserialize)]
#[serde(untagged)]
enum Rules {
    Many(Vec<Value>),
    One(Value),
}

pub async fn answer(faults: &Faults, method: &Method, path: &str, body: Body) -> Response {
    let id = match path.trim_end_matches('/') {
        "/sim/faults" => None,
        other => match other.strip_prefix("/sim/faults/").and_then(|id| id.parse::<u64>().ok()) {
            Some(id) => Some(id),
            None => return refuse(&Refusal::no_such_path()),
        },
    };
    match (method, id) {
        (&Method::GET, None) => list(faults),
        (&Method::PUT | &Method::POST, None) => match read(body).await {
            Ok(rules) if method == Method::PUT => {
                faults.set(rules);
                list(faults)
            }
            Ok(rules) => {
                for rule in rules {
                    faults.add(rule);
                }
                list(faults)
            }
            Err(refusal) => refuse(&refusal),
        },
        (&Method::DELETE, None) => {
            faults.clear();
            list(faults)
        }
        (&Method::DELETE, Some(id)) if faults.remove(id) => list(faults),
        (&Method::DELETE, Some(id)) => refuse(&Refusal::new(404, "NotFound", format!("there is no fault {id}"))),
        _ => refuse(&Refusal::new(405, "MethodNotAllowed", "faults take GET, POST, PUT and DELETE")),
    }
}

fn list(faults: &Faults) -> Response {
    json_value(200, &json!(faults.list()))
}

async fn read(body: Body) -> Result<Vec<Rule>, Refusal> {
    let bytes = read_body(body).await?;
    let wrong = |error: String| Refusal::bad_request(format!("not a fault: {error}"));
    let given: Rules = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    let values = match given {
        Rules::Many(values) => values,
        Rules::One(value) => vec![value],
    };
    let parse = |value| serde_path_to_error::deserialize::<_, Rule>(value).map_err(|error| wrong(error.to_string()));
    let rules = values.into_iter().map(parse).collect::<Result<Vec<Rule>, Refusal>>()?;
    for selector in rules.iter().filter_map(|rule| rule.labels.as_deref()) {
        LabelSelector::parse(selector)?;
    }
    Ok(rules)
}
