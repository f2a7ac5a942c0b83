//! What is looked at now and then, while nobody asks.

use std::time::Duration;

use rstuf_runtime::{Hold, Readiness};
use rstuf_store::{Batch, Options};
use rstuf_tuf::RoleName;

use crate::{
    Result, fitness,
    handles::Handles,
    space::INTAKE_LEAVES,
    troubles::{Work, clock_fault},
};

/// How often signers are asked whether they answer, so that one that is gone is noticed before it is needed.
const SIGNERS_PERIOD: Duration = Duration::from_secs(5);
/// How often the disks are asked for space.
const SPACE_PERIOD: Duration = Duration::from_secs(5);
/// How often the clock is looked at.
const CLOCK_PERIOD: Duration = Duration::from_secs(10);

/// Asks every signer now and then; the answers stand in metrics and in `/readyz`.
pub(crate) async fn signers(handles: Handles) -> Result<()> {
    let ask = async {
        loop {
            let repository = handles.published.repository();
            for (group, described) in handles.signers.describe_all().await {
                // That one does not answer is shown where it is asked for.
                let fault = described.ok().zip(repository.as_ref());
                let fault = fault.and_then(|(signer, repository)| fitness::fault(repository, group, &signer));
                handles.signers.judged(group, fault);
            }
            tokio::time::sleep(SIGNERS_PERIOD).await;
        }
    };
    tokio::select! {
        () = ask => Ok(()),
        () = handles.shutdown.wait() => Ok(()),
    }
}

/// Asks the disks for space now and then: what stops for want of it stands among the troubles, also while nobody makes
/// a request and nothing has to be renewed.
pub(crate) async fn space(handles: Handles) -> Result<()> {
    let watch = async {
        loop {
            let found = [(Work::Intake, for_requests(&handles).await), (Work::Space, for_renewals(&handles).await)];
            for (work, space) in found {
                match space {
                    Ok(()) => handles.troubles.ended(work),
                    Err(error) if error.is_no_space() => handles.troubles.happened(work, &error),
                    Err(error) => return Err(error),
                }
            }
            tokio::time::sleep(SPACE_PERIOD).await;
        }
    };
    tokio::select! {
        ended = watch => ended,
        () = handles.shutdown.wait() => Ok(()),
    }
}

/// Whether there is space to journal the smallest request: what changes nothing is refused where that would be.
async fn for_requests(handles: &Handles) -> Result<()> {
    Ok(handles.journal.store().commit(Batch::new().leave(INTAKE_LEAVES)).await?)
}

/// Whether there is space to journal and to publish what is renewed most often.
async fn for_renewals(handles: &Handles) -> Result<()> {
    handles.journal.store().commit(Batch::new()).await?;
    let snapshot = handles.published.role(&RoleName::snapshot()).map_or(0, |row| row.length);
    handles.publisher.check_space(Options::FREE_BYTES_MIN, snapshot).await
}

/// Looks at the clock now and then; that it jumped stands in `/readyz` as long as it is so.
pub(crate) async fn clock(handles: Handles, readiness: Readiness) -> Result<()> {
    let watch = async {
        let mut moves = handles.clock.moves();
        let mut warning: Option<Hold> = None;
        loop {
            match handles.clock.jump() {
                Some(jump) if warning.is_none() => {
                    tracing::error!(wall = %jump.wall, expected = %jump.expected, "the clock jumped forward");
                    warning = Some(readiness.warn(clock_fault(jump)));
                }
                Some(_) => {}
                None if warning.take().is_some() => tracing::info!("the clock came back"),
                None => {}
            }
            moves.within(CLOCK_PERIOD).await;
        }
    };
    tokio::select! {
        () = watch => Ok(()),
        () = handles.shutdown.wait() => Ok(()),
    }
}
