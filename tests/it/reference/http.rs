//! The page about HTTP, made of the OpenAPI document.

use longshore::api;
use serde_json::{Map, Value};

use super::{Page, code};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn fields(value: &Value) -> Vec<(&String, &Value)> {
    value.as_object().map(Map::iter).into_iter().flatten().collect()
}

fn named(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.rsplit('/').next()
}

/// What a value has to be, in words.
fn kind(schema: &Value) -> String {
    if let Some(name) = named(schema) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    for several in ["oneOf", "anyOf", "allOf"] {
        if let Some(kinds) = schema[several].as_array() {
            let mut words: Vec<String> = kinds.iter().map(kind).collect();
            words.dedup();
            return words.join(" or ");
        }
    }
    if let Some(words) = schema["enum"].as_array() {
        return words
            .iter()
            .map(|it| code(&it.as_str().map_or_else(|| it.to_string(), str::to_owned)))
            .collect::<Vec<_>>()
            .join(", ");
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        several => several.as_array().into_iter().flatten().filter_map(Value::as_str).collect(),
    };
    let word = |it: &&str| match *it {
        "array" => format!("array of {}", kind(&schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("object of {}", kind(&schema["additionalProperties"]))
        }
        "string" if schema["format"] == "date-time" => "time".to_owned(),
        "string" if schema["format"] == "uuid" => "UUID".to_owned(),
        other => other.to_owned(),
    };
    let words: Vec<String> = types.iter().map(word).collect();
    if words.is_empty() { "any".to_owned() } else { words.join(" or ") }
}

/// Bounds that a schema names.
fn bounds(schema: &Value) -> String {
    let mut said = Vec::new();
    let number = |key: &str| schema[key].as_f64().map(|it| it.to_string());
    match (number("minimum"), number("maximum")) {
        (Some(least), Some(most)) => said.push(format!("{least} to {most}")),
        (Some(least), None) => said.push(format!("{least} or more")),
        (None, Some(most)) => said.push(format!("{most} at most")),
        (None, None) => {}
    }
    for (key, what) in [("maxLength", "characters"), ("maxItems", "items"), ("maxProperties", "keys")] {
        said.extend(number(key).map(|it| format!("{it} {what} at most")));
    }
    if !schema["default"].is_null() {
        said.push(format!(
            "default `{}`",
            schema["default"].as_str().map_or_else(|| schema["default"].to_string(), str::to_owned)
        ));
    }
    if said.is_empty() { String::new() } else { format!(" ({})", said.join("; ")) }
}

fn parameters(page: &mut Page, operation: &Value) {
    let given = operation["parameters"].as_array().into_iter().flatten();
    let row = |it: &Value| {
        let schema = &it["schema"];
        vec![
            code(text(it, "name")),
            text(it, "in").to_owned(),
            kind(schema),
            format!("{}{}", text(it, "description"), bounds(schema)),
        ]
    };
    let rows: Vec<_> = given.map(row).collect();
    if !rows.is_empty() {
        page.line("");
        page.table(&["parameter", "in", "type", "what"], &rows);
    }
}

fn bodies(content: &Value) -> String {
    let one = |(media, it): (&String, &Value)| match kind(&it["schema"]).as_str() {
        "any" | "string" => code(media),
        known => format!("{} as {known}", code(media)),
    };
    fields(content).into_iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The codes of the problems that an answer names as examples.
fn problems(content: &Value) -> Option<String> {
    let examples = &content["application/problem+json"]["examples"];
    let codes: Vec<_> = fields(examples).into_iter().map(|(it, _)| code(it)).collect();
    if codes.is_empty() { None } else { Some(codes.join(", ")) }
}

fn operation(page: &mut Page, method: &str, path: &str, operation: &Value) {
    page.heading(3, &format!("{} {path}", method.to_uppercase()));
    page.line(format!("{}.", text(operation, "summary").trim_end_matches('.')));
    let about = text(operation, "description");
    if !about.is_empty() {
        page.line(format!("\n{about}"));
    }
    parameters(page, operation);
    if operation["requestBody"].is_object() {
        let about = text(&operation["requestBody"], "description");
        page.line(format!("\nBody: {}. {about}", bodies(&operation["requestBody"]["content"])));
    }
    let answer = |(status, it): (&String, &Value)| match problems(&it["content"]) {
        Some(codes) => vec![status.clone(), codes],
        None => {
            let body = bodies(&it["content"]);
            let about = text(it, "description");
            let headers: Vec<_> = fields(&it["headers"]).into_iter().map(|(it, _)| code(it)).collect();
            let headers =
                if headers.is_empty() { String::new() } else { format!(" With the header {}.", headers.join(", ")) };
            let body = if body.is_empty() { String::new() } else { format!(" {body}.") };
            vec![status.clone(), format!("{about}{body}{headers}")]
        }
    };
    page.line("");
    page.table(&["status", "answer"], &fields(&operation["responses"]).into_iter().map(answer).collect::<Vec<_>>());
}

fn schema(page: &mut Page, name: &str, schema: &Value) {
    page.heading(3, name);
    let about = text(schema, "description");
    if !about.is_empty() {
        page.line(format!("{about}\n"));
    }
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let row = |(field, it): (&String, &Value)| {
        let must = if required.contains(&field.as_str()) { "yes" } else { "" };
        vec![code(field), kind(it), must.to_owned(), format!("{}{}", text(it, "description"), bounds(it))]
    };
    let rows: Vec<_> = fields(&schema["properties"]).into_iter().map(row).collect();
    match rows.is_empty() {
        true => page.line(format!("{}{}", kind(schema), bounds(schema))),
        false => page.table(&["field", "type", "always there", "what"], &rows),
    }
}

pub fn page() -> Page {
    let document = api::document();
    let about = "Every route, parameter, field and answer, as in the OpenAPI document that each replica serves at `/openapi.json`. \
                 [http.md](../http.md) tells how to use them, [reasons.md](reasons.md#problems) what the codes of problems mean.";
    let mut page = Page::new("HTTP", about);
    for tag in document["tags"].as_array().unwrap() {
        page.heading(2, text(tag, "name"));
        page.line(text(tag, "description"));
        for (path, item) in fields(&document["paths"]) {
            for method in METHODS {
                if item[method].is_object() && item[method]["tags"][0] == tag["name"] {
                    operation(&mut page, method, path, &item[method]);
                }
            }
        }
    }
    page.heading(2, "Types");
    for (name, it) in fields(&document["components"]["schemas"]) {
        schema(&mut page, name, it);
    }
    page
}
