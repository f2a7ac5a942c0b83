//! The targets signer through its gRPC door: what it signs, and what it refuses.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use rstuf_api::{
    Reason,
    proto::{
        artifacts::v1 as artifacts,
        signer::v1::{
            self as proto, sign_targets_request::Part, targets_signer_service_client::TargetsSignerServiceClient,
        },
        tasks::v1::Outcome,
    },
};
use rstuf_keys::{FileKey, KeySource as _};
use rstuf_signing::{StartError, testing::*};
use rstuf_targets::{ConfigRaw, Service};
use rstuf_tuf::{Change, Custom, Envelope, Layout, Sha256, Target, TargetPath, Targets};
use tonic::Status;

async fn build(dir: &Path, document_bytes_max: usize) -> Result<Running, StartError> {
    let document_bytes_max = Some(document_bytes_max.to_string().into());
    build_with(ConfigRaw { signer: config(dir, true), document_bytes_max, ..ConfigRaw::default() }).await
}

async fn build_with(raw: ConfigRaw) -> Result<Running, StartError> {
    let config = rstuf_runtime::config::checked(&raw).unwrap();
    let (context, clock) = context("targets");
    let service = Service::build(&config, context.clone()).await?;
    Ok(Running::new(context, clock, |listener| service.run(listener)).await)
}

async fn start(dir: &Path) -> Running {
    build(dir, 16 << 20).await.unwrap()
}

/// The other holders of a tiny ceremony, with root 1 and targets 1.
struct Repo {
    layout: Layout,
    offline: FileKey,
    root: Bytes,
    targets: Bytes,
}

impl Repo {
    async fn new(signer: &Running, layout: &str) -> Self {
        let (root_key, offline, snapshot, timestamp) = (holder(), holder(), holder(), holder());
        let (layout, own): (Layout, _) = (layout.parse().unwrap(), signer.public_key().await);
        let targets = layout.delegations(vec![own.clone()], 1).unwrap().map(|delegations| {
            let (targets, unknown) = (BTreeMap::new(), Default::default());
            let delegations = Some(delegations);
            signed(
                &Targets { version: version(1), expires: after_days(365), role: None, targets, delegations, unknown },
                &[&offline],
            )
        });
        let by = if targets.is_some() { offline.public_key() } else { &own };
        let root = root(1, &root_key, [by, snapshot.public_key(), timestamp.public_key()]);
        Self { layout, offline, root: signed(&root, &[&root_key]), targets: targets.unwrap_or_default() }
    }

    async fn pinned(signer: &Running, layout: &str) -> Self {
        let repo = Self::new(signer, layout).await;
        pin(signer, &repo.root, &repo.targets).await.unwrap();
        repo
    }

    fn request(&self, batch_id: &str, roles: Vec<proto::RoleChanges>) -> Vec<Part> {
        let header = Part::Header(header(Sha256::of(&self.root), batch_id));
        std::iter::once(header).chain(roles.into_iter().map(Part::RoleChanges)).collect()
    }

    fn role_of(&self, path: &str) -> String {
        self.layout.role_for(&path.parse().unwrap()).to_string()
    }
}

async fn pin(signer: &Running, root: &Bytes, targets: &Bytes) -> Result<(), Status> {
    let request = proto::PinRequest { root: root.clone(), targets: targets.clone() };
    signer.client().pin(request).await.map(|_| ())
}

fn target(length: u64) -> Target {
    Target::new(length, Sha256([7; 32]).into(), None).unwrap()
}

fn large(bytes: usize) -> Target {
    let custom = format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes));
    Target::new(1, Sha256([7; 32]).into(), Some(Custom::from_json(custom.as_bytes()).unwrap())).unwrap()
}

fn submitted(submission: u32, change: artifacts::Change) -> proto::SubmittedChange {
    proto::SubmittedChange { submission, change: Some(change.encode_to_vec().into()) }
}

