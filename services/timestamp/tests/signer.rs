//! The timestamp signer through its gRPC door: what it signs, and whom it refuses. What all signers share is tested
//! here.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use rstuf_api::proto::signer::v1::{self as proto, timestamp_signer_service_client::TimestampSignerServiceClient};
use rstuf_keys::{FileKey, KeySource as _};
use rstuf_runtime::{Clock, ManualClock};
use rstuf_signing::{Error, StartError, testing::*};
use rstuf_timestamp::{ConfigRaw, Service};
use rstuf_tuf::{Envelope, MetaEntry, RoleKeys, RoleName, Sha256, Snapshot};
use tonic::{Code, Status};

async fn build(dir: &Path, create_key: bool, change: impl FnOnce(&mut ConfigRaw)) -> Result<Running, StartError> {
    let mut raw = ConfigRaw { signer: config(dir, create_key) };
    change(&mut raw);
    run(raw, |_| ()).await
}

async fn run(raw: ConfigRaw, move_clock: impl FnOnce(&ManualClock)) -> Result<Running, StartError> {
    let config = rstuf_runtime::config::checked(&raw).unwrap();
    let (context, clock) = context("timestamp");
    move_clock(&clock);
    let service = Service::build(&config, context.clone()).await?;
    Ok(Running::new(context, clock, |listener| service.run(listener)).await)
}

async fn start(dir: &Path) -> Running {
    build(dir, true, |_| ()).await.unwrap()
}

/// Started when the clock, which says the time at which tests begin, was moved.
async fn start_at(dir: &Path, move_clock: impl FnOnce(&ManualClock)) -> Running {
    run(ConfigRaw { signer: config(dir, true) }, move_clock).await.unwrap()
}

/// What the operator's command says, on this directory and with a clock that says the time at which tests begin.
async fn reset_clock(dir: &Path) -> Result<String, StartError> {
    let config = rstuf_runtime::config::checked(&ConfigRaw { signer: config(dir, false) }).unwrap();
    rstuf_timestamp::reset_clock(&config, &Clock::manual(start_time()).0).await
}

/// The other holders of a tiny ceremony, and root 1.
struct Repo {
    root_key: FileKey,
    targets: FileKey,
    snapshot: FileKey,
    root: Bytes,
}

impl Repo {
    async fn new(signer: &Running) -> Self {
        let (root_key, targets, snapshot) = (holder(), holder(), holder());
        let online = [targets.public_key(), snapshot.public_key(), &signer.public_key().await];
        let root = signed(&root(1, &root_key, online), &[&root_key]);
        Self { root_key, targets, snapshot, root }
    }

    /// As [`Repo::new`], and the signer pinned to it.
    async fn pinned(signer: &Running) -> Self {
        let repo = Self::new(signer).await;
        pin(signer, &repo.root).await.unwrap();
        repo
    }

    fn id(&self) -> Sha256 {
        Sha256::of(&self.root)
    }

    fn snapshot(&self, number: u32) -> Bytes {
        self.snapshot_by(&self.snapshot, number, 7, 0)
    }

    fn snapshot_by(&self, key: &FileKey, number: u32, days: i64, targets_length: u64) -> Bytes {
        let entry = MetaEntry::new(version(1), targets_length, Sha256([1; 32]));
        let meta = BTreeMap::from([(RoleName::targets(), entry)]);
        let unknown = Default::default();
        signed(&Snapshot { version: version(number), expires: after_days(days), meta, unknown }, &[key])
    }

    /// The next version, which expires so many days after the tests began.
    fn expiring(&self, base: &Bytes, days: i64) -> proto::SignTimestampRequest {
        let number = Envelope::parse(base).unwrap().version().get() + 1;
        let mut request = self.request(Some(base), number, &self.snapshot_by(&self.snapshot, number, days + 6, 0));
        request.revision = Some(revision("timestamp", Some(base), number, after_days(days)));
        request
    }

    fn request(&self, base: Option<&[u8]>, number: u32, snapshot: &Bytes) -> proto::SignTimestampRequest {
        proto::SignTimestampRequest {
            header: Some(header(self.id(), &format!("batch-{number}"))),
            revision: Some(revision("timestamp", base, number, after_days(1))),
            snapshot: Some(document("snapshot", snapshot)),
        }
    }
}

