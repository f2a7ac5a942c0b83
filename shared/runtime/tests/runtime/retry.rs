//! When a call is tried again, and how long it waits.

use std::time::Duration;

use proptest::prelude::*;
use rand::{SeedableRng, rngs::SmallRng};
use rstuf_runtime::retry::Policy;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;

async fn attempts(policy: Policy, answers: &[Code]) -> (u32, Result<(), Code>) {
    let mut made = 0;
    let mut answers = answers.iter();
    let ended = policy
        .run(&mut SmallRng::seed_from_u64(1), async || {
            made += 1;
            answers.next().map_or(Ok(()), |code| Err(Status::new(*code, "no")))
        })
        .await;
    (made, ended.map_err(|it| it.code()))
}

#[tokio::test(start_paused = true)]
async fn only_what_may_pass_is_tried_again() {
    let policy = Policy::default();
    let passing = [Code::Unavailable, Code::ResourceExhausted];
    assert_eq!(attempts(policy, &passing).await, (3, Ok(())));
    assert_eq!(attempts(policy, &[Code::Unavailable; 9]).await, (5, Err(Code::Unavailable)));
    assert_eq!(attempts(policy, &[Code::InvalidArgument]).await, (1, Err(Code::InvalidArgument)));
    assert_eq!(attempts(policy, &[Code::Cancelled]).await, (1, Err(Code::Cancelled)));
    let idempotent = Policy { unknown_outcome: true, ..policy };
    assert_eq!(attempts(idempotent, &[Code::Cancelled, Code::DeadlineExceeded]).await, (3, Ok(())));
    assert_eq!(attempts(idempotent, &[Code::FailedPrecondition]).await, (1, Err(Code::FailedPrecondition)));
    let short = Policy { attempts_max: 1_000, elapsed_max: Duration::from_secs(3), ..policy };
    let (made, ended) = attempts(short, &[Code::Unavailable; 1_000]).await;
    assert!((3..1_000).contains(&made) && ended.is_err(), "{made}");
}

#[tokio::test(start_paused = true)]
async fn a_retried_call_can_live_in_a_task() {
    let channel = rstuf_runtime::connect("http://127.0.0.1:1").unwrap();
    let task = tokio::spawn(async move {
        let mut client = tonic_health::pb::health_client::HealthClient::new(channel);
        let mut rng = SmallRng::seed_from_u64(1);
        let mut attempts = Policy::default().attempts();
        loop {
            match client.check(HealthCheckRequest::default()).await {
                Ok(_) => break Ok(()),
                Err(status) => match attempts.again(status, &mut rng).await {
                    Ok(()) => {}
                    Err(status) => break Err(status),
                },
            }
        }
    });
    assert_eq!(task.await.unwrap().unwrap_err().code(), Code::Unavailable);
}

proptest! {
    #[test]
    fn waits_stay_within_their_bounds(attempt in 0..200_u32, seed: u64, base in 1..10_000_u64, max in 1..100_000_u64) {
        let [delay_base, delay_max] = [base, max].map(Duration::from_millis);
        let policy = Policy { delay_base, delay_max, ..Policy::default() };
        let delay = policy.delay(attempt, &mut SmallRng::seed_from_u64(seed));
        let bound = u128::from(base).saturating_mul(1 << attempt.min(60)).min(u128::from(max));
        prop_assert!(delay.as_micros() <= bound * 1_000 + 1, "{delay:?} is above {bound} ms");
    }
}
