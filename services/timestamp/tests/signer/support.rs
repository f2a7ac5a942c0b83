//! A signer, and the other holders of a tiny ceremony.

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use rstuf_api::proto::signer::v1::{self as proto, timestamp_signer_service_client::TimestampSignerServiceClient};
use rstuf_keys::{FileKey, KeySource as _};
use rstuf_runtime::{Clock, ManualClock};
use rstuf_signing::{StartError, testing::*};
use rstuf_timestamp::{ConfigRaw, Service};
use rstuf_tuf::{Envelope, MetaEntry, RoleName, Sha256, Snapshot};
use tonic::Status;

pub async fn build(dir: &Path, create_key: bool, change: impl FnOnce(&mut ConfigRaw)) -> Result<Running, StartError> {
    let mut raw = ConfigRaw { signer: config(dir, create_key) };
    change(&mut raw);
    run(raw, |_| ()).await
}

pub async fn run(raw: ConfigRaw, move_clock: impl FnOnce(&ManualClock)) -> Result<Running, StartError> {
    let config = rstuf_runtime::config::checked(&raw).unwrap();
    let (context, clock) = context("timestamp");
    move_clock(&clock);
    let service = Service::build(&config, context.clone()).await?;
    Ok(Running::new(context, clock, |listener| service.run(listener)).await)
}

pub async fn start(dir: &Path) -> Running {
    build(dir, true, |_| ()).await.unwrap()
}

/// Started when the clock, which says the time at which tests begin, was moved.
pub async fn start_at(dir: &Path, move_clock: impl FnOnce(&ManualClock)) -> Running {
    run(ConfigRaw { signer: config(dir, true) }, move_clock).await.unwrap()
}

/// What the operator's command says, on this directory and with a clock that says the time at which tests begin.
pub async fn reset_clock(dir: &Path) -> Result<String, StartError> {
    let config = rstuf_runtime::config::checked(&ConfigRaw { signer: config(dir, false) }).unwrap();
    rstuf_timestamp::reset_clock(&config, &Clock::manual(start_time()).0).await
}

/// The other holders of a tiny ceremony, and root 1.
pub struct Repo {
    pub root_key: FileKey,
    pub targets: FileKey,
    pub snapshot: FileKey,
    pub root: Bytes,
}

impl Repo {
    pub async fn new(signer: &Running) -> Self {
        let (root_key, targets, snapshot) = (holder(), holder(), holder());
        let online = [targets.public_key(), snapshot.public_key(), &signer.public_key().await];
        let root = signed(&root(1, &root_key, online), &[&root_key]);
        Self { root_key, targets, snapshot, root }
    }

    /// As [`Repo::new`], and the signer pinned to it.
    pub async fn pinned(signer: &Running) -> Self {
        let repo = Self::new(signer).await;
        pin(signer, &repo.root).await.unwrap();
        repo
    }

    pub fn id(&self) -> Sha256 {
        Sha256::of(&self.root)
    }

    pub fn snapshot(&self, number: u32) -> Bytes {
        self.snapshot_by(&self.snapshot, number, 7, 0)
    }

    pub fn snapshot_by(&self, key: &FileKey, number: u32, days: i64, targets_length: u64) -> Bytes {
        let entry = MetaEntry::new(version(1), targets_length, Sha256([1; 32]));
        let meta = BTreeMap::from([(RoleName::targets(), entry)]);
        let unknown = Default::default();
        signed(&Snapshot { version: version(number), expires: after_days(days), meta, unknown }, &[key])
    }

    /// The next version, which expires so many days after the tests began.
    pub fn expiring(&self, base: &Bytes, days: i64) -> proto::SignTimestampRequest {
        let number = Envelope::parse(base).unwrap().version().get() + 1;
        let mut request = self.request(Some(base), number, &self.snapshot_by(&self.snapshot, number, days + 6, 0));
        request.revision = Some(revision("timestamp", Some(base), number, after_days(days)));
        request
    }

    pub fn request(&self, base: Option<&[u8]>, number: u32, snapshot: &Bytes) -> proto::SignTimestampRequest {
        proto::SignTimestampRequest {
            header: Some(header(self.id(), &format!("batch-{number}"))),
            revision: Some(revision("timestamp", base, number, after_days(1))),
            snapshot: Some(document("snapshot", snapshot)),
        }
    }
}

pub async fn pin(signer: &Running, root: &Bytes) -> Result<(), Status> {
    let request = proto::PinRequest { root: root.clone(), targets: Bytes::new() };
    signer.client().pin(request).await.map(|_| ())
}

pub async fn sign(signer: &Running, request: proto::SignTimestampRequest) -> Result<Bytes, Status> {
    let mut client = TimestampSignerServiceClient::new(signer.channel.clone());
    Ok(client.sign_timestamp(request).await?.into_inner().document.unwrap().envelope)
}

pub async fn refused(signer: &Running, request: proto::SignTimestampRequest) -> String {
    reason(&refusal(signer, request).await)
}

pub async fn refusal(signer: &Running, request: proto::SignTimestampRequest) -> Status {
    let before = signer.role_states().await;
    let status = sign(signer, request).await.unwrap_err();
    assert_eq!(signer.role_states().await, before, "a refusal changes nothing");
    status
}

pub async fn clock_refusal(signer: &Running) -> String {
    signer.client().describe_signer(proto::DescribeSignerRequest {}).await.unwrap().into_inner().clock_refusal
}

pub async fn load(signer: &Running, role: &str, envelope: &Bytes) -> Result<(), Status> {
    let message = proto::LoadDocumentsRequest { document: Some(document(role, envelope)) };
    signer.client().load_documents(tokio_stream::iter([message])).await.map(|_| ())
}
