//! A connection that sends files from where the system has them, without a copy of theirs in this process.
//!
//! hyper asks a body for bytes and the connection to write them. A body that sends a file puts the part into a queue
//! that it shares with the connection, and gives hyper a [place](Piece::Place) of the same length for it. When hyper
//! writes that place, the connection sends the part. So heads, order, keep-alive and limits remain hyper's.
//!
//! The end of an answer is read when all before it has been handed to the system, and sent if the file was not written
//! to meanwhile: otherwise the connection is cut, so that the client sees an incomplete answer rather than a mixed one.
//! Only what the system still holds of the file on its way to the client is beyond that: like all that is sent without
//! copies, it changes with the file.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    ops::Range,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use rstuf_runtime::connections::Connection;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    task::{JoinHandle, spawn_blocking},
    time::Instant,
};

use crate::{files::OpenFile, metrics::Counted};

/// The longest part that is sent in the place of bytes.
const PART_BYTES_MAX: usize = 1024 * 1024;

/// What the system has read it is taken to have for so long: it gives up first what nobody has asked for.
const LOADED_MAX: Duration = Duration::from_secs(1);

/// The end of an answer, which is read: the larger, the more waits here for a slow reader.
const END_BYTES_MAX: u64 = 64 * 1024;

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

/// A part of a file that is sent in the place of bytes.
pub(crate) struct Part {
    file: OpenFile,
    range: Range<u64>,
    is_end: bool,
    stage: Stage,
}

/// How far a part is.
enum Stage {
    Waiting,
    Reading(JoinHandle<io::Result<Self>>),
    /// The system had all of it in memory at that time.
    Loaded(Instant),
    /// What is left to be sent of the end.
    Read(Bytes),
}

impl Part {
    /// The one that an answer of this range, which is not empty, begins with.
    pub(crate) fn first_of(file: &OpenFile, range: &Range<u64>) -> Self {
        let is_end = range.end - range.start <= END_BYTES_MAX;
        let end = if is_end { range.end } else { (range.end - END_BYTES_MAX).min(range.start + PART_BYTES_MAX as u64) };
        Self { file: file.clone(), range: range.start..end, is_end, stage: Stage::Waiting }
    }

    /// Where the next one begins.
    pub(crate) fn end(&self) -> u64 {
        self.range.end
    }

    fn length(&self) -> usize {
        usize::try_from(self.range.end - self.range.start).unwrap_or(usize::MAX)
    }

    /// Sends as much of it as the connection takes, without waiting for a disk.
    fn poll_send(&mut self, connection: &mut Connection, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let sent = loop {
            match &mut self.stage {
                Stage::Waiting => self.stage = self.begin(),
                Stage::Reading(reading) => {
                    self.stage = ready!(Pin::new(reading).poll(context)).map_err(io::Error::other)??;
                }
                // Who reads slowly may come back when the system has it no more.
                Stage::Loaded(at) if at.elapsed() > LOADED_MAX => self.stage = Stage::Waiting,
                Stage::Loaded(_) => break ready!(poll_send_file(connection, context, &self.file, &self.range))?,
                Stage::Read(bytes) => {
                    let sent = ready!(Pin::new(connection).poll_write(context, bytes))?;
                    bytes.advance(sent);
                    break sent;
                }
            }
        };
        self.range.start += sent as u64;
        Poll::Ready(Ok(sent))
    }

    fn begin(&self) -> Stage {
        if !self.is_end && self.file.is_loaded(&self.range) {
            return Stage::Loaded(Instant::now());
        }
        let (file, range, length, is_end) = (self.file.clone(), self.range.clone(), self.length(), self.is_end);
        Stage::Reading(spawn_blocking(move || {
            if !is_end {
                return file.load(&range).map(|()| Stage::Loaded(Instant::now()));
            }
            let bytes = file.read_at(range.start, length)?;
            file.check_unchanged()?;
            Ok(Stage::Read(bytes.into()))
        }))
    }
}

fn poll_send_file(
    connection: &mut Connection,
    context: &mut Context<'_>,
    file: &OpenFile,
    range: &Range<u64>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(connection.poll_write_ready(context))?;
        let stream = connection.stream();
        match stream.try_io(Interest::WRITABLE, || file.send(stream, range)) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            sent => return Poll::Ready(sent),
        }
    }
}

impl Answers {
    /// A place for a part.
    pub(crate) fn place(&self, part: Part) -> Piece {
        let length = part.length();
        self.lock().parts.push_back(part);
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
        let mut handed = self.answers.lock();
        let Some(part) = handed.parts.front_mut() else {
            return Poll::Ready(Err(io::Error::other("there is no part of a file for a place")));
        };
        let sent = ready!(part.poll_send(&mut self.connection, context))?;
        if part.length() == 0 {
            handed.parts.pop_front();
        }
        Poll::Ready(Ok(sent))
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
