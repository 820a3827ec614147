//! Refusing misspelt fields. Kubernetes drops a field that it does not know without a word (unless asked not to, and not
//! before 1.25), which turns `restartPolicyy` into a Job that does something else.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::spec::{Fault, escape};

/// Reads `value` as a `T`, and names each field that `T` does not have.
pub fn read<T: DeserializeOwned + Serialize>(value: Value, at: &str) -> Result<T, Vec<Fault>> {
    let typed: T = serde_path_to_error::deserialize(&value).map_err(|err| {
        let path = err.path().to_string();
        let pointer =
            if path == "." { String::new() } else { format!("/{}", path.replace(['.', '['], "/").replace(']', "")) };
        vec![Fault::new(format!("{at}{pointer}"), err.into_inner().to_string())]
    })?;
    let kept = serde_json::to_value(&typed).map_err(|err| vec![Fault::new(at, err.to_string())])?;
    let mut faults = Vec::new();
    compare(&value, &kept, at.to_owned(), &mut faults);
    if faults.is_empty() { Ok(typed) } else { Err(faults) }
}

/// A field that was given and is not there after a round trip through the type is not a field of the type.
fn compare(given: &Value, kept: &Value, at: String, faults: &mut Vec<Fault>) {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => {
            for (key, value) in given {
                let at = format!("{at}/{}", escape(key));
                match kept.get(key) {
                    Some(kept) => compare(value, kept, at, faults),
                    None if value.is_null() => {}
                    None => {
                        faults.push(Fault::new(at, "is not a field that Kubernetes knows here; check its spelling"))
                    }
                }
            }
        }
        (Value::Array(given), Value::Array(kept)) => {
            for (index, (given, kept)) in given.iter().zip(kept).enumerate() {
                compare(given, kept, format!("{at}/{index}"), faults);
            }
        }
        _ => {}
    }
}
