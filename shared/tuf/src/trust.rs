//! Trust in roots: the first by its digest, each later one by its predecessor; and in whom they, and the top-level
//! targets, name.

use std::collections::BTreeSet;

use crate::{
    Delegations, Envelope, Error, KeyId, Keys, RoleKeys, RoleName, Root, Sha256, TargetPath, TopLevel, Version,
    document::targets::ROLE_FIELD,
};

/// Checks that `new` is the root after `trusted`: its version is one above, and a threshold of both roots' root keys
/// signed it (TUF specification, sections 5.3.4 and 5.3.5). Expiry is not looked at, because intermediate roots may
/// have expired.
///
/// # Errors
/// [`Error::VersionMismatch`], [`Error::Threshold`], or the field at fault.
pub fn verify_root_update(trusted: &Root, new: &Envelope) -> Result<Root, Error> {
    let expected = trusted.version.next().ok_or_else(|| Error::VersionsExhausted { role: RoleName::root() })?;
    let root: Root = new.decode()?;
    if root.version != expected {
        return Err(Error::VersionMismatch { role: RoleName::root(), expected, found: root.version });
    }
    new.verify(&trusted.keys, trusted.role(TopLevel::Root))?;
    new.verify(&root.keys, root.role(TopLevel::Root))?;
    Ok(root)
}

/// Checks that a root is signed by a threshold of its own root keys; that it is the right one, only its digest or a
/// predecessor can tell.
pub(crate) fn verify_self_signed(envelope: &Envelope) -> Result<Root, Error> {
    let root: Root = envelope.decode()?;
    envelope.verify(&root.keys, root.role(TopLevel::Root))?;
    Ok(root)
}

/// The chain of roots of one repository, from the first to the latest that is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedRoot {
    first: Sha256,
    root: Root,
}

impl TrustedRoot {
    /// Begins with the bytes of `1.root.json`, whose digest is the repository's identity.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`] when it is not the `expected` one; [`Error::VersionMismatch`] when it is not version
    /// 1; [`Error::Threshold`], or the field at fault.
    pub fn first(bytes: &[u8], expected: Option<Sha256>) -> Result<Self, Error> {
        let first = Sha256::of(bytes);
        if let Some(expected) = expected.filter(|expected| *expected != first) {
            return Err(Error::DigestMismatch { role: RoleName::root(), expected, found: first });
        }
        let root = verify_self_signed(&Envelope::parse(bytes)?)?;
        if root.version != Version::ONE {
            let (expected, found) = (Version::ONE, root.version);
            return Err(Error::VersionMismatch { role: RoleName::root(), expected, found });
        }
        Ok(Self { first, root })
    }

    /// Goes on to the next root; after an error the trusted one stays.
    ///
    /// # Errors
    /// As [`verify_root_update`].
    pub fn follow(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.root = verify_root_update(&self.root, &Envelope::parse(bytes)?)?;
        Ok(())
    }

    /// The SHA-256 of the first root's bytes: the repository's identity.
    #[must_use]
    pub fn repository(&self) -> Sha256 {
        self.first
    }

    /// The latest root.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The latest root's version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.root.version
    }
}

/// Whose signatures count for which role: root says so for the top-level ones, the top-level targets for those that it
/// delegates to.
#[derive(Debug, Clone, Copy)]
pub struct Authority<'a> {
    /// The trusted root.
    pub root: &'a Root,
    /// The delegations of the trusted top-level targets, if it has any.
    pub delegations: Option<&'a Delegations>,
}

impl<'a> Authority<'a> {
    /// The keys among which those of the role are, and which they are.
    ///
    /// # Errors
    /// [`Error::NotDelegated`].
    pub fn role_keys(self, role: &RoleName) -> Result<(&'a Keys, &'a RoleKeys), Error> {
        if let Some(top_level) = role.top_level() {
            return Ok((&self.root.keys, self.root.role(top_level)));
        }
        let keys = self.delegations.and_then(|delegations| delegations.keys_of(role));
        keys.ok_or_else(|| Error::NotDelegated { role: role.clone(), delegator: RoleName::targets() })
    }

    /// Checks that a document has the type of the role and a threshold of its signatures, and says whose are valid; and
    /// that a document of a delegated role is none of another one with the same keys: where it says its role, it is
    /// this one, and each path in it is one that the role is trusted with.
    ///
    /// # Errors
    /// [`Error::WrongType`], [`Error::NotDelegated`], [`Error::Threshold`], [`Error::Invalid`].
    pub fn verify(self, role: &RoleName, envelope: &Envelope) -> Result<BTreeSet<KeyId>, Error> {
        envelope.check_type(role.document_type())?;
        let (keys, role_keys) = self.role_keys(role)?;
        let valid = envelope.verify(keys, role_keys)?;
        self.check_belongs(role, envelope)?;
        Ok(valid)
    }

    fn check_belongs(self, role: &RoleName, envelope: &Envelope) -> Result<(), Error> {
        if let Some(said) = envelope.role().filter(|said| *said != role.as_str()) {
            return Err(Error::invalid(ROLE_FIELD, said, role.as_str()));
        }
        let (Some(role), Some(delegations)) = (role.as_delegated(), self.delegations) else { return Ok(()) };
        for path in envelope.listed() {
            let checked = TargetPath::try_from(path).map_err(|error| error.within("targets"))?;
            if !delegations.covers(role, &checked) {
                return Err(Error::invalid("targets", path, format!("paths that {role} is trusted with")));
            }
        }
        Ok(())
    }
}
