//! A manifest with places for values in it. Pure: taken apart once, filled as often as asked.
//!
//! `{{ name }}` stands in strings only, never in keys. A string that is nothing but one placeholder becomes the value with
//! its type; within a longer one the value's text is put in. Where Kubernetes takes nothing but text (arguments, values of
//! variables, labels) it is text in any case. `{{{{` is two braces.
//!
//! Kubernetes itself looks for `$(NAME)` in arguments and values of variables, and puts the variable's value there. A
//! parameter is data, so each `$` of it is doubled there, which is Kubernetes' own way to say a `$`; else a request could
//! read a secret out of a variable that the template set.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::spec::{Fault, escape};

/// The largest manifest, in bytes of its text: etcd refuses objects over 1.5 MiB.
pub const RENDERED_BYTES: usize = 1024 * 1024;

/// What one of the values is put into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Whatever the value is.
    Any,
    /// Only text.
    Text,
    /// Only text, in which Kubernetes looks for `$(NAME)`.
    Expanded,
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Text(String),
    Name(String),
}

#[derive(Debug, Clone)]
enum Node {
    Fixed(Value),
    Filled(Place, Vec<Piece>),
    List(Vec<Node>),
    Fields(Vec<(String, Node)>),
}

/// A manifest with places for values.
#[derive(Debug, Clone)]
pub struct Tree {
    root: Node,
    /// Where each name stands, as a pointer from the root; and whether a longer text is around it.
    pub uses: Vec<Use>,
}

/// One placeholder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    pub pointer: String,
    pub name: String,
    /// Whether it is all of its string.
    pub whole: bool,
}

impl Tree {
    /// Takes a manifest apart. `at`: where it stands in its document.
    pub fn read(manifest: Value, at: &str) -> Result<Self, Vec<Fault>> {
        let mut reader = Reader { at, uses: Vec::new(), faults: Vec::new() };
        let root = reader.node(manifest, String::new(), Place::Any);
        if reader.faults.is_empty() { Ok(Self { root, uses: reader.uses }) } else { Err(reader.faults) }
    }

    /// The manifest with these values in it. A field whose only value is missing is left out. None: it is larger than
    /// [`RENDERED_BYTES`].
    pub fn fill(&self, values: &BTreeMap<String, Value>) -> Option<Value> {
        let mut filler = Filler { values, left: RENDERED_BYTES };
        filler.node(&self.root).map(Option::unwrap_or_default)
    }
}

struct Reader<'a> {
    at: &'a str,
    uses: Vec<Use>,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn node(&mut self, value: Value, pointer: String, place: Place) -> Node {
        match value {
            Value::String(text) => self.text(text, pointer, place),
            Value::Array(items) => {
                let of_items = items.into_iter().enumerate();
                Node::List(of_items.map(|(index, it)| self.node(it, format!("{pointer}/{index}"), place)).collect())
            }
            Value::Object(fields) => {
                let of_field = |(key, it): (String, Value)| {
                    let pointer_of_field = format!("{pointer}/{}", escape(&key));
                    if key.contains("{{") {
                        let detail = "must not have `{{` in its name; placeholders stand in values only";
                        self.faults.push(Fault::new(format!("{}{pointer_of_field}", self.at), detail));
                    }
                    let place = place_of(&pointer, &key, &it, place);
                    let node = self.node(it, pointer_of_field, place);
                    (key, node)
                };
                Node::Fields(fields.into_iter().map(of_field).collect())
            }
            fixed => Node::Fixed(fixed),
        }
    }

    fn text(&mut self, text: String, pointer: String, place: Place) -> Node {
        if !text.contains("{{") {
            return Node::Fixed(Value::String(text));
        }
        let pieces = match pieces(&text) {
            Ok(pieces) => pieces,
            Err(detail) => {
                self.faults.push(Fault::new(format!("{}{pointer}", self.at), detail));
                return Node::Fixed(Value::Null);
            }
        };
        let whole = pieces.len() == 1;
        for piece in &pieces {
            if let Piece::Name(name) = piece {
                self.uses.push(Use { pointer: pointer.clone(), name: name.clone(), whole });
            }
        }
        Node::Filled(place, pieces)
    }
}

/// What goes under `key` of the object at `pointer`.
fn place_of(pointer: &str, key: &str, value: &Value, place: Place) -> Place {
    let in_env = pointer.rsplit('/').nth(1) == Some("env");
    match (key, value) {
        ("command" | "args", Value::Array(_)) | ("subPathExpr", Value::String(_)) => Place::Expanded,
        ("value", Value::String(_)) if in_env => Place::Expanded,
        ("labels" | "annotations" | "matchLabels" | "nodeSelector", Value::Object(_)) => Place::Text,
        _ => place,
    }
}

fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        plain.push_str(before);
        if let Some(after) = after.strip_prefix("{{") {
            plain.push_str("{{");
            rest = after;
            continue;
        }
        let (name, after) = after.split_once("}}").ok_or("has a `{{` without `}}`; for two braces write `{{{{`")?;
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(Piece::Name(name.trim().to_owned()));
        rest = after;
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(pieces)
}

struct Filler<'a> {
    values: &'a BTreeMap<String, Value>,
    /// How many bytes more it may have.
    left: usize,
}

impl Filler<'_> {
    /// None: too large. Some of none: nothing.
    fn node(&mut self, node: &Node) -> Option<Option<Value>> {
        // Quotes, a comma or a bracket around what is counted where it is.
        self.take(2)?;
        Some(match node {
            Node::Fixed(value) => {
                self.take(value.as_str().map_or(5, str::len))?;
                Some(value.clone())
            }
            Node::Filled(place, pieces) => self.filled(*place, pieces)?,
            Node::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for item in items {
                    list.extend(self.node(item)?);
                }
                Some(Value::Array(list))
            }
            Node::Fields(fields) => {
                let mut map = Map::new();
                for (key, field) in fields {
                    self.take(key.len() + 3)?;
                    map.extend(self.node(field)?.map(|value| (key.clone(), value)));
                }
                Some(Value::Object(map))
            }
        })
    }

    fn filled(&mut self, place: Place, pieces: &[Piece]) -> Option<Option<Value>> {
        if let [Piece::Name(name)] = pieces {
            match self.values.get(name) {
                None => return Some(None),
                Some(Value::String(_)) => {}
                Some(value) if place == Place::Any => return Some(Some(value.clone())),
                Some(_) => {}
            }
        }
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Name(name) => {
                    let value = match self.values.get(name) {
                        Some(Value::String(value)) => value.clone(),
                        Some(value) => value.to_string(),
                        None => String::new(),
                    };
                    match place {
                        Place::Expanded => push_verbatim(&mut text, &value),
                        Place::Any | Place::Text => text.push_str(&value),
                    }
                }
            }
            // Before the next one is added: a large value may be put in many times.
            if text.len() > self.left {
                return None;
            }
        }
        self.take(text.len())?;
        Some(Some(Value::String(text)))
    }

    fn take(&mut self, bytes: usize) -> Option<()> {
        self.left = self.left.checked_sub(bytes)?;
        Some(())
    }
}

/// Adds a value that comes out of Kubernetes' own expansion as it is.
fn push_verbatim(text: &mut String, value: &str) {
    // A `$` of the template's before it would turn the value's doubled ones into a single one and a reference.
    let dollars = text.chars().rev().take_while(|it| *it == '$').count();
    if dollars % 2 == 1 && !value.is_empty() {
        text.push('$');
    }
    text.push_str(&value.replace('$', "$$"));
}

#[cfg(test)]
mod tests;