fn add(submission: u32, path: &str, target: Target) -> proto::SubmittedChange {
    let change = Change::Add { path: path.parse().unwrap(), target };
    submitted(submission, (&change).into())
}

fn remove(submission: u32, path: &str) -> proto::SubmittedChange {
    let change = Change::Remove { path: path.parse().unwrap() };
    submitted(submission, (&change).into())
}

fn role(name: &str, base: Option<&[u8]>, number: u32, changes: Vec<proto::SubmittedChange>) -> proto::RoleChanges {
    let revision = Some(revision(name, base, number, after_days(30)));
    proto::RoleChanges { role: name.to_owned(), revision, renew: false, changes }
}

/// By role: the document, if there is one, and outcomes.
type Signed = BTreeMap<String, (Option<Bytes>, Vec<Outcome>)>;

async fn sign(signer: &Running, request: Vec<Part>) -> Result<Signed, Status> {
    let messages: Vec<_> = request.into_iter().map(|part| proto::SignTargetsRequest { part: Some(part) }).collect();
    let client = TargetsSignerServiceClient::new(signer.channel.clone());
    let answer = client.max_decoding_message_size(usize::MAX).sign_targets(tokio_stream::iter(messages)).await?;
    let (mut stream, mut signed) = (answer.into_inner(), Signed::new());
    while let Some(message) = stream.message().await? {
        let outcomes = message.outcomes().collect();
        signed.insert(message.role, (message.document.map(|document| document.envelope), outcomes));
    }
    Ok(signed)
}

async fn refused(signer: &Running, request: Vec<Part>) -> Reason {
    let before = signer.role_states().await;
    let status = sign(signer, request).await.unwrap_err();
    assert_eq!(signer.role_states().await, before, "a refusal changes nothing");
    Reason::of(&status).unwrap_or_else(|| panic!("no reason in {status:?}"))
}

async fn load(signer: &Running, role: &str, envelope: &Bytes) -> Result<(), Status> {
    let message = proto::LoadDocumentsRequest { document: Some(document(role, envelope)) };
    signer.client().load_documents(tokio_stream::iter([message])).await.map(|_| ())
}

fn paths(document: &Bytes) -> Vec<String> {
    let targets: Targets = Envelope::parse(document).unwrap().decode().unwrap();
    targets.targets.keys().map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn bins_are_signed_together_replayed_and_never_twice() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let repo = Repo::pinned(&signer, "succinct:2").await;
    let first_of_all = vec![role("bins-0", None, 1, vec![]), role("bins-1", None, 1, vec![])];
    let first = sign(&signer, repo.request("a", first_of_all)).await.unwrap();
    let own = signer.public_key().await;
    for (document, _) in first.values() {
        let envelope = Envelope::parse(document.as_ref().unwrap()).unwrap();
        assert!(own.verify(envelope.canonical(), &envelope.signatures()[0].sig));
    }
    let base = |role: &str| first[role].0.clone();

    // One role in two messages, one without an effect.
    let one = "one";
    let (own_role, other) = (repo.role_of(one), if repo.role_of(one) == "bins-0" { "bins-1" } else { "bins-0" });
    let mut more = role(&own_role, None, 2, vec![add(2, one, target(2)), remove(2, one), add(3, one, target(3))]);
    more.revision = None;
    let change = vec![
        role(&own_role, base(&own_role).as_deref(), 2, vec![add(1, one, target(1)), add(1, one, target(1))]),
        more,
        role(other, base(other).as_deref(), 2, vec![]),
    ];
    let request = repo.request("b", change.clone());
    let second = sign(&signer, request.clone()).await.unwrap();
    let (document, outcomes) = &second[&own_role];
    let expected = [Outcome::Added, Outcome::Unchanged, Outcome::Replaced, Outcome::Removed, Outcome::Added];
    assert_eq!(outcomes, &expected);
    assert_eq!(paths(document.as_ref().unwrap()), [one]);
    assert_eq!(second[other], (None, vec![]));
    let states = BTreeMap::from([(own_role.clone(), (2, 2)), (other.to_owned(), (1, 1)), ("targets".into(), (1, 0))]);
    assert_eq!(signer.role_states().await, states);
    signer.stop().await;

    let signer = start(dir.path()).await;
    // The same changes, cut into messages in another way, are the same request.
    let mut joined = change.clone();
    let rest = joined.remove(1);
    joined[0].changes.extend(rest.changes);
    for again in [request, repo.request("b", joined)] {
        assert_eq!(sign(&signer, again).await.unwrap(), second, "replayed after a restart");
    }
    // Another batch with the same version is refused, and takes no other role along.
    let other_role = role(other, base(other).as_deref(), 2, vec![]);
    let again = role(&own_role, base(&own_role).as_deref(), 2, vec![add(1, one, target(9))]);
    assert_eq!(refused(&signer, repo.request("c", vec![other_role, again])).await.name.as_str(), "VERSION_USED");
    let mut renewal = role(other, base(other).as_deref(), 2, vec![]);
    renewal.renew = true;
    let renewed = sign(&signer, repo.request("d", vec![renewal])).await.unwrap();
    assert!(renewed[other].0.is_some());
    signer.stop().await;
}