async fn pin(signer: &Running, root: &Bytes) -> Result<(), Status> {
    let request = proto::PinRequest { root: root.clone(), targets: Bytes::new() };
    signer.client().pin(request).await.map(|_| ())
}

async fn sign(signer: &Running, request: proto::SignTimestampRequest) -> Result<Bytes, Status> {
    let mut client = TimestampSignerServiceClient::new(signer.channel.clone());
    Ok(client.sign_timestamp(request).await?.into_inner().document.unwrap().envelope)
}

async fn refused(signer: &Running, request: proto::SignTimestampRequest) -> String {
    let before = signer.role_states().await;
    let reason = reason(&sign(signer, request).await.unwrap_err());
    assert_eq!(signer.role_states().await, before, "a refusal changes nothing");
    reason
}

async fn clock_refusal(signer: &Running) -> String {
    signer.client().describe_signer(proto::DescribeSignerRequest {}).await.unwrap().into_inner().clock_refusal
}

async fn load(signer: &Running, role: &str, envelope: &Bytes) -> Result<(), Status> {
    let message = proto::LoadDocumentsRequest { document: Some(document(role, envelope)) };
    signer.client().load_documents(tokio_stream::iter([message])).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn signs_by_the_rules_and_replays_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let repo = Repo::pinned(&signer).await;
    let request = repo.request(None, 1, &repo.snapshot(1));
    // The answer to the first attempt is lost with the caller; the same request is answered with the same bytes.
    drop(tokio::time::timeout(Duration::ZERO, sign(&signer, request.clone())).await);
    let first = sign(&signer, request.clone()).await.unwrap();
    assert_eq!(sign(&signer, request.clone()).await.unwrap(), first);
    let envelope = Envelope::parse(&first).unwrap();
    let public_key = signer.public_key().await;
    assert!(public_key.verify(envelope.canonical(), &envelope.signatures()[0].sig));
    let named: rstuf_tuf::Timestamp = envelope.decode().unwrap();
    let snapshot = repo.snapshot(1);
    assert_eq!(named.snapshot, MetaEntry::new(version(1), snapshot.len() as u64, Sha256::of(&snapshot)));

    let metrics = signer.metrics();
    for line in ["rstuf_signatures_total{service=\"timestamp\",role=\"timestamp\"} 1", "rstuf_expiry_seconds"] {
        assert!(metrics.contains(line), "{line} is missing in {metrics}");
    }
    signer.stop().await;

    let signer = start(dir.path()).await;
    signer.clock.advance(Duration::from_secs(3600));
    assert_eq!(sign(&signer, request.clone()).await.unwrap(), first, "replayed after a restart");
    let second = sign(&signer, repo.request(Some(&first), 3, &repo.snapshot(2))).await.unwrap();
    assert_eq!(signer.role_states().await, BTreeMap::from([("timestamp".to_owned(), (3, 3))]));
    // The first answer was superseded: that version is never signed again, and never again answered.
    assert_eq!(refused(&signer, request).await, "VERSION_USED");
    let documents = signer.client().get_documents(proto::GetDocumentsRequest { roles: vec!["timestamp".into()] }).await;
    let document = documents.unwrap().into_inner().message().await.unwrap().unwrap().document.unwrap();
    assert_eq!(document.envelope, second);
    signer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_what_the_rules_forbid() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let repo = Repo::new(&signer).await;
    let snapshot = repo.snapshot(5);
    assert_eq!(refused(&signer, repo.request(None, 1, &snapshot)).await, "NOT_PINNED");
    pin(&signer, &repo.root).await.unwrap();
    let first = sign(&signer, repo.request(None, 1, &snapshot)).await.unwrap();
    let base = Some(&*first);

    let with = |change: &dyn Fn(&mut proto::SignTimestampRequest)| {
        let mut request = repo.request(base, 2, &snapshot);
        change(&mut request);
        request
    };
    let by = |key: &FileKey, number, days, length| repo.snapshot_by(key, number, days, length);
    let revised = |base: Option<&[u8]>, number: u32, expires: Timestamp| {
        with(&|request| request.revision = Some(revision("timestamp", base, number, expires)))
    };
    let showing = |snapshot: Bytes| with(&|request| request.snapshot = Some(document("snapshot", &snapshot)));
    let other = Sha256([9; 32]);
    let newer = signed(
        &Envelope::parse(&first)
            .unwrap()
            .decode::<rstuf_tuf::Timestamp>()
            .map(|mut it| {
                it.version = version(2);
                it
            })
            .unwrap(),
        &[&holder()],
    );
    let half: Bytes = {
        let text = String::from_utf8(snapshot.to_vec()).unwrap();
        text.replace("\"version\":5", "\"version\":6").into()
    };
    let cases = [
        ("another repository", with(&|request| request.header = Some(header(other, "b"))), "WRONG_REPOSITORY"),
        ("a version used", revised(base, 1, after_days(1)), "VERSION_USED"),
        ("a version far ahead", revised(base, 18, after_days(1)), "VERSION_TOO_HIGH"),
        ("no base", revised(None, 2, after_days(1)), "BASE_MISMATCH"),
        ("a newer base", revised(Some(&newer), 3, after_days(1)), "BASE_BEHIND"),
        ("expired at birth", revised(base, 2, start_time()), "EXPIRES_OUT_OF_BOUNDS"),
        ("lives too long", revised(base, 2, after_days(8)), "EXPIRES_OUT_OF_BOUNDS"),
        ("signed by nobody", showing(by(&holder(), 6, 7, 0)), "EVIDENCE_INVALID"),
        ("signed by another role", showing(by(&repo.targets, 6, 7, 0)), "EVIDENCE_INVALID"),
        ("changed after signing", showing(half), "EVIDENCE_INVALID"),
        ("expired snapshot", showing(by(&repo.snapshot, 6, -1, 0)), "EVIDENCE_INVALID"),
        ("older snapshot", showing(repo.snapshot(4)), "EVIDENCE_INVALID"),
        ("same version, other contents", showing(by(&repo.snapshot, 5, 7, 1)), "EVIDENCE_INVALID"),
        ("not a snapshot", showing(repo.root.clone()), "EVIDENCE_INVALID"),
    ];
    for (what, request, expected) in cases {
        assert_eq!(refused(&signer, request).await, expected, "{what}");
    }
    let malformed = with(&|request| request.header.as_mut().unwrap().format = 2);
    assert_eq!(sign(&signer, malformed).await.unwrap_err().code(), Code::InvalidArgument);

    signer.clock.set(after_days(-1));
    assert_eq!(refused(&signer, revised(base, 2, after_days(1))).await, "CLOCK_WENT_BACK");
    signer.clock.set(start_time());
    assert!(
        signer.metrics().contains("rstuf_sign_refusals_total{service=\"timestamp\",reason=\"EVIDENCE_INVALID\"} 7")
    );
    // After all that, what is right is still signed.
    sign(&signer, revised(base, 17, after_days(1))).await.unwrap();
    signer.stop().await;
}

