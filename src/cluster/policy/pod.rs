//! What a pod may be, beside its containers.

use k8s_openapi::api::{
    batch::v1::{Job, JobSpec},
    core::v1::{PodSecurityContext, PodSpec, PodTemplateSpec, Toleration, Volume},
};

use crate::spec::escape;

use super::{Broken, Level, PodPolicy, VolumeKind, allows, container::Any, listed, sources};

/// The sysctls that reach no further than the pod.
const SYSCTLS: [&str; 10] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
];
/// Annotations that were profiles before there were fields for them, and that older kubelets still obey.
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP: [&str; 2] =
    ["seccomp.security.alpha.kubernetes.io/pod", "container.seccomp.security.alpha.kubernetes.io/"];
/// The taints that keep pods off the nodes of the control plane.
const CONTROL_PLANE: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];

impl PodPolicy {
    pub(super) fn check_job(&self, job: &Job, broken: &mut Broken<'_>) {
        let Job { metadata: _, spec, status: _ } = job;
        let Some(spec) = spec else { return };
        let JobSpec {
            active_deadline_seconds,
            backoff_limit: _,
            backoff_limit_per_index: _,
            completion_mode: _,
            completions: _,
            managed_by: _,
            manual_selector: _,
            max_failed_indexes: _,
            parallelism,
            pod_failure_policy: _,
            pod_replacement_policy: _,
            selector: _,
            success_policy: _,
            suspend: _,
            template: PodTemplateSpec { metadata, spec: pod },
            ttl_seconds_after_finished,
        } = spec;
        self.check_parallelism(*parallelism, broken);
        self.check_deadline(*active_deadline_seconds, broken);
        self.check_ttl(*ttl_seconds_after_finished, broken);
        let annotations = metadata.as_ref().and_then(|it| it.annotations.as_ref());
        for (key, value) in annotations.into_iter().flatten() {
            self.check_annotation(key, value, broken);
        }
        if let Some(pod) = pod {
            self.check_pod("/spec/template/spec", pod, broken);
        }
    }

    fn check_annotation(&self, key: &str, value: &str, broken: &mut Broken<'_>) {
        let at = format!("/spec/template/metadata/annotations/{}", escape(key));
        let is_default = value == "runtime/default" || value.starts_with("localhost/");
        if self.level == Level::Privileged || is_default || value.is_empty() {
            return;
        }
        if key.starts_with(APP_ARMOR) {
            broken.add("app_armor", at, "must be runtime/default or localhost/PROFILE");
        } else if SECCOMP.iter().any(|it| key.starts_with(it)) && value != "docker/default" {
            broken.add("seccomp", at, "must be runtime/default or localhost/PROFILE");
        }
    }

