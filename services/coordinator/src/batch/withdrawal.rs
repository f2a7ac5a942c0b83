//! What takes back the changes of batches that were given up after they were signed: the signer's last document of a
//! role has them, and its next one must say what is published, but for the changes of its own batch.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use rstuf_api::DocumentRef;
use rstuf_runtime::liveness::beat;
use rstuf_tuf::{Change, Envelope, RoleName, Target, TargetPath, Targets};

use super::partition::{Partition, Partitioning};
use crate::{
    Error, Result,
    blocking::blocking,
    handles::Handles,
    journal::rows::{BatchRow, Withdrawn},
    publisher::file_name,
    signers::submitted_change,
};

/// Changes that go before those of a batch, role by role. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Withdrawal(Arc<Partition>);

impl Withdrawal {
    /// Of a batch, made of the documents that it names: the same whenever it is asked for. Where one of them is gone,
    /// nothing of the role can be taken back: it was published anew meanwhile, or files were lost.
    ///
    /// # Errors
    /// [`Error::DocumentLost`] for a document that can't be read, [`Error::Publish`], [`Error::Store`] where there is
    /// no space.
    pub(crate) async fn of(handles: &Handles, batch: &BatchRow) -> Result<Self> {
        let named = batch.roles.iter().zip(0_u32..);
        let named: Vec<(Withdrawn, u32)> =
            named.filter_map(|(plan, place)| Some((plan.withdraws.clone()?, place))).collect();
        if named.is_empty() {
            return Ok(Self::default());
        }
        // Nobody knows yet how little differs: to wait for space for all of it would keep the batch for nothing.
        let mut partitioning = Partitioning::new(handles.journal.clone(), 0);
        // None of the submissions is at fault for these.
        let submission = batch.submissions.len();
        for (withdrawn, place) in named {
            beat();
            let Some(documents) = read(handles, &withdrawn).await? else {
                tracing::warn!(role = %withdrawn.signed.role, "what was withdrawn is gone, and can't be taken back");
                continue;
            };
            partitioning = blocking(move || {
                let [signed, published] = documents.map(|(reference, bytes)| parse(&reference, &bytes));
                let mut encoded = Vec::new();
                for change in difference(&signed?.targets, &published?.targets) {
                    encoded.clear();
                    submitted_change(submission, &change, &mut encoded);
                    partitioning.push(place, || withdrawn.signed.role.clone(), &encoded)?;
                }
                Ok(partitioning)
            })
            .await?;
        }
        blocking(move || Ok(Self(partitioning.finish().into()))).await
    }

    /// Number of changes of a role.
    pub(crate) fn count(&self, role: &RoleName) -> u64 {
        self.0.count(role)
    }

    pub(super) fn changes(&self, role: &RoleName) -> impl Iterator<Item = Result<Bytes>> {
        self.0.changes(role)
    }
}

/// Both documents, what was signed first; none where one is gone.
async fn read(handles: &Handles, withdrawn: &Withdrawn) -> Result<Option<[(DocumentRef, Bytes); 2]>> {
    let references = [withdrawn.signed.clone(), withdrawn.published.clone()];
    let read = handles.publisher.documents(references.to_vec()).await?;
    let read: Option<Vec<Bytes>> = read.into_iter().collect();
    let Some(Ok([signed, published])) = read.map(<[Bytes; 2]>::try_from) else { return Ok(None) };
    let [signed_reference, published_reference] = references;
    Ok(Some([(signed_reference, signed), (published_reference, published)]))
}

fn parse(reference: &DocumentRef, bytes: &[u8]) -> Result<Targets> {
    let lost = |_| Error::DocumentLost { name: file_name(&reference.role, reference.version) };
    Envelope::parse(bytes).and_then(|envelope| envelope.decode()).map_err(lost)
}

/// The changes that make `to` of `from`.
fn difference(from: &BTreeMap<TargetPath, Target>, to: &BTreeMap<TargetPath, Target>) -> impl Iterator<Item = Change> {
    let gone = from.keys().filter(|path| !to.contains_key(*path));
    let gone = gone.map(|path| Change::Remove { path: path.clone() });
    let other = to.iter().filter(|(path, target)| from.get(*path) != Some(*target));
    gone.chain(other.map(|(path, target)| Change::Add { path: path.clone(), target: target.clone() }))
}