/// With its clock ten years ahead it signs nothing, a restart or not, says so, and goes on as soon as the clock is
/// right, with nothing left behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_ten_years_ahead_signs_nothing_and_leaves_nothing_behind() {
    const YEARS_10: i64 = 3_652;
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let repo = Repo::pinned(&signer).await;
    let first = sign(&signer, repo.request(None, 1, &repo.snapshot(1))).await.unwrap();
    assert!(signer.reasons().is_empty() && clock_refusal(&signer).await.is_empty());
    let ahead = after_days(YEARS_10);
    signer.clock.set(ahead);
    for days in [1, YEARS_10 + 1] {
        assert_eq!(refused(&signer, repo.expiring(&first, days)).await, "CLOCK_JUMPED");
    }
    assert_eq!(clock_refusal(&signer).await, "CLOCK_JUMPED");
    let said = tokio::time::timeout(Duration::from_secs(10), async {
        while signer.reasons().is_empty() {
            tokio::task::yield_now().await;
        }
    });
    said.await.expect("the signer says that it is not ready");
    signer.stop().await;
    let signer = start_at(dir.path(), |clock| clock.set(ahead)).await;
    assert_eq!(refused(&signer, repo.expiring(&first, YEARS_10 + 1)).await, "CLOCK_JUMPED");
    signer.clock.set(start_time());
    assert_eq!(refused(&signer, repo.expiring(&first, YEARS_10 + 1)).await, "EXPIRES_OUT_OF_BOUNDS");
    sign(&signer, repo.expiring(&first, 1)).await.unwrap();
    assert_eq!(clock_refusal(&signer).await, "");
    signer.stop().await;
}