    fn check_pod(&self, at: &str, pod: &PodSpec, broken: &mut Broken<'_>) {
        let PodSpec {
            active_deadline_seconds: _,
            affinity: _,
            automount_service_account_token: _,
            containers,
            dns_config: _,
            dns_policy: _,
            enable_service_links: _,
            ephemeral_containers,
            host_aliases: _,
            host_ipc,
            host_network,
            host_pid,
            host_users: _,
            hostname: _,
            image_pull_secrets: _,
            init_containers,
            node_name,
            node_selector: _,
            os: _,
            overhead: _,
            preemption_policy: _,
            priority: _,
            priority_class_name,
            readiness_gates: _,
            resource_claims: _,
            resources: _,
            restart_policy: _,
            runtime_class_name,
            scheduler_name: _,
            scheduling_gates: _,
            security_context,
            service_account,
            service_account_name,
            set_hostname_as_fqdn: _,
            share_process_namespace: _,
            subdomain: _,
            termination_grace_period_seconds,
            tolerations,
            topology_spread_constraints: _,
            volumes,
        } = pod;
        for (field, wanted) in [("hostNetwork", host_network), ("hostPID", host_pid), ("hostIPC", host_ipc)] {
            if self.level != Level::Privileged && *wanted == Some(true) {
                broken.add("host_namespaces", format!("{at}/{field}"), "must not be true; leave it out");
            }
        }
        // The second is an older name of the first, and an API server takes either.
        for (field, name) in [("serviceAccountName", service_account_name), ("serviceAccount", service_account)] {
            self.check_service_account(&format!("{at}/{field}"), name.as_deref(), broken);
        }
        if service_account_name.is_none() && service_account.is_none() {
            self.check_service_account(&format!("{at}/serviceAccountName"), Some("default"), broken);
        }
        self.check_classes(at, runtime_class_name.as_deref(), priority_class_name.as_deref(), broken);
        if !self.node_names && node_name.as_ref().is_some_and(|it| !it.is_empty()) {
            broken.add("node_names", format!("{at}/nodeName"), "must not be given: leave the choice to the scheduler");
        }
        for (index, toleration) in tolerations.iter().flatten().enumerate() {
            self.check_toleration(&format!("{at}/tolerations/{index}"), toleration, broken);
        }
        for (index, volume) in volumes.iter().flatten().enumerate() {
            self.check_volume(&format!("{at}/volumes/{index}"), volume, broken);
        }
        if let Some(context) = security_context {
            self.check_pod_context(&format!("{at}/securityContext"), context, broken);
        }
        self.check_grace(&format!("{at}/terminationGracePeriodSeconds"), *termination_grace_period_seconds, broken);
        let all = containers.iter().enumerate().map(|(index, it)| (format!("{at}/containers/{index}"), Any::from(it)));
        let first = init_containers.iter().flatten().enumerate();
        let first = first.map(|(index, it)| (format!("{at}/initContainers/{index}"), Any::from(it)));
        let late = ephemeral_containers.iter().flatten().enumerate();
        let late = late.map(|(index, it)| (format!("{at}/ephemeralContainers/{index}"), Any::from(it)));
        let all: Vec<(String, Any<'_>)> = all.chain(first).chain(late).collect();
        self.check_container_count(&format!("{at}/containers"), all.len(), broken);
        for (at, container) in &all {
            self.check_container(at, container, security_context.as_ref(), broken);
        }
    }

    fn check_service_account(&self, at: &str, name: Option<&str>, broken: &mut Broken<'_>) {
        let Some(name) = name else { return };
        // An empty name is that of the default account.
        let name = if name.is_empty() { "default" } else { name };
        if !allows(&self.service_accounts, name) {
            let allowed = listed(&self.service_accounts);
            let detail = format!(
                "{name:?} is none of the service accounts that pods may run under: {allowed}; an operator can allow it by \
                 --allow-service-account"
            );
            broken.add("service_accounts", at, detail);
        }
    }

    fn check_classes(&self, at: &str, runtime: Option<&str>, priority: Option<&str>, broken: &mut Broken<'_>) {
        if let Some(name) = runtime.filter(|it| !it.is_empty() && !allows(&self.runtime_classes, it)) {
            let allowed = listed(&self.runtime_classes);
            let detail = format!("{name:?} is none of the runtime classes that pods may name: {allowed}");
            broken.add("runtime_classes", format!("{at}/runtimeClassName"), detail);
        }
        if let Some(name) = priority.filter(|it| !it.is_empty()) {
            let named = self.priority_classes.iter().any(|it| it == name);
            if !named && (name.starts_with("system-") || !allows(&self.priority_classes, name)) {
                let allowed = listed(&self.priority_classes);
                let detail = format!("{name:?} is none of the priority classes that pods may name: {allowed}");
                broken.add("priority_classes", format!("{at}/priorityClassName"), detail);
            }
        }
    }

    fn check_toleration(&self, at: &str, toleration: &Toleration, broken: &mut Broken<'_>) {
        let key = toleration.key.as_deref().unwrap_or_default();
        if !self.control_plane_nodes && (key.is_empty() || CONTROL_PLANE.contains(&key)) {
            let detail = "would let it run on nodes of the control plane; tolerate other taints, each by its key";
            broken.add("control_plane_nodes", at, detail);
        }
    }

    fn check_volume(&self, at: &str, volume: &Volume, broken: &mut Broken<'_>) {
        for kind in sources(volume) {
            let at = format!("{at}/{kind}");
            if kind == VolumeKind::HostPath && self.level != Level::Privileged {
                broken.add(
                    "host_path",
                    at,
                    "must not be given: it would reach into the node; use another kind of volume",
                );
            } else if !self.volumes.contains(&kind)
                || (self.level == Level::Restricted && !VolumeKind::RESTRICTED.contains(&kind))
            {
                let allowed: Vec<String> = self.volumes.iter().map(VolumeKind::to_string).collect();
                let detail = format!("is not one of the kinds of volumes that are allowed: {}", listed(&allowed));
                broken.add("volumes", at, detail);
            }
        }
        let Some(image) = volume.image.as_ref().and_then(|it| it.reference.as_deref()) else { return };
        self.check_image(&format!("{at}/image/reference"), image, broken);
    }

    fn check_pod_context(&self, at: &str, context: &PodSecurityContext, broken: &mut Broken<'_>) {
        let PodSecurityContext {
            app_armor_profile,
            fs_group: _,
            fs_group_change_policy: _,
            run_as_group: _,
            run_as_non_root: _,
            run_as_user,
            se_linux_change_policy: _,
            se_linux_options,
            seccomp_profile,
            supplemental_groups: _,
            supplemental_groups_policy: _,
            sysctls,
            windows_options,
        } = context;
        if self.level == Level::Privileged {
            return;
        }
        for (index, sysctl) in sysctls.iter().flatten().enumerate() {
            if !SYSCTLS.contains(&sysctl.name.as_str()) {
                let detail = format!("must be one that reaches no further than the pod: {}", SYSCTLS.join(", "));
                broken.add("sysctls", format!("{at}/sysctls/{index}/name"), detail);
            }
        }
        self.check_profiles(at, app_armor_profile.as_ref(), seccomp_profile.as_ref(), broken);
        self.check_selinux(at, se_linux_options.as_ref(), broken);
        self.check_windows(at, windows_options.as_ref(), broken);
        self.check_user(at, *run_as_user, broken);
    }
}
