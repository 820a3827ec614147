//! Reads what `kubectl create job|namespace|configmap|quota` posts since 1.33: objects in Kubernetes' protobuf form.
//!
//! A table per message, of the fields that these commands can set. A field that is not in the table is refused, never
//! ignored: the client shall send JSON then, as everything else here does.

use serde_json::{Map, Value, json};

use crate::sim::state::Refusal;

pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// Number, name in JSON, and form.
struct Field(u64, &'static str, Form);

enum Form {
    Text,
    Texts,
    Int,
    Bool,
    /// A map of strings.
    Map,
    /// A map of quantities.
    Quantities,
    One(&'static [Field]),
    Many(&'static [Field]),
    /// Set by the server, or empty in what kubectl creates.
    Skipped,
}

use Form::{Bool, Int, Many, One, Quantities, Skipped, Text, Texts};

static OBJECT_META: &[Field] = &[
    Field(1, "name", Text),
    Field(2, "generateName", Text),
    Field(3, "namespace", Text),
    Field(4, "selfLink", Skipped),
    Field(5, "uid", Text),
    Field(6, "resourceVersion", Text),
    Field(7, "generation", Skipped),
    Field(8, "creationTimestamp", Skipped),
    Field(11, "labels", Form::Map),
    Field(12, "annotations", Form::Map),
    Field(13, "ownerReferences", Many(OWNER)),
    Field(14, "finalizers", Texts),
    Field(17, "managedFields", Skipped),
];
static OWNER: &[Field] = &[
    Field(1, "kind", Text),
    Field(3, "name", Text),
    Field(4, "uid", Text),
    Field(5, "apiVersion", Text),
    Field(6, "controller", Bool),
    Field(7, "blockOwnerDeletion", Bool),
];
static JOB: &[Field] =
    &[Field(1, "metadata", One(OBJECT_META)), Field(2, "spec", One(JOB_SPEC)), Field(3, "", Skipped)];
static JOB_SPEC: &[Field] = &[
    Field(1, "parallelism", Int),
    Field(2, "completions", Int),
    Field(3, "activeDeadlineSeconds", Int),
    Field(5, "manualSelector", Bool),
    Field(6, "template", One(POD_TEMPLATE)),
    Field(7, "backoffLimit", Int),
    Field(8, "ttlSecondsAfterFinished", Int),
    Field(9, "completionMode", Text),
    Field(10, "suspend", Bool),
    Field(14, "podReplacementPolicy", Text),
];
static POD_TEMPLATE: &[Field] = &[Field(1, "metadata", One(OBJECT_META)), Field(2, "spec", One(POD_SPEC))];
static POD_SPEC: &[Field] = &[
    Field(2, "containers", Many(CONTAINER)),
    Field(3, "restartPolicy", Text),
    Field(4, "terminationGracePeriodSeconds", Int),
    Field(5, "activeDeadlineSeconds", Int),
    Field(6, "dnsPolicy", Text),
    Field(7, "nodeSelector", Form::Map),
    Field(8, "serviceAccountName", Text),
    Field(9, "serviceAccount", Text),
    Field(10, "nodeName", Text),
    Field(11, "hostNetwork", Bool),
    Field(12, "hostPID", Bool),
    Field(13, "hostIPC", Bool),
    Field(14, "securityContext", Skipped),
    Field(16, "hostname", Text),
    Field(17, "subdomain", Text),
    Field(19, "schedulerName", Text),
    Field(20, "initContainers", Many(CONTAINER)),
    Field(21, "automountServiceAccountToken", Bool),
    Field(24, "priorityClassName", Text),
    Field(25, "priority", Int),
];
static CONTAINER: &[Field] = &[
    Field(1, "name", Text),
    Field(2, "image", Text),
    Field(3, "command", Texts),
    Field(4, "args", Texts),
    Field(5, "workingDir", Text),
    Field(7, "env", Many(ENV)),
    Field(8, "resources", One(RESOURCES)),
    Field(13, "terminationMessagePath", Text),
    Field(14, "imagePullPolicy", Text),
    Field(16, "stdin", Bool),
    Field(17, "stdinOnce", Bool),
    Field(18, "tty", Bool),
    Field(20, "terminationMessagePolicy", Text),
];
static ENV: &[Field] = &[Field(1, "name", Text), Field(2, "value", Text)];
static RESOURCES: &[Field] = &[Field(1, "limits", Quantities), Field(2, "requests", Quantities)];
static NAMESPACE: &[Field] = &[Field(1, "metadata", One(OBJECT_META)), Field(2, "", Skipped), Field(3, "", Skipped)];
static CONFIG_MAP: &[Field] =
    &[Field(1, "metadata", One(OBJECT_META)), Field(2, "data", Form::Map), Field(4, "immutable", Bool)];
static QUOTA: &[Field] =
    &[Field(1, "metadata", One(OBJECT_META)), Field(2, "spec", One(QUOTA_SPEC)), Field(3, "", Skipped)];
static QUOTA_SPEC: &[Field] = &[Field(1, "hard", Quantities), Field(2, "scopes", Texts)];
static DELETE_OPTIONS: &[Field] = &[
    Field(1, "gracePeriodSeconds", Int),
    Field(2, "preconditions", One(PRECONDITIONS)),
    Field(3, "orphanDependents", Bool),
    Field(4, "propagationPolicy", Text),
    Field(5, "dryRun", Texts),
];
static PRECONDITIONS: &[Field] = &[Field(1, "uid", Text), Field(2, "resourceVersion", Text)];

/// The JSON form of a body in protobuf.
pub fn to_json(body: &[u8]) -> Result<Value, Refusal> {
    let unknown = body.strip_prefix(b"k8s\0").ok_or_else(|| refuse("it lacks the prefix k8s"))?;
    let (mut kind, mut version, mut raw) = (String::new(), String::new(), &[][..]);
    for entry in Entries(unknown) {
        match entry? {
            (1, Part::Bytes(types)) => {
                for entry in Entries(types) {
                    match entry? {
                        (1, Part::Bytes(text)) => version = utf8(text)?,
                        (2, Part::Bytes(text)) => kind = utf8(text)?,
                        _ => {}
                    }
                }
            }
            (2, Part::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let fields = match kind.as_str() {
        "Job" => JOB,
        "Namespace" => NAMESPACE,
        "ConfigMap" => CONFIG_MAP,
        "ResourceQuota" => QUOTA,
        "DeleteOptions" => DELETE_OPTIONS,
        other => return Err(refuse(&format!("the kind {other} is not understood in it"))),
    };
    let mut object = message(raw, fields, &kind)?;
    object.insert("kind".to_owned(), kind.into());
    object.insert("apiVersion".to_owned(), version.into());
    Ok(object.into())
}

fn message(bytes: &[u8], fields: &'static [Field], of: &str) -> Result<Map<String, Value>, Refusal> {
    let mut object = Map::new();
    for entry in Entries(bytes) {
        let (number, part) = entry?;
        let Some(Field(_, name, form)) = fields.iter().find(|field| field.0 == number) else {
            if part.is_zero() {
                continue;
            }
            return Err(refuse(&format!("field {number} of {of} is not understood in it")));
        };
        match (form, part) {
            (Skipped, _) => {}
            (Int, Part::Number(number)) => drop(object.insert((*name).to_owned(), number.cast_signed().into())),
            (Bool, Part::Number(number)) => drop(object.insert((*name).to_owned(), (number != 0).into())),
            (Text, Part::Bytes([])) => {}
            (Text, Part::Bytes(text)) => drop(object.insert((*name).to_owned(), utf8(text)?.into())),
            (One(fields), Part::Bytes(bytes)) => {
                drop(object.insert((*name).to_owned(), message(bytes, fields, name)?.into()));
            }
            (Texts, Part::Bytes(text)) => push(&mut object, name, utf8(text)?.into()),
            (Many(fields), Part::Bytes(bytes)) => push(&mut object, name, message(bytes, fields, name)?.into()),
            (Form::Map, Part::Bytes(bytes)) => put(&mut object, name, pair(bytes, false)?),
            (Quantities, Part::Bytes(bytes)) => put(&mut object, name, pair(bytes, true)?),
            _ => return Err(refuse(&format!("{name} has an unexpected form in it"))),
        }
    }
    Ok(object)
}

fn push(object: &mut Map<String, Value>, name: &str, item: Value) {
    if let Some(list) = object.entry(name).or_insert_with(|| json!([])).as_array_mut() {
        list.push(item);
    }
}

fn put(object: &mut Map<String, Value>, name: &str, (key, value): (String, String)) {
    if let Some(map) = object.entry(name).or_insert_with(|| json!({})).as_object_mut() {
        map.insert(key, value.into());
    }
}

/// An entry of a map. A quantity is a message with its text in field 1.
fn pair(bytes: &[u8], quantity: bool) -> Result<(String, String), Refusal> {
    let (mut key, mut value) = (String::new(), String::new());
    for entry in Entries(bytes) {
        match entry? {
            (1, Part::Bytes(text)) => key = utf8(text)?,
            (2, Part::Bytes(message)) if quantity => {
                for entry in Entries(message) {
                    if let (1, Part::Bytes(text)) = entry? {
                        value = utf8(text)?;
                    }
                }
            }
            (2, Part::Bytes(text)) => value = utf8(text)?,
            _ => {}
        }
    }
    Ok((key, value))
}

fn utf8(bytes: &[u8]) -> Result<String, Refusal> {
    String::from_utf8(bytes.to_vec()).map_err(|_| refuse("a text in it is not UTF-8"))
}

fn refuse(why: &str) -> Refusal {
    Refusal::new(415, "UnsupportedMediaType", format!("the body cannot be read as protobuf: {why}; send JSON"))
}

enum Part<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl Part<'_> {
    fn is_zero(&self) -> bool {
        matches!(self, Part::Number(0) | Part::Bytes([]))
    }
}

/// The fields of a message as they stand on the wire.
struct Entries<'a>(&'a [u8]);

impl<'a> Iterator for Entries<'a> {
    type Item = Result<(u64, Part<'a>), Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let entry = self.read();
        if entry.is_none() {
            self.0 = &[];
        }
        Some(entry.ok_or_else(|| refuse("it ends in the middle of a field")))
    }
}

impl<'a> Entries<'a> {
    fn read(&mut self) -> Option<(u64, Part<'a>)> {
        let tag = self.varint()?;
        let part = match tag & 7 {
            0 => Part::Number(self.varint()?),
            1 => Part::Bytes(self.take(8)?),
            2 => {
                let len = usize::try_from(self.varint()?).ok()?;
                Part::Bytes(self.take(len)?)
            }
            5 => Part::Bytes(self.take(4)?),
            _ => return None,
        };
        Some((tag >> 3, part))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_cut_short_is_refused_and_never_panics() {
        let body = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09Namespace\x12\x09\x0a\x07\x0a\x03foo\x1a\x00";
        let read = to_json(body).map(|object| object["metadata"]["name"].clone());
        assert_eq!(read.ok(), Some("foo".into()));
        for len in 0..body.len() {
            drop(to_json(&body[..len]));
        }
    }

    #[test]
    fn a_field_that_is_not_in_the_table_is_refused() {
        let body = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09Namespace\x12\x04\x4a\x02hi";
        assert_eq!(to_json(body).map_err(|refusal| refusal.code).err(), Some(415));
    }
}
