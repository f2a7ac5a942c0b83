//! What anybody can find out, and what a caller makes up: of these its requests are made.

use std::collections::BTreeMap;

use anyhow::Context as _;
use bytes::Bytes;
use prost::Message as _;
use prost_reflect::{DynamicMessage, ReflectMessage as _, Value};
use rand::{
    RngExt as _,
    rngs::StdRng,
    seq::{IndexedMutRandom as _, IndexedRandom as _},
};
use rstuf_api::{
    limits,
    proto::{
        artifacts::v1::Import,
        metadata::v1::Document,
        signer::v1::ListRoleStatesResponse,
        tasks::v1::{Task, TaskState},
    },
};
use rstuf_keys::{FileKey, KeySource as _, SysRng};
use rstuf_tests::processes::Service;
use rstuf_tuf::{
    Envelope, Layout, RoleName, Unsigned,
    ceremony::{self, Plan, Signers},
};

/// So many of each are kept; another one replaces any.
const KEPT_MAX: usize = 128;
/// Tasks of whoever is honest are left alone: anybody may cancel what waits, and that is no defect.
pub(crate) const HONEST: &str = "honest";

/// What a caller knows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    pub(crate) repository: Bytes,
    /// Exact bytes of root 1, and of targets 1 where they are signed offline.
    pub(crate) root: Bytes,
    pub(crate) targets: Bytes,
    /// Published, signed meanwhile, or made up; the first `fixed` stay.
    pub(crate) documents: Vec<Document>,
    pub(crate) fixed: usize,
    /// As each signer answered last, by role.
    pub(crate) newest: BTreeMap<(Service, String), Document>,
    pub(crate) states: BTreeMap<Service, BTreeMap<String, ListRoleStatesResponse>>,
    pub(crate) imports: Vec<Import>,
    pub(crate) tasks: Vec<Task>,
    pub(crate) tokens: Vec<String>,
}

