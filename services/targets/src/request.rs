//! Gathering a request from its stream.

use std::collections::BTreeSet;

use prost::Message as _;
use rstuf_api::proto::signer::v1 as proto;
use rstuf_api::{Violation, convert};
use rstuf_signing::{Error, Fingerprint, Header, Result, Revision};
use rstuf_tuf::{Bins, Change, RoleName, Sha256};

/// Roles in one request: all bins that a repository can have.
const ROLES_MAX: usize = Bins::MAX as usize;
/// All changes of one request, in bytes of their messages: bounds memory.
const REQUEST_BYTES_MAX: usize = 128 << 20;

/// What is asked of one role.
#[derive(Debug)]
pub(crate) struct RoleRequest {
    pub role: RoleName,
    pub revision: Revision,
    pub renew: bool,
    pub changes: Vec<SubmittedChange>,
    /// Bytes of the changes' messages.
    pub bytes: usize,
}

/// A change, and the submission that it came with.
#[derive(Debug)]
pub(crate) struct SubmittedChange {
    pub submission: u32,
    pub change: Change,
}

/// A request as far as it has come.
#[derive(Debug)]
pub(crate) struct Gathering {
    pub header: Header,
    fingerprint: Fingerprint,
    seen: BTreeSet<RoleName>,
    roles: Vec<RoleRequest>,
    bytes: usize,
}

impl Gathering {
    pub(crate) fn new(header: proto::SigningHeader) -> Result<Gathering> {
        let header = Header::try_from(header)?;
        let fingerprint = Fingerprint::new(&header);
        Ok(Gathering { header, fingerprint, seen: BTreeSet::new(), roles: Vec::new(), bytes: 0 })
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
            let index = current.changes.len();
            let at = |field: &str| format!("{}.changes[{index}].{field}", current.role);
            let change = message.change.ok_or_else(|| Error::invalid(&at("change"), "missing"))?;
            let encoded = change.encode_to_vec();
            self.bytes += encoded.len();
            current.bytes += encoded.len();
            if self.bytes > REQUEST_BYTES_MAX {
                let description = format!("more than {REQUEST_BYTES_MAX} bytes of changes: make two requests of it");
                return Err(Error::invalid("role_changes", description));
            }
            self.fingerprint.part(&message.submission.to_be_bytes()).part(&encoded);
            let change = convert::change(change)
                .map_err(|error| Violation { field: at(&error.field), description: error.description })?;
            current.changes.push(SubmittedChange { submission: message.submission, change });
        }
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
        self.roles.push(RoleRequest { role, revision, renew, changes: Vec::new(), bytes: 0 });
        Ok(())
    }

    /// The request, complete.
    pub(crate) fn finish(self) -> Result<(Header, Sha256, Vec<RoleRequest>)> {
        if self.roles.is_empty() {
            return Err(Error::invalid("role_changes", "missing, allowed is at least one role"));
        }
        Ok((self.header, self.fingerprint.finish(), self.roles))
    }
}
