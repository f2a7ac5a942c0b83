//! Making, signing, keeping and checking the first documents.
//!
//! What was signed is kept in the work directory before anything is sent, and used again when the ceremony is run
//! again: the digest of root 1 is the repository's identity, and a second signing would make a second repository.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use rstuf_keys::{FileKey, KeySource as _};
use rstuf_tuf::{
    Document, Envelope, MetadataFile, Root, Sha256, Targets, TopLevel, TrustedRoot, Unsigned, Version,
    ceremony::{Plan, first_root, first_targets},
};

use super::config::Lifetimes;
use crate::error::Error;

/// Root 1, and targets 1 where it is signed by the holders: exact bytes, verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Documents {
    pub(crate) root: Vec<u8>,
    pub(crate) targets: Option<Vec<u8>>,
}

impl Documents {
    /// The SHA-256 of root 1.
    pub(crate) fn repository_id(&self) -> Sha256 {
        Sha256::of(&self.root)
    }
}

/// Where signed documents are kept.
#[derive(Debug, Clone)]
pub(crate) struct WorkDir(PathBuf);

impl WorkDir {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// The root that was signed here before, if any.
    pub(crate) fn root(&self) -> Result<Option<Vec<u8>>, Error> {
        self.read(TopLevel::Root)
    }

    /// Makes what is missing, signs it with the holders' keys, and verifies all of it as a client would.
    ///
    /// # Errors
    /// Where documents of another plan stand in the directory, or have expired; where it can't be written.
    pub(crate) fn prepare(
        &self,
        plan: &Plan,
        holders: &[FileKey],
        lifetimes: &Lifetimes,
        now: Timestamp,
    ) -> Result<Documents, Error> {
        let root_bytes = match self.root()? {
            Some(bytes) => bytes,
            None => {
                let root = first_root(plan, expiry(now, lifetimes.root)?).map_err(refused)?;
                self.keep(TopLevel::Root, &sign(&root, holders)?)?
            }
        };
        let root = self.check_root(&root_bytes, plan, now)?;
        let wanted = first_targets(plan, expiry(now, lifetimes.targets)?).map_err(refused)?;
        let targets = match (wanted, self.read(TopLevel::Targets)?) {
            (None, _) => None,
            (Some(_), Some(bytes)) => Some(bytes),
            (Some(targets), None) => Some(self.keep(TopLevel::Targets, &sign(&targets, holders)?)?),
        };
        if let Some(bytes) = &targets {
            self.check_targets(bytes, plan, &root, now)?;
        }
        Ok(Documents { root: root_bytes, targets })
    }

    fn check_root(&self, bytes: &[u8], plan: &Plan, now: Timestamp) -> Result<Root, Error> {
        let trusted =
            TrustedRoot::first(bytes, None).map_err(|error| self.unusable(TopLevel::Root, &error.to_string()))?;
        let root = trusted.root().clone();
        let wanted = first_root(plan, root.expires).map_err(refused)?;
        if root != wanted {
            return Err(self.unusable(TopLevel::Root, "it was signed with other keys, thresholds or signers"));
        }
        self.check_expiry(TopLevel::Root, root.expires, now)?;
        Ok(root)
    }

    fn check_targets(&self, bytes: &[u8], plan: &Plan, root: &Root, now: Timestamp) -> Result<(), Error> {
        let wrong = |error: rstuf_tuf::Error| self.unusable(TopLevel::Targets, &error.to_string());
        let envelope = Envelope::parse(bytes).map_err(wrong)?;
        envelope.verify(&root.keys, root.role(TopLevel::Targets)).map_err(wrong)?;
        let targets: Targets = envelope.decode().map_err(wrong)?;
        if Some(&targets) != first_targets(plan, targets.expires).map_err(refused)?.as_ref() {
            return Err(self.unusable(TopLevel::Targets, "it was signed with another layout or signer"));
        }
        self.check_expiry(TopLevel::Targets, targets.expires, now)
    }

    fn check_expiry(&self, role: TopLevel, expires: Timestamp, now: Timestamp) -> Result<(), Error> {
        if expires > now {
            return Ok(());
        }
        Err(self.unusable(role, &format!("it expired at {expires}")))
    }

    fn unusable(&self, role: TopLevel, reason: &str) -> Error {
        let message = format!("{} can't be gone on with: {reason}", self.file(role).display());
        Error::failed(message).next(format!(
            "to begin a new repository, move {} away; to go on with the old one, restore its settings",
            self.0.display()
        ))
    }

    /// Where the first document of a role is.
    fn file(&self, role: TopLevel) -> PathBuf {
        self.0.join(MetadataFile::of(&role.into(), Version::ONE).to_string())
    }

