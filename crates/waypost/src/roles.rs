//! What a process does: any choice of the four roles. Must not know how a role is built.

use std::{collections::BTreeSet, fmt};

/// One kind of work; each can be a process of its own, many times over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Role {
    /// Takes notifications in.
    Ingress,
    /// Sends them to the endpoints.
    Relay,
    /// Keeps subscriptions alive and the store in order.
    Scheduler,
    /// Serves the environment API, the admin API and the dashboard.
    Api,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ingress, Self::Relay, Self::Scheduler, Self::Api];

    /// The name on the command line and in logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Relay => "relay",
            Self::Scheduler => "scheduler",
            Self::Api => "api",
        }
    }
}

/// The roles of one process. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles(BTreeSet<Role>);

impl Roles {
    /// All roles.
    #[must_use]
    pub fn all() -> Self {
        Self(Role::ALL.into())
    }

    /// The roles that were asked for; all of them when none was.
    #[must_use]
    pub fn chosen(asked: &[Role]) -> Self {
        if asked.is_empty() { Self::all() } else { Self(asked.iter().copied().collect()) }
    }

    /// Whether `role` is among them.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|role| role.name()).collect();
        f.write_str(&names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::{Role, Roles};

    #[test]
    fn a_process_without_a_chosen_role_has_all_of_them() {
        assert_eq!(Roles::chosen(&[]), Roles::all());
        assert!(Role::ALL.iter().all(|role| Roles::all().has(*role)));
    }

    #[test]
    fn a_process_has_only_the_roles_that_were_chosen() {
        let roles = Roles::chosen(&[Role::Relay, Role::Ingress, Role::Relay]);

        assert_eq!(roles.to_string(), "ingress, relay");
        assert!(!roles.has(Role::Api));
    }
}
