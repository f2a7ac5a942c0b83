//! What is under way: written before it is asked for, so that after a crash the very same is asked again.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rstuf_api::DocumentRef;
use rstuf_tuf::{Outcomes, Revision, RoleName};
use serde::{Deserialize, Serialize};

use super::RoleRow;

/// The batch under way, written before a signer is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct BatchRow {
    /// Random.
    pub id: uuid::Uuid,
    /// Numbers of the submissions in it, in the order in which they were acknowledged.
    pub submissions: Vec<u64>,
    /// The publish requests that it answers, by number; the ceremony has number 0.
    pub publishes: Vec<(u64, uuid::Uuid)>,
    /// The next version of every role that it touches.
    pub roles: Vec<RolePlan>,
    /// How often it was refused for what it asks for.
    #[serde(default)]
    pub refusals: u32,
    /// Documents that were signed offline and are published with it.
    pub offline: Vec<SignedDocument>,
    /// Outcomes of an earlier round of this batch, whose documents expired before they were published; then this round
    /// only renews them.
    pub applied: Option<BTreeMap<RoleName, Outcomes>>,
    /// What the targets signer answered, once it did.
    pub signed: Option<SignedRoles>,
}

impl BatchRow {
    /// Whether it is the first one. Without it there is no repository: nothing else can be asked for.
    pub(crate) fn is_ceremony(&self) -> bool {
        !self.offline.is_empty() || self.publishes.iter().any(|(seq, _)| *seq == 0)
    }
}

/// The next version of one role, as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RolePlan {
    /// The role.
    pub role: RoleName,
    /// What is asked for.
    #[serde(flatten)]
    pub revision: Revision,
    /// Whether to sign it even if no change has an effect.
    pub renew: bool,
    /// What is taken back first; none where nothing of the role is withdrawn.
    pub withdraws: Option<Withdrawn>,
}

/// What a batch that was given up changed of one role: the difference between these documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Withdrawn {
    /// What was signed for it.
    pub signed: DocumentRef,
    /// What is published.
    pub published: DocumentRef,
}

#[cfg(test)]
impl RolePlan {
    /// The first version of `role`.
    pub(crate) fn first(role: &str) -> Self {
        let revision = Revision { base: None, version: rstuf_tuf::Version::ONE, expires: Timestamp::UNIX_EPOCH };
        Self { role: role.parse().expect("the name of a role"), revision, renew: false, withdraws: None }
    }
}

/// What the targets signer made of a batch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SignedRoles {
    /// The documents that differ from what is published.
    pub documents: Vec<SignedDocument>,
    /// How the changes of each role ended.
    pub outcomes: BTreeMap<RoleName, Outcomes>,
    /// The run that publishes it, unless something else is published first; none where none was planned with it.
    #[serde(default)]
    pub run: Option<Box<LaneRow>>,
}

impl SignedRoles {
    /// Whether there is something to publish of `batch`, which was signed so.
    pub(crate) fn changes_something(&self, batch: &BatchRow) -> bool {
        !self.documents.is_empty() || !batch.offline.is_empty()
    }
}

/// A signed document, and when it expires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SignedDocument {
    /// The document.
    pub reference: DocumentRef,
    /// When it expires.
    pub expires: Timestamp,
}

impl SignedDocument {
    /// As the journal keeps it once it is published.
    pub(crate) fn into_row(self) -> (RoleName, RoleRow) {
        let DocumentRef { role, version, sha256, length } = self.reference;
        (role, RoleRow { version, sha256, length, expires: self.expires })
    }
}

/// The run of the publishing lane under way: a batch's new documents, or the renewal of snapshot and timestamp.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LaneRow {
    /// Random.
    pub id: uuid::Uuid,
    /// Whether it publishes the batch under way.
    pub batch: bool,
    /// The next snapshot; none if the published one stays.
    pub snapshot: Option<Revision>,
    /// The snapshot's document, once it is signed.
    pub snapshot_document: Option<SignedDocument>,
    /// The next timestamp; none until it can be planned.
    pub timestamp: Option<Revision>,
    /// The next timestamp over the published snapshot, while the next snapshot waits.
    #[serde(default)]
    pub refresh: Option<Revision>,
    /// Documents that signers signed for somebody else, and that snapshots list since: published along.
    #[serde(default)]
    pub collected: Vec<SignedDocument>,
}

impl LaneRow {
    /// A run for which nothing is planned yet.
    pub(crate) fn new(id: uuid::Uuid, batch: bool) -> Self {
        Self {
            id,
            batch,
            snapshot: None,
            snapshot_document: None,
            timestamp: None,
            refresh: None,
            collected: Vec::new(),
        }
    }

    /// Whether it publishes nothing: it stands for the renewals that are made while the start waits for signers.
    pub(crate) fn is_idle(&self) -> bool {
        self.snapshot.is_none() && self.timestamp.is_none()
    }
}
