//! How long signers are waited for.
#![allow(clippy::unwrap_used, clippy::panic)]
use std::{convert::Infallible, net::TcpListener, pin::Pin};

use axum::{Router, body::Body, handler::Handler, http::header};
use jiff::Timestamp;
use prost::Message as _;
use rstuf_runtime::{STALL_MAX, Shutdown};
use rstuf_tuf::{Revision, Sha256, Version};
use tokio::time::Instant;
use tokio_stream::StreamExt as _;
use tonic::{
    service::Routes,
    transport::server::{Server, TcpIncoming},
};
use uuid::Uuid;

use super::*;

/// Where an answer stops.
#[derive(Debug, Clone, Copy)]
enum Stop {
    BeforeHeaders,
    AfterHeaders,
    WithinMessage,
    /// So that its status is missing.
    AfterMessage,
}

/// A signer whose every answer stops at the same place.
async fn stopping(stop: Stop) -> Signers {
    let bytes: &[u8] = match stop {
        Stop::BeforeHeaders | Stop::AfterHeaders => b"",
        Stop::WithinMessage => &[0, 0, 0, 0, 9, 1],
        Stop::AfterMessage => &[0; 5],
    };
    let answer = async move || {
        if let Stop::BeforeHeaders = stop {
            std::future::pending::<()>().await;
        }
        let begun = tokio_stream::once(Ok::<_, Infallible>(Bytes::from_static(bytes)));
        let body = Body::from_stream(begun.chain(tokio_stream::pending()));
        ([(header::CONTENT_TYPE, "application/grpc")], body)
    };
    answering(answer).await
}

/// A signer that answers everything so.
async fn answering<H: Handler<T, ()>, T: 'static>(answer: H) -> Signers {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    let routes = Routes::from(Router::new().fallback(answer));
    // The clock of a test does not wait for the system to send what is small.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    tokio::spawn(Server::builder().add_routes(routes).serve_with_incoming(incoming));
    at(&uri, Readiness::new(Shutdown::new()))
}

fn at(uri: &str, readiness: Readiness) -> Signers {
    let channel = rstuf_runtime::connect(uri).unwrap();
    Signers::new([(); 3].map(|()| Endpoint { uri: uri.to_owned(), channel: channel.clone() }), readiness)
}

async fn sign_targets(signers: &Signers) -> Result<()> {
    let header = TargetsMessage::header(&Sha256([7; 32]), Uuid::nil());
    let mut answers = signers.sign_targets(tokio_stream::once(header)).await?;
    while answers.next().await?.is_some() {}
    Ok(())
}

/// The clock of this test moves only while everything waits.
#[tokio::test(start_paused = true)]
async fn an_answer_that_stops_midway_is_given_up() {
    for stop in [Stop::BeforeHeaders, Stop::AfterHeaders, Stop::WithinMessage, Stop::AfterMessage] {
        let signers = &stopping(stop).await;
        let revision = &Revision { base: None, version: Version::ONE, expires: Timestamp::UNIX_EPOCH };
        let (none, id, role) = (Bytes::new(), Sha256([7; 32]), &RoleName::timestamp());
        type Call<'a> = (&'a str, Pin<Box<dyn Future<Output = Result<()>> + 'a>>);
        let calls: [Call<'_>; 8] = [
            ("describe", Box::pin(async { signers.describe(Group::Targets).await.map(drop) })),
            ("pin", Box::pin(signers.pin(Group::Snapshot, none.clone(), none.clone()))),
            ("role_states", Box::pin(async { signers.role_states(Group::Targets).await.map(drop) })),
            ("documents", Box::pin(async { signers.documents(Group::Targets, &[]).await.map(drop) })),
            ("load", Box::pin(signers.load(Group::Timestamp, role, none.clone()))),
            ("sign_targets", Box::pin(sign_targets(signers))),
            ("sign_snapshot", Box::pin(async { signers.sign_snapshot(tokio_stream::empty()).await.map(drop) })),
            (
                "sign_timestamp",
                Box::pin(async { signers.sign_timestamp(&id, Uuid::nil(), revision, Bytes::new()).await.map(drop) }),
            ),
        ];
        for (name, call) in calls {
            let (begun, longest) = (Instant::now(), STALL_MAX + Duration::from_secs(1));
            let ended = tokio::time::timeout(longest, call).await;
            let error = ended.unwrap_or_else(|_| panic!("{name} waits {stop:?}")).unwrap_err();
            assert!(matches!(error, Error::SignerUnreachable { .. }), "{name} {stop:?}: {error}");
            assert!(begun.elapsed() >= DESCRIBE_TIMEOUT, "{name} {stop:?}");
        }
    }
}

/// The clock of this test moves only while everything waits.
#[tokio::test(start_paused = true)]
async fn a_signer_that_says_how_far_it_is_is_waited_for() {
    let slow = STALL_MAX - Duration::from_secs(10);
    let answer = async move || {
        let told = |part: proto::SignTargetsResponse| {
            let part = part.encode_to_vec();
            let length = u32::try_from(part.len()).unwrap().to_be_bytes();
            Bytes::from([&[0], &length[..], &part].concat())
        };
        let progress = (0..10).map(move |roles_made| {
            let progress = Some(proto::SigningProgress { roles_checked: 10, roles_made });
            told(proto::SignTargetsResponse { progress, ..Default::default() })
        });
        let result = told(proto::SignTargetsResponse { role: "bins-0".to_owned(), ..Default::default() });
        let parts = tokio_stream::iter(progress.chain([result])).then(move |part| async move {
            tokio::time::sleep(slow).await;
            Ok::<_, Infallible>(part)
        });
        ([(header::CONTENT_TYPE, "application/grpc")], Body::from_stream(parts))
    };
    let signers = answering(answer).await;
    // The clock moves by a second at most, so that what is on its way arrives meanwhile.
    tokio::spawn(async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let begun = Instant::now();
    let header = TargetsMessage::header(&Sha256([7; 32]), Uuid::nil());
    let mut answers = signers.sign_targets(tokio_stream::once(header)).await.unwrap();
    assert_eq!(answers.next().await.unwrap().unwrap().role, "bins-0", "progress is no result");
    assert!(begun.elapsed() >= slow * 11);
}

/// The clock of this test moves only while everything waits.
#[tokio::test(start_paused = true)]
async fn those_that_hang_are_waited_for_at_the_same_time() {
    // Connections are accepted, by the system, and nobody answers.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}", hanging.local_addr().unwrap());
    let readiness = Readiness::new(Shutdown::new());
    let signers = at(&uri, readiness.clone());
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
