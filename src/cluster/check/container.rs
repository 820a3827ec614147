//! Containers: their names, images, variables, ports, amounts and mounts.

use std::collections::HashSet;

use k8s_openapi::{
    api::core::v1::{Container, ContainerPort, EnvVar, PodSpec, ResourceRequirements, VolumeMount},
    apimachinery::pkg::api::resource::Quantity,
};

use crate::{
    cluster::{quantity, shape},
    spec::{check_qualified_name, escape},
};

use super::{Faults, one_of};

impl Faults<'_> {
    /// `volumes` are the names of the pod's.
    pub(super) fn containers(&mut self, at: &str, pod: &PodSpec, volumes: &HashSet<String>) {
        let mut names = HashSet::new();
        if pod.ephemeral_containers.as_ref().is_some_and(|it| !it.is_empty()) {
            self.add(
                format!("{at}/ephemeralContainers"),
                "cannot be in a Job; Kubernetes adds them to running pods only",
            );
        }
        let lists = [("containers", Some(&pod.containers)), ("initContainers", pod.init_containers.as_ref())];
        for (list, containers) in lists {
            for (index, container) in containers.into_iter().flatten().enumerate() {
                let at = format!("{at}/{list}/{index}");
                self.unique_label(&at, &container.name, &mut names);
                self.container(&at, container, volumes);
            }
        }
        if let Some(resources) = &pod.resources {
            self.resources(&format!("{at}/resources"), resources);
        }
    }

    fn container(&mut self, at: &str, it: &Container, volumes: &HashSet<String>) {
        match it.image.as_deref() {
            None | Some("") => self.add(format!("{at}/image"), "must be given"),
            Some(image) if shape::Image::parse(image).is_none() => self.add(
                format!("{at}/image"),
                "must be an image reference such as busybox:latest or registry.example.com/team/tool:1.2, without spaces",
            ),
            Some(_) => {}
        }
        if !one_of(it.image_pull_policy.as_deref(), &["Always", "IfNotPresent", "Never"]) {
            self.add(format!("{at}/imagePullPolicy"), "must be Always, IfNotPresent or Never");
        }
        for (index, variable) in it.env.iter().flatten().enumerate() {
            self.variable(&format!("{at}/env/{index}"), variable);
        }
        for (index, from) in it.env_from.iter().flatten().enumerate() {
            if from.config_map_ref.is_some() == from.secret_ref.is_some() {
                self.add(format!("{at}/envFrom/{index}"), "must have either configMapRef or secretRef");
            }
        }
        for (index, port) in it.ports.iter().flatten().enumerate() {
            self.port(&format!("{at}/ports/{index}"), port);
        }
        if let Some(resources) = &it.resources {
            self.resources(&format!("{at}/resources"), resources);
        }
        let mut paths = HashSet::new();
        for (index, mount) in it.volume_mounts.iter().flatten().enumerate() {
            self.mount(&format!("{at}/volumeMounts/{index}"), mount, volumes, &mut paths);
        }
        for (index, device) in it.volume_devices.iter().flatten().enumerate() {
            if !volumes.contains(&device.name) {
                let detail = format!("{:?} is none of the pod's volumes", device.name);
                self.add(format!("{at}/volumeDevices/{index}/name"), detail);
            }
        }
    }

    fn variable(&mut self, at: &str, it: &EnvVar) {
        if !shape::is_env_name(&it.name) {
            self.add(format!("{at}/name"), "must be the name of a variable: printable ASCII without `=`, not empty");
        }
        let has_value = it.value.as_ref().is_some_and(|it| !it.is_empty());
        let Some(from) = &it.value_from else { return };
        let sources = [
            from.config_map_key_ref.is_some(),
            from.field_ref.is_some(),
            from.resource_field_ref.is_some(),
            from.secret_key_ref.is_some(),
        ];
        if has_value {
            self.add(format!("{at}/valueFrom"), "cannot be combined with `value`");
        } else if sources.into_iter().filter(|it| *it).count() != 1 {
            self.add(format!("{at}/valueFrom"), "must have one source");
        }
    }

    fn port(&mut self, at: &str, it: &ContainerPort) {
        for (field, port) in [("containerPort", Some(it.container_port)), ("hostPort", it.host_port)] {
            // A host port of 0 is none.
            let none = field == "hostPort" && port == Some(0);
            if !none && port.is_some_and(|it| !(1..=65535).contains(&it)) {
                self.add(format!("{at}/{field}"), "must be 1 to 65535");
            }
        }
        if !one_of(it.protocol.as_deref(), &["TCP", "UDP", "SCTP"]) {
            self.add(format!("{at}/protocol"), "must be TCP, UDP or SCTP");
        }
    }

    pub(super) fn resources(&mut self, at: &str, it: &ResourceRequirements) {
        let mut amounts = [None, None].map(|_: Option<()>| std::collections::BTreeMap::new());
        let lists = [("requests", &it.requests), ("limits", &it.limits)];
        for ((list, given), amounts) in lists.into_iter().zip(&mut amounts) {
            for (name, amount) in given.iter().flatten() {
                let at = format!("{at}/{list}/{}", escape(name));
                if check_qualified_name(name).is_err() {
                    self.add(at, "is not the name of a resource, such as cpu, memory or example.com/gpu");
                } else if let Some(amount) = self.quantity(&at, amount) {
                    amounts.insert(name, amount);
                }
            }
        }
        let [requests, limits] = amounts;
        for (name, request) in requests {
            if limits.get(name).is_some_and(|limit| *limit < request) {
                self.add(format!("{at}/requests/{}", escape(name)), "must not be more than the limit");
            }
        }
    }

    pub(super) fn quantity(&mut self, at: &str, given: &Quantity) -> Option<f64> {
        match quantity::parse(&given.0) {
            Some(amount) if amount < 0.0 => self.add(at, "must not be negative"),
            Some(amount) => return Some(amount),
            None => self.add(at, format!("{:?} is not an amount such as 500m, 1.5 or 64Mi", given.0)),
        }
        None
    }

    fn mount(&mut self, at: &str, it: &VolumeMount, volumes: &HashSet<String>, paths: &mut HashSet<String>) {
        if !volumes.contains(&it.name) {
            self.add(format!("{at}/name"), format!("{:?} is none of the pod's volumes", it.name));
        }
        if it.mount_path.is_empty() {
            self.add(format!("{at}/mountPath"), "must not be empty");
        } else if !paths.insert(it.mount_path.clone()) {
            self.add(format!("{at}/mountPath"), format!("{:?} is where another volume is mounted", it.mount_path));
        }
        let sub_paths = [("subPath", &it.sub_path), ("subPathExpr", &it.sub_path_expr)];
        for (field, path) in sub_paths {
            let path = path.as_deref().unwrap_or_default();
            if path.starts_with('/') || path.split('/').any(|it| it == "..") {
                self.add(format!("{at}/{field}"), "must be a path below the volume's root, without `..`");
            }
        }
        if sub_paths.iter().all(|(_, it)| it.as_ref().is_some_and(|it| !it.is_empty())) {
            self.add(format!("{at}/subPathExpr"), "cannot be combined with `subPath`");
        }
    }
}