/// All bins have one key: each document says which bin it is of, and only by that proves anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_document_of_one_bin_is_none_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let repo = Repo::pinned(&signer, "succinct:2").await;
    let bins = || ["bins-0", "bins-1"].map(|bin| role(bin, None, 1, vec![])).to_vec();
    let first = sign(&signer, repo.request("a", bins())).await.unwrap();
    let zero = first["bins-0"].0.clone().unwrap();
    let mut renewal = role("bins-0", Some(&zero), 2, vec![]);
    renewal.renew = true;
    let second = sign(&signer, repo.request("b", vec![renewal])).await.unwrap();
    let content: Targets = Envelope::parse(&zero).unwrap().decode().unwrap();
    assert_eq!(content.role, Some("bins-0".parse().unwrap()));
    for published in [&zero, second["bins-0"].0.as_ref().unwrap()] {
        assert_eq!(reason(&load(&signer, "bins-1", published).await.unwrap_err()), "EVIDENCE_INVALID");
    }
    // What says nothing of its role may list only paths of the role, and proves nothing of the key's past.
    let own_key = FileKey::open(&dir.path().join("key.pem"), None).unwrap();
    let path = (0..).map(|n| format!("p{n}")).find(|path| repo.role_of(path) == "bins-0").unwrap();
    let targets = BTreeMap::from([(path.parse().unwrap(), target(1))]);
    let silent = Targets { version: version(5), role: None, targets, ..content.clone() };
    assert_eq!(reason(&load(&signer, "bins-1", &signed(&silent, &[&own_key])).await.unwrap_err()), "EVIDENCE_INVALID");
    let silent = signed(&Targets { version: version(2), role: None, ..content.clone() }, &[&own_key]);
    load(&signer, "bins-1", &silent).await.unwrap();
    let honest = role("bins-1", Some(&silent), 3, vec![]);
    assert_eq!(sign(&signer, repo.request("c", vec![honest])).await.unwrap()["bins-1"].0, None, "not halted");
    // What names the role was signed by this key, and not with this state.
    let named = Targets { version: version(3), role: Some("bins-1".parse().unwrap()), ..content };
    assert_eq!(reason(&load(&signer, "bins-1", &signed(&named, &[&own_key])).await.unwrap_err()), "STATE_RESTORED");
    signer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delegations_belong_to_the_offline_keys() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let repo = Repo::new(&signer, "succinct:2").await;
    let stranger = holder();
    // A false pin: targets signed by somebody else, or delegating to somebody else alone, or missing.
    let parsed: Targets = Envelope::parse(&repo.targets).unwrap().decode().unwrap();
    let delegating_to = |key: &FileKey, number| Targets {
        version: version(number),
        delegations: repo.layout.delegations(vec![key.public_key().clone()], 1).unwrap(),
        ..parsed.clone()
    };
    let false_pins =
        [signed(&parsed, &[&stranger]), signed(&delegating_to(&stranger, 1), &[&repo.offline]), Bytes::new()];
    for targets in &false_pins {
        assert_eq!(reason(&pin(&signer, &repo.root, targets).await.unwrap_err()), "EVIDENCE_INVALID");
    }
    pin(&signer, &repo.root, &repo.targets).await.unwrap();
    let bin = role("bins-0", None, 1, vec![]);

    // Delegations of a stolen coordinator are not believed; nor does the signer sign targets itself.
    let stolen = signed(&delegating_to(&stranger, 2), &[&stranger]);
    assert_eq!(reason(&load(&signer, "targets", &stolen).await.unwrap_err()), "EVIDENCE_INVALID");
    let top_level = role("targets", Some(&repo.targets), 2, vec![]);
    for name in ["snapshot", "root", "bins-2", "other"] {
        let request = repo.request("a", vec![role("bins-0", None, 1, vec![]), role(name, None, 1, vec![])]);
        assert_eq!(refused(&signer, request).await.name.as_str(), "WRONG_ROLE", "{name}");
    }
    assert_eq!(refused(&signer, repo.request("a", vec![top_level])).await.name.as_str(), "WRONG_ROLE");
    let path = (0..).map(|n| format!("p{n}")).find(|path| repo.role_of(path) == "bins-1").unwrap();
    let foreign = role("bins-0", None, 1, vec![add(1, &path, target(1))]);
    assert_eq!(refused(&signer, repo.request("a", vec![foreign])).await.name.as_str(), "WRONG_ROLE");

    // What the holders sign is followed: the key is taken away, and nothing is signed.
    sign(&signer, repo.request("b", vec![bin])).await.unwrap();
    load(&signer, "targets", &signed(&delegating_to(&stranger, 2), &[&repo.offline])).await.unwrap();
    assert_eq!(reason(&load(&signer, "targets", &repo.targets).await.unwrap_err()), "EVIDENCE_INVALID", "an older one");
    let bin = role("bins-1", None, 1, vec![]);
    assert_eq!(refused(&signer, repo.request("c", vec![bin])).await.name.as_str(), "WRONG_ROLE");
    signer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_too_large_names_exactly_the_submissions_at_fault() {
    let dir = tempfile::tempdir().unwrap();
    let signer = build(dir.path(), 4096).await.unwrap();
    let repo = Repo::pinned(&signer, "flat").await;
    let changes = vec![
        add(1, "a", large(2000)),
        add(2, "b", large(2000)),
        add(3, "c", target(1)),
        add(4, "d", large(4000)),
        remove(5, "a"),
        add(6, "e", large(2000)),
    ];
    let refusal = refused(&signer, repo.request("a", vec![role("targets", None, 1, changes.clone())])).await;
    assert_eq!((refusal.name.as_str(), refusal.metadata["submissions"].as_str()), ("DOCUMENT_TOO_LARGE", "2,4"));
    // Without them the rest is signed: one bad submission never blocks the others.
    let rest = changes.into_iter().filter(|change| ![2, 4].contains(&change.submission)).collect();
    let rest = sign(&signer, repo.request("b", vec![role("targets", None, 1, rest)])).await.unwrap();
    assert_eq!(paths(rest["targets"].0.as_ref().unwrap()), ["c", "e"]);
    signer.stop().await;
}

