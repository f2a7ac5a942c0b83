//! One signing request under way: what it may look at, and how a document gets its signature.

use bytes::Bytes;
use jiff::Timestamp;
use rstuf_keys::KeySource;
use rstuf_store::{Batch, Staged, Store};
use rstuf_tuf::{Document, Envelope, Known, Outcomes, Revision, RoleKeys, RoleName, Unsigned, Version};

use crate::{Budget, Error, Result, Trust, config::Settings, rows, rules, state::State};

/// Documents of this size are written ahead where a request makes many, in bytes: those that are smaller are small
/// together too.
const AHEAD_BYTES_MIN: usize = 1 << 10;

/// What a request that is being answered may use. It can't change the state: what it makes takes effect only when all
/// of it is durable.
#[derive(Debug)]
pub struct Session<'a, M> {
    pub(crate) key: &'a dyn KeySource,
    pub(crate) store: &'a Store,
    pub(crate) settings: &'a Settings,
    pub(crate) state: &'a State<M>,
    pub(crate) trust: &'a Trust,
    pub(crate) now: Timestamp,
}

/// A signed document that has not been let out yet.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// Which document it is.
    pub known: Known,
    /// Its exact bytes.
    pub body: Body,
    /// Whether the signature meets the role's threshold alone: then it is the role's next base.
    pub complete: bool,
}

/// Where the bytes of a document are that is not durable yet.
#[derive(Debug, Clone)]
pub enum Body {
    /// In memory.
    Here(Bytes),
    /// In a file that goes again unless the document becomes durable.
    Ahead(Staged),
}

/// What a request made of one role.
#[derive(Debug)]
pub struct Made {
    /// The role.
    pub role: RoleName,
    /// The new document; none when nothing had an effect.
    pub document: Option<Sealed>,
    /// One for each change of the request.
    pub outcomes: Outcomes,
}

/// Changes what a kind of signer remembers, once its rows are durable.
pub type Remember<M> = Box<dyn FnOnce(&mut State<M>) + Send>;

/// What a request made.
pub struct Built<M> {
    /// In the order of the answer.
    pub roles: Vec<Made>,
    /// Rows of this kind of signer that change along.
    pub batch: Batch,
    /// What changes in memory with them.
    pub remember: Remember<M>,
}

