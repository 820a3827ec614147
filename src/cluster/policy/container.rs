//! What a container may be, of whichever kind: one that runs, one that runs before, one that is added later.

use k8s_openapi::api::core::v1::{
    AppArmorProfile, Capabilities, Container, ContainerPort, EphemeralContainer, Lifecycle, LifecycleHandler,
    PodSecurityContext, Probe, ResourceRequirements, SELinuxOptions, SeccompProfile, SecurityContext, VolumeMount,
    WindowsSecurityContextOptions,
};

use crate::cluster::shape::Image;

use super::{Broken, Level, Pattern, PodPolicy};

/// The capabilities that the profile `baseline` lets a container add: those that container runtimes give anyway.
const BASELINE_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
const RESTRICTED_CAPABILITIES: [&str; 1] = ["NET_BIND_SERVICE"];
const SELINUX_TYPES: [&str; 5] = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

/// What matters of a container.
pub struct Any<'a> {
    image: Option<&'a str>,
    lifecycle: Option<&'a Lifecycle>,
    probes: [(&'static str, Option<&'a Probe>); 3],
    ports: &'a [ContainerPort],
    pub resources: Option<&'a ResourceRequirements>,
    context: Option<&'a SecurityContext>,
    mounts: &'a [VolumeMount],
}

/// Both types have the same fields, but for one; each is taken apart, so that a new one does not go unseen.
macro_rules! any_from {
    ($type:ident $(, $more:ident)*) => {
        impl<'a> From<&'a $type> for Any<'a> {
            fn from(container: &'a $type) -> Self {
                let $type {
                    args: _, command: _, env: _, env_from: _, image, image_pull_policy: _, lifecycle, liveness_probe,
                    name: _, ports, readiness_probe, resize_policy: _, resources, restart_policy: _, security_context,
                    startup_probe, stdin: _, stdin_once: _, termination_message_path: _, termination_message_policy: _,
                    tty: _, volume_devices: _, volume_mounts, working_dir: _, $($more: _,)*
                } = container;
                Self {
                    image: image.as_deref(),
                    lifecycle: lifecycle.as_ref(),
                    probes: [
                        ("livenessProbe", liveness_probe.as_ref()),
                        ("readinessProbe", readiness_probe.as_ref()),
                        ("startupProbe", startup_probe.as_ref()),
                    ],
                    ports: ports.as_deref().unwrap_or_default(),
                    resources: resources.as_ref(),
                    context: security_context.as_ref(),
                    mounts: volume_mounts.as_deref().unwrap_or_default(),
                }
            }
        }
    };
}
any_from!(Container);
any_from!(EphemeralContainer, target_container_name);

impl PodPolicy {
    pub(super) fn check_container(
        &self,
        at: &str,
        container: &Any<'_>,
        pod: Option<&PodSecurityContext>,
        broken: &mut Broken<'_>,
    ) {
        if let Some(image) = container.image {
            self.check_image(&format!("{at}/image"), image, broken);
        }
        self.check_amounts(at, container, broken);
        if self.level == Level::Privileged {
            return;
        }
        for (index, port) in container.ports.iter().enumerate() {
            if port.host_port.is_some_and(|it| it != 0) {
                broken.add("host_ports", format!("{at}/ports/{index}/hostPort"), "must not be given; leave it out");
            }
        }
        for (index, mount) in container.mounts.iter().enumerate() {
            if mount.mount_propagation.as_deref() == Some("Bidirectional") {
                let at = format!("{at}/volumeMounts/{index}/mountPropagation");
                broken.add("mount_propagation", at, "must not be Bidirectional; leave it out");
            }
        }
        for (name, probe) in &container.probes {
            let hosts = probe.map(|it| {
                let by_http = it.http_get.as_ref().and_then(|it| it.host.as_deref());
                [("httpGet", by_http), ("tcpSocket", it.tcp_socket.as_ref().and_then(|it| it.host.as_deref()))]
            });
            check_hosts(&format!("{at}/{name}"), hosts.into_iter().flatten(), broken);
        }
        let hooks = container.lifecycle.map(|it| [("postStart", &it.post_start), ("preStop", &it.pre_stop)]);
        for (name, hook) in hooks.into_iter().flatten() {
            let hosts = hook.as_ref().map(|LifecycleHandler { exec: _, http_get, sleep: _, tcp_socket }| {
                let by_http = http_get.as_ref().and_then(|it| it.host.as_deref());
                [("httpGet", by_http), ("tcpSocket", tcp_socket.as_ref().and_then(|it| it.host.as_deref()))]
            });
            check_hosts(&format!("{at}/lifecycle/{name}"), hosts.into_iter().flatten(), broken);
        }
        let context = &format!("{at}/securityContext");
        if let Some(it) = container.context {
            self.check_context(context, it, broken);
        }
        if self.level == Level::Restricted {
            check_restricted(context, container.context, pod, broken);
        }
    }

    pub(super) fn check_image(&self, at: &str, image: &str, broken: &mut Broken<'_>) {
        // What cannot be read is matched by no pattern but that of any image.
        let is_allowed = match Image::parse(image) {
            Some(image) => self.images.iter().any(|it| it.matches(&image)),
            None => self.images.contains(&Pattern::new("**")),
        };
        if !is_allowed {
            let patterns: Vec<String> = self.images.iter().map(Pattern::to_string).collect();
            broken.add("images", at, format!("is none of the images that are allowed: {}", super::listed(&patterns)));
        }
    }