/// A machine may have been off for as long as its bound says; longer, and its operator has to look at its clock.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_went_on_while_the_machine_was_off_has_a_bound() {
    const DAY: Duration = Duration::from_secs(86_400);
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let repo = Repo::pinned(&signer).await;
    let mut last = sign(&signer, repo.request(None, 1, &repo.snapshot(1))).await.unwrap();
    signer.stop().await;
    // It signs nothing then, and notes the time all the same.
    start_at(dir.path(), |clock| clock.advance(DAY * 25)).await.stop().await;
    let off = |days: u32| {
        move |clock: &ManualClock| {
            clock.advance(DAY * 25);
            clock.reboot(DAY * days);
        }
    };
    let signer = start_at(dir.path(), off(31)).await;
    assert_eq!(refused(&signer, repo.expiring(&last, 57)).await, "CLOCK_JUMPED");
    signer.stop().await;
    let signer = start_at(dir.path(), off(30)).await;
    last = sign(&signer, repo.expiring(&last, 56)).await.unwrap();
    signer.stop().await;
    let mut raw = ConfigRaw { signer: config(dir.path(), false) };
    raw.signer.clock_off_days_max = Some("40".into());
    let signer = run(raw, off(40)).await.unwrap();
    sign(&signer, repo.expiring(&last, 66)).await.unwrap();
    signer.stop().await;
}

/// A clock that was eight years ahead when nothing was known yet: set right, it is refused until an operator resets
/// what it left behind, on the spot and not while the signer runs. Versions stay.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_resets_what_a_wrong_clock_left_behind() {
    const YEARS_8: i64 = 2_920;
    let dir = tempfile::tempdir().unwrap();
    let signer = start_at(dir.path(), |clock| clock.set(after_days(YEARS_8))).await;
    let repo = Repo::pinned(&signer).await;
    let mut request = repo.request(None, 1, &repo.snapshot_by(&repo.snapshot, 1, YEARS_8 + 7, 0));
    request.revision = Some(revision("timestamp", None, 1, after_days(YEARS_8 + 1)));
    let mut last = sign(&signer, request).await.unwrap();
    // To the end of the versions that there are at once, of timestamps and of the snapshots shown.
    while let Ok(next) = sign(&signer, repo.expiring(&last, YEARS_8 + 1)).await {
        last = next;
    }
    let in_use = reset_clock(dir.path()).await.unwrap_err();
    assert!(matches!(in_use, StartError::Store(rstuf_store::Error::InUse { .. })), "{in_use}");
    signer.stop().await;
    let signer = start(dir.path()).await;
    assert_eq!(refused(&signer, repo.expiring(&last, 1)).await, "CLOCK_WENT_BACK");
    let states = signer.role_states().await;
    signer.stop().await;

    let report = reset_clock(dir.path()).await.unwrap();
    let told =
        ["last signature: 2037-12-30", "last time noted: 2037-12-30", "versions of timestamp", "snapshots shown"];
    for part in told {
        assert!(report.contains(part) && report.contains("2030-01-01T00:00:00Z now"), "{report}");
    }
    let signer = start(dir.path()).await;
    assert_eq!(signer.role_states().await, states, "versions and watermarks stay");
    assert_eq!(refused(&signer, repo.expiring(&last, 1)).await, "VERSION_BUDGET", "the reset gives no versions");
    for _ in 0..4 {
        signer.clock.advance(Duration::from_millis(250));
        last = sign(&signer, repo.expiring(&last, 1)).await.unwrap();
    }
    signer.stop().await;
    let nothing = tempfile::tempdir().unwrap();
    assert!(matches!(reset_clock(nothing.path()).await, Err(StartError::NoKey { .. })));
    assert_eq!(fs::read_dir(nothing.path()).unwrap().count(), 0, "nothing is made");
}

