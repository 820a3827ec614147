//! How much a Job may ask for, and for how long.

use crate::{cluster::quantity, spec::escape};

use super::{Broken, PodPolicy, container::Any};

impl PodPolicy {
    pub(super) fn check_parallelism(&self, parallelism: Option<i32>, broken: &mut Broken<'_>) {
        if let (Some(given), Some(max)) = (parallelism, self.max.parallelism)
            && given > max
        {
            broken.add("max.parallelism", "/spec/parallelism", format!("must be {max} at most"));
        }
    }

    pub(super) fn check_deadline(&self, secs: Option<i64>, broken: &mut Broken<'_>) {
        let Some(max) = self.max.active_deadline else { return };
        if secs.is_none_or(|it| it > max) {
            let detail = format!(
                "must be given, and with what its start may take (`start_timeout`) it must be {max} seconds at most, not {}",
                secs.map_or("for ever".to_owned(), |it| it.to_string()),
            );
            broken.add("max.active_deadline", "/spec/activeDeadlineSeconds", detail);
        }
    }

    pub(super) fn check_ttl(&self, secs: Option<i32>, broken: &mut Broken<'_>) {
        // What Longshore itself sets is no fault of the request.
        let max = self.max.ttl.map(|it| it.max(crate::cluster::manifest::FALLBACK_TTL_SECS.into()));
        if let (Some(given), Some(max)) = (secs.map(i64::from), max)
            && given > max
        {
            let detail = format!("must be {max} seconds at most, not {given}");
            broken.add("max.ttl", "/spec/ttlSecondsAfterFinished", detail);
        }
    }

    pub(super) fn check_grace(&self, at: &str, secs: Option<i64>, broken: &mut Broken<'_>) {
        if let (Some(given), Some(max)) = (secs, self.max.termination_grace)
            && given > max
        {
            broken.add("max.termination_grace", at, format!("must be {max} seconds at most, not {given}"));
        }
    }

    pub(super) fn check_container_count(&self, at: &str, count: usize, broken: &mut Broken<'_>) {
        if let Some(max) = self.max.containers.filter(|it| count > *it) {
            broken.add("max.containers", at, format!("are {count} with those of other kinds; {max} are the most"));
        }
    }

    /// Each container by itself: init containers run before the others, so that a sum over all would be no one's need.
    pub(super) fn check_amounts(&self, at: &str, container: &Any<'_>, broken: &mut Broken<'_>) {
        for (name, max) in &self.max.resources {
            let limits = container.resources.and_then(|it| it.limits.as_ref());
            let requests = container.resources.and_then(|it| it.requests.as_ref());
            let amount = |from: Option<&std::collections::BTreeMap<String, _>>| {
                from.and_then(|it| it.get(name)).map(|it: &k8s_openapi::apimachinery::pkg::api::resource::Quantity| {
                    // An amount that cannot be read is more than any other.
                    quantity::parse(&it.0).unwrap_or(f64::INFINITY)
                })
            };
            if amount(limits).is_none_or(|it| it > max.amount) {
                let at = format!("{at}/resources/limits/{}", escape(name));
                broken.add("max.resources", at, format!("must be given, and {} at most", max.text));
            } else if amount(requests).is_some_and(|it| it > max.amount) {
                let at = format!("{at}/resources/requests/{}", escape(name));
                broken.add("max.resources", at, format!("must be {} at most", max.text));
            }
        }
    }
}
