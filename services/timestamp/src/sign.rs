//! What the timestamp signer checks before it signs.

use rstuf_api::convert;
use rstuf_api::proto::signer::v1::SignTimestampRequest;
use rstuf_signing::{Built, Error, Fingerprint, Header, Known, Made, Result, Revision, Session, Signer};
use rstuf_store::Batch;
use rstuf_tuf::{DOCUMENT_BYTES_MAX, Envelope, MetaEntry, RoleName, Sha256, Snapshot, Timestamp, next_timestamp};

/// Signs the timestamp that names the request's snapshot, and answers its role and exact bytes.
pub(crate) async fn sign(signer: &Signer<()>, message: SignTimestampRequest) -> Result<(RoleName, bytes::Bytes)> {
    let header = message.header.ok_or_else(|| Error::invalid("header", "missing"))?;
    let header = Header::try_from(header)?;
    let revision = Revision::read(&RoleName::timestamp(), message.revision)?;
    let snapshot = message.snapshot.ok_or_else(|| Error::invalid("snapshot", "missing"))?;
    let role = convert::role_name("snapshot.role", &snapshot.role)?;
    if role != RoleName::snapshot() {
        return Err(Error::invalid("snapshot.role", format!("{role}, allowed is snapshot")));
    }
    let mut fingerprint = Fingerprint::new(&header);
    fingerprint.revision(&RoleName::timestamp(), &revision).part(Sha256::of(&snapshot.envelope).as_bytes());
    let build = move |session: &Session<'_, ()>| build(session, &revision, &snapshot.envelope);
    signer.sign(header, fingerprint.finish(), build).await?.into_document()
}

fn build(session: &Session<'_, ()>, revision: &Revision, snapshot: &[u8]) -> Result<Built<()>> {
    let (role, evidence) = (RoleName::timestamp(), RoleName::snapshot());
    session.check(&role, revision)?;
    let refuse = |error: rstuf_tuf::Error| Error::evidence(&evidence, error);
    let envelope = Envelope::parse(snapshot).map_err(refuse)?;
    session.trust().verify(&evidence, &envelope)?;
    session.check_unexpired(&evidence, &Known::of(&envelope))?;
    envelope.decode::<Snapshot>().map_err(refuse)?;
    let base: Option<Timestamp> = session.base(&role)?;
    let next = next_timestamp(base.as_ref(), MetaEntry::of(&envelope), revision.new).map_err(refuse)?;
    let document = session.seal(&role, &next, DOCUMENT_BYTES_MAX)?;
    let roles = vec![Made { role, document: Some(document), outcomes: Vec::new() }];
    Ok(Built { roles, batch: Batch::new(), remember: Box::new(|_| ()) })
}
