//! Where a field of a built Kubernetes Job came from: what is wrong with a Job is told by the field of the request.

use serde_json::Value;

use crate::spec::{Spec, escape};

/// Fields of the Job, and of its one container and pod, beside the fields of a request that they are built from.
const FIELDS: [(&str, &str); 26] = [
    ("/metadata/name", "/name"),
    ("/metadata/namespace", "/namespace"),
    ("/metadata/labels", "/labels"),
    ("/metadata/annotations", "/annotations"),
    ("/spec/template/metadata/labels", "/labels"),
    ("/spec/template/metadata/annotations", "/annotations"),
    ("/spec/parallelism", "/parallelism"),
    ("/spec/completionMode", "/completion_mode"),
    ("/spec/completions", "/completions"),
    ("/spec/activeDeadlineSeconds", "/timeout"),
    ("/spec/template/spec/serviceAccountName", "/service_account"),
    ("/spec/template/spec/automountServiceAccountToken", "/service_account_token"),
    ("/spec/template/spec/imagePullSecrets", "/image_pull_secrets"),
    ("/spec/template/spec/nodeSelector", "/node_selector"),
    ("/spec/template/spec/tolerations", "/tolerations"),
    ("/spec/template/spec/affinity", "/affinity"),
    ("/spec/template/spec/volumes", "/volumes"),
    ("/spec/template/spec/hostAliases", "/host_aliases"),
    ("/spec/template/spec/securityContext", "/pod_security_context"),
    ("/spec/template/spec/priorityClassName", "/priority_class"),
    ("/spec/template/spec/runtimeClassName", "/runtime_class"),
    ("/spec/template/spec/terminationGracePeriodSeconds", "/termination_grace_period"),
    ("/spec/template/spec/containers/0/workingDir", "/working_dir"),
    ("/spec/template/spec/containers/0/imagePullPolicy", "/image_pull_policy"),
    ("/spec/template/spec/containers/0/volumeMounts", "/volume_mounts"),
    ("/spec/template/spec/containers/0/securityContext", "/security_context"),
];
/// The fields of a container that a request calls what Kubernetes does, or nearly.
const SAME: &str = "/spec/template/spec/containers/0/";

/// The request that a Job was built from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a>(pub &'a Spec);

impl Origin<'_> {
    /// The field of the request that `path` of the Job, both JSON Pointers, came from.
    pub fn pointer(&self, path: &str) -> String {
        match &self.0.manifest {
            Some(manifest) => self.in_manifest(manifest, path),
            None => self.in_fields(path),
        }
    }

    fn in_manifest(&self, manifest: &Value, path: &str) -> String {
        let said = manifest.pointer(path).is_some();
        let key = |under: &str| path.strip_prefix(under).map(|it| it.replace("~1", "/").replace("~0", "~"));
        for (under, field, given) in [
            ("/metadata/labels/", "/labels/", &self.0.labels),
            ("/spec/template/metadata/labels/", "/labels/", &self.0.labels),
            ("/metadata/annotations/", "/annotations/", &self.0.annotations),
            ("/spec/template/metadata/annotations/", "/annotations/", &self.0.annotations),
        ] {
            // What stands beside the manifest comes on top of it.
            if let Some(key) = key(under).filter(|it| given.contains_key(it)) {
                return format!("{field}{}", escape(&key));
            }
        }
        match path {
            "/metadata/name" => "/name".into(),
            "/metadata/namespace" if !said => "/namespace".into(),
            "/spec/activeDeadlineSeconds" if !said => "/timeout".into(),
            path => format!("/manifest{path}"),
        }
    }

    fn in_fields(&self, path: &str) -> String {
        let under = |prefix: &str| path.strip_prefix(prefix).filter(|it| it.is_empty() || it.starts_with('/'));
        if let Some((field, rest)) = FIELDS.iter().find_map(|(job, field)| Some((field, under(job)?))) {
            return format!("{field}{rest}");
        }
        let Some(rest) = path.strip_prefix(SAME) else { return String::new() };
        let (field, below) = rest.split_once('/').map_or((rest, ""), |(field, below)| (field, below));
        let below = if below.is_empty() { String::new() } else { format!("/{below}") };
        match field {
            "env" => format!("/env{}", self.env(&below)),
            "envFrom" => format!("/env_from{below}"),
            "image" | "command" | "args" | "resources" | "ports" => format!("/{field}{below}"),
            _ => String::new(),
        }
    }

    /// The list of variables may have been an object.
    fn env(&self, below: &str) -> String {
        let Some(Value::Object(entries)) = &self.0.env else { return below.to_owned() };
        let index = below.trim_start_matches('/').split('/').next().and_then(|it| it.parse::<usize>().ok());
        let name = index.and_then(|it| entries.keys().nth(it));
        name.map_or(String::new(), |it| format!("/{}", escape(it)))
    }
}

/// A path as the API server writes it, `spec.template.spec.containers[0].image`, as a JSON Pointer. What stands in brackets
/// is an index, or a key that may have dots.
pub fn of_kube_path(path: &str) -> String {
    let mut pointer = String::new();
    let mut rest = path;
    while !rest.is_empty() {
        let (part, after) = match rest.strip_prefix('[') {
            Some(inside) => inside.split_once(']').unwrap_or((inside, "")),
            None => rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len())),
        };
        if !part.is_empty() {
            pointer.push('/');
            pointer.push_str(&escape(part));
        }
        rest = after.strip_prefix('.').unwrap_or(after);
    }
    pointer
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_of_the_api_server_becomes_a_pointer() {
        for (path, pointer) in [
            ("spec.template.spec.containers[0].image", "/spec/template/spec/containers/0/image"),
            ("spec.template.spec.nodeSelector[a.example.com/b]", "/spec/template/spec/nodeSelector/a.example.com~1b"),
            ("metadata.labels", "/metadata/labels"),
            ("", ""),
            ("a[", "/a"),
            ("..[]]x", "/]x"),
        ] {
            assert_eq!(of_kube_path(path), pointer, "{path}");
        }
    }

    #[test]
    fn a_field_of_the_job_is_told_by_the_field_of_the_request() {
        let spec = Spec { env: Some(json!({"B": "", "A": ""})), ..Spec::default() };
        let pointer = |path: &str| Origin(&spec).pointer(path);
        assert_eq!(pointer("/spec/template/spec/containers/0/resources/limits/cpu"), "/resources/limits/cpu");
        assert_eq!(pointer("/spec/template/spec/containers/0/env/1/name"), "/env/B");
        assert_eq!(pointer("/spec/template/spec/containers/0/envFrom/0"), "/env_from/0");
        assert_eq!(pointer("/spec/template/spec/securityContext/sysctls/0"), "/pod_security_context/sysctls/0");
        assert_eq!(
            pointer("/spec/template/spec/containers/0/securityContext/privileged"),
            "/security_context/privileged"
        );
        assert_eq!(pointer("/spec/completionMode"), "/completion_mode");
        assert_eq!(pointer("/spec/template/spec/hostNetwork"), "");
        let mut spec = Spec { manifest: Some(json!({"spec": {"parallelism": 1}})), ..Spec::default() };
        spec.labels.insert("a/b".into(), "c".into());
        let pointer = |path: &str| Origin(&spec).pointer(path);
        assert_eq!(pointer("/spec/parallelism"), "/manifest/spec/parallelism");
        assert_eq!(pointer("/spec/activeDeadlineSeconds"), "/timeout");
        assert_eq!(pointer("/metadata/labels/a~1b"), "/labels/a~1b");
        assert_eq!(pointer("/metadata/labels/d"), "/manifest/metadata/labels/d");
    }
}
