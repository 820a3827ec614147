//! Taking a template in: it is built once with values of its own choice, so that what could never be created is refused when
//! it is written and not when it is used.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    cluster::manifest::{self, Identity},
    id::{JobId, Nonce},
    retry::Policy,
    spec::{Fault, Spec},
};

use super::{Form, Template, document, parameter};

/// A template that was read, and built once; or everything that is wrong with it, by its path in what was written.
pub fn take_in(source: &str, form: Form, defaults: &manifest::Defaults) -> Result<Template, Vec<Fault>> {
    let template = Template::read(source, form)?;
    let mut values = parameter::examples(&template.parameters);
    values.extend(document::builtins("name", "default"));
    let Some(filled) = template.tree.fill(&values) else {
        let detail = format!("makes a manifest of over {} bytes", super::tree::RENDERED_BYTES);
        return Err(vec![Fault::new(template.at, detail)]);
    };
    match build(filled, defaults) {
        Ok(()) => Ok(template),
        Err(faults) => {
            let told = told_of(&template, faults);
            if told.is_empty() { Ok(template) } else { Err(told) }
        }
    }
}

fn build(filled: Value, defaults: &manifest::Defaults) -> Result<(), Vec<Fault>> {
    let spec = Spec { manifest: Some(filled), ..Spec::default() };
    let nobody = Identity {
        instance: "longshore",
        job: JobId::new(),
        attempt: 1,
        nonce: Nonce(uuid::Uuid::nil()),
        spec_hash: "",
        kube_name: String::new(),
        namespace: "default",
        queue: "default",
        job_name: "name",
    };
    manifest::build(&spec, &Policy::default(), &nobody, defaults).map(|_| ())
}

/// What the faults of the built manifest say of the template. A value that was made up may be none that a field takes, though
/// a request's will be; only a type that does not fit is the template's own fault.
fn told_of(template: &Template, faults: Vec<Fault>) -> Vec<Fault> {
    let made_up: BTreeSet<&str> =
        template.parameters.iter().filter(|it| it.default.is_none()).map(|it| it.name.as_str()).collect();
    let doubtful: BTreeSet<&str> = template
        .tree
        .uses
        .iter()
        .filter(|it| made_up.contains(it.name.as_str()) || document::BUILTINS.contains(&it.name.as_str()))
        .map(|it| it.pointer.as_str())
        .collect();
    let kept = faults.into_iter().filter_map(|it| {
        let inner = it.pointer.strip_prefix("/manifest").unwrap_or(&it.pointer);
        let certain = !doubtful.contains(inner) || it.detail.starts_with("invalid type");
        certain.then(|| Fault::new(format!("{}{inner}", template.at), it.detail))
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(job: &str, parameters: &str) -> Vec<String> {
        let defaults = manifest::Defaults {
            image: "busybox:latest".into(),
            image_pull_policy: "IfNotPresent".into(),
            start_timeout_secs: None,
        };
        let source = match parameters {
            "" => job.to_owned(),
            _ => format!(r#"{{"parameters": {parameters}, "manifest": {job}}}"#),
        };
        let taken = take_in(&source, Form::Json, &defaults);
        taken.err().unwrap_or_default().into_iter().map(|it| it.pointer).collect()
    }

    fn job(spec: &str) -> String {
        format!(
            r#"{{"apiVersion": "batch/v1", "kind": "Job", "spec": {{{spec} "template": {{"spec": {{"containers":
                [{{"name": "a", "image": "b"}}]}}}}}}}}"#
        )
    }

    #[test]
    fn what_could_never_be_created_is_refused_when_the_template_is_taken_in() {
        assert_eq!(wrong(&job(""), ""), Vec::<String>::new());
        assert_eq!(wrong(&job(r#""backoffLimitt": 1,"#), ""), ["/spec/backoffLimitt"]);
        assert_eq!(wrong(&job(r#""backoffLimitt": 1,"#), "[]"), ["/manifest/spec/backoffLimitt"]);
        assert_eq!(wrong(r#"{"apiVersion": "v1", "kind": "Pod", "spec": {}}"#, ""), ["/apiVersion", "/kind"]);
        assert_eq!(
            wrong(
                r#"{"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": {"containers": []}}}}"#,
                ""
            ),
            ["/spec/template/spec/containers"]
        );
    }

    #[test]
    fn a_parameter_of_the_wrong_type_for_its_field_is_refused_and_one_of_the_right_type_is_not() {
        let spec = job(r#""parallelism": "{{ n }}","#);
        assert_eq!(wrong(&spec, r#"[{"name": "n", "type": "integer"}]"#), Vec::<String>::new());
        assert_eq!(wrong(&spec, r#"[{"name": "n", "type": "string"}]"#), ["/manifest/spec/parallelism"]);
    }
}