#[tokio::test(flavor = "multi_thread")]
async fn pins_once_and_follows_roots_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let repo = Repo::new(&signer).await;
    let (own, stranger) = (signer.public_key().await, holder());
    let refused_root = |root: rstuf_tuf::Root, keys: Vec<&FileKey>| signed(&root, &keys);
    let (targets, snapshot) = (repo.targets.public_key(), repo.snapshot.public_key());
    let key = &repo.root_key;
    let roots = [
        refused_root(root(1, key, [targets, snapshot, stranger.public_key()]), vec![key]),
        refused_root(root(1, key, [targets, &own, &own]), vec![key]),
        refused_root(root(1, key, [targets, snapshot, &own]), vec![&stranger]),
        refused_root(root(2, key, [targets, snapshot, &own]), vec![key]),
    ];
    for root in roots {
        assert_eq!(reason(&pin(&signer, &root).await.unwrap_err()), "EVIDENCE_INVALID");
    }
    pin(&signer, &repo.root).await.unwrap();
    pin(&signer, &repo.root).await.unwrap();
    let mut again = root(1, key, [targets, snapshot, &own]);
    again.expires = after_days(1);
    assert_eq!(reason(&pin(&signer, &signed(&again, &[key])).await.unwrap_err()), "ALREADY_PINNED");

    // Root 2 takes the snapshot key away; a root 2 that root 1 did not sign takes nothing.
    let second = root(2, key, [targets, stranger.public_key(), &own]);
    let mut request = repo.request(None, 1, &repo.snapshot(1));
    request.header.as_mut().unwrap().roots = vec![signed(&second, &[&stranger])];
    assert_eq!(refused(&signer, request.clone()).await, "EVIDENCE_INVALID");
    request.header.as_mut().unwrap().roots = vec![repo.root.clone(), signed(&second, &[key])];
    assert_eq!(refused(&signer, request.clone()).await, "EVIDENCE_INVALID", "the old snapshot key counts no more");
    request.snapshot = Some(document("snapshot", &repo.snapshot_by(&stranger, 1, 7, 0)));
    sign(&signer, request).await.unwrap();
    signer.stop().await;
    let signer = start(dir.path()).await;
    let description = signer.client().describe_signer(proto::DescribeSignerRequest {}).await.unwrap().into_inner();
    assert_eq!((description.root_version, &*description.repository_id), (2, repo.id().as_bytes().as_slice()));
    signer.stop().await;

    let dir = tempfile::tempdir().unwrap();
    let configured = |raw: &mut ConfigRaw| raw.signer.root_sha256 = Some("ab".repeat(32).as_str().into());
    let signer = build(dir.path(), true, configured).await.unwrap();
    let repo = Repo::new(&signer).await;
    assert_eq!(reason(&pin(&signer, &repo.root).await.unwrap_err()), "WRONG_REPOSITORY");
    signer.stop().await;
}

