//! Whom a signer believes: the chain of roots from the pinned one, and the delegations signed offline.

use std::sync::Arc;

use bytes::Bytes;
use rstuf_api::proto::signer::v1::PinRequest;
use rstuf_store::{Batch, Store};
use rstuf_tuf::{
    Delegations, Envelope, KeyId, Keys, RoleKeys, RoleName, Sha256, Targets, TopLevel, TrustedRoot, Version,
};

use crate::state::{DELEGATOR, ROOTS, corrupt, each_row, root_row};
use crate::{Error, Known, Result};

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
    pub fn of(envelope: &Envelope) -> std::result::Result<Option<Delegator>, rstuf_tuf::Error> {
        let targets: Targets = envelope.decode()?;
        Ok(targets.delegations.map(|delegations| Delegator { known: Known::of(envelope), delegations }))
    }
}

/// The roots and the delegations that a signer trusts.
#[derive(Debug, Clone)]
pub struct Trust {
    root: TrustedRoot,
    delegator: Option<Arc<Delegator>>,
}

impl Trust {
    pub(crate) fn new(root: TrustedRoot, delegator: Option<Delegator>) -> Trust {
        Trust { root, delegator: delegator.map(Arc::new) }
    }

    /// Rebuilds trust from the store, root by root; none where there is no root.
    pub(crate) fn load(store: &Store) -> Result<Option<Trust>> {
        let mut trusted: Option<TrustedRoot> = None;
        each_row(store, ROOTS, |name, bytes| {
            let step = match &mut trusted {
                None => TrustedRoot::first(bytes, None).map(|root| trusted = Some(root)),
                Some(root) => root.follow(bytes),
            };
            step.map_err(|error| corrupt(&format!("root {name}"), error))
        })?;
        let Some(root) = trusted else { return Ok(None) };
        let mut trust = Trust { root, delegator: None };
        trust.reload_delegator(store)?;
        Ok(Some(trust))
    }

    /// The delegations count only while the document that holds them verifies under the newest root.
    fn reload_delegator(&mut self, store: &Store) -> Result<()> {
        let Some(bytes) = store.get(DELEGATOR)? else { return Ok(()) };
        let envelope = Envelope::parse(&bytes).map_err(|error| corrupt(DELEGATOR, error))?;
        self.delegator = match self.verify_top_level(&RoleName::targets(), &envelope) {
            Ok(_) => Delegator::of(&envelope).map_err(|error| corrupt(DELEGATOR, error))?.map(Arc::new),
            Err(_) => None,
        };
        Ok(())
    }

    /// Follows the roots of a request that are newer than the trusted one, each by its predecessor. What was verified is
    /// put into the batch.
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

    /// Whose signatures count for a role: the root says so for top-level roles, the top-level targets for others.
    ///
    /// # Errors
    /// [`Error::WrongRole`] for a role that nobody delegates to.
    pub fn role_keys(&self, role: &RoleName) -> Result<(&Keys, &RoleKeys)> {
        if let Some(top_level) = role.top_level() {
            let root = self.root.root();
            return Ok((&root.keys, root.role(top_level)));
        }
        let delegations = self.delegator.as_ref().map(|delegator| &delegator.delegations);
        let keys = delegations.and_then(|delegations| Some((delegations.keys(), delegations.role_keys(role)?)));
        keys.ok_or_else(|| Error::wrong_role(role, "the trusted top-level targets document does not delegate to it"))
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
        let expected = role.top_level().unwrap_or(TopLevel::Targets);
        let found = envelope.role_type();
        if found != expected {
            return Err(Error::evidence(role, rstuf_tuf::Error::WrongType { expected, found }));
        }
        let (keys, role_keys) = self.role_keys(role)?;
        let valid = envelope.verify(keys, role_keys).map_err(|error| Error::evidence(role, error))?;
        Ok(valid.into_iter().collect())
    }

    fn verify_top_level(&self, role: &RoleName, envelope: &Envelope) -> Result<()> {
        self.verify(role, envelope).map(|_| ())
    }
}

/// What a signer is pinned to, after all checks.
#[derive(Debug)]
pub(crate) struct Pinned {
    pub trust: Trust,
    pub root: Bytes,
    pub delegator: Option<Bytes>,
}

/// Checks that root 1, with targets 1 where they are signed offline, pins the signer of `group` with this key: the
/// documents are valid and name the key for this group's role and for no other top-level one.
///
/// # Errors
/// [`Error::RootNotConfigured`], [`Error::PinRefused`].
pub(crate) fn check_pin(
    group: TopLevel,
    key: KeyId,
    configured: Option<Sha256>,
    request: PinRequest,
) -> Result<Pinned> {
    let refuse = |reason: String| Error::PinRefused { reason };
    let named = Sha256::of(&request.root);
    if let Some(configured) = configured.filter(|configured| *configured != named) {
        return Err(Error::RootNotConfigured { named, configured });
    }
    let root = TrustedRoot::first(&request.root, configured).map_err(|error| refuse(format!("root: {error}")))?;
    let named_for = |role: &TopLevel| root.root().role(*role).contains(&key);
    if let Some(other) = TopLevel::ALL.into_iter().filter(|role| *role != group).find(named_for) {
        return Err(refuse(format!("root names this signer's key {key} for {other}, allowed is {group} alone")));
    }
    let by_root = named_for(&group);
    let delegates = group == TopLevel::Targets && !by_root;
    if !by_root && !delegates {
        return Err(refuse(format!("root does not name this signer's key {key} for {group}")));
    }
    let mut trust = Trust::new(root, None);
    if !delegates {
        // Others learn the delegations from evidence; in the flat layout there are none.
        let signed_online = group == TopLevel::Targets && !request.targets.is_empty();
        if signed_online {
            return Err(refuse("root names this signer's key for targets, so targets must be empty".to_owned()));
        }
        return Ok(Pinned { trust, root: request.root, delegator: None });
    }
    trust.delegator = Some(Arc::new(pinned_delegator(&trust, key, &request.targets)?));
    Ok(Pinned { trust, root: request.root, delegator: Some(request.targets) })
}

fn pinned_delegator(trust: &Trust, key: KeyId, targets: &Bytes) -> Result<Delegator> {
    let refuse = |reason: String| Error::PinRefused { reason };
    if targets.is_empty() {
        return Err(refuse(format!("root does not name this signer's key {key} for targets, and targets is empty")));
    }
    let envelope = Envelope::parse(targets).map_err(|error| refuse(format!("targets: {error}")))?;
    trust.verify_top_level(&RoleName::targets(), &envelope).map_err(|error| refuse(error.to_string()))?;
    let delegator = Delegator::of(&envelope).map_err(|error| refuse(format!("targets: {error}")))?;
    let delegator = delegator.ok_or_else(|| refuse("targets delegates nothing".to_owned()))?;
    let delegations = &delegator.delegations;
    let succinct = delegations.as_succinct().map(|roles| roles.keys());
    let mut role_keys = delegations.as_list().iter().map(|role| &role.keys).chain(succinct);
    if !role_keys.any(|keys| keys.contains(&key)) {
        return Err(refuse(format!("neither root nor targets names this signer's key {key}")));
    }
    Ok(delegator)
}
