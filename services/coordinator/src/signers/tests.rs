//! How long signers are waited for.
#![allow(clippy::unwrap_used)]
use std::net::TcpListener;

use rstuf_runtime::Shutdown;
use tokio::time::Instant;

use super::*;

/// The clock of this test moves only while everything waits.
#[tokio::test(start_paused = true)]
async fn a_call_is_given_up_when_it_stands_still_not_when_it_is_slow() {
    let slow = STALL_MAX - Duration::from_secs(1);
    let progress = Progress::default();
    let call = async {
        for _ in 0..10 {
            tokio::time::sleep(slow).await;
            progress.moved();
        }
        Ok(())
    };
    let begun = Instant::now();
    moving(&progress, call).await.unwrap();
    assert_eq!(begun.elapsed(), slow * 10);
    let stuck = moving(&Progress::default(), std::future::pending::<Result<(), Status>>()).await;
    assert_eq!(stuck.unwrap_err().code(), Code::DeadlineExceeded);
    assert_eq!(begun.elapsed(), slow * 10 + STALL_MAX);
}

/// The clock of this test moves only while everything waits.
#[tokio::test(start_paused = true)]
async fn those_that_hang_are_waited_for_at_the_same_time() {
    // Connections are accepted, by the system, and nobody answers.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}", hanging.local_addr().unwrap());
    let channel = rstuf_runtime::connect(&uri).unwrap();
    let readiness = Readiness::new(Shutdown::new());
    let signers =
        Signers::new([(); 3].map(|()| Endpoint { uri: uri.clone(), channel: channel.clone() }), readiness.clone());
    let begun = Instant::now();
    for (group, described) in signers.describe_all().await {
        assert!(matches!(described, Err(Error::SignerUnreachable { .. })));
        assert_eq!(signers.is_reachable(group), Some(false));
    }
    assert!(begun.elapsed() < DESCRIBE_TIMEOUT * 2, "one after the other: {:?}", begun.elapsed());
    assert_eq!(readiness.warnings().len(), 3);
    assert!(readiness.is_ready(), "what is asked for is still acknowledged");
    signers.seen.answered(Group::Snapshot);
    assert_eq!(readiness.warnings().len(), 2);
}
