//! Whom a signer believes: the chain of roots from the pinned one, and the delegations signed offline.

use std::sync::Arc;

use bytes::Bytes;
use rstuf_store::{Batch, Store};
use rstuf_tuf::{
    Authority, Delegations, Envelope, KeyId, Keys, Known, RoleKeys, RoleName, Root, Sha256, Targets, TrustedRoot,
    Version,
};

use crate::{
    Error, Result,
    rows::{DELEGATOR, ROOTS, corrupt, each_row, root_row},
};

/// The trusted top-level targets document, where it delegates.
#[derive(Debug)]
pub struct Delegator {
    /// Which document it is.
    pub known: Known,
    /// Its delegations.
    pub delegations: Delegations,
}

impl Delegator {
    /// Takes the delegations out of a verified targets document; none where there are none.
    ///
    /// # Errors
    /// The field at fault.
    pub fn of(envelope: &Envelope) -> std::result::Result<Option<Self>, rstuf_tuf::Error> {
        let targets: Targets = envelope.decode()?;
        Ok(targets.delegations.map(|delegations| Self { known: Known::of(envelope), delegations }))
    }
}

/// The roots and the delegations that a signer trusts.
#[derive(Debug, Clone)]
pub struct Trust {
    root: TrustedRoot,
    delegator: Option<Arc<Delegator>>,
}

impl Trust {
    pub(crate) fn new(root: TrustedRoot, delegator: Option<Delegator>) -> Self {
        Self { root, delegator: delegator.map(Arc::new) }
    }

    /// Rebuilds trust from the store, root by root; none where there is no root.
    pub(crate) fn load(store: &Store) -> Result<Option<Self>> {
        let mut trusted: Option<TrustedRoot> = None;
        each_row(store, ROOTS, |name, bytes| {
            let step = match &mut trusted {
                None => TrustedRoot::first(bytes, None).map(|root| trusted = Some(root)),
                Some(root) => root.follow(bytes),
            };
            step.map_err(|error| corrupt(&format!("root {name}"), error))
        })?;
        let Some(root) = trusted else { return Ok(None) };
        let mut trust = Self { root, delegator: None };
        trust.reload_delegator(store)?;
        Ok(Some(trust))
    }

    /// The delegations count only while the document that holds them verifies under the newest root.
    fn reload_delegator(&mut self, store: &Store) -> Result<()> {
        let Some(bytes) = store.get(DELEGATOR)? else { return Ok(()) };
        let envelope = Envelope::parse(&bytes).map_err(|error| corrupt(DELEGATOR, error))?;
        self.delegator = match self.verify(&RoleName::targets(), &envelope) {
            Ok(_) => Delegator::of(&envelope).map_err(|error| corrupt(DELEGATOR, error))?.map(Arc::new),
            Err(_) => None,
        };
        Ok(())
    }

    /// Follows the roots of a request that are newer than the trusted one, each by its predecessor. What was verified
    /// is put into the batch.
    pub(crate) fn follow(&mut self, roots: &[Bytes], store: &Store) -> Result<Batch> {
        let mut batch = Batch::new();
        for bytes in roots {
            let refuse = |error: rstuf_tuf::Error| Error::evidence(&RoleName::root(), error);
            let version = Envelope::parse(bytes).map_err(refuse)?.version();
            if version > self.root.version() {
                self.root.follow(bytes).map_err(refuse)?;
                batch.put(root_row(version), bytes.as_ref());
            }
        }
        if !batch.is_empty() {
            self.reload_delegator(store)?;
        }
        Ok(batch)
    }

    /// The repository: the digest of root 1.
    #[must_use]
    pub fn repository(&self) -> Sha256 {
        self.root.repository()
    }

    /// The newest root.
    pub(crate) fn root(&self) -> &Root {
        self.root.root()
    }

    /// The version of the newest root.
    #[must_use]
    pub fn root_version(&self) -> Version {
        self.root.version()
    }

    /// The trusted delegations.
    #[must_use]
    pub fn delegator(&self) -> Option<&Arc<Delegator>> {
        self.delegator.as_ref()
    }

    /// Trusts other delegations from now on; the caller has verified them, and stores them.
    pub fn set_delegator(&mut self, delegator: Option<Arc<Delegator>>) {
        self.delegator = delegator;
    }

    fn authority(&self) -> Authority<'_> {
        let delegations = self.delegator.as_ref().map(|delegator| &delegator.delegations);
        Authority { root: self.root.root(), delegations }
    }

    /// Whose signatures count for a role: the root says so for top-level roles, the top-level targets for others.
    ///
    /// # Errors
    /// [`Error::WrongRole`] for a role that nobody delegates to.
    pub fn role_keys(&self, role: &RoleName) -> Result<(&Keys, &RoleKeys)> {
        self.authority().role_keys(role).map_err(|error| refused(role, error))
    }

    /// Whether a key is one of a role's.
    #[must_use]
    pub fn names(&self, role: &RoleName, key: &KeyId) -> bool {
        self.role_keys(role).is_ok_and(|(_, keys)| keys.contains(key))
    }

    /// Verifies a document of a role and its type, and says whose signatures are valid.
    ///
    /// # Errors
    /// [`Error::WrongRole`], [`Error::Evidence`].
    pub fn verify(&self, role: &RoleName, envelope: &Envelope) -> Result<Vec<KeyId>> {
        let valid = self.authority().verify(role, envelope).map_err(|error| refused(role, error))?;
        Ok(valid.into_iter().collect())
    }
}

fn refused(role: &RoleName, error: rstuf_tuf::Error) -> Error {
    if let rstuf_tuf::Error::NotDelegated { .. } = error {
        return Error::wrong_role(role, "the trusted top-level targets document does not delegate to it");
    }
    Error::evidence(role, error)
}
