//! `/ui/submit`: a job from a few fields, from a template and its parameters, or from the JSON that the API takes.
//!
//! Whatever is wrong is said at the field it is about, by the API's own words, and nothing that was typed is lost.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::{Method, StatusCode},
    response::Response,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Ui,
    ask::{Refusal, encoded},
    form::{Fields, Sent, asked},
    jobs::Listing,
    shell::{self, Place, Shell},
    templates::{Parameter, Shown},
    text::{visible, visible_json},
};

/// The most templates that can be chosen from here; any can be named.
const TEMPLATES: usize = 100;

/// How a job is described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Fields,
    Template,
    Json,
}

#[derive(Template)]
#[template(path = "ui/submit.html")]
struct Page {
    shell: Shell,
    mode: Mode,
    typed: Fields,
    templates: Vec<Shown>,
    chosen: Option<Shown>,
    /// The same form sent twice makes one job.
    key: String,
}

#[derive(Deserialize)]
struct Submitted {
    job_id: String,
}

impl Page {
    /// What was typed into a field.
    fn of(&self, name: &str) -> &str {
        self.typed.get(name)
    }

    fn of_parameter(&self, name: &str) -> &str {
        self.typed.get(&format!("params.{name}"))
    }

    /// What is wrong with a field.
    fn fault(&self, name: &str) -> Option<String> {
        let errors = &self.shell.refusal.as_ref()?.errors;
        let of = |pointer: &str| {
            let rest = pointer.strip_prefix('/')?.strip_prefix(name)?;
            Some(rest).filter(|it| it.is_empty() || it.starts_with('/')).map(str::to_owned)
        };
        let told = errors.iter().filter_map(|it| {
            let below = of(&it.pointer)?;
            Some(if below.is_empty() {
                it.detail.clone()
            } else {
                format!("{}: {}", below.trim_start_matches('/'), it.detail)
            })
        });
        Some(told.collect::<Vec<_>>().join("; ")).filter(|it| !it.is_empty())
    }
}

/// `GET /ui/submit`
pub async fn page(State(ui): State<Arc<Ui>>, query: Result<Query<Vec<(String, String)>>, QueryRejection>) -> Response {
    let mut fields = asked(query);
    let mut refusal = None;
    if let Some(id) = fields.given("clone").map(str::to_owned) {
        match ui.ask.exact(&format!("/jobs/{}", encoded(&id))).await {
            Ok(job) => fields = cloned(&job),
            Err(missing) => refusal = Some(missing),
        }
    }
    shown(&ui, fields, refusal).await
}

async fn shown(ui: &Ui, typed: Fields, refusal: Option<Refusal>) -> Response {
    let (templates, refusal) = match ui.ask.get::<Listing<Shown>>(&format!("/templates?limit={TEMPLATES}")).await {
        Ok(listing) => (listing.items, refusal),
        Err(missing) => (Vec::new(), refusal.or(Some(missing))),
    };
    let chosen = match typed.given("template") {
        Some(name) => ui.ask.get::<Shown>(&format!("/templates/{}", encoded(name))).await.ok(),
        None => None,
    };
    let mode = match typed.get("mode") {
        "template" => Mode::Template,
        "json" => Mode::Json,
        "fields" => Mode::Fields,
        _ if chosen.is_some() => Mode::Template,
        _ => Mode::Fields,
    };
    let status = refusal.as_ref().map_or(StatusCode::OK, Refusal::status);
    let key = match typed.given("idempotency_key") {
        Some(key) => key.to_owned(),
        None => format!("console-{}", uuid::Uuid::new_v4().simple()),
    };
    let shell = Shell::new("Submit a job", Place::Submit, 2).refused(refusal);
    let page = Page { shell, mode, typed, templates, chosen, key };
    shell::page(status, &page)
}

/// `POST /ui/submit`
pub async fn act(State(ui): State<Arc<Ui>>, Sent(fields): Sent) -> Response {
    // Choosing a template is no submission: its parameters are asked for first.
    if fields.get("step") == "choose" {
        return shown(&ui, fields, None).await;
    }
    let request = match fields.get("mode") {
        "json" => of_json(&fields),
        "template" => of_template(&ui, &fields).await,
        _ => of_fields(&fields),
    };
    let done = match request {
        Ok(request) => ui.ask.send::<Submitted>(Method::POST, "/jobs", Some(&request)).await,
        Err(refusal) => Err(refusal),
    };
    match done {
        Ok(it) => shell::see(&format!("jobs/{}?done=submitted", it.job_id)),
        Err(refusal) => shown(&ui, fields, Some(refusal)).await,
    }
}

/// What every way to submit has.
fn common(fields: &Fields) -> Result<Map<String, Value>, Refusal> {
    let mut request = Map::new();
    request.insert("name".into(), json!(fields.get("name").trim()));
    for name in ["queue", "namespace", "delay", "timeout", "idempotency_key"] {
        if let Some(value) = fields.given(name) {
            request.insert(name.into(), json!(value));
        }
    }
    for name in ["priority", "max_attempts"] {
        if let Some(value) = fields.number(name)? {
            request.insert(name.into(), json!(value));
        }
    }
    let labels = pairs("labels", fields.get("labels"))?;
    if !labels.is_empty() {
        request.insert("labels".into(), labels.into());
    }
    Ok(request)
}

fn of_fields(fields: &Fields) -> Result<Value, Refusal> {
    let mut request = common(fields)?;
    for name in ["image", "command"] {
        if let Some(value) = fields.given(name) {
            request.insert(name.into(), json!(value));
        }
    }
    let args: Vec<&str> = fields.get("args").lines().filter(|it| !it.is_empty()).collect();
    if !args.is_empty() {
        request.insert("args".into(), json!(args));
    }
    let env = pairs("env", fields.get("env"))?;
    if !env.is_empty() {
        request.insert("env".into(), env.into());
    }
    Ok(request.into())
}

