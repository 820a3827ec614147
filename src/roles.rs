//! The parts of a replica that a process may run without the others.

use clap::ValueEnum;

/// One part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Answers requests. Without it a process only says how it is, and what it measures.
    Api,
    /// Claims jobs and creates them in the cluster.
    Scheduler,
    /// Watches what runs and records how it ends, tells webhooks, removes what is finished, and lets history age out.
    Watcher,
    /// Takes in what other queues bring, and what was submitted in SQL.
    Sources,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Api, Self::Scheduler, Self::Watcher, Self::Sources];

    /// As flags and the database have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Scheduler => "scheduler",
            Self::Watcher => "watcher",
            Self::Sources => "sources",
        }
    }
}

/// Some of the parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    pub const ALL: Self = Self(0b1111);

    pub const fn has(self, role: Role) -> bool {
        self.0 & (1 << role as u8) != 0
    }

    /// In the order of [`Role::ALL`].
    pub fn names(self) -> Vec<String> {
        Role::ALL.into_iter().filter(|it| self.has(*it)).map(|it| it.name().to_owned()).collect()
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |all, role| all | (1 << role as u8)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_the_flag() {
        for role in Role::ALL {
            assert_eq!(Role::from_str(role.name(), false), Ok(role));
        }
        assert_eq!(Role::ALL.into_iter().collect::<Roles>(), Roles::ALL);
        assert_eq!([Role::Watcher, Role::Api].into_iter().collect::<Roles>().names(), ["api", "watcher"]);
    }
}
