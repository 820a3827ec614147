//! Why a request was refused, in the words of Kubernetes' `Status`.

use serde_json::{Value, json};

use super::resource::Resource;

#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub code: u16,
    pub reason: String,
    pub message: String,
    pub details: Value,
    pub retry_after_secs: Option<u32>,
}

/// One wrong field of an object.
#[derive(Clone, Debug)]
pub struct Cause {
    pub reason: &'static str,
    pub field: String,
    pub message: String,
}

impl Cause {
    pub fn required(field: impl Into<String>, hint: &str) -> Cause {
        let message = if hint.is_empty() { "Required value".to_owned() } else { format!("Required value: {hint}") };
        Cause { reason: "FieldValueRequired", field: field.into(), message }
    }

    pub fn invalid(field: impl Into<String>, value: &Value, why: &str) -> Cause {
        Cause { reason: "FieldValueInvalid", field: field.into(), message: format!("Invalid value: {value}: {why}") }
    }

    pub fn unsupported(field: impl Into<String>, value: &Value, supported: &str) -> Cause {
        let message = format!("Unsupported value: {value}: supported values: {supported}");
        Cause { reason: "FieldValueNotSupported", field: field.into(), message }
    }
}

impl Refusal {
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> Refusal {
        let message = message.into();
        Refusal { code, reason: reason.to_owned(), message, details: Value::Null, retry_after_secs: None }
    }

    pub fn bad_request(message: impl Into<String>) -> Refusal {
        Refusal::new(400, "BadRequest", message)
    }

    pub fn not_found(resource: Resource, name: &str) -> Refusal {
        let message = format!("{} \"{name}\" not found", resource.qualified());
        Refusal::new(404, "NotFound", message).about(resource, name)
    }

    pub fn no_such_path() -> Refusal {
        Refusal::new(404, "NotFound", "the server could not find the requested resource")
    }

    pub fn exists(resource: Resource, name: &str) -> Refusal {
        let message = format!("{} \"{name}\" already exists", resource.qualified());
        Refusal::new(409, "AlreadyExists", message).about(resource, name)
    }

    pub fn conflict(resource: Resource, name: &str, why: &str) -> Refusal {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", resource.qualified());
        Refusal::new(409, "Conflict", message).about(resource, name)
    }

    pub fn forbidden(resource: Resource, name: &str, why: &str) -> Refusal {
        let message = format!("{} \"{name}\" is forbidden: {why}", resource.qualified());
        Refusal::new(403, "Forbidden", message).about(resource, name)
    }

    pub fn expired(message: impl Into<String>) -> Refusal {
        Refusal::new(410, "Expired", message)
    }

    pub fn invalid(resource: Resource, name: &str, causes: &[Cause]) -> Refusal {
        let info = resource.info();
        let kind = if info.group.is_empty() { info.kind.to_owned() } else { format!("{}.{}", info.kind, info.group) };
        let mut said: Vec<String> = causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
        let list = if said.len() == 1 { said.remove(0) } else { format!("[{}]", said.join(", ")) };
        let mut refusal = Refusal::new(422, "Invalid", format!("{kind} \"{name}\" is invalid: {list}"));
        let causes: Vec<Value> =
            causes.iter().map(|c| json!({"reason": c.reason, "message": c.message, "field": c.field})).collect();
        refusal.details = json!({"name": name, "group": info.group, "kind": info.kind, "causes": causes});
        refusal
    }

    /// A version newer than any this server has seen, as after a restore from an older backup.
    pub fn version_too_large(asked: u64, current: u64) -> Refusal {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let mut refusal = Refusal::new(504, "Timeout", message).retry_after(1);
        refusal.details["causes"] =
            json!([{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]);
        refusal
    }

    pub fn about(mut self, resource: Resource, name: &str) -> Refusal {
        let info = resource.info();
        self.details = json!({"name": name, "kind": info.plural});
        if !info.group.is_empty() {
            self.details["group"] = info.group.into();
        }
        self
    }

    pub fn retry_after(mut self, secs: u32) -> Refusal {
        self.retry_after_secs = Some(secs);
        self.details["retryAfterSeconds"] = secs.into();
        self
    }

    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }
}
