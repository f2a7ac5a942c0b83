//! Gathering a request from its stream.

use std::{borrow::Cow, collections::BTreeSet, ops::Range, path::Path};

use rstuf_api::{Violation, signing::Header};
use rstuf_signing::{Error, Fingerprint, Result};
use rstuf_tuf::{Bins, Revision, RoleName, Sha256, TargetPath};

use crate::spool::{Spool, Spooling, SubmittedChange};

/// Roles in one request: all bins that a repository can have.
const ROLES_MAX: usize = Bins::MAX as usize;
/// Bytes of changes in one request, in memory or not.
const CHANGES_BYTES_MAX: u64 = 4 << 30;

/// What is asked of one role.
#[derive(Debug)]
pub(crate) struct RoleRequest {
    pub role: RoleName,
    pub revision: Revision,
    pub renew: bool,
    /// Number of its changes.
    pub changes: usize,
    /// Where they stand in the spool.
    pub place: Range<u64>,
}

/// A request, complete.
#[derive(Debug)]
pub(crate) struct SigningRequest {
    pub header: Header,
    pub fingerprint: Sha256,
    pub roles: Vec<RoleRequest>,
    spool: Spool,
}

impl SigningRequest {
    /// The changes of one of its roles, in the order in which they came.
    pub(crate) fn changes(&self, role: &RoleRequest) -> Result<Vec<SubmittedChange>> {
        self.spool.changes(&role.place)
    }

    /// The paths of those changes.
    pub(crate) fn paths(&self, role: &RoleRequest) -> Result<Vec<TargetPath>> {
        self.spool.paths(&role.place)
    }
}

/// A request as far as it has come.
#[derive(Debug)]
pub(crate) struct Gathering {
    pub header: Header,
    fingerprint: Fingerprint,
    seen: BTreeSet<RoleName>,
    roles: Vec<RoleRequest>,
    spooling: Spooling,
}

impl Gathering {
    /// `dir` is where a large request may be kept.
    pub(crate) fn new(header: Header, dir: &Path) -> Self {
        let fingerprint = Fingerprint::new(&header);
        let spooling = Spooling::new(dir, CHANGES_BYTES_MAX);
        Self { header, fingerprint, seen: BTreeSet::new(), roles: Vec::new(), spooling }
    }

    /// Whether `role` is the one that came last.
    pub(crate) fn goes_on(&self, role: &RoleName) -> bool {
        self.roles.last().is_some_and(|last| last.role == *role)
    }

    /// Takes the next role.
    pub(crate) fn begin(&mut self, role: RoleName, revision: Revision, renew: bool) -> Result<()> {
        if self.roles.len() == ROLES_MAX {
            return Err(Error::invalid("role_changes", format!("more than {ROLES_MAX} roles")));
        }
        if !self.seen.insert(role.clone()) {
            let description = format!("{role} stands twice, allowed is once, in consecutive messages");
            return Err(Error::invalid("role_changes.role", description));
        }
        self.fingerprint.part(b"role").revision(&role, &revision).part(&[u8::from(renew)]);
        let start = self.spooling.position();
        self.roles.push(RoleRequest { role, revision, renew, changes: 0, place: start..start });
        Ok(())
    }

    /// Takes the next change of the last role: its submission, and its bytes where they are sound.
    pub(crate) fn push(
        &mut self,
        submission: u32,
        encoded: std::result::Result<Cow<'_, [u8]>, Violation>,
    ) -> Result<()> {
        let Some(current) = self.roles.last_mut() else {
            return Err(Error::invalid("role_changes.revision", "missing in the first message of a role"));
        };
        let place = || format!("{}.changes[{}]", current.role, current.changes);
        let encoded = encoded.map_err(|error| error.within(&place()))?;
        self.fingerprint.part(&submission.to_be_bytes()).part(&encoded);
        self.spooling.push(submission, &encoded)?;
        current.changes += 1;
        current.place.end = self.spooling.position();
        Ok(())
    }

    /// The request, complete.
    pub(crate) fn finish(self) -> Result<SigningRequest> {
        if self.roles.is_empty() {
            return Err(Error::invalid("role_changes", "missing, allowed is at least one role"));
        }
        let Self { header, fingerprint, roles, spooling, .. } = self;
        Ok(SigningRequest { header, fingerprint: fingerprint.finish(), roles, spool: spooling.finish() })
    }
}
