//! Clocks that are wrong.

use std::{fs, time::Duration};

use rstuf_runtime::ManualClock;
use rstuf_signing::{StartError, testing::*};
use rstuf_timestamp::ConfigRaw;

use crate::support::*;

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
