//! Deadlines and retries as a submission says them.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    lifecycle::Reason,
    retry::{Backoff, Retry},
};

use super::{doc::fields, object::Object, wire::duration};

/// `retry`, as a submission says it.
#[derive(Debug, Default, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Retry, description = "Which endings are tried again.")]
pub struct RetryRequest {
    #[schema(schema_with = fields::retried)]
    on: Option<Vec<Reason>>,
    #[schema(schema_with = fields::only_exit_codes)]
    exit_codes: Option<Vec<i32>>,
    #[schema(schema_with = fields::except_exit_codes)]
    except_exit_codes: Option<Vec<i32>>,
    /// How often it is tried again after an eviction, a preemption, a lost node or a deleted pod.
    #[schema(minimum = 0, maximum = 1000, default = 3)]
    max_interruptions: Option<i32>,
}

impl From<RetryRequest> for Retry {
    fn from(it: RetryRequest) -> Self {
        Self {
            on: it.on,
            exit_codes: it.exit_codes,
            except_exit_codes: it.except_exit_codes,
            max_interruptions: it.max_interruptions,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BackoffRequest {
    #[serde(default, rename = "type")]
    kind: Kind,
    #[serde(default, deserialize_with = "duration")]
    initial: Option<Duration>,
    factor: Option<f64>,
    #[serde(default, deserialize_with = "duration")]
    max: Option<Duration>,
    jitter: Option<f64>,
}

#[derive(Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Fixed,
    #[default]
    Exponential,
}

/// A pause such as `30s`, or an object that says how pauses grow.
pub fn backoff<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Backoff>, D::Error> {
    let asked = match Value::deserialize(from)? {
        Value::Null => return Ok(None),
        text @ Value::String(_) => {
            let pause = duration(text).map_err(de::Error::custom)?;
            return Ok(pause.map(|it| Backoff::fixed(it.as_secs_f64())));
        }
        other => Object::<BackoffRequest>::deserialize(other).map(|it| it.0).map_err(|err| {
            de::Error::custom(format!(
                "{err}; must be a duration such as 30s, or an object of type (fixed or exponential), initial, factor, max \
                 and jitter"
            ))
        })?,
    };
    let default = Backoff::default();
    let initial_secs = asked.initial.map_or(default.initial_secs, |it| it.as_secs_f64());
    let fixed = asked.kind == Kind::Fixed;
    if fixed && (asked.factor.is_some() || asked.max.is_some()) {
        return Err(de::Error::custom("factor and max are of the type exponential; a fixed backoff has only initial"));
    }
    Ok(Some(Backoff {
        initial_secs,
        factor: if fixed { 1.0 } else { asked.factor.unwrap_or(default.factor) },
        max_secs: if fixed {
            initial_secs
        } else {
            asked.max.map_or(default.max_secs.max(initial_secs), |it| it.as_secs_f64())
        },
        jitter: asked.jitter.unwrap_or(if fixed { 0.0 } else { default.jitter }),
    }))
}
