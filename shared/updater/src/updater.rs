//! The client workflow: roots, timestamp, snapshot, and the targets roles that a path leads through.

use std::path::{Path, PathBuf};

use jiff::Timestamp as Time;
use rstuf_tuf::{
    DOCUMENT_BYTES_MAX, MetaEntry, MetadataFile, Origin, RoleName, Sha256, Target, TargetPath, TopLevel, TrustedSet,
    Walk, file,
};
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;

use crate::{
    Error, Limits, Options, download,
    fetch::Remote,
    state::{State, blocking},
};

/// A client of one repository.
#[derive(Debug)]
pub struct Updater {
    metadata: Remote,
    targets: Remote,
    root: Vec<u8>,
    limits: Limits,
    state: State,
    /// What the last refresh verified, and when it began; none if it failed, so that nothing stale is used instead.
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    trusted: TrustedSet,
    now: Time,
}

impl Updater {
    /// A client that trusts nothing but the given root.
    ///
    /// # Errors
    ///
    /// [`Error::Url`], or [`Error::Refused`] for a root that is not one or not signed by its own keys.
    pub fn new(options: Options) -> Result<Self, Error> {
        let Options { metadata_url, targets_url, root, state_dir, limits } = options;
        TrustedSet::new(&root).map_err(refused(&RoleName::root()))?;
        let client = Remote::client(&limits)?;
        let own_dir = |directory: PathBuf| directory.join(Sha256::of(&root).to_string());
        Ok(Self {
            metadata: Remote::new(client.clone(), "metadata_url", &metadata_url)?,
            targets: Remote::new(client, "targets_url", &targets_url)?,
            state: State::new(state_dir.map(own_dir)),
            root,
            limits,
            current: None,
        })
    }

    /// Brings root, timestamp, snapshot and the top-level targets up to date (TUF specification, 5.3 to 5.6). `now` is
    /// the time at which expiries are judged, here and until the next refresh.
    ///
    /// # Errors
    ///
    /// Any of [`Error`]; the client then knows no targets until a refresh succeeds.
    pub async fn refresh(&mut self, now: Time) -> Result<(), Error> {
        self.current = None;
        let mut trusted = TrustedSet::new(&self.root).map_err(refused(&RoleName::root()))?;
        self.update_root(&mut trusted).await?;
        self.update_timestamp(&mut trusted, now).await?;
        self.update_snapshot(&mut trusted, now).await?;
        let mut current = Current { trusted, now };
        self.update_targets(&mut current, &RoleName::targets(), &RoleName::root()).await?;
        self.current = Some(current);
        Ok(())
    }

    /// The metadata that the last refresh, and lookups since, verified; none if there was none or it failed.
    pub fn trusted(&self) -> Option<&TrustedSet> {
        self.current.as_ref().map(|current| &current.trusted)
    }

    /// What the repository says of a path: the first answer on a walk through the delegations, in their order and deep
    /// before wide, cut short by terminating ones (TUF specification, 5.6.7). `None` also beyond the limit of
    /// delegations.
    ///
    /// # Errors
    ///
    /// [`Error::NotRefreshed`], or whatever fetching a delegated role ends with.
    pub async fn target(&mut self, path: &TargetPath) -> Result<Option<Target>, Error> {
        // Put back only as it was or with more verified in it.
        let mut current = self.current.take().ok_or(Error::NotRefreshed)?;
        let found = self.walk(&mut current, path).await;
        self.current = Some(current);
        found
    }

    /// Downloads a target into memory.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::TooLong`] above the limit for memory, [`Error::Mismatch`], and others.
    pub async fn download(&mut self, path: &TargetPath) -> Result<Vec<u8>, Error> {
        let target = self.known(path).await?;
        if target.length() > self.limits.memory_bytes {
            return Err(Error::TooLong { url: path.to_string(), bytes_max: self.limits.memory_bytes });
        }
        let mut bytes = Vec::new();
        download::fetch(&self.targets, path, &target, &mut bytes).await?;
        Ok(bytes)
    }

    /// Downloads a target into a file, which appears, or is replaced, only when the target is there and verified.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Mismatch`], [`Error::File`], and others.
    pub async fn download_to(&mut self, path: &TargetPath, file: &Path) -> Result<Target, Error> {
        let target = self.known(path).await?;
        let failed = |source| Error::File { path: file.to_owned(), source };
        let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let temporary = blocking(directory.to_owned(), |directory| NamedTempFile::new_in(directory)).await?;
        let (opened, temporary) = temporary.into_parts();
        let mut out = tokio::fs::File::from_std(opened);
        download::fetch(&self.targets, path, &target, &mut out).await?;
        out.flush().await.map_err(failed)?;
        out.sync_all().await.map_err(failed)?;
        blocking(file.to_owned(), move |file| temporary.persist(file).map_err(|error| error.error)).await?;
        Ok(target)
    }

    async fn known(&mut self, path: &TargetPath) -> Result<Target, Error> {
        self.target(path).await?.ok_or_else(|| Error::NotFound { path: path.clone() })
    }