    fn read(&self, role: TopLevel) -> Result<Option<Vec<u8>>, Error> {
        let path = self.file(role);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::failed(format!("{} cannot be read: {error}", path.display()))),
        }
    }

    fn keep(&self, role: TopLevel, bytes: &[u8]) -> Result<Vec<u8>, Error> {
        let made = fs::create_dir_all(&self.0);
        made.map_err(|error| Error::failed(format!("{} cannot be made: {error}", self.0.display())))?;
        write_durably(&self.file(role), bytes)?;
        Ok(bytes.to_vec())
    }
}

fn sign(document: &impl Document, holders: &[FileKey]) -> Result<Vec<u8>, Error> {
    let unsigned = Unsigned::new(document).map_err(refused)?;
    let signatures = holders.iter().map(|key| key.sign(unsigned.to_sign())).collect::<Result<_, _>>();
    Ok(unsigned.seal(signatures.map_err(|error| Error::failed(error.to_string()))?))
}

fn expiry(now: Timestamp, lifetime: Duration) -> Result<Timestamp, Error> {
    now.checked_add(lifetime).map_err(|error| Error::failed(format!("no time that far ahead: {error}")))
}

fn refused(error: rstuf_tuf::Error) -> Error {
    Error::failed(error.to_string())
}

/// Writes a file whole or not at all; it is on disk when this returns.
///
/// # Errors
/// Where it can't be written.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let temporary = path.with_added_extension("new");
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(parent)?.sync_all()
    };
    write().map_err(|error: io::Error| Error::failed(format!("{} cannot be written: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use rstuf_keys::SysRng;
    use rstuf_tuf::ceremony::Signers;

    use super::*;

    fn key() -> FileKey {
        FileKey::generate(&mut SysRng).unwrap()
    }

    fn signers(key: &FileKey) -> Signers {
        Signers::one(key.public_key().clone())
    }

    fn plan(layout: &str, holders: &[FileKey]) -> Plan {
        Plan {
            layout: layout.parse().unwrap(),
            holders: Signers { keys: holders.iter().map(|key| key.public_key().clone()).collect(), threshold: 2 },
            targets: signers(&key()),
            snapshot: signers(&key()),
            timestamp: signers(&key()),
        }
    }

    fn days(days: u64) -> Lifetimes {
        let lifetime = Duration::from_secs(days * 86_400);
        Lifetimes { root: lifetime, targets: lifetime, bins: lifetime, snapshot: lifetime, timestamp: lifetime }
    }

    fn at(day: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + day * 86_400).unwrap()
    }

    #[test]
    fn a_ceremony_that_is_run_again_makes_the_same_repository() {
        let dir = tempfile::tempdir().unwrap();
        let work = WorkDir::new(dir.path().join("ceremony"));
        let holders = [key(), key()];
        let plan = plan("succinct:16", &holders);
        let first = work.prepare(&plan, &holders, &days(10), at(0)).unwrap();
        assert_eq!(work.prepare(&plan, &holders, &days(20), at(1)).unwrap(), first);
        // Interrupted between the two documents.
        fs::remove_file(work.file(TopLevel::Targets)).unwrap();
        let again = work.prepare(&plan, &holders, &days(10), at(0)).unwrap();
        assert_eq!(again.repository_id(), first.repository_id());
        assert_eq!(again, first);
    }

    #[test]
    fn documents_of_another_ceremony_are_not_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let work = WorkDir::new(dir.path().to_owned());
        let holders = [key(), key()];
        let plan = plan("succinct:16", &holders);
        work.prepare(&plan, &holders, &days(10), at(0)).unwrap();

        let message = |plan: &Plan, day: i64| work.prepare(plan, &holders, &days(10), at(day)).unwrap_err().to_string();
        let other_signer = Plan { snapshot: signers(&key()), ..plan.clone() };
        assert!(message(&other_signer, 0).contains("1.root.json can't be gone on with: it was signed with other keys"));
        let other_bins = Plan { layout: "succinct:32".parse().unwrap(), ..plan.clone() };
        assert!(
            message(&other_bins, 0).contains("1.targets.json can't be gone on with: it was signed with another layout")
        );
        assert!(message(&plan, 10).contains("expired"));
        fs::write(work.file(TopLevel::Root), "{}").unwrap();
        assert!(message(&plan, 0).contains("move"), "says the way out");
    }

    #[test]
    fn too_few_holders_make_nothing_that_is_sent() {
        let dir = tempfile::tempdir().unwrap();
        let holders = [key(), key()];
        let plan = plan("flat", &holders);
        let work = WorkDir::new(dir.path().join("one"));
        assert!(work.prepare(&plan, &holders[..1], &days(10), at(0)).unwrap_err().message.contains("threshold"));
        let work = WorkDir::new(dir.path().join("both"));
        assert_eq!(work.prepare(&plan, &holders, &days(10), at(0)).unwrap().targets, None);
    }
}
