//! What the coordinator knows about the repository that it publishes: identity, trust, layout, lifetimes.
//!
//! The coordinator holds no key. It checks what signers answer against the root and the delegations, so that a defect
//! of a signer is found before clients find it.

use std::time::Duration;

use jiff::Timestamp;
use rstuf_api::{DocumentRef, convert::violation};
use rstuf_runtime::later;
use rstuf_tuf::{
    Authority, Delegations, Envelope, Layout, RoleKeys, RoleName, Root, Sha256, TargetPath, Targets, TopLevel,
    whole_seconds,
};

use crate::{
    Error, Result,
    journal::rows::{Lifetimes, RepositoryRow},
};

/// Longest lifetime of anything, in seconds: ten years.
const LIFETIME_SECONDS_MAX: u64 = 10 * 366 * 24 * 3600;
/// Shortest lifetime of anything, in seconds: there must be time to renew.
const LIFETIME_SECONDS_MIN: u64 = 60;

/// The repository, after its ceremony.
#[derive(Debug, Clone)]
pub struct Repository {
    /// Digest of root 1.
    pub id: Sha256,
    /// How artifacts are spread over roles.
    pub layout: Layout,
    /// How long what is signed online lives.
    pub lifetimes: Lifetimes,
    root: Root,
    delegations: Option<Delegations>,
}

impl Repository {
    /// From its settings and the exact bytes of its root and, unless the layout is flat, its top-level targets. Checks
    /// all that a ceremony could get wrong.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the document and what is wrong with it.
    pub fn new(row: &RepositoryRow, root: &[u8], targets: Option<&[u8]>) -> Result<Self> {
        let layout: Layout = row.layout.parse().map_err(violation("layout")).map_err(Error::from)?;
        check_lifetimes(&row.lifetimes)?;
        let root_envelope = Envelope::parse(root).map_err(violation("root")).map_err(Error::from)?;
        let root: Root = root_envelope.decode().map_err(violation("root")).map_err(Error::from)?;
        let own = root_envelope.verify(&root.keys, root.role(TopLevel::Root));
        own.map_err(violation("root")).map_err(Error::from)?;
        let mut repository = Self { id: row.id, layout, lifetimes: row.lifetimes, root, delegations: None };
        match (targets, &layout) {
            (None, Layout::Flat) => {}
            (Some(_), Layout::Flat) => {
                return Err(Error::field("targets", "given, allowed is none in the flat layout: a signer signs it"));
            }
            (None, _) => {
                return Err(Error::field("targets", format!("missing, layout {layout} needs one signed offline")));
            }
            (Some(bytes), _) => repository.delegations = Some(repository.check_targets(bytes)?),
        }
        Ok(repository)
    }

    fn check_targets(&self, bytes: &[u8]) -> Result<Delegations> {
        let envelope = Envelope::parse(bytes).map_err(violation("targets"))?;
        self.verify(&RoleName::targets(), &envelope).map_err(violation("targets"))?;
        let targets: Targets = envelope.decode().map_err(violation("targets"))?;
        let delegations = targets.delegations.ok_or_else(|| Error::field("targets", "holds no delegations"))?;
        let named: Vec<RoleName> = delegations.role_names().collect();
        if named != self.layout.online_roles() {
            return Err(Error::field("targets", format!("its delegations are not those of layout {}", self.layout)));
        }
        Ok(delegations)
    }

    /// The roles that the targets signer signs.
    pub fn online_roles(&self) -> Vec<RoleName> {
        self.layout.online_roles()
    }

    /// The role that is responsible for a path.
    pub fn role_for(&self, path: &TargetPath) -> RoleName {
        self.layout.role_for(path)
    }

    /// Keys that root names for a top-level role.
    pub fn root_keys(&self, role: TopLevel) -> &RoleKeys {
        self.root.role(role)
    }

    /// Keys of the delegated roles, all of which one signer signs; none in the flat layout.
    pub fn delegated_keys(&self) -> Option<&RoleKeys> {
        let delegations = self.delegations.as_ref()?;
        delegations.role_keys(&delegations.role_names().next()?)
    }

    /// Checks a document's signatures against root or the delegations.
    ///
    /// # Errors
    /// For people: what does not fit.
    pub fn verify(&self, role: &RoleName, envelope: &Envelope) -> Result<(), String> {
        let authority = Authority { root: &self.root, delegations: self.delegations.as_ref() };
        authority.verify(role, envelope).map(|_| ()).map_err(|error| error.to_string())
    }

    /// How long a document of this role lives.
    pub fn lifetime(&self, role: &RoleName) -> Duration {
        Duration::from_secs(match role.top_level() {
            Some(TopLevel::Snapshot) => self.lifetimes.snapshot_seconds,
            Some(TopLevel::Timestamp) => self.lifetimes.timestamp_seconds,
            Some(TopLevel::Targets) => self.lifetimes.targets_seconds,
            Some(TopLevel::Root) | None => self.lifetimes.bins_seconds,
        })
    }

    /// When a document that is signed now expires: whole seconds.
    pub fn expiry(&self, role: &RoleName, now: Timestamp) -> Timestamp {
        whole_seconds(later(now, self.lifetime(role)))
    }

    /// When the first version of the role with this index among `count` expires, if it is signed now. These are spread
    /// over the last third of the lifetime, so that bins are never all renewed at once.
    pub(crate) fn first_expiry(&self, role: &RoleName, index: usize, count: usize, now: Timestamp) -> Timestamp {
        let lifetime = self.lifetime(role);
        let spread = (lifetime / 3).mul_f64((index + 1) as f64 / count as f64);
        whole_seconds(later(now, lifetime - lifetime / 3 + spread))
    }

    /// When a document has to be renewed: when a third of its lifetime is left. At once, where it lives longer than one
    /// that is signed now does, by more than a third: a clock was wrong, and clients would not notice for as long that
    /// they are shown nothing new.
    pub fn renewal_due(&self, role: &RoleName, expires: Timestamp, now: Timestamp) -> Timestamp {
        let third = self.lifetime(role) / 3;
        if expires > later(self.expiry(role, now), third) {
            return now;
        }
        expires.checked_sub(third).unwrap_or(Timestamp::MIN)
    }
}

fn check_lifetimes(lifetimes: &Lifetimes) -> Result<()> {
    let all = [
        ("lifetimes.bins", lifetimes.bins_seconds),
        ("lifetimes.snapshot", lifetimes.snapshot_seconds),
        ("lifetimes.timestamp", lifetimes.timestamp_seconds),
        ("lifetimes.targets", lifetimes.targets_seconds),
    ];
    for (field, seconds) in all {
        if !(LIFETIME_SECONDS_MIN..=LIFETIME_SECONDS_MAX).contains(&seconds) {
            let allowed = format!("allowed are {LIFETIME_SECONDS_MIN} to {LIFETIME_SECONDS_MAX}");
            return Err(Error::field(field, format!("{seconds} s, {allowed}")));
        }
    }
    Ok(())
}

/// Names the document in this envelope.
pub(crate) fn reference(role: &RoleName, envelope: &Envelope) -> DocumentRef {
    DocumentRef {
        role: role.clone(),
        version: envelope.version(),
        sha256: envelope.sha256(),
        length: envelope.length(),
    }
}
