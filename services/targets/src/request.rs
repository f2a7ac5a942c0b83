//! Gathering a request from its stream.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use prost::Message as _;
use rstuf_api::proto::signer::v1 as proto;
use rstuf_api::{Violation, convert};
use rstuf_signing::{Error, Fingerprint, Header, Result, Revision};
use rstuf_tuf::{Bins, RoleName, Sha256};

use crate::spool::{Spool, Spooling, SubmittedChange};

/// Roles in one request: all bins that a repository can have.
const ROLES_MAX: usize = Bins::MAX as usize;

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
    pub(crate) fn new(header: proto::SigningHeader, dir: &Path) -> Result<Gathering> {
        let header = Header::try_from(header)?;
        let fingerprint = Fingerprint::new(&header);
        Ok(Gathering { header, fingerprint, seen: BTreeSet::new(), roles: Vec::new(), spooling: Spooling::new(dir) })
    }

    /// Takes the next message: another role, or more changes of the last one.
    pub(crate) fn push(&mut self, message: proto::RoleChanges) -> Result<()> {
        let role = convert::role_name("role_changes.role", &message.role)?;
        let goes_on = message.revision.is_none() && self.roles.last().is_some_and(|last| last.role == role);
        if !goes_on {
            self.begin(role, message.revision, message.renew)?;
        }
        let Some(current) = self.roles.last_mut() else {
            return Err(Error::invalid("role_changes.revision", "missing in the first message of a role"));
        };
        for message in message.changes {
            let index = current.changes;
            let at = |field: &str| format!("{}.changes[{index}].{field}", current.role);
            let change = message.change.ok_or_else(|| Error::invalid(&at("change"), "missing"))?;
            let encoded = change.encode_to_vec();
            self.fingerprint.part(&message.submission.to_be_bytes()).part(&encoded);
            convert::change(change)
                .map_err(|error| Violation { field: at(&error.field), description: error.description })?;
            self.spooling.push(message.submission, &encoded)?;
            current.changes += 1;
        }
        current.place.end = self.spooling.position();
        Ok(())
    }

    fn begin(&mut self, role: RoleName, revision: Option<proto::Revision>, renew: bool) -> Result<()> {
        let revision = Revision::read(&role, revision)?;
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

    /// The request, complete.
    pub(crate) fn finish(self) -> Result<SigningRequest> {
        if self.roles.is_empty() {
            return Err(Error::invalid("role_changes", "missing, allowed is at least one role"));
        }
        let Gathering { header, fingerprint, roles, spooling, .. } = self;
        Ok(SigningRequest { header, fingerprint: fingerprint.finish(), roles, spool: spooling.finish() })
    }
}
