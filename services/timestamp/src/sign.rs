//! What the timestamp signer checks before it signs.

use bytes::Bytes;
use rstuf_api::signing::Header;
use rstuf_signing::{Built, Error, Fingerprint, Made, Result, Session, Signer, rows};
use rstuf_store::Batch;
use rstuf_tuf::{
    DOCUMENT_BYTES_MAX, Envelope, Known, MetaEntry, Outcomes, Revision, RoleName, Sha256, Snapshot, Timestamp,
    next_timestamp,
};

use crate::memory::{BUDGET, Memory};

/// What a request asks for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub header: Header,
    pub revision: Revision,
    /// The exact bytes of the snapshot to name.
    pub snapshot: Bytes,
}

/// Signs the timestamp that names the request's snapshot, and answers its role and exact bytes.
pub(crate) async fn sign(signer: &Signer<Memory>, asked: Asked) -> Result<(RoleName, Bytes)> {
    let Asked { mut header, revision, snapshot } = asked;
    signer.follow_roots(&mut header).await?;
    let mut fingerprint = Fingerprint::new(&header);
    fingerprint.revision(&RoleName::timestamp(), &revision);
    let evidence = snapshot.clone();
    let finish = move || {
        fingerprint.part(Sha256::of(&evidence).as_bytes());
        fingerprint.finish()
    };
    let build = move |session: &Session<'_, Memory>| build(session, &revision, &snapshot);
    signer.sign(&header, finish, build).await?.into_document().await
}

fn build(session: &Session<'_, Memory>, revision: &Revision, snapshot: &[u8]) -> Result<Built<Memory>> {
    let (role, evidence) = (RoleName::timestamp(), RoleName::snapshot());
    session.check(&role, revision)?;
    let refuse = |error: rstuf_tuf::Error| Error::evidence(&evidence, error);
    let envelope = Envelope::parse(snapshot).map_err(refuse)?;
    session.trust().verify(&evidence, &envelope)?;
    session.check_unexpired(&evidence, &Known::of(&envelope))?;
    envelope.decode::<Snapshot>().map_err(refuse)?;
    let base: Option<Timestamp> = session.base(&role)?;
    let next = next_timestamp(base.as_ref(), MetaEntry::of(&envelope), revision).map_err(refuse)?;
    let document = session.seal(&role, &next, DOCUMENT_BYTES_MAX)?;
    let from = base.as_ref().map_or(0, |base| base.snapshot.version.get());
    let budget = session.follow(&evidence, session.state().memory.budget, from.into(), envelope.version())?;
    let mut batch = Batch::new();
    batch.put(BUDGET, rows::encode(&budget));
    let roles = vec![Made { role, document: Some(document), outcomes: Outcomes::default() }];
    Ok(Built { roles, batch, remember: Box::new(move |state| state.memory.budget = budget) })
}
