//! Volumes: their names, and that each has one source.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::PodSpec;

use crate::cluster::policy::sources;

use super::Faults;

impl Faults<'_> {
    /// Answers the names of all.
    pub(super) fn volumes(&mut self, at: &str, pod: &PodSpec) -> HashSet<String> {
        let mut names = HashSet::new();
        for (index, volume) in pod.volumes.iter().flatten().enumerate() {
            let at = format!("{at}/volumes/{index}");
            self.unique_label(&at, &volume.name, &mut names);
            match sources(volume).as_slice() {
                // Without any, Kubernetes makes it an emptyDir.
                [] | [_] => {}
                [first, second, ..] => self.add(&at, format!("has the sources {first} and {second}; one is the most")),
            }
            if let Some(size) = volume.empty_dir.as_ref().and_then(|it| it.size_limit.as_ref()) {
                self.quantity(&format!("{at}/emptyDir/sizeLimit"), size);
            }
        }
        names
    }
}