    fn check_context(&self, at: &str, context: &SecurityContext, broken: &mut Broken<'_>) {
        let SecurityContext {
            allow_privilege_escalation,
            app_armor_profile,
            capabilities,
            privileged,
            proc_mount,
            read_only_root_filesystem: _,
            run_as_group: _,
            run_as_non_root: _,
            run_as_user,
            se_linux_options,
            seccomp_profile,
            windows_options,
        } = context;
        if *privileged == Some(true) {
            broken.add("privileged", format!("{at}/privileged"), "must not be true; leave it out");
        }
        if *allow_privilege_escalation == Some(true) {
            let at = format!("{at}/allowPrivilegeEscalation");
            broken.add("privilege_escalation", at, "must not be true; say false, or leave it out");
        }
        if proc_mount.as_ref().is_some_and(|it| it != "Default") {
            broken.add("proc_mount", format!("{at}/procMount"), "must be Default; leave it out");
        }
        let allowed: &[&str] = match self.level {
            Level::Restricted => &RESTRICTED_CAPABILITIES,
            Level::Baseline | Level::Privileged => &BASELINE_CAPABILITIES,
        };
        let added = capabilities.as_ref().and_then(|Capabilities { add, drop: _ }| add.as_ref());
        for (index, name) in added.into_iter().flatten().enumerate() {
            if !allowed.contains(&name.as_str()) {
                let detail = format!("{name:?} must not be added; what may be is {}", allowed.join(", "));
                broken.add("capabilities", format!("{at}/capabilities/add/{index}"), detail);
            }
        }
        self.check_profiles(at, app_armor_profile.as_ref(), seccomp_profile.as_ref(), broken);
        self.check_selinux(at, se_linux_options.as_ref(), broken);
        self.check_windows(at, windows_options.as_ref(), broken);
        self.check_user(at, *run_as_user, broken);
    }

    pub(super) fn check_profiles(
        &self,
        at: &str,
        app_armor: Option<&AppArmorProfile>,
        seccomp: Option<&SeccompProfile>,
        broken: &mut Broken<'_>,
    ) {
        for (rule, field, profile) in [
            ("app_armor", "appArmorProfile", app_armor.map(|it| &it.type_)),
            ("seccomp", "seccompProfile", seccomp.map(|it| &it.type_)),
        ] {
            if profile.is_some_and(|it| it != "RuntimeDefault" && it != "Localhost") {
                broken.add(rule, format!("{at}/{field}/type"), "must be RuntimeDefault or Localhost");
            }
        }
    }

    pub(super) fn check_selinux(&self, at: &str, options: Option<&SELinuxOptions>, broken: &mut Broken<'_>) {
        let Some(SELinuxOptions { level: _, role, type_, user }) = options else { return };
        if type_.as_ref().is_some_and(|it| !SELINUX_TYPES.contains(&it.as_str())) {
            let detail = format!("must be one of {}", SELINUX_TYPES[1..].join(", "));
            broken.add("selinux", format!("{at}/seLinuxOptions/type"), detail);
        }
        for (field, value) in [("user", user), ("role", role)] {
            if value.as_ref().is_some_and(|it| !it.is_empty()) {
                broken.add("selinux", format!("{at}/seLinuxOptions/{field}"), "must not be given; leave it out");
            }
        }
    }

    pub(super) fn check_windows(
        &self,
        at: &str,
        options: Option<&WindowsSecurityContextOptions>,
        broken: &mut Broken<'_>,
    ) {
        if options.is_some_and(|it| it.host_process == Some(true)) {
            broken.add("host_process", format!("{at}/windowsOptions/hostProcess"), "must not be true; leave it out");
        }
    }

    pub(super) fn check_user(&self, at: &str, user: Option<i64>, broken: &mut Broken<'_>) {
        if self.level == Level::Restricted && user == Some(0) {
            broken.add("non_root", format!("{at}/runAsUser"), "must not be 0, which is root");
        }
    }
}

/// Whoever names a host has the node ask it, from where the node stands in the network.
fn check_hosts<'a>(at: &str, hosts: impl Iterator<Item = (&'static str, Option<&'a str>)>, broken: &mut Broken<'_>) {
    for (how, host) in hosts {
        if host.is_some_and(|it| !it.is_empty()) {
            broken.add(
                "host_probes",
                format!("{at}/{how}/host"),
                "must not be given: the pod itself is asked without it",
            );
        }
    }
}

/// What the profile `restricted` wants to be said. Of what a container leaves open, the pod's own context speaks.
fn check_restricted(
    at: &str,
    context: Option<&SecurityContext>,
    pod: Option<&PodSecurityContext>,
    broken: &mut Broken<'_>,
) {
    if context.and_then(|it| it.allow_privilege_escalation) != Some(false) {
        broken.add("privilege_escalation", format!("{at}/allowPrivilegeEscalation"), "must be false");
    }
    let non_root = context.and_then(|it| it.run_as_non_root).or(pod.and_then(|it| it.run_as_non_root));
    if non_root != Some(true) {
        broken.add("non_root", format!("{at}/runAsNonRoot"), "must be true, here or for the pod");
    }
    let of_container = context.and_then(|it| it.seccomp_profile.as_ref());
    if of_container.or(pod.and_then(|it| it.seccomp_profile.as_ref())).is_none() {
        let at = format!("{at}/seccompProfile");
        broken.add("seccomp", at, "must be given, here or for the pod: {\"type\": \"RuntimeDefault\"}");
    }
    let dropped = context.and_then(|it| it.capabilities.as_ref()).and_then(|it| it.drop.as_ref());
    if !dropped.is_some_and(|it| it.iter().any(|it| it == "ALL")) {
        broken.add("capabilities", format!("{at}/capabilities/drop"), "must have ALL in it");
    }
}