async fn of_template(ui: &Ui, fields: &Fields) -> Result<Value, Refusal> {
    let mut request = common(fields)?;
    let name = fields.given("template").ok_or_else(|| Refusal::of_field("template", "Choose a template."))?;
    let template: Shown = ui.ask.get(&format!("/templates/{}", encoded(name))).await?;
    let given = |it: &Parameter| {
        let text = fields.get(&format!("params.{}", it.name));
        (!text.is_empty()).then(|| (it.name.clone(), it.value(text)))
    };
    let params: Map<String, Value> = template.parameters.iter().filter_map(given).collect();
    request.insert("template".into(), json!(name));
    request.insert("params".into(), params.into());
    Ok(request.into())
}

fn of_json(fields: &Fields) -> Result<Value, Refusal> {
    let value: Value = serde_json::from_str(fields.get("json"))
        .map_err(|err| Refusal::of_field("json", &format!("This is no JSON: {err}")))?;
    match value {
        Value::Object(mut request) => {
            if let Some(key) = fields.given("idempotency_key") {
                request.entry("idempotency_key").or_insert_with(|| json!(key));
            }
            Ok(request.into())
        }
        _ => Err(Refusal::of_field("json", "This is no object: a job is { \"name\": …, … }")),
    }
}

/// Lines such as `KEY=value`.
fn pairs(field: &str, text: &str) -> Result<Map<String, Value>, Refusal> {
    let mut found = Map::new();
    for line in text.lines().filter(|it| !it.trim().is_empty()) {
        let Some((key, value)) = line.split_once('=') else {
            let detail = format!("Each line is NAME=value; {line:?} has no equals sign.");
            return Err(Refusal::of_field(field, &visible(&detail)));
        };
        found.insert(key.trim().to_owned(), json!(value));
    }
    Ok(found)
}

/// The form of a job that was submitted before: in fields, if they can say all of it, else in JSON.
fn cloned(job: &Value) -> Fields {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut request = Map::new();
    for name in ["name", "queue", "namespace", "priority"] {
        request.insert(name.into(), job[name].clone());
    }
    let spec = job["spec"].as_object().cloned().unwrap_or_default();
    // The manifest of a template is made anew from it.
    let of_template = spec.contains_key("template");
    let spec: Map<String, Value> = spec.into_iter().filter(|it| !(of_template && it.0 == "manifest")).collect();
    let lines = |value: &Value| match value {
        Value::Object(it) => {
            it.iter().map(|(key, value)| format!("{key}={}", text(value))).collect::<Vec<_>>().join("\n")
        }
        other => text(other),
    };
    let plain = |value: &Value| match value {
        Value::Object(it) => it.values().all(|it| it.as_str().is_some_and(|it| !it.contains('\n'))),
        Value::Array(it) => it.iter().all(|it| it.as_str().is_some_and(|it| !it.is_empty() && !it.contains('\n'))),
        Value::String(_) => true,
        _ => false,
    };
    let known = ["image", "command", "args", "env", "labels"];
    if job["policy"].is_null() && spec.iter().all(|(key, value)| known.contains(&key.as_str()) && plain(value)) {
        let words = |it: &Value| it.as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
        let mut fields: Vec<(String, String)> = request.iter().map(|(key, value)| (key.clone(), text(value))).collect();
        for (key, value) in &spec {
            let value = match key.as_str() {
                "command" => shlex::try_join(words(value).iter().map(String::as_str)).unwrap_or_default(),
                "args" => words(value).join("\n"),
                _ => lines(value),
            };
            fields.push((key.clone(), value));
        }
        fields.push(("mode".into(), "fields".into()));
        return Fields(fields);
    }
    request.extend(spec);
    let json = visible_json(&serde_json::to_string_pretty(&Value::Object(request)).unwrap_or_default());
    Fields(vec![("mode".into(), "json".into()), ("json".into(), json)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_is_what_was_submitted_whichever_way_the_form_says_it() {
        let job = |spec: Value| json!({"name": "a", "queue": "q", "namespace": "n", "priority": 3, "spec": spec});
        let spec = json!({"image": "busybox", "command": ["sh", "-c", "echo 'a b'"], "args": ["x y", "z"],
            "env": {"A": "1=2"}, "labels": {"team": "blue"}});
        let fields = cloned(&job(spec.clone()));
        let again = of_fields(&fields).unwrap();
        assert_eq!(fields.get("mode"), "fields");
        assert_eq!(shlex::split(again["command"].as_str().unwrap()).unwrap(), ["sh", "-c", "echo 'a b'"]);
        assert_eq!((&again["args"], &again["env"], &again["labels"]), (&spec["args"], &spec["env"], &spec["labels"]));
        let fields = cloned(&job(json!({"image": "busybox", "resources": {"limits": {"cpu": "1"}}})));
        assert_eq!(fields.get("mode"), "json");
        let again: Value = serde_json::from_str(fields.get("json")).unwrap();
        assert_eq!((&again["name"], &again["resources"]["limits"]["cpu"]), (&json!("a"), &json!("1")));
    }

    #[test]
    fn a_line_without_an_equals_sign_is_refused_at_its_field() {
        let refusal = pairs("env", "A=1\n\nnonsense").unwrap_err();
        assert_eq!(refusal.errors[0].pointer, "/env");
        assert!(refusal.detail.contains("nonsense"));
    }
}
