//! Answers that have nothing new to say for long.

use std::time::Duration;

use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;

/// How long an answer says nothing: less than what callers take for an answer that stopped.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Repeats the last message while there is no other.
pub(super) fn repeating<T: Clone>(
    answer: impl Stream<Item = Result<T, Status>>,
) -> impl Stream<Item = Result<T, Status>> {
    let mut last = None;
    answer.timeout_repeating(tokio::time::interval(SILENCE_MAX)).filter_map(move |next| match next {
        Ok(message) => {
            last = message.as_ref().ok().cloned();
            Some(message)
        }
        Err(_silence) => last.clone().map(Ok),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rstuf_runtime::STALL_MAX;
    use tokio::{sync::mpsc, time::Instant};
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;

    /// The clock of this test moves only while everything waits.
    #[tokio::test(start_paused = true)]
    async fn whoever_listens_hears_the_last_word_again() {
        let (sender, receiver) = mpsc::channel(2);
        let mut answer = std::pin::pin!(repeating(ReceiverStream::new(receiver)));
        let begun = Instant::now();
        let first = tokio::time::timeout(STALL_MAX, answer.next());
        assert!(first.await.is_err(), "there is nothing to repeat");
        for word in ["waiting", "running"] {
            sender.send(Ok(word)).await.unwrap();
            let said = Instant::now();
            for repeats in 0..10 {
                assert_eq!(answer.next().await.unwrap().unwrap(), word);
                assert_eq!(said.elapsed().as_secs(), repeats * SILENCE_MAX.as_secs());
            }
        }
        sender.send(Err(Status::unavailable("stopping"))).await.unwrap();
        drop(sender);
        assert!(answer.next().await.unwrap().is_err());
        assert!(answer.next().await.is_none(), "an end is an end, after {:?}", begun.elapsed());
    }
}