/// A signer that lets a role lose two artifacts in a publication, and the greater of three and a fifth in a day.
async fn careful(dir: &Path) -> Running {
    let signer = config(dir, true);
    let (publication, day) = (Some("2".into()), Some("3 or 20%".into()));
    let raw = ConfigRaw {
        signer,
        removals_per_publication_max: publication,
        removals_per_day_max: day,
        ..ConfigRaw::default()
    };
    build_with(raw).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_removed_than_the_operators_allow() {
    let dir = tempfile::tempdir().unwrap();
    let signer = careful(dir.path()).await;
    let repo = Repo::pinned(&signer, "flat").await;
    let paths: Vec<String> = (0..10).map(|number| format!("a/{number}")).collect();
    let remove = |submission: u32, number: usize| remove(submission, &paths[number]);
    let ask = |name: &str, base: &Bytes, number, changes| {
        repo.request(name, vec![role("targets", (!base.is_empty()).then_some(base), number, changes)])
    };
    let all = paths.iter().map(|path| add(0, path, target(1))).collect();
    let first = sign(&signer, ask("first", &Bytes::new(), 1, all)).await.unwrap()["targets"].0.clone().unwrap();

    // In one publication: the first two submissions are within the bound, and only the third is at fault.
    let three = ask("three", &first, 2, vec![remove(4, 0), remove(5, 1), remove(6, 2)]);
    let refusal = refused(&signer, three).await;
    assert_eq!((refusal.name.as_str(), refusal.metadata["submissions"].as_str()), ("TOO_MANY_REMOVALS", "6"));
    // What is put back, or was not there, is no removal.
    let back = vec![
        remove(1, 0),
        remove(1, 1),
        remove(1, 2),
        add(1, &paths[2], target(2)),
        remove(2, 3),
        add(2, &paths[3], target(1)),
    ];
    let two = ask("two", &first, 2, back);
    let second = sign(&signer, two.clone()).await.unwrap()["targets"].0.clone().unwrap();

    // In a day: one more, also after a restart and when much was added meanwhile.
    signer.stop().await;
    let signer = careful(dir.path()).await;
    assert_eq!(sign(&signer, two).await.unwrap()["targets"].0, Some(second.clone()), "the same answer");
    let many = (0..100).map(|number| add(0, &format!("b/{number}"), target(1))).collect();
    let third = sign(&signer, ask("many", &second, 3, many)).await.unwrap()["targets"].0.clone().unwrap();
    let more = |base: &Bytes, name| ask(name, base, 4, vec![remove(0, 4), remove(1, 5)]);
    let refusal = refused(&signer, more(&third, "more")).await;
    assert_eq!((refusal.name.as_str(), refusal.metadata["submissions"].as_str()), ("TOO_MANY_REMOVALS", "1"));
    assert_eq!(refusal.metadata["role"], "targets");
    let fourth = sign(&signer, ask("one", &third, 4, vec![remove(0, 4)])).await.unwrap()["targets"].0.clone().unwrap();
    signer.clock.advance(std::time::Duration::from_secs(25 * 3_600));
    // What was removed a day ago counts no more.
    let next_day = ask("next", &fourth, 5, vec![remove(0, 5), remove(1, 6)]);
    sign(&signer, next_day).await.unwrap();
    signer.stop().await;
}

/// Files of a megabyte and more below a directory.
fn bodies(dir: &Path) -> usize {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let count = |path: std::path::PathBuf| match path.is_dir() {
        true => bodies(&path),
        false => usize::from(std::fs::metadata(path).unwrap().len() >= 1 << 20),
    };
    files.map(count).sum()
}

/// Documents that don't fit into memory together are written ahead; what is refused leaves nothing on the disk.
#[tokio::test(flavor = "multi_thread")]
async fn large_documents_are_written_ahead_and_still_all_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let signer = build(dir.path(), 10 << 20).await.unwrap();
    let repo = Repo::pinned(&signer, "succinct:2").await;
    let fill = |bin: &str, count: usize| -> Vec<_> {
        let paths = (0..).map(|n| format!("{bin}/{n}")).filter(|path| repo.role_of(path) == bin);
        paths.take(count).map(|path| add(1, &path, large(15_000))).collect()
    };
    let bins = ["bins-0", "bins-1"];
    let request = repo.request("a", bins.map(|bin| role(bin, None, 1, fill(bin, 600))).to_vec());
    let first = sign(&signer, request.clone()).await.unwrap();
    let base = |bin: &str| first[bin].0.clone();
    let mut overflow = vec![
        role(bins[0], base(bins[0]).as_deref(), 2, vec![]),
        role(bins[1], base(bins[1]).as_deref(), 2, fill(bins[1], 800)),
    ];
    overflow[0].renew = true;
    assert_eq!(refused(&signer, repo.request("b", overflow)).await.name.as_str(), "DOCUMENT_TOO_LARGE");
    assert_eq!(bodies(&dir.path().join("blobs")), 2, "what was written ahead is gone");
    assert_eq!(sign(&signer, request.clone()).await.unwrap(), first, "the refusal changed nothing");
    signer.stop().await;
    let signer = build(dir.path(), 10 << 20).await.unwrap();
    assert_eq!(sign(&signer, request).await.unwrap(), first);
    signer.stop().await;
}

