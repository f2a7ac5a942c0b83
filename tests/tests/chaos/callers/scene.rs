//! A repository among callers.

use std::{collections::BTreeMap, fs, sync::atomic::Ordering};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use rand::{rngs::StdRng, seq::IndexedRandom as _};
use rstuf_api::proto::{
    metadata::v1::Document,
    signer::v1::{DescribeSignerRequest, signer_service_client::SignerServiceClient},
};
use rstuf_tests::{
    Expected,
    processes::{Processes, Service},
};
use rstuf_tuf::{Layout, MetadataFile};

use super::{
    caller::Play,
    known::{HONEST, Known},
    messages::sha256,
};
use crate::support::{Request, Witness};

/// A repository among such callers.
pub(crate) struct Scene {
    pub(crate) processes: Processes,
    pub(crate) witness: Witness,
    pub(crate) expected: Expected,
    /// Tasks of whoever is honest.
    pub(crate) honest: Vec<String>,
    /// The most that each has taken, in KiB.
    pub(crate) memory: BTreeMap<Service, u64>,
    _dir: tempfile::TempDir,
}

impl Scene {
    pub(crate) async fn start(layout: &str) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let processes = Processes::start(dir.path(), layout).await?;
        let witness = Witness::new(dir.path(), &processes.root_bytes()?).await?;
        let (expected, honest, memory) = Default::default();
        Ok(Self { processes, witness, expected, honest, memory, _dir: dir })
    }

    /// What is published, and what others would have liked to.
    pub(crate) async fn known(&self, layout: Layout, random: &mut StdRng) -> anyhow::Result<Known> {
        let read = |name: &str| fs::read(self.processes.metadata_dir().join(name)).map(Bytes::from);
        let root = read("1.root.json")?;
        let mut known = Known { repository: sha256(&root), root, ..Known::default() };
        for file in fs::read_dir(self.processes.metadata_dir())? {
            let name = file?.file_name().to_string_lossy().into_owned();
            let role = match name.parse() {
                Ok(MetadataFile::Versioned { role, .. }) => role.to_string(),
                Ok(MetadataFile::Timestamp) => "timestamp".to_owned(),
                Err(_) => continue,
            };
            let document = Document { role: role.clone(), envelope: read(&name)? };
            let signer = match role.as_str() {
                "snapshot" => Service::Snapshot,
                "timestamp" => Service::Timestamp,
                _ => Service::Targets,
            };
            if role != "root" {
                known.newest.insert((signer, role), document.clone());
            }
            known.documents.push(document);
        }
        if layout.bins().is_some() {
            known.targets = read("1.targets.json")?;
        }
        known.invent(layout, random)?;
        Ok(known)
    }

    /// Somebody honest submits, too.
    pub(crate) async fn submit(&mut self) -> anyhow::Result<()> {
        let number = self.honest.len();
        let (path, content) = (format!("{HONEST}/{number}"), format!("number {number}").into_bytes());
        let client = self.processes.client()?;
        let request = Request::submit(format!("{HONEST}-{number}"), vec![client.file(&path, &content)?]);
        self.honest.push(request.acknowledged(&client).await?);
        self.expected.insert(path, Some(content));
        Ok(())
    }

    /// Some die, by kill -9, and come back.
    pub(crate) async fn crash(&mut self, play: &Play, random: &mut StdRng) -> anyhow::Result<()> {
        let count = *[1, 1, 2, 4].choose(random).unwrap_or(&1);
        let four = &Service::ALL[..4];
        self.measure()?;
        play.kills.fetch_add(1, Ordering::Release);
        for victim in four.sample(random, count) {
            self.processes.kill(*victim)?;
        }
        self.processes.spawn_all()?;
        self.processes.ready_for_ceremony().await?;
        play.kills.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Looks at what each has taken at most.
    pub(crate) fn measure(&mut self) -> anyhow::Result<()> {
        for service in Service::ALL {
            let Some(id) = self.processes.id(service) else { continue };
            let status = fs::read_to_string(format!("/proc/{id}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
            let peak: u64 = line.trim().trim_end_matches(" kB").parse()?;
            let most = self.memory.entry(service).or_default();
            *most = peak.max(*most);
        }
        Ok(())
    }

    /// None of them signs nothing any more.
    pub(crate) async fn check_signers(&self) -> anyhow::Result<()> {
        for signer in Service::SIGNERS {
            let mut client = SignerServiceClient::new(rstuf_runtime::connect(&self.processes.url(signer))?);
            let description = client.describe_signer(DescribeSignerRequest {}).await?.into_inner();
            ensure!(description.halted.is_empty(), "{}: {}", signer.name(), description.halted);
        }
        Ok(())
    }
}
