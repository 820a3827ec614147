//! What is shown of a job's making: the Kubernetes Job as it would be applied, with the values of variables hidden.

use serde_json::{Value, json};

use crate::{
    cluster::manifest::{Identity, NONCE, build},
    id::{AttemptNo, JobId, Nonce, kube_name},
    retry::Policy,
    spec::Spec,
    store::{limits, lists},
};

use super::{Ui, text::visible_in};

const HIDDEN: &str = "•••";

/// The Kubernetes Job of an attempt, or why there is none to show.
pub async fn of(ui: &Ui, id: &str, attempt: AttemptNo) -> Result<Value, String> {
    let read = async {
        let id: JobId = id.parse().ok()?;
        let mut conn = ui.api.db.conn().await.ok()?;
        let row = lists::get(&mut conn, id).await.ok()??;
        Some((id, row, limits::instance(&mut conn).await.ok()?))
    };
    let Some((id, row, instance)) = read.await else { return Err("It could not be read.".into()) };
    let Ok(spec) = serde_json::from_value::<Spec>(row.spec.unwrap_or_default()) else {
        return Err("It was submitted by a version of Longshore that knows more than this one.".into());
    };
    let policy: Policy = row.policy.and_then(|it| serde_json::from_value(it).ok()).unwrap_or_default();
    let hash = spec.text_and_hash().1;
    let me = Identity {
        instance: &instance,
        job: id,
        attempt,
        nonce: Nonce(uuid::Uuid::nil()),
        spec_hash: &hash,
        kube_name: kube_name(&row.name, id, attempt),
        namespace: &row.namespace,
        queue: &row.queue,
        job_name: &row.name,
    };
    let job = build(&spec, &policy, &me, &ui.api.reader.defaults)
        .map_err(|_| "Nothing can be made of what was asked for; its message says why.".to_owned())?;
    let mut value = serde_json::to_value(job).unwrap_or_default();
    // It is drawn when the job is claimed, and nobody's business but the replica's.
    if let Some(nonce) = value.pointer_mut(&format!("/metadata/annotations/{}", NONCE.replace('/', "~1"))) {
        *nonce = json!("drawn with each attempt");
    }
    visible_in(&mut value);
    Ok(value)
}

/// The same with the value of each variable hidden: who looks over a shoulder need not read them.
pub fn without_env(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let hide =
                |(key, it): (&String, &Value)| (key.clone(), if key == "env" { hidden(it) } else { without_env(it) });
            Value::Object(fields.iter().map(hide).collect())
        }
        Value::Array(items) => items.iter().map(without_env).collect(),
        other => other.clone(),
    }
}

/// In either of the two spellings: an object of strings, or Kubernetes' own list.
fn hidden(env: &Value) -> Value {
    match env {
        Value::Object(fields) => fields.keys().map(|key| (key.clone(), json!(HIDDEN))).collect(),
        Value::Array(items) => items
            .iter()
            .map(|item| {
                let mut item = item.clone();
                if let Some(value) = item.get_mut("value") {
                    *value = json!(HIDDEN);
                }
                item
            })
            .collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_of_variables_are_hidden_wherever_they_are_and_nothing_else() {
        let secret = |name: &str| json!({"name": name, "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}});
        let shown = without_env(&json!({
            "env": {"A": "1"}, "image": "b",
            "manifest": {"containers": [{"env": [{"name": "B", "value": "2"}, secret("C")]}]},
        }));
        let expected = json!({
            "env": {"A": HIDDEN}, "image": "b",
            "manifest": {"containers": [{"env": [{"name": "B", "value": HIDDEN}, secret("C")]}]},
        });
        assert_eq!(shown, expected);
    }
}