impl Known {
    /// Learns from a message of an answer.
    pub(crate) fn learn(&mut self, at: Service, message: &DynamicMessage, random: &mut StdRng) {
        let bytes = message.encode_to_vec();
        match message.descriptor().full_name() {
            "rstuf.metadata.v1.Document" => {
                let document = Document::decode(bytes.as_slice()).unwrap_or_default();
                self.newest.insert((at, document.role.clone()), document.clone());
                kept(&mut self.documents, self.fixed, document, random);
            }
            "rstuf.tasks.v1.Task" => {
                let task = Task::decode(bytes.as_slice()).unwrap_or_default();
                if !task.request_id.starts_with(HONEST) {
                    kept(&mut self.tasks, 0, task, random);
                }
            }
            "rstuf.artifacts.v1.Import" => {
                let import = Import::decode(bytes.as_slice()).unwrap_or_default();
                self.imports.retain(|known| known.id != import.id);
                kept(&mut self.imports, 0, import, random);
            }
            "rstuf.signer.v1.ListRoleStatesResponse" => {
                let state = ListRoleStatesResponse::decode(bytes.as_slice()).unwrap_or_default();
                self.states.entry(at).or_default().insert(state.role.clone(), state);
            }
            _ => {
                for (field, value) in message.fields() {
                    match value {
                        Value::String(token) if field.name() == "next_page_token" && !token.is_empty() => {
                            kept(&mut self.tokens, 0, token.clone(), random);
                        }
                        Value::Message(part) => self.learn(at, part, random),
                        Value::List(parts) => {
                            parts.iter().filter_map(Value::as_message).for_each(|it| self.learn(at, it, random));
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    /// A document: known, altered, or nothing like one.
    pub(crate) fn document(&self, random: &mut StdRng) -> Document {
        let mut document = self.documents.choose(random).cloned().unwrap_or_default();
        if random.random_bool(0.1) {
            document.role = self.role(random);
        }
        if random.random_bool(0.2) {
            document.envelope = altered(&document.envelope, random);
        }
        document
    }

    pub(crate) fn role(&self, random: &mut StdRng) -> String {
        let odd = ["root", "mirrors", "", "1.bins-0", "../targets", "bins-ffff"];
        let known: Vec<&str> = self.documents.iter().map(|document| document.role.as_str()).collect();
        let names = if random.random_bool(0.1) { &odd[..] } else { &known };
        names.choose(random).unwrap_or(&"targets").to_string()
    }

    /// The id of a task in one of these states; of any where there is none.
    pub(crate) fn task(&self, states: &[TaskState], random: &mut StdRng) -> String {
        let fit: Vec<_> = self.tasks.iter().filter(|task| states.contains(&task.state())).collect();
        let task = fit.choose(random).copied().or_else(|| self.tasks.choose(random));
        task.map_or_else(|| "00000000000000000000000000".to_owned(), |task| task.id.clone())
    }

    /// What a foreign repository would publish, and a foreign holder would sign for this one.
    pub(crate) fn invent(&mut self, layout: Layout, random: &mut StdRng) -> anyhow::Result<()> {
        let key = || FileKey::generate(&mut SysRng);
        let [holder, online, second, third] = [key()?, key()?, key()?, key()?];
        let keys = |key: &FileKey| Signers::one(key.public_key().clone());
        let plan = Plan {
            layout,
            holders: keys(&holder),
            targets: keys(&online),
            snapshot: keys(&second),
            timestamp: keys(&third),
        };
        let expires = "2099-01-01T00:00:00Z".parse()?;
        let root = ceremony::first_root(&plan, expires)?;
        self.sign(RoleName::root(), &Unsigned::new(&root)?, &[&holder])?;
        let next = rstuf_tuf::Root { version: rstuf_tuf::Version::new(2)?, ..root };
        self.sign(RoleName::root(), &Unsigned::new(&next)?, &[&holder])?;
        if let Some(targets) = ceremony::first_targets(&plan, expires)? {
            self.sign(RoleName::targets(), &Unsigned::new(&targets)?, &[&holder])?;
        }
        // What is published, with a higher version: signed by others, or as it was signed.
        for Document { role, envelope } in self.documents.clone() {
            for rise in [0, 1, 1_000, 1 << 30] {
                let envelope = raised(&envelope, rise, random.random_bool(0.5).then_some(&online))?;
                self.documents.push(Document { role: role.clone(), envelope });
            }
        }
        self.fixed = self.documents.len();
        Ok(())
    }

    fn sign(&mut self, role: RoleName, unsigned: &Unsigned, keys: &[&FileKey]) -> anyhow::Result<()> {
        let signatures = keys.iter().map(|key| key.sign(unsigned.to_sign())).collect::<Result<_, _>>()?;
        self.documents.push(Document { role: role.to_string(), envelope: unsigned.seal(signatures).into() });
        Ok(())
    }
}

fn kept<T>(all: &mut Vec<T>, fixed: usize, one: T, random: &mut StdRng) {
    if all.len() < fixed + KEPT_MAX {
        all.push(one);
    } else {
        let place = random.random_range(fixed..all.len());
        all[place] = one;
    }
}

/// A document with a higher version, with the signature of `key` instead of its own.
fn raised(envelope: &[u8], rise: u32, key: Option<&FileKey>) -> anyhow::Result<Bytes> {
    let mut value: serde_json::Value = serde_json::from_slice(envelope)?;
    let version = value["signed"]["version"].as_u64().context("no version")?;
    value["signed"]["version"] = (version + u64::from(rise)).into();
    if let Some(key) = key {
        let signature = key.sign(Envelope::parse(&serde_json::to_vec(&value)?)?.canonical())?;
        value["signatures"] = serde_json::json!([{ "keyid": signature.keyid.to_string(), "sig": signature.sig }]);
    }
    Ok(serde_json::to_vec(&value)?.into())
}

/// Something in it is another.
fn altered(envelope: &Bytes, random: &mut StdRng) -> Bytes {
    let mut bytes = envelope.to_vec();
    // Few are as large as one may be.
    let size = if random.random_ratio(1, 16) { limits::DOCUMENT_BYTES_MAX } else { 64 << 10 };
    match random.random_range(0..4) {
        0 => bytes.truncate(random.random_range(0..=bytes.len())),
        1 => bytes = vec![b'['; random.random_range(0..size)],
        2 => bytes.extend(std::iter::repeat_n(b' ', random.random_range(0..size))),
        _ => {
            if let Some(byte) = bytes.choose_mut(random) {
                *byte ^= 1 << random.random_range(0..8);
            }
        }
    }
    bytes.into()
}
