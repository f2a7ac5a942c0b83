//! The messages of a stream, as many at a time as have come: work on each alone would begin by waking a thread.

use std::{future::poll_fn, pin::Pin, task::Poll};

use prost::Message;
use tokio_stream::Stream;
use tonic::{Status, Streaming};

/// Messages taken at a time.
const MESSAGES_MAX: usize = 256;
/// No more are taken at a time once they have so many bytes.
const BYTES_MAX: usize = 256 * 1024;

/// Reads a stream.
pub(crate) struct Arrivals<T> {
    stream: Streaming<T>,
    has_ended: bool,
}

impl<T: Message> Arrivals<T> {
    /// What has not been read of a stream.
    pub(crate) fn new(stream: Streaming<T>) -> Self {
        Self { stream, has_ended: false }
    }

    /// Waits for the next message, and takes those along that are there too; none at the end.
    ///
    /// # Errors
    /// That of the stream, also in place of messages before it.
    pub(crate) async fn next(&mut self) -> Result<Vec<T>, Status> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        poll_fn(|context| {
            while !self.has_ended && taken.len() < MESSAGES_MAX && bytes < BYTES_MAX {
                match Pin::new(&mut self.stream).poll_next(context) {
                    Poll::Ready(Some(message)) => {
                        let message = message?;
                        bytes += message.encoded_len();
                        taken.push(message);
                    }
                    Poll::Ready(None) => self.has_ended = true,
                    Poll::Pending if taken.is_empty() => return Poll::Pending,
                    Poll::Pending => break,
                }
            }
            Poll::Ready(Ok(std::mem::take(&mut taken)))
        })
        .await
    }
}