/// Whose request it is, and how much of it there is, is judged before more is read.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_judged_by_what_comes_first() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let first = async |part: Part| {
        let unending = tokio_stream::once(proto::SignTargetsRequest { part: Some(part) });
        let unending = tokio_stream::StreamExt::chain(unending, tokio_stream::pending());
        let mut client = TargetsSignerServiceClient::new(signer.channel.clone());
        let answer = tokio::time::timeout(std::time::Duration::from_secs(20), client.sign_targets(unending)).await;
        let status = answer.expect("an answer before the end of the request").unwrap_err();
        (reason(&status), status.message().to_owned())
    };
    let right = Sha256([1; 32]);
    assert_eq!(first(Part::Header(header(right, "a"))).await.0, "NOT_PINNED");
    let repo = Repo::pinned(&signer, "succinct:2").await;
    assert_eq!(first(Part::Header(header(right, "a"))).await.0, "WRONG_REPOSITORY");
    let other_format = proto::SigningHeader { format: 2, ..header(Sha256::of(&repo.root), "a") };
    assert_eq!(first(Part::Header(other_format)).await.0, "INVALID_FIELD");
    let roots = vec![Bytes::from_static(b"no root")];
    let strange_root = proto::SigningHeader { roots, ..header(Sha256::of(&repo.root), "a") };
    assert_eq!(first(Part::Header(strange_root)).await.0, "EVIDENCE_INVALID");
    let many = role("bins-0", None, 1, vec![proto::SubmittedChange::default(); 10_001]);
    let (reason, message) = first(Part::RoleChanges(many)).await;
    assert_eq!(reason, "INVALID_FIELD");
    assert!(message.contains("role_changes.changes: more than 10000 in one message"), "{message}");
    signer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_bins_there_can_be_are_signed_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let repo = Repo::pinned(&signer, "prefix:4096").await;
    let roles = repo.layout.online_roles().iter().map(|name| role(name.as_str(), None, 1, vec![])).collect();
    let request = repo.request("all", roles);
    let first = sign(&signer, request.clone()).await.unwrap();
    assert_eq!(first.len(), 4096);
    signer.stop().await;
    let signer = start(dir.path()).await;
    assert_eq!(sign(&signer, request).await.unwrap(), first);
    signer.stop().await;
}