/// Without pause and 16 at once: a burst and four a second, restarts or not; and no more for the
/// snapshots that are shown.
#[tokio::test(flavor = "multi_thread")]
async fn versions_rise_no_faster_than_their_budget() {
    let dir = tempfile::tempdir().unwrap();
    let mut signer = start(dir.path()).await;
    let repo = Repo::pinned(&signer).await;
    let mut last = sign(&signer, repo.request(None, 1, &repo.snapshot(1))).await.unwrap();
    let number = |envelope: &Bytes| Envelope::parse(envelope).unwrap().version().get();
    for second in 0..100_u32 {
        while let Ok(next) = sign(&signer, repo.request(Some(&last), number(&last) + 16, &repo.snapshot(1))).await {
            last = next;
        }
        assert_eq!(
            refused(&signer, repo.request(Some(&last), number(&last) + 16, &repo.snapshot(1))).await,
            "VERSION_BUDGET"
        );
        let most = 1_000 + 4 * second;
        assert!((most - 16..=most).contains(&number(&last)), "version {} after {second} s", number(&last));
        if second == 50 {
            signer.stop().await;
            signer = start(dir.path()).await;
            signer.clock.advance(Duration::from_secs(50));
        }
        signer.clock.advance(Duration::from_secs(1));
    }
    // Since snapshot 1 was shown last, one second and half a day ago.
    let half_a_day = 12 * 3_600;
    signer.clock.advance(Duration::from_secs(u64::from(half_a_day)));
    let shown = |version: u32| repo.request(Some(&last), number(&last) + 1, &repo.snapshot(version));
    let most = 1 + 1_000 + 4 * (1 + half_a_day);
    assert_eq!(refused(&signer, shown(most + 1)).await, "VERSION_BUDGET");
    sign(&signer, shown(most)).await.unwrap();
    signer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_disk_signs_nothing_any_more() {
    let (dir, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let signer = start(dir.path()).await;
    let repo = Repo::pinned(&signer).await;
    let first = sign(&signer, repo.request(None, 1, &repo.snapshot(1))).await.unwrap();
    signer.stop().await;
    let old = backup.path().join("state");
    copy(dir.path(), &old);
    let signer = start(dir.path()).await;
    let second = sign(&signer, repo.request(Some(&first), 2, &repo.snapshot(2))).await.unwrap();
    signer.stop().await;

    let signer = start(&old).await;
    let third = repo.request(Some(&second), 3, &repo.snapshot(3));
    assert_eq!(refused(&signer, third.clone()).await, "BASE_BEHIND");
    assert_eq!(reason(&load(&signer, "timestamp", &second).await.unwrap_err()), "STATE_RESTORED");
    let harmless = repo.request(Some(&first), 2, &repo.snapshot(2));
    assert_eq!(refused(&signer, harmless.clone()).await, "STATE_RESTORED");
    signer.stop().await;
    let signer = start(&old).await;
    assert_eq!(refused(&signer, harmless).await, "STATE_RESTORED", "for ever");
    signer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_below_its_threshold_is_no_base_and_its_version_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let (mut repo, other, own) = (Repo::new(&signer).await, holder(), signer.public_key().await);
    let mut root = root(1, &repo.root_key, [repo.targets.public_key(), repo.snapshot.public_key(), &own]);
    root.keys.insert(other.public_key().key_id(), other.public_key().clone());
    root.roles.timestamp = RoleKeys::new(vec![own.key_id(), other.public_key().key_id()], 2).unwrap();
    repo.root = signed(&root, &[&repo.root_key]);
    pin(&signer, &repo.root).await.unwrap();

    let half = sign(&signer, repo.request(None, 1, &repo.snapshot(1))).await.unwrap();
    let states = BTreeMap::from([("timestamp".to_owned(), (0, 1))]);
    assert_eq!(signer.role_states().await, states, "half a document is no base, but its version is used");
    assert_eq!(reason(&load(&signer, "timestamp", &half).await.unwrap_err()), "EVIDENCE_INVALID");
    let mut retry = repo.request(None, 1, &repo.snapshot(2));
    assert_eq!(refused(&signer, retry.clone()).await, "VERSION_USED", "a version given up is never used again");
    retry.revision = Some(revision("timestamp", None, 2, after_days(1)));
    let second = sign(&signer, retry.clone()).await.unwrap();
    // Both signatures over the same contents: the base, and still the own answer to the own request.
    let own_key = FileKey::open(&dir.path().join("key.pem"), None).unwrap();
    let content: rstuf_tuf::Timestamp = Envelope::parse(&second).unwrap().decode().unwrap();
    let merged = signed(&content, &[&own_key, &other]);
    load(&signer, "timestamp", &merged).await.unwrap();
    assert_eq!(signer.role_states().await, BTreeMap::from([("timestamp".to_owned(), (2, 2))]));
    signer.stop().await;
    let signer = start(dir.path()).await;
    assert_eq!(sign(&signer, retry).await.unwrap(), second);
    // Other contents of that version by the own key come from a cloned disk.
    let mut cloned = content;
    cloned.expires = after_days(2);
    let cloned = signed(&cloned, &[&own_key, &other]);
    assert_eq!(reason(&load(&signer, "timestamp", &cloned).await.unwrap_err()), "STATE_RESTORED");
    assert_eq!(refused(&signer, repo.request(Some(&merged), 3, &repo.snapshot(3))).await, "STATE_RESTORED");
    signer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn key_and_state_die_together() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key.pem");
    assert!(matches!(build(dir.path(), false, |_| ()).await, Err(StartError::NoKey { .. })));
    let signer = start(dir.path()).await;
    let in_use = build(dir.path(), true, |_| ()).await;
    assert!(matches!(in_use, Err(StartError::Store(rstuf_store::Error::InUse { .. }))));
    let repo = Repo::pinned(&signer).await;
    sign(&signer, repo.request(None, 1, &repo.snapshot(1))).await.unwrap();
    signer.stop().await;

    // A key that outlives its state.
    let emptied = tempfile::tempdir().unwrap();
    fs::copy(&key, emptied.path().join("key.pem")).unwrap();
    assert!(matches!(build(emptied.path(), true, |_| ()).await, Err(StartError::KeyWithoutState { .. })));
    // A state that outlives its key, and one with a stranger's.
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    assert!(matches!(build(dir.path(), true, |_| ()).await, Err(StartError::KeyLost { .. })));
    holder().save(&key, None, &mut rstuf_keys::SysRng).unwrap();
    assert!(matches!(build(dir.path(), true, |_| ()).await, Err(StartError::OtherKey { .. })));
    fs::write(&key, kept).unwrap();
    build(dir.path(), false, |_| ()).await.unwrap().stop().await;
}

/// What a crash left of a key that was being made goes with the next start, and nothing else does: neither other files,
/// nor what may be the last copy of a key that is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_never_used_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (key, left, aside) = (path("key.pem"), path("key.pem.00000000000000ab.new"), path("aside"));
    let others = ["key.pem.new", "key.pem.ab.new", "key.pem.00000000000000xy.new", "ca.pem.00000000000000ab.new"];
    for other in others {
        fs::write(path(other), "").unwrap();
    }
    fs::write(&left, "half").unwrap();
    let signer = start(dir.path()).await;
    assert!(key.exists() && !left.exists());
    Repo::pinned(&signer).await;
    signer.stop().await;

    fs::copy(&key, &left).unwrap();
    fs::rename(&key, &aside).unwrap();
    assert!(matches!(build(dir.path(), true, |_| ()).await, Err(StartError::KeyLost { .. })));
    assert!(left.exists(), "it may be the only one");
    fs::rename(&aside, &key).unwrap();
    build(dir.path(), false, |_| ()).await.unwrap().stop().await;
    assert!(!left.exists());
    assert!(others.iter().all(|other| path(other).exists()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_what_was_signed_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let repo = Repo::pinned(&signer).await;
    let first = sign(&signer, repo.request(None, 1, &repo.snapshot(1))).await.unwrap();
    signer.stop().await;
    // Another document in its place, the store's checksums right: the own checks must see it.
    let store = rstuf_store::Store::open(rstuf_store::Options::new(dir.path(), "timestamp")).unwrap();
    let (row, mut bytes) = store.scan("body/", None, 1).unwrap().remove(0);
    assert_eq!(bytes, first);
    *bytes.last_mut().unwrap() = b' ';
    store.commit(rstuf_store::Batch::new().put(row, bytes)).await.unwrap();
    store.close().await.unwrap();
    let started = build(dir.path(), false, |_| ()).await;
    assert!(matches!(started, Err(StartError::State(Error::Corrupt { .. }))));
}

#[test]
fn no_call_of_any_signer_takes_bytes_to_sign() {
    use prost::Message as _;
    let set = prost_types::FileDescriptorSet::decode(rstuf_api::proto::DESCRIPTORS).unwrap();
    let file = set.file.iter().find(|file| file.package() == "rstuf.signer.v1").unwrap();
    let calls: Vec<_> = file.service.iter().flat_map(|it| it.method.iter().map(|method| method.name())).collect();
    let known = ["DescribeSigner", "GetDocuments", "ListRoleStates", "LoadDocuments", "Pin"];
    let typed = ["SignSnapshot", "SignTargets", "SignTimestamp"];
    let mut sorted = calls.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [known.as_slice(), &typed].concat());
    // Bytes in requests are names of documents, evidence in full, and roots: nothing else.
    let allowed = ["repository_id", "roots", "root", "targets", "documents_sha256"];
    let requests = file.message_type.iter().filter(|message| !message.name().ends_with("Response"));
    for message in requests {
        for field in
            message.field.iter().filter(|field| field.r#type() == prost_types::field_descriptor_proto::Type::Bytes)
        {
            assert!(allowed.contains(&field.name()), "{}.{}", message.name(), field.name());
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
