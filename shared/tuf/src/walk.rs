//! The walk through delegations that finds what a repository says of a path.

use std::collections::HashSet;

use crate::{RoleName, Target, TargetPath, Targets};

/// The search for one path, without files or network: deep before wide, in the order of the delegations, cut short by
/// terminating ones (TUF specification, section 5.6.7).
///
/// The caller fetches the document of each role that [`Walk::next_role`] names and hands it to [`Walk::visit`].
#[derive(Debug)]
pub struct Walk<'a> {
    path: &'a TargetPath,
    /// Roles with those that delegate to them; the next one stands last.
    to_visit: Vec<(RoleName, RoleName)>,
    visited: HashSet<RoleName>,
    roles_max: usize,
}

impl<'a> Walk<'a> {
    /// Begins at the top-level targets, which `root` delegates to. No more than `roles_max` roles are visited.
    #[must_use]
    pub fn new(path: &'a TargetPath, roles_max: usize) -> Self {
        Self { path, to_visit: vec![(RoleName::targets(), RoleName::root())], visited: HashSet::new(), roles_max }
    }

    /// The role to visit next, and the one that delegates to it; none at the end.
    pub fn next_role(&mut self) -> Option<(RoleName, RoleName)> {
        while self.visited.len() < self.roles_max {
            let (role, delegator) = self.to_visit.pop()?;
            if self.visited.insert(role.clone()) {
                return Some((role, delegator));
            }
        }
        None
    }

    /// What the document of the role named last says of the path. If that is nothing, the walk goes on through the
    /// roles that it delegates to.
    pub fn visit<'t>(&mut self, role: &RoleName, targets: &'t Targets) -> Option<&'t Target> {
        let found = targets.targets.get(self.path);
        if let (None, Some(delegations)) = (found, &targets.delegations) {
            let children = delegations.matching(self.path);
            if children.iter().any(|(_, terminating)| *terminating) {
                self.to_visit.clear();
            }
            self.to_visit.extend(children.into_iter().rev().map(|(child, _)| (child, role.clone())));
        }
        found
    }
}
