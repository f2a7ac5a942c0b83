//! The first documents of a repository: root 1, and targets 1 where it is signed offline.
//!
//! ```
//! # use rstuf_tuf::{PublicKey, ceremony::{self, Plan, Signers}};
//! # let [root, targets, snapshot, timestamp]: [PublicKey; 4] = [
//! #     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
//! #     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
//! #     "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
//! #     "278117fc144c72340f67d0f2316e8386ceffbf2b2428c9c51fef7c597f1d426e",
//! # ].map(|digits| PublicKey::ed25519(hex::decode(digits).unwrap().try_into().unwrap()).unwrap());
//! let plan = Plan {
//!     layout: "succinct:256".parse()?,
//!     holders: Signers::one(root),
//!     targets: Signers::one(targets),
//!     snapshot: Signers::one(snapshot),
//!     timestamp: Signers::one(timestamp),
//! };
//! let root = ceremony::first_root(&plan, "2027-01-01T00:00:00Z".parse().unwrap())?;
//! let targets = ceremony::first_targets(&plan, root.expires)?.expect("bins are delegated offline");
//! assert_eq!(targets.delegations.unwrap().role_names().count(), 256);
//! # Ok::<(), rstuf_tuf::Error>(())
//! ```

use std::collections::BTreeMap;

use serde_json::Map;

use crate::{
    Error, KeyId, Layout, PublicKey, RoleKeys, Root, RootRoles, Targets, TopLevel, Version, keys_by_id, whole_seconds,
};

/// The keys of one role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signers {
    /// Each once.
    pub keys: Vec<PublicKey>,
    /// How many of them must sign, 1 to their number.
    pub threshold: u32,
}

impl Signers {
    /// One key, which must sign.
    #[must_use]
    pub fn one(key: PublicKey) -> Self {
        Self { keys: vec![key], threshold: 1 }
    }

    fn role_keys(&self, role: TopLevel) -> Result<RoleKeys, Error> {
        let keyids = self.keys.iter().map(PublicKey::key_id).collect();
        RoleKeys::new(keyids, self.threshold).map_err(|error| error.within(role.as_str()))
    }
}

/// Who signs what in a new repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Where artifacts are listed.
    pub layout: Layout,
    /// The people who hold the root keys. They sign root and, in every layout but flat, the top-level targets, so that
    /// a delegation stays a human decision.
    pub holders: Signers,
    /// Signs the bins; in the flat layout the top-level targets.
    pub targets: Signers,
    /// Signs snapshots.
    pub snapshot: Signers,
    /// Signs timestamps.
    pub timestamp: Signers,
}

impl Plan {
    fn group(&self, role: TopLevel) -> &Signers {
        match role {
            TopLevel::Root => &self.holders,
            TopLevel::Targets => &self.targets,
            TopLevel::Snapshot => &self.snapshot,
            TopLevel::Timestamp => &self.timestamp,
        }
    }

    /// No key may sign for two of them: one stolen key would be two.
    fn check_distinct(&self) -> Result<(), Error> {
        let mut seen: BTreeMap<KeyId, TopLevel> = BTreeMap::new();
        for group in TopLevel::ALL {
            for key in &self.group(group).keys {
                if let Some(other) = seen.insert(key.key_id(), group) {
                    let allowed = format!("a key that signs for no other role, this one signs for {other}");
                    return Err(Error::invalid(&format!("{group}.key"), key.key_id(), allowed));
                }
            }
        }
        Ok(())
    }
}

/// Root 1: signed by the holders, it names the keys of every top-level role. `expires` is cut to whole seconds.
///
/// # Errors
/// [`Error::Invalid`] for a threshold that is not 1 to the number of keys, and for a key that stands for two roles, or
/// for one twice.
pub fn first_root(plan: &Plan, expires: jiff::Timestamp) -> Result<Root, Error> {
    plan.check_distinct()?;
    let targets = if plan.layout.bins().is_some() { &plan.holders } else { &plan.targets };
    let roles = RootRoles {
        root: plan.holders.role_keys(TopLevel::Root)?,
        targets: targets.role_keys(TopLevel::Targets)?,
        snapshot: plan.snapshot.role_keys(TopLevel::Snapshot)?,
        timestamp: plan.timestamp.role_keys(TopLevel::Timestamp)?,
        unknown: Map::new(),
    };
    let online = if plan.layout.bins().is_some() { None } else { Some(&plan.targets) };
    let signers = [&plan.holders, &plan.snapshot, &plan.timestamp].into_iter().chain(online);
    let keys = keys_by_id(signers.flat_map(|signers| signers.keys.iter().cloned()));
    Ok(Root { version: Version::ONE, expires: whole_seconds(expires), keys, roles, unknown: Map::new() })
}

