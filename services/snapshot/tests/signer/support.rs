//! A signer, and the other holders of a tiny ceremony.

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use rstuf_api::proto::signer::v1::{
    self as proto, sign_snapshot_request::Part, snapshot_signer_service_client::SnapshotSignerServiceClient,
};
use rstuf_keys::{FileKey, KeySource as _};
use rstuf_signing::testing::*;
use rstuf_snapshot::{ConfigRaw, Service};
use rstuf_tuf::{Envelope, Layout, MetaEntry, PublicKey, RoleKeys, RoleName, Sha256, Snapshot, Targets, keys_by_id};
use sha2::Digest as _;
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;

pub async fn start(dir: &Path) -> Running {
    run(ConfigRaw { signer: config(dir, true), hashed_roles_max: None }).await
}

/// With digests of delegated roles where there are at most so many.
pub async fn hashing(dir: &Path, hashed_roles_max: u32) -> Running {
    run(ConfigRaw { signer: config(dir, true), hashed_roles_max: Some(hashed_roles_max.to_string().into()) }).await
}

async fn run(raw: ConfigRaw) -> Running {
    let config = rstuf_runtime::config::checked(&raw).unwrap();
    let (context, clock) = context("snapshot");
    let service = Service::build(&config, context.clone()).await.unwrap();
    Running::new(context, clock, |listener| service.run(listener)).await
}

/// The other holders of a tiny ceremony, and root 1.
pub struct Repo {
    pub root_key: FileKey,
    pub offline: FileKey,
    pub bins: FileKey,
    pub timestamp: FileKey,
    pub root: Bytes,
}

/// Documents by role.
pub type Documents = Vec<(String, Bytes)>;

impl Repo {
    pub async fn pinned(signer: &Running) -> Self {
        let (root_key, offline, bins, timestamp) = (holder(), holder(), holder(), holder());
        let own = signer.public_key().await;
        let root = signed(&root(1, &root_key, [offline.public_key(), &own, timestamp.public_key()]), &[&root_key]);
        let repo = Self { root_key, offline, bins, timestamp, root };
        repo.pin(signer).await;
        repo
    }

    pub async fn pin(&self, signer: &Running) {
        let request = proto::PinRequest { root: self.root.clone(), targets: Bytes::new() };
        signer.client().pin(request).await.unwrap();
    }

    /// A root with two signers of snapshots, of whom so many must sign.
    pub fn shared_root(&self, number: u32, signers: [&PublicKey; 2], threshold: u32) -> Bytes {
        let mut root =
            root(number, &self.root_key, [self.offline.public_key(), signers[0], self.timestamp.public_key()]);
        root.keys.extend(keys_by_id([signers[1].clone()]));
        root.roles.snapshot = RoleKeys::new(signers.map(PublicKey::key_id).to_vec(), threshold).unwrap();
        signed(&root, &[&self.root_key])
    }

    pub fn id(&self) -> Sha256 {
        Sha256::of(&self.root)
    }

    /// Top-level targets that delegates to bins of `key`.
    pub fn targets(&self, number: u32, layout: &str, key: &FileKey) -> Bytes {
        let layout: Layout = layout.parse().unwrap();
        let delegations = layout.delegations(vec![key.public_key().clone()], 1).unwrap();
        let (targets, unknown) = (BTreeMap::new(), Default::default());
        signed(
            &Targets { version: version(number), expires: after_days(365), role: None, targets, delegations, unknown },
            &[&self.offline],
        )
    }

    pub fn bin(&self, number: u32) -> Bytes {
        bin_by(&self.bins, number, 30)
    }

    /// The first complete evidence of two bins.
    pub fn evidence(&self) -> Documents {
        evidence([
            ("targets", self.targets(1, "succinct:2", &self.bins)),
            ("bins-0", self.bin(1)),
            ("bins-1", self.bin(1)),
        ])
    }

    pub fn request(&self, base: Option<&Bytes>, number: u32, documents: &Documents) -> Vec<Part> {
        let header = proto::SnapshotHeader {
            header: Some(header(self.id(), &format!("batch-{number}"))),
            revision: Some(revision("snapshot", base.map(|base| &**base), number, after_days(7))),
        };
        let mut list = sha2::Sha256::new();
        documents.iter().for_each(|(_, bytes)| list.update(Sha256::of(bytes).as_bytes()));
        let documents = documents.iter().map(|(role, bytes)| Part::Document(document(role, bytes)));
        let end = Part::End(proto::EvidenceEnd { documents_sha256: Bytes::copy_from_slice(&list.finalize()) });
        std::iter::once(Part::Header(header)).chain(documents).chain([end]).collect()
    }
}

pub fn bin_by(key: &FileKey, number: u32, days: i64) -> Bytes {
    let (targets, delegations, unknown) = (BTreeMap::new(), None, Default::default());
    signed(
        &Targets { version: version(number), expires: after_days(days), role: None, targets, delegations, unknown },
        &[key],
    )
}

pub fn evidence<const N: usize>(documents: [(&str, Bytes); N]) -> Documents {
    documents.map(|(role, bytes)| (role.to_owned(), bytes)).to_vec()
}

pub async fn sign(signer: &Running, request: Vec<Part>) -> Result<Bytes, Status> {
    send(signer, tokio_stream::iter(request)).await
}

/// Answers a request that is as long as it likes.
pub async fn send(signer: &Running, request: impl Stream<Item = Part> + Send + 'static) -> Result<Bytes, Status> {
    let messages = request.map(|part| proto::SignSnapshotRequest { part: Some(part) });
    let client = SnapshotSignerServiceClient::new(signer.channel.clone());
    let answer = client.max_decoding_message_size(usize::MAX).sign_snapshot(messages).await?;
    Ok(answer.into_inner().document.unwrap().envelope)
}

pub async fn refused(signer: &Running, request: Vec<Part>) -> (String, String) {
    let before = signer.role_states().await;
    let status = sign(signer, request).await.unwrap_err();
    assert_eq!(signer.role_states().await, before, "a refusal changes nothing");
    (reason(&status), status.message().to_owned())
}

pub fn parsed(snapshot: &Bytes) -> Snapshot {
    Envelope::parse(snapshot).unwrap().decode().unwrap()
}

pub fn entry(snapshot: &Bytes, role: &str) -> MetaEntry {
    parsed(snapshot).meta[&role.parse::<RoleName>().unwrap()].clone()
}
