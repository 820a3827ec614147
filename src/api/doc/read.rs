//! Reads an OpenAPI document for people: what the page `/docs` shows of its routes and schemas, in its order.

use serde_json::{Map, Value};

/// A stretch of text, or of code in it.
pub struct Piece {
    pub text: String,
    pub code: bool,
}

/// What a value is, in words, and the schema that says more.
pub struct Kind {
    pub text: String,
    pub shape: Option<String>,
}

/// A parameter, a header or a field.
pub struct Row {
    pub name: String,
    /// Where a parameter goes.
    pub place: String,
    pub required: bool,
    pub kind: Kind,
    pub about: Vec<Piece>,
}

/// Something that is sent, in one format.
pub struct Content {
    pub format: String,
    pub kind: Kind,
    /// Each with what it shows.
    pub examples: Vec<(String, String)>,
}

/// What may come back.
pub struct Answer {
    pub status: String,
    /// Line by line.
    pub about: Vec<Vec<Piece>>,
    pub headers: Vec<Row>,
    pub contents: Vec<Content>,
    /// The codes of the problems that come with this status.
    pub codes: Vec<String>,
}

/// A method of a path.
pub struct Operation {
    pub id: String,
    pub method: String,
    pub path: String,
    pub summary: String,
    pub about: Vec<Piece>,
    pub parameters: Vec<Row>,
    pub body: Vec<Content>,
    pub answers: Vec<Answer>,
}

impl Operation {
    /// The codes of all problems that it may answer with.
    pub fn codes(&self) -> impl Iterator<Item = &str> {
        self.answers.iter().flat_map(|it| &it.codes).map(String::as_str)
    }
}

/// The operations on one resource.
pub struct Group {
    pub name: String,
    pub about: Vec<Piece>,
    pub operations: Vec<Operation>,
}

/// A schema that has a name.
pub struct Shape {
    pub name: String,
    pub about: Vec<Piece>,
    pub kind: Kind,
    pub fields: Vec<Row>,
    pub example: Option<String>,
}

/// Its groups, and its schemas.
pub fn read(document: &Value) -> (Vec<Group>, Vec<Shape>) {
    let mut groups: Vec<Group> = items(&document["tags"])
        .iter()
        .map(|tag| Group { name: text(&tag["name"]), about: pieces(str(&tag["description"])), operations: Vec::new() })
        .collect();
    for (path, methods) in fields(&document["paths"]) {
        for (method, operation) in fields(methods) {
            let group = groups.iter_mut().find(|it| Some(it.name.as_str()) == operation["tags"][0].as_str());
            if let Some(group) = group {
                group.operations.push(read_operation(path, method, operation));
            }
        }
    }
    let shapes = fields(&document["components"]["schemas"]).map(|(name, schema)| read_shape(name, schema));
    (groups, shapes.collect())
}

fn read_operation(path: &str, method: &str, operation: &Value) -> Operation {
    let parameters = items(&operation["parameters"]).iter();
    let parameter = |it: &Value| row(str(&it["name"]), str(&it["in"]), it["required"] == true, &it["schema"], it);
    Operation {
        id: text(&operation["operationId"]),
        method: method.to_uppercase(),
        path: path.to_owned(),
        summary: text(&operation["summary"]),
        about: pieces(str(&operation["description"])),
        parameters: parameters.map(parameter).collect(),
        body: contents(&operation["requestBody"]["content"]),
        answers: fields(&operation["responses"]).map(|(status, it)| read_answer(status, it)).collect(),
    }
}

fn read_answer(status: &str, answer: &Value) -> Answer {
    let problem = &answer["content"]["application/problem+json"];
    let codes: Vec<String> = fields(&problem["examples"]).map(|(code, _)| code.clone()).collect();
    let headers = fields(&answer["headers"]).map(|(name, it)| row(name, "", false, &it["schema"], it));
    Answer {
        status: status.to_owned(),
        about: str(&answer["description"]).lines().map(pieces).collect(),
        headers: headers.collect(),
        contents: if codes.is_empty() { contents(&answer["content"]) } else { Vec::new() },
        codes,
    }
}

