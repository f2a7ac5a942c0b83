//! Which submissions make documents too large.

use std::collections::{BTreeMap, BTreeSet};

use rstuf_signing::{Error, Result, Session};
use rstuf_tuf::{Change, Signature, Target, TargetPath, Targets, Unsigned, Version};

use crate::{
    removals::Memory,
    request::{RoleRequest, SigningRequest},
    spool::SubmittedChange,
};

/// The error that names the submissions at fault: taken one after another, each that would take a document over the
/// limit, the earlier ones at fault left out. Without them the rest fits.
pub(crate) fn error(
    session: &Session<'_, Memory>,
    whole: &SigningRequest,
    roles: &[&RoleRequest],
    bytes_max: usize,
) -> Result<Error> {
    let mut documents = Vec::with_capacity(roles.len());
    for request in roles {
        documents.push(Document::new(session.base(&request.role)?, request, whole.changes(request)?)?);
    }
    let submissions: BTreeSet<u32> =
        documents.iter().flat_map(|document| document.changes.iter().map(|change| change.submission)).collect();
    let mut at_fault = Vec::new();
    for submission in submissions {
        let before: Vec<_> = documents.iter().map(|document| document.bytes).collect();
        let undo: Vec<_> = documents.iter_mut().map(|document| document.apply(submission)).collect::<Result<_>>()?;
        let grew = |(document, before): (&Document<'_>, &usize)| document.bytes > bytes_max && document.bytes > *before;
        if documents.iter().zip(&before).any(grew) {
            at_fault.push(submission);
            documents.iter_mut().zip(undo).zip(before).for_each(|((document, undo), bytes)| document.undo(undo, bytes));
        }
    }
    let role = roles.first().map_or_else(rstuf_tuf::RoleName::targets, |request| request.role.clone());
    Ok(Error::TooLarge { role, bytes_max, submissions: at_fault })
}

/// The size of a document, followed change by change.
struct Document<'a> {
    request: &'a RoleRequest,
    changes: Vec<SubmittedChange>,
    /// Bytes that each target takes in the document.
    sizes: BTreeMap<TargetPath, usize>,
    /// Bytes of a document without targets.
    empty: usize,
    bytes: usize,
}

/// What the changed paths were before.
type Undo = Vec<(TargetPath, Option<usize>)>;

impl<'a> Document<'a> {
    fn new(base: Option<Targets>, request: &'a RoleRequest, changes: Vec<SubmittedChange>) -> Result<Self> {
        let mut base = base.unwrap_or(Targets {
            version: Version::ONE,
            expires: request.revision.expires,
            role: None,
            targets: BTreeMap::new(),
            delegations: None,
            unknown: Default::default(),
        });
        (base.version, base.expires) = (request.revision.version, request.revision.expires);
        base.role = request.role.as_delegated().cloned();
        let targets = std::mem::take(&mut base.targets);
        let empty = sealed_bytes(request, &base)?;
        let mut document = Document { request, changes, sizes: BTreeMap::new(), empty, bytes: empty };
        for (path, target) in targets {
            document.set(&path, Some(entry_bytes(request, &path, &target)?));
        }
        Ok(document)
    }

    fn apply(&mut self, submission: u32) -> Result<Undo> {
        let mut undo = Undo::new();
        let request = self.request;
        let changes = std::mem::take(&mut self.changes);
        for change in changes.iter().filter(|change| change.submission == submission) {
            let size = match &change.change {
                Change::Add { path, target } => Some(entry_bytes(request, path, target)?),
                Change::Remove { .. } => None,
            };
            let path = change.change.path();
            undo.push((path.clone(), self.set(path, size)));
        }
        self.changes = changes;
        Ok(undo)
    }

    /// Sets what a path takes, and says what it took before.
    fn set(&mut self, path: &TargetPath, size: Option<usize>) -> Option<usize> {
        let old = match size {
            Some(size) => self.sizes.insert(path.clone(), size),
            None => self.sizes.remove(path),
        };
        // Every target has a comma, but the last.
        let commas = |targets: usize| targets.saturating_sub(1);
        let before = self.sizes.len() + usize::from(old.is_some()) - usize::from(size.is_some());
        self.bytes = self.bytes + size.unwrap_or(0) + commas(self.sizes.len()) - old.unwrap_or(0) - commas(before);
        old
    }

    fn undo(&mut self, undo: Undo, bytes: usize) {
        for (path, size) in undo.into_iter().rev() {
            self.set(&path, size);
        }
        debug_assert!(self.bytes == bytes && self.bytes >= self.empty, "sizes add up");
    }
}

/// Bytes that one target takes: the difference between a document with it alone and one without.
fn entry_bytes(request: &RoleRequest, path: &TargetPath, target: &Target) -> Result<usize> {
    let document = |targets: BTreeMap<TargetPath, Target>| Targets {
        version: request.revision.version,
        expires: request.revision.expires,
        role: None,
        targets,
        delegations: None,
        unknown: Default::default(),
    };
    let with = sealed_bytes(request, &document(BTreeMap::from([(path.clone(), target.clone())])))?;
    Ok(with - sealed_bytes(request, &document(BTreeMap::new()))?)
}

fn sealed_bytes(request: &RoleRequest, document: &Targets) -> Result<usize> {
    let unsigned = Unsigned::new(document).map_err(|error| Error::evidence(&request.role, error))?;
    let signature = Signature { keyid: rstuf_tuf::KeyId([0; 32]), sig: vec![0; 64] };
    Ok(unsigned.seal(vec![signature]).len())
}