/// Targets 1, signed by the holders: it delegates to the bins, and lists nothing. None in the flat layout, where the
/// targets signer makes it.
///
/// # Errors
/// As [`first_root`].
pub fn first_targets(plan: &Plan, expires: jiff::Timestamp) -> Result<Option<Targets>, Error> {
    plan.check_distinct()?;
    let delegations = plan.layout.delegations(plan.targets.keys.clone(), plan.targets.threshold)?;
    Ok(delegations.map(|delegations| Targets {
        version: Version::ONE,
        expires: whole_seconds(expires),
        role: None,
        targets: BTreeMap::new(),
        delegations: Some(delegations),
        unknown: Map::new(),
    }))
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::{Envelope, Signature, TrustedRoot, Unsigned};

    fn secret(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn public(seed: u8) -> PublicKey {
        PublicKey::from(&secret(seed).verifying_key())
    }

    fn plan(layout: &str) -> Plan {
        Plan {
            layout: layout.parse().unwrap(),
            holders: Signers { keys: vec![public(1), public(2)], threshold: 2 },
            targets: Signers::one(public(3)),
            snapshot: Signers::one(public(4)),
            timestamp: Signers::one(public(5)),
        }
    }

    fn expires() -> jiff::Timestamp {
        "2027-01-01T00:00:00.5Z".parse().unwrap()
    }

    fn sign(unsigned: &Unsigned, seeds: &[u8]) -> Vec<u8> {
        unsigned.seal(seeds.iter().map(|seed| Signature::ed25519(&secret(*seed), unsigned.to_sign())).collect())
    }

    #[test]
    fn the_holders_sign_root_and_the_delegation_and_nobody_else_can() {
        for layout in ["succinct:16", "prefix:16"] {
            let plan = plan(layout);
            let root = first_root(&plan, expires()).unwrap();
            assert!(!root.keys.contains_key(&public(3).key_id()), "the bins' key stands in targets only");
            let unsigned = Unsigned::new(&root).unwrap();
            assert!(TrustedRoot::first(&sign(&unsigned, &[1]), None).is_err(), "below the threshold");
            let trusted = TrustedRoot::first(&sign(&unsigned, &[1, 2]), None).unwrap();
            assert_eq!(trusted.root(), &root);

            let targets = first_targets(&plan, expires()).unwrap().unwrap();
            let unsigned = Unsigned::new(&targets).unwrap();
            let role = trusted.root().role(TopLevel::Targets);
            let verify = |seeds: &[u8]| {
                let envelope = Envelope::parse(&sign(&unsigned, seeds)).unwrap();
                assert_eq!(envelope.decode::<Targets>().unwrap(), targets);
                envelope.verify(&trusted.root().keys, role).map(|valid| valid.len())
            };
            assert_eq!(verify(&[1, 2]), Ok(2));
            assert!(verify(&[1, 3]).is_err(), "the bins' key can't delegate");
        }
    }

    #[test]
    fn flat_targets_are_signed_online_from_the_start() {
        let plan = plan("flat");
        let root = first_root(&plan, expires()).unwrap();
        assert_eq!(root.role(TopLevel::Targets).keyids(), [public(3).key_id()]);
        assert_eq!(root.check(), Ok(()));
        assert_eq!(first_targets(&plan, expires()), Ok(None));
    }

    #[test]
    fn one_key_for_two_roles_and_impossible_thresholds_are_refused() {
        let mut shared = plan("succinct:16");
        shared.timestamp = Signers::one(public(4));
        let error = first_root(&shared, expires()).unwrap_err().to_string();
        assert!(error.contains("timestamp.key") && error.contains("signs for snapshot"), "{error}");
        assert!(first_targets(&shared, expires()).is_err());
        let mut bins = plan("succinct:16");
        bins.targets = Signers::one(public(1));
        assert!(first_root(&bins, expires()).is_err(), "nor may a holder's key sign bins");
        for threshold in [0, 3] {
            let mut plan = plan("flat");
            plan.holders.threshold = threshold;
            assert!(first_root(&plan, expires()).is_err(), "{threshold} of 2");
        }
    }
}