    /// Follows the chain of roots (5.3): those kept from former runs, then those that the repository has besides.
    async fn update_root(&mut self, trusted: &mut TrustedSet) -> Result<(), Error> {
        let role = RoleName::root();
        let mut fetched = 0;
        while let Some(version) = trusted.root().version.next() {
            let name = MetadataFile::of(&role, version).to_string();
            if let Some(kept) = self.state.get(&name).await? {
                self.state.check(&name, trusted.update_root(&kept).map(|_| ()))?;
                continue;
            }
            if fetched == self.limits.root_rotations {
                break;
            }
            let root = match self.metadata.get(&name, self.limits.root_bytes).await {
                Err(Error::Absent { .. }) => break,
                root => root?,
            };
            let before = trusted.root().clone();
            let after = trusted.update_root(&root).map_err(refused(&role))?;
            // Whoever held the old keys may have pushed versions to their end (5.3.11). Before the root is kept: a run
            // that ends in between fetches it again.
            let online = [TopLevel::Timestamp, TopLevel::Snapshot];
            if online.into_iter().any(|role| before.role(role) != after.role(role)) {
                for role in online {
                    self.state.forget(&file::listed(&role.into())).await?;
                }
            }
            self.state.keep(&name, root).await?;
            fetched += 1;
        }
        Ok(())
    }

    async fn update_timestamp(&mut self, trusted: &mut TrustedSet, now: Time) -> Result<(), Error> {
        let (role, name) = (RoleName::timestamp(), MetadataFile::Timestamp.to_string());
        if let Some(kept) = self.state.get(&name).await? {
            // If it has expired it still forbids older ones; if the keys have changed it was forgotten (5.3.11).
            self.state.check(&name, trusted.update_timestamp(&kept, now).map(|_| ()))?;
        }
        let timestamp = self.metadata.get(&name, self.limits.timestamp_bytes).await?;
        if trusted.update_timestamp(&timestamp, now).map_err(refused(&role))? {
            self.state.keep(&name, timestamp).await?;
        }
        Ok(())
    }

    async fn update_snapshot(&mut self, trusted: &mut TrustedSet, now: Time) -> Result<(), Error> {
        let role = RoleName::snapshot();
        let name = file::listed(&role);
        if let Some(kept) = self.state.get(&name).await? {
            let known = trusted.update_snapshot(&kept, Origin::Cache, now).map(|_| ());
            if known.is_ok() {
                return Ok(());
            }
            // An older one still forbids what is older still.
            self.state.check(&name, known)?;
        }
        let before = rstuf_tuf::Error::OutOfOrder { role: role.clone(), reason: "before the timestamp" };
        let listed = &trusted.timestamp().ok_or(before).map_err(refused(&role))?.snapshot;
        let snapshot = self.fetch(&role, listed, self.limits.snapshot_bytes).await?;
        trusted.update_snapshot(&snapshot, Origin::Repository, now).map_err(refused(&role))?;
        self.state.keep(&name, snapshot).await
    }

    /// Loads the targets document of a role, unless this refresh has it already.
    async fn update_targets(
        &mut self,
        Current { trusted, now }: &mut Current,
        role: &RoleName,
        delegator: &RoleName,
    ) -> Result<(), Error> {
        if trusted.targets(role).is_some() {
            return Ok(());
        }
        let name = file::listed(role);
        if let Some(kept) = self.state.get(&name).await?
            && trusted.update_targets(role, &kept, delegator, *now).is_ok()
        {
            return Ok(());
        }
        let listed = trusted.snapshot().and_then(|snapshot| snapshot.meta.get(role));
        let not_listed = || refused(role)(rstuf_tuf::Error::NotListed { role: role.clone() });
        let document = self.fetch(role, listed.ok_or_else(not_listed)?, self.limits.targets_bytes).await?;
        trusted.update_targets(role, &document, delegator, *now).map_err(refused(role))?;
        self.state.keep(&name, document).await
    }

    async fn walk(&mut self, current: &mut Current, path: &TargetPath) -> Result<Option<Target>, Error> {
        // The top-level targets don't count.
        let mut walk = Walk::new(path, self.limits.delegations.saturating_add(1));
        while let Some((role, delegator)) = walk.next_role() {
            self.update_targets(current, &role, &delegator).await?;
            if let Some(target) = current.trusted.targets(&role).and_then(|targets| walk.visit(&role, targets)) {
                return Ok(Some(target.clone()));
            }
        }
        Ok(None)
    }

    /// Fetches the announced version of a document, up to the announced length or the default; never more than a
    /// document may have.
    async fn fetch(&self, role: &RoleName, listed: &MetaEntry, bytes_max: u64) -> Result<Vec<u8>, Error> {
        let name = MetadataFile::of(role, listed.version).to_string();
        self.metadata.get(&name, listed.length.unwrap_or(bytes_max).min(DOCUMENT_BYTES_MAX as u64)).await
    }
}

fn refused(role: &RoleName) -> impl FnOnce(rstuf_tuf::Error) -> Error + use<> {
    let role = role.clone();
    |source| Error::Refused { role, source }
}
