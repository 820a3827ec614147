//! Why a pod does not start, in the words of the kubelet, the scheduler and the Job controller, and for how long each is
//! borne. Pure; the table is data, documented in `docs/lifecycle.md`, and can be overridden by `--start-grace`.

use std::{str::FromStr, time::Duration};

use crate::{
    lifecycle::{Reason, WaitCode},
    spec::duration,
};

/// For how long a trouble may last before the job is stopped for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grace {
    /// It cannot heal.
    None,
    /// It may heal within this time, counted from when it was first seen.
    For(Duration),
    /// It may heal at any time: the job's start timeout alone ends it.
    UntilStartTimeout,
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The reason that a container's waiting state, a condition or an event gives.
    pub said: &'static str,
    /// What the job then waits for.
    pub code: WaitCode,
    /// As what it ends.
    pub reason: Reason,
    pub grace: Grace,
}

const TWO_MINUTES: Grace = Grace::For(Duration::from_secs(120));
const FIVE_MINUTES: Grace = Grace::For(Duration::from_secs(300));

/// The table of troubles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table(Vec<Line>);

impl Default for Table {
    fn default() -> Self {
        let line = |said, code, reason, grace| Line { said, code, reason, grace };
        let image = |said, grace| line(said, WaitCode::ImagePull, Reason::ImagePull, grace);
        let config = |said, grace| line(said, WaitCode::ConfigError, Reason::ConfigError, grace);
        let mount = |said, grace| line(said, WaitCode::VolumeMount, Reason::ConfigError, grace);
        Self(vec![
            // No registry can serve a name that is not one, and nobody will ask for an image that is never to be pulled.
            image("InvalidImageName", Grace::None),
            image("ErrImageNeverPull", Grace::None),
            // A registry may be away, a tag may be pushed in a moment.
            image("ErrImagePull", TWO_MINUTES),
            image("ImagePullBackOff", TWO_MINUTES),
            image("ImageInspectError", TWO_MINUTES),
            image("RegistryUnavailable", TWO_MINUTES),
            // The Secret or ConfigMap it names may be made in a moment.
            config("CreateContainerConfigError", TWO_MINUTES),
            config("CreateContainerError", TWO_MINUTES),
            config("RunContainerError", TWO_MINUTES),
            config("FailedCreatePodSandBox", FIVE_MINUTES),
            // Volumes are attached and mounted with retries of their own that take minutes.
            mount("FailedMount", FIVE_MINUTES),
            mount("FailedAttachVolume", FIVE_MINUTES),
            // Nodes come and go; how long to wait for one is the submitter's to say.
            line("FailedScheduling", WaitCode::Unschedulable, Reason::Unschedulable, Grace::UntilStartTimeout),
            // The Job controller may not make a pod: a policy, a missing service account.
            line("FailedCreate", WaitCode::NoPod, Reason::ConfigError, TWO_MINUTES),
            // Its pods are over a quota: the slot is better used by another job meanwhile.
            line(OVER_QUOTA, WaitCode::PodQuota, Reason::Quota, Grace::For(Duration::from_secs(10))),
        ])
    }
}

/// Our own word for a `FailedCreate` that is about a quota.
pub const OVER_QUOTA: &str = "FailedCreateOverQuota";

impl Table {
    /// The line about what was said, if it is a trouble.
    pub fn find(&self, said: &str) -> Option<&Line> {
        self.0.iter().find(|it| it.said == said)
    }

    pub fn lines(&self) -> &[Line] {
        &self.0
    }

    /// The table with other graces.
    pub fn with(mut self, overrides: &[Override]) -> Self {
        for change in overrides {
            for line in self.0.iter_mut().filter(|it| it.said == change.said) {
                line.grace = change.grace;
            }
        }
        self
    }
}

/// Another grace for one line: `ImagePullBackOff=5m`, `FailedMount=0s`, `FailedCreate=never`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    said: &'static str,
    grace: Grace,
}

impl FromStr for Override {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let table = Table::default();
        let names = || table.0.iter().map(|it| it.said).collect::<Vec<_>>().join(", ");
        let (name, grace) = text.split_once('=').ok_or("must be NAME=TIME, such as ImagePullBackOff=5m")?;
        let said = table.find(name).ok_or_else(|| format!("{name:?} is none of {}", names()))?.said;
        let grace = match grace {
            "never" => Grace::UntilStartTimeout,
            time => {
                let given = duration(time).map_err(|err| format!("{err}; nor is it `never`"))?;
                if given.is_zero() { Grace::None } else { Grace::For(given) }
            }
        };
        Ok(Self { said, grace })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graces_are_overridden_by_name_and_wrong_names_are_told() {
        let given: Override = "ImagePullBackOff=5m".parse().unwrap();
        let never: Override = "ErrImagePull=never".parse().unwrap();
        let at_once: Override = "FailedMount=0s".parse().unwrap();
        let table = Table::default().with(&[given, never, at_once]);
        assert_eq!(table.find("ImagePullBackOff").unwrap().grace, FIVE_MINUTES);
        assert_eq!(table.find("ErrImagePull").unwrap().grace, Grace::UntilStartTimeout);
        assert_eq!(table.find("FailedMount").unwrap().grace, Grace::None);
        assert_eq!(table.find("InvalidImageName").unwrap().grace, Grace::None, "what is not named stays");
        for wrong in ["ImagePulBackOff=5m", "FailedMount", "FailedMount=soon", "FailedMount=-1s"] {
            assert!(wrong.parse::<Override>().is_err(), "{wrong}");
        }
    }
}