/// One step of a random history.
#[derive(Debug, Clone)]
enum Step {
    /// Ask with a base (of the documents so far; beyond them none), a version and an artifact.
    Sign {
        base: usize,
        version: u32,
        artifact: u64,
    },
    /// Ask one of the earlier requests again.
    Again(usize),
    /// Hand over one of the documents so far, or one that the own key never signed.
    Load(usize),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4_usize, 1..12_u32, 0..3_u64)
            .prop_map(|(base, version, artifact)| Step::Sign { base, version, artifact }),
        3 => any::<usize>().prop_map(Step::Again),
        1 => any::<usize>().prop_map(Step::Load),
        1 => Just(Step::Restart),
    ]
}

/// Whatever is asked in whatever order: neither base nor watermark falls, and no version has two contents.
async fn history(steps: Vec<Step>) {
    let dir = tempfile::tempdir().unwrap();
    let mut signer = start(dir.path()).await;
    let repo = Repo::pinned(&signer, "flat").await;
    let (mut documents, mut requests): (Vec<Bytes>, Vec<Vec<Part>>) = (Vec::new(), Vec::new());
    let mut by_version: BTreeMap<u32, Bytes> = BTreeMap::new();
    let mut highest = (0, 0);
    for (number, step) in steps.into_iter().enumerate() {
        let request = match step {
            Step::Sign { base, version, artifact } => {
                // Mostly the newest documents, so that some requests are right.
                let base = documents.iter().rev().nth(base).cloned();
                let changes = vec![add(1, "path", target(artifact))];
                let mut changes = role("targets", base.as_deref(), version, changes);
                changes.renew = artifact == 0;
                Some(repo.request(&format!("batch-{number}"), vec![changes]))
            }
            Step::Again(index) => (!requests.is_empty()).then(|| requests[index % requests.len()].clone()),
            Step::Load(index) => {
                if let Some(document) = documents.get(index % documents.len().max(1)) {
                    let _ = load(&signer, "targets", document).await;
                }
                None
            }
            Step::Restart => {
                signer.stop().await;
                signer = start(dir.path()).await;
                None
            }
        };
        if let Some(request) = request {
            requests.push(request.clone());
            if let Ok(signed) = sign(&signer, request).await
                && let Some(document) = signed["targets"].0.clone()
            {
                let version = Envelope::parse(&document).unwrap().version().get();
                let known = by_version.entry(version).or_insert_with(|| document.clone());
                assert_eq!(*known, document, "two contents of version {version}");
                documents.push(document);
            }
        }
        let now = signer.role_states().await.get("targets").copied().unwrap_or_default();
        assert!(now.0 >= highest.0 && now.1 >= highest.1, "{now:?} after {highest:?}");
        highest = now;
    }
    let signed = by_version.keys().next_back().copied().unwrap_or(0);
    assert_eq!(highest.1, signed, "the watermark is the highest version that was let out");
    signer.stop().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_history_makes_a_version_twice(steps in prop::collection::vec(step(), 1..24)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(history(steps));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_request_is_named_by_its_field() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let repo = Repo::pinned(&signer, "flat").await;
    let path: TargetPath = "a".parse().unwrap();
    let good = || role("targets", None, 1, vec![add(1, path.as_str(), target(1))]);
    let broken = |change: &dyn Fn(&mut proto::RoleChanges)| {
        let mut role = good();
        change(&mut role);
        repo.request("a", vec![role])
    };
    let remove_path =
        |path: &str| artifacts::Change { kind: Some(artifacts::change::Kind::RemovePath(path.to_owned())) };
    let cases = [
        (vec![Part::RoleChanges(good())], "part"),
        (repo.request("", vec![good()]), "header.batch_id"),
        (repo.request("a", vec![]), "role_changes"),
        (repo.request("a", vec![good(), good()]), "role_changes.role"),
        (broken(&|role| role.role = "Targets".to_owned()), "role_changes.role"),
        (broken(&|role| role.revision = None), "revision"),
        (broken(&|role| role.revision.as_mut().unwrap().version = 0), "revision.version"),
        (broken(&|role| role.changes[0].change = None), "targets.changes[0].change"),
        (broken(&|role| role.changes[0] = submitted(0, remove_path("../a"))), "targets.changes[0].remove_path"),
    ];
    for (request, field) in cases {
        let status = sign(&signer, request).await.unwrap_err();
        let fields: Vec<_> = rstuf_api::violations(&status).into_iter().map(|violation| violation.field).collect();
        assert_eq!(fields, [field], "{status:?}");
    }
    assert!(signer.role_states().await.is_empty());
    sign(&signer, repo.request("a", vec![good()])).await.unwrap();
    signer.stop().await;
}