impl<M> Session<'_, M> {
    /// The signer's time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Whom the signer believes.
    pub fn trust(&self) -> &Trust {
        self.trust
    }

    /// What the signer remembers.
    pub fn state(&self) -> &State<M> {
        self.state
    }

    /// Checks that the own key signs `role` and that base, version and expiry are allowed.
    ///
    /// # Errors
    /// [`Error::WrongRole`], and those of `rules::check_version`, `rules::spend` and `rules::check_expires`.
    pub fn check(&self, role: &RoleName, revision: &Revision) -> Result<()> {
        let key = self.key.public_key().key_id();
        let (_, keys) = self.trust.role_keys(role)?;
        if !keys.contains(&key) {
            let reason = format!("this signer's key {key} is not one of the role's");
            return Err(Error::wrong_role(role, reason));
        }
        let state = self.state.role(role);
        rules::check_version(role, &state, revision)?;
        rules::spend(role, &state, revision.version, self.now)?;
        rules::check_expires(role, revision.expires, self.now, self.settings.lifetime_max)
    }

    /// What is left of the versions of a role whose document is shown as evidence, after the one of version `from` (0
    /// for none) that was shown last.
    ///
    /// # Errors
    /// [`Error::VersionBudget`].
    pub fn follow(&self, role: &RoleName, budget: Budget, from: u64, version: Version) -> Result<Budget> {
        rules::follow(role, budget, from, version, self.now)
    }

    /// Checks that evidence has not expired.
    ///
    /// # Errors
    /// [`Error::EvidenceExpired`].
    pub fn check_unexpired(&self, role: &RoleName, known: &Known) -> Result<()> {
        let (expires, now) = (known.expires(), self.now);
        if expires <= now {
            return Err(Error::EvidenceExpired { role: role.clone(), expires, now });
        }
        Ok(())
    }

    /// The base of a role, read from the store.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is not there or can't be read.
    pub fn base<D: Document>(&self, role: &RoleName) -> Result<Option<D>> {
        let Some(base) = self.state.roles.get(role).and_then(|state| state.base.as_ref()) else { return Ok(None) };
        let name = rows::body_row(role, base);
        let bytes = self.store.get(&name)?.ok_or_else(|| rows::corrupt(&name, "missing"))?;
        let document = Envelope::parse(&bytes).and_then(|envelope| envelope.decode());
        document.map(Some).map_err(|error| rows::corrupt(&name, error))
    }

    /// Signs a document and verifies the very bytes that would leave.
    ///
    /// # Errors
    /// [`Error::TooLarge`] without submissions, beyond `bytes_max`; [`Error::SelfCheck`], [`Error::Key`].
    pub fn seal(&self, role: &RoleName, document: &impl Document, bytes_max: usize) -> Result<Sealed> {
        let too_large = || Error::TooLarge { role: role.clone(), bytes_max, submissions: Vec::new() };
        let unsigned = Unsigned::new(document).map_err(|error| match error {
            rstuf_tuf::Error::TooLarge { .. } => too_large(),
            error => self.self_check(role, document, error.to_string()),
        })?;
        let signature = self.key.sign(unsigned.to_sign())?;
        let bytes = unsigned.seal(vec![signature]);
        if bytes.len() > bytes_max {
            return Err(too_large());
        }
        let envelope = Envelope::parse(&bytes).map_err(|error| self.self_check(role, document, error.to_string()))?;
        let (keys, role_keys) = self.trust.role_keys(role)?;
        let own = RoleKeys::new(vec![self.key.public_key().key_id()], 1);
        let valid = own.and_then(|own| envelope.verify(keys, &own));
        valid.map_err(|error| self.self_check(role, document, error.to_string()))?;
        if envelope.canonical() != unsigned.to_sign() {
            return Err(self.self_check(role, document, "the bytes are not what was signed".to_owned()));
        }
        let complete = role_keys.threshold() == 1;
        Ok(Sealed { known: Known::of(&envelope), body: Body::Here(bytes.into()), complete })
    }

    /// Writes a document ahead of all that refers to it, so that it takes no memory. Blocks.
    ///
    /// # Errors
    /// As the store's.
    pub fn write_ahead(&self, sealed: &mut Sealed) -> Result<()> {
        if let Body::Here(bytes) = &sealed.body
            && bytes.len() >= AHEAD_BYTES_MIN
        {
            sealed.body = Body::Ahead(self.store.stage(bytes)?);
        }
        Ok(())
    }

    fn self_check(&self, role: &RoleName, document: &impl Document, reason: String) -> Error {
        Error::SelfCheck { role: role.clone(), version: document.version(), reason }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use rstuf_keys::{FileKey, SysRng};
    use rstuf_store::Options;
    use rstuf_tuf::{
        DOCUMENT_BYTES_MAX, Layout, MetaEntry, PublicKey, Sha256, Signature, TrustedRoot,
        ceremony::{self, Plan, Signers},
        next_timestamp,
    };

    use super::*;
    use crate::times::Bounds;

    /// A key on a machine that flips a bit, of what is to be signed or of the signature.
    #[derive(Debug)]
    struct Flipping {
        key: FileKey,
        flips: Option<(Flipped, usize)>,
    }

    #[derive(Debug, Clone, Copy)]
    enum Flipped {
        Message,
        Signature,
    }

    fn flip(bytes: &mut [u8], bit: usize) {
        let byte = bit / 8 % bytes.len();
        bytes[byte] ^= 1 << (bit % 8);
    }

    impl KeySource for Flipping {
        fn public_key(&self) -> &PublicKey {
            self.key.public_key()
        }

        fn sign(&self, message: &[u8]) -> rstuf_keys::Result<Signature> {
            let mut message = message.to_vec();
            if let Some((Flipped::Message, bit)) = self.flips {
                flip(&mut message, bit);
            }
            let mut signature = self.key.sign(&message)?;
            if let Some((Flipped::Signature, bit)) = self.flips {
                flip(&mut signature.sig, bit);
            }
            Ok(signature)
        }
    }

    /// A root that names the key for timestamps.
    fn trust(key: &PublicKey, expires: Timestamp) -> Trust {
        let [holder, targets, snapshot] = [(); 3].map(|()| FileKey::generate(&mut SysRng).unwrap());
        let plan = Plan {
            layout: Layout::Flat,
            holders: Signers::one(holder.public_key().clone()),
            targets: Signers::one(targets.public_key().clone()),
            snapshot: Signers::one(snapshot.public_key().clone()),
            timestamp: Signers::one(key.clone()),
        };
        let root = Unsigned::new(&ceremony::first_root(&plan, expires).unwrap()).unwrap();
        let root = root.seal(vec![holder.sign(root.to_sign()).unwrap()]);
        Trust::new(TrustedRoot::first(&root, None).unwrap(), None)
    }

    /// Whichever bit is another between signing and leaving.
    #[test]
    fn a_flipped_bit_does_not_leave_the_signer() {
        let (dir, role) = (tempfile::tempdir().unwrap(), RoleName::timestamp());
        let store = Store::open(Options::new(dir.path(), "timestamp")).unwrap();
        let now: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        let mut key = Flipping { key: FileKey::generate(&mut SysRng).unwrap(), flips: None };
        let trust = trust(key.public_key(), now.checked_add(Duration::from_secs(86_400)).unwrap());
        let day = Duration::from_secs(86_400);
        let settings = Settings { lifetime_max: day, root_sha256: None, clock: Bounds { jump_max: day, off_max: day } };
        let state = State { trust: None, roles: BTreeMap::new(), halted: None, memory: () };
        let snapshot = MetaEntry::new(Version::ONE, 1, Sha256([7; 32]));
        let revision = Revision { base: None, version: Version::ONE, expires: now };
        let document = next_timestamp(None, snapshot, &revision).unwrap();
        let seal = |key: &Flipping| {
            let session = Session { key, store: &store, settings: &settings, state: &state, trust: &trust, now };
            session.seal(&role, &document, DOCUMENT_BYTES_MAX)
        };
        assert!(seal(&key).is_ok());
        for flipped in [Flipped::Message, Flipped::Signature] {
            for bit in (0..1_024).step_by(37) {
                key.flips = Some((flipped, bit));
                let refused = seal(&key).map(|sealed| sealed.known);
                assert!(matches!(refused, Err(Error::SelfCheck { .. })), "{flipped:?} bit {bit}: {refused:?}");
            }
        }
    }
}
