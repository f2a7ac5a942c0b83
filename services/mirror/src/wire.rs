//! A connection that sends files from where the system has them, without a copy of theirs in this process.
//!
//! hyper asks a body for bytes and the connection to write them. A body that sends a file puts the part into a queue
//! that it shares with the connection, and gives hyper a [place](Piece::Place) of the same length for it. When hyper
//! writes that place, the connection sends the part. So heads, order, keep-alive and limits remain hyper's.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    ops::Range,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use rstuf_runtime::connections::Connection;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use crate::{files::OpenFile, metrics::Counted};

/// The longest part that is sent in the place of bytes.
pub(crate) const PART_BYTES_MAX: usize = 1024 * 1024;

/// Stands for bytes of a file. It is known by where it is, and never read, so that it takes no memory.
static PLACE: [u8; PART_BYTES_MAX] = [0; PART_BYTES_MAX];

/// Bytes of a body, or their place.
pub(crate) enum Piece {
    Bytes(Bytes),
    /// For so many bytes of the parts in the queue.
    Place(usize),
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Place(length) => *length,
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Place(length) => &PLACE[..(*length).min(PART_BYTES_MAX)],
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Bytes(bytes) => bytes.advance(count),
            Self::Place(length) => *length -= count,
        }
    }
}

/// What the answers of one connection have handed to it. Cheap to clone; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Answers(Arc<Mutex<Handed>>);

#[derive(Default)]
struct Handed {
    /// The parts of files that have places, in their order.
    parts: VecDeque<Part>,
    /// What ends when all that has been written is sent.
    ended: Vec<Counted>,
}

struct Part {
    file: OpenFile,
    range: Range<u64>,
}

impl Answers {
    /// A place for a part of the file, of at most [`PART_BYTES_MAX`].
    pub(crate) fn place(&self, file: OpenFile, range: Range<u64>) -> Piece {
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        self.lock().parts.push_back(Part { file, range });
        Piece::Place(length)
    }

    /// A body has given everything: the answer ends when that has been sent.
    pub(crate) fn ended(&self, counted: Counted) {
        self.lock().ended.push(counted);
    }

    fn lock(&self) -> MutexGuard<'_, Handed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection, and what its answers have handed to it.
pub(crate) struct Wire {
    connection: Connection,
    answers: Answers,
}

impl Wire {
    pub(crate) fn new(connection: Connection, answers: Answers) -> Self {
        Self { connection, answers }
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.connection.poll_write_ready(context))?;
            let mut handed = self.answers.lock();
            let Some(part) = handed.parts.front_mut() else {
                return Poll::Ready(Err(io::Error::other("there is no part of a file for a place")));
            };
            let stream = self.connection.stream();
            let sent = stream.try_io(Interest::WRITABLE, || part.file.send(stream, &part.range));
            match sent {
                Ok(sent) => {
                    part.range.start += sent as u64;
                    if part.range.is_empty() {
                        handed.parts.pop_front();
                    }
                    return Poll::Ready(Ok(sent));
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

fn is_place(slice: &IoSlice<'_>) -> bool {
    PLACE.as_ptr_range().contains(&slice.as_ptr())
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.as_mut().poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match slices.iter().position(is_place) {
            Some(0) => self.poll_send(context),
            Some(place) => Pin::new(&mut self.connection).poll_write_vectored(context, &slices[..place]),
            None => Pin::new(&mut self.connection).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes what it has written, and that is everything.
        self.answers.lock().ended.clear();
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_read(context, buffer)
    }
}