fn contents(contents: &Value) -> Vec<Content> {
    let read = |(format, it): (&String, &Value)| {
        let named = fields(&it["examples"]).map(|(_, it)| (text(&it["summary"]), pretty(&it["value"])));
        let example = it.get("example").map(|it| (String::new(), pretty(it)));
        Content { format: format.clone(), kind: kind(&it["schema"]), examples: named.chain(example).collect() }
    };
    fields(contents).map(read).collect()
}

fn read_shape(name: &str, schema: &Value) -> Shape {
    let required = items(&schema["required"]);
    let field = |(name, it): (&String, &Value)| row(name, "", required.iter().any(|it| it == name), it, it);
    // A schema may be put together from others, each with fields of its own.
    let parts = std::iter::once(schema).chain(items(&schema["allOf"]));
    Shape {
        name: name.to_owned(),
        about: pieces(str(&schema["description"])),
        kind: kind(schema),
        fields: parts.flat_map(|it| fields(&it["properties"])).map(field).collect(),
        example: schema.get("example").map(pretty),
    }
}

fn row(name: &str, place: &str, required: bool, schema: &Value, described: &Value) -> Row {
    let about = pieces(str(&described["description"]));
    Row { name: name.to_owned(), place: place.to_owned(), required, kind: kind(schema), about }
}

/// What a schema allows, in a few words.
fn kind(schema: &Value) -> Kind {
    if let Some(name) = str(&schema["$ref"]).rsplit('/').next().filter(|it| !it.is_empty()) {
        return Kind { text: name.to_owned(), shape: Some(name.to_owned()) };
    }
    for choice in ["oneOf", "anyOf", "allOf"] {
        let kinds: Vec<Kind> = items(&schema[choice]).iter().map(kind).filter(|it| it.text != "null").collect();
        if !kinds.is_empty() {
            let text = kinds.iter().map(|it| it.text.as_str()).collect::<Vec<_>>();
            let text = text.join(if choice == "allOf" { " and " } else { " or " });
            return Kind { text, shape: kinds.into_iter().find_map(|it| it.shape) };
        }
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).filter(|it| *it != "null").collect(),
        it => it.as_str().into_iter().collect(),
    };
    let (mut text, mut shape) = (types.join(" or "), None);
    if types == ["array"] {
        let item = kind(&schema["items"]);
        text = format!("array of {}", item.text);
        shape = item.shape;
    }
    if types.is_empty() {
        text = if schema["enum"].is_array() { String::new() } else { "anything".into() };
    }
    Kind { text: text + &bounds(schema), shape }
}

fn bounds(schema: &Value) -> String {
    let mut text = String::new();
    let values: Vec<&str> = items(&schema["enum"]).iter().filter_map(Value::as_str).collect();
    if !values.is_empty() {
        text += &format!(": {}", values.join(", "));
    }
    let bound = |least: &str, most: &str| match (schema.get(least), schema.get(most)) {
        (Some(least), Some(most)) => Some(format!("{least} to {most}")),
        (Some(least), None) => Some(format!("{least} or more")),
        (None, Some(most)) => Some(format!("{most} at most")),
        (None, None) => None,
    };
    if let Some(range) = bound("minimum", "maximum") {
        text += &format!(", {range}");
    }
    if let Some(range) = bound("minLength", "maxLength") {
        text += &format!(", {range} characters");
    }
    if let Some(format) = schema["format"].as_str() {
        text += &format!(" ({format})");
    }
    if let Some(default) = schema.get("default") {
        text += &format!(", default {default}");
    }
    text
}

/// Code stands between backticks.
pub fn pieces(text: &str) -> Vec<Piece> {
    let text = text.strip_prefix("- ").unwrap_or(text).split('`').enumerate();
    text.map(|(index, it)| Piece { text: it.to_owned(), code: index % 2 == 1 }).collect()
}

/// Lines of JSON are shown as they are.
fn pretty(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        it => serde_json::to_string_pretty(it).unwrap_or_default(),
    }
}

fn str(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn text(value: &Value) -> String {
    str(value).to_owned()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}
