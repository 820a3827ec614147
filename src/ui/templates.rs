//! `/ui/templates`: what requests can be made from, and with which parameters.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::Response,
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Ui,
    ask::{FieldError, Refusal, encoded},
    form::asked,
    jobs::Listing,
    shell::{self, Place, Shell},
};

/// Templates on a page.
const PAGE: usize = 100;

/// A template, as the API tells it.
#[derive(Debug, Clone, Deserialize)]
pub struct Shown {
    pub name: String,
    home: String,
    at: Option<String>,
    hidden_by: Option<String>,
    usable: bool,
    #[serde(default)]
    errors: Vec<FieldError>,
    pub description: Option<String>,
    #[serde(default)]
    pub parameters: Vec<Parameter>,
}

/// What a template takes.
#[derive(Debug, Clone, Deserialize)]
pub struct Parameter {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub default: Option<Value>,
    pub required: Option<bool>,
    pub description: Option<String>,
    #[serde(rename = "enum")]
    pub one_of: Option<Vec<Value>>,
}

impl Parameter {
    pub fn is_required(&self) -> bool {
        self.default.is_none() && self.required.unwrap_or(true)
    }

    /// The default as it would be typed.
    pub fn placeholder(&self) -> String {
        self.default.as_ref().map(typed).unwrap_or_default()
    }

    /// The only values it takes, as they would be typed.
    pub fn choices(&self) -> Vec<String> {
        match (&self.one_of, self.kind.as_str()) {
            (Some(values), _) => values.iter().map(typed).collect(),
            (None, "boolean") => vec!["true".into(), "false".into()],
            (None, _) => Vec::new(),
        }
    }

    /// What was typed, as a value of its type; as text, where it is none: the API then says what is wrong.
    pub fn value(&self, text: &str) -> Value {
        let as_text = || Value::from(text);
        match self.kind.as_str() {
            "integer" | "number" => text.trim().parse().map(Value::Number).unwrap_or_else(|_| as_text()),
            "boolean" => text.trim().parse().map(Value::Bool).unwrap_or_else(|_| as_text()),
            _ => as_text(),
        }
    }
}

fn typed(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[derive(Template)]
#[template(path = "ui/templates.html")]
struct Page {
    shell: Shell,
    templates: Vec<Shown>,
    next: Option<String>,
}

/// `GET /ui/templates`
pub async fn list(State(ui): State<Arc<Ui>>, query: Result<Query<Vec<(String, String)>>, QueryRejection>) -> Response {
    let fields = asked(query);
    let cursor = fields.given("cursor").map_or_else(String::new, |it| format!("&cursor={}", encoded(it)));
    let (listing, refusal) = match ui.ask.get::<Listing<Shown>>(&format!("/templates?limit={PAGE}{cursor}")).await {
        Ok(listing) => (listing, None),
        Err(refusal) => (Listing { items: Vec::new(), next: None }, Some(refusal)),
    };
    let status = refusal.as_ref().map_or(StatusCode::OK, Refusal::status);
    let shell = Shell::new("Templates", Place::Templates, 2).refused(refusal);
    let next = listing.next.map(|it| encoded(&it));
    shell::page(status, &Page { shell, templates: listing.items, next })
}
