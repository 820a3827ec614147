//! The rules of names, labels and keys: Kubernetes' own, and ours.

use super::{IDEMPOTENCY_KEY_CHARS, LABEL_CHARS, LABEL_PREFIX_CHARS, NAME_CHARS, OWN_PREFIX};

pub(super) fn check_name(name: &str) -> Result<(), String> {
    let chars = name.chars().count();
    if name.trim().is_empty() {
        return Err("must not be empty".into());
    }
    if chars > NAME_CHARS {
        return Err(format!("has {chars} characters; {NAME_CHARS} are the most"));
    }
    if name.chars().any(char::is_control) {
        return Err("must not contain control characters".into());
    }
    Ok(())
}

/// A queue's name, which is the value of a label on its Kubernetes Jobs.
pub fn check_queue(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("must not be empty; leave it out for the queue `default`".into());
    }
    check_label_value(name)
}

pub(super) fn check_idempotency_key(key: &str) -> Result<(), String> {
    let chars = key.chars().count();
    if chars == 0 || chars > IDEMPOTENCY_KEY_CHARS || key.chars().any(char::is_control) {
        return Err(format!("must have 1 to {IDEMPOTENCY_KEY_CHARS} characters, none of them a control character"));
    }
    Ok(())
}

/// A DNS label (RFC 1123), which Kubernetes wants of a namespace.
pub fn check_dns_label(text: &str) -> Result<(), String> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty()
        || text.len() > LABEL_CHARS
        || !text.chars().all(inner)
        || text.starts_with('-')
        || text.ends_with('-')
    {
        return Err(format!(
            "must be 1 to {LABEL_CHARS} lower-case letters, digits or `-`, beginning and ending with a letter or digit"
        ));
    }
    Ok(())
}

/// Kubernetes' rule for a Job's name: a DNS subdomain (RFC 1123) that fits into a label of its pods.
pub fn check_kube_name(name: &str) -> Result<(), String> {
    if name.len() > LABEL_CHARS || !name.split('.').all(|part| check_dns_label(part).is_ok()) {
        return Err(format!(
            "must be at most {LABEL_CHARS} lower-case letters, digits, `-` or `.`, with a letter or digit at both ends and \
             around each `.`"
        ));
    }
    Ok(())
}

/// Kubernetes' rule for a label's value.
pub fn check_label_value(value: &str) -> Result<(), String> {
    if value.is_empty() || is_label_part(value) {
        return Ok(());
    }
    Err(format!(
        "must be at most {LABEL_CHARS} letters, digits, `-`, `_` or `.`, beginning and ending with a letter or digit"
    ))
}

/// Kubernetes' rule for a label's or annotation's key, and ours that some keys are taken.
pub(super) fn check_key(key: &str) -> Result<(), String> {
    if key.starts_with(OWN_PREFIX) {
        return Err(format!("keys under {OWN_PREFIX} are Longshore's own"));
    }
    if key == "app.kubernetes.io/managed-by" {
        return Err("is set by Longshore".into());
    }
    check_qualified_name(key)
}

/// Kubernetes' rule for the key of a label or an annotation.
pub fn check_qualified_name(key: &str) -> Result<(), String> {
    let (prefix, name) = key.rsplit_once('/').unwrap_or(("", key));
    let prefix_is_valid = prefix.is_empty()
        || (prefix.len() <= LABEL_PREFIX_CHARS && prefix.split('.').all(|part| check_dns_label(part).is_ok()));
    if key.starts_with('/') || !prefix_is_valid || !is_label_part(name) {
        return Err("is not a valid key: `name` or `example.com/name`, names as Kubernetes has them".into());
    }
    Ok(())
}

fn is_label_part(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LABEL_CHARS
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}
