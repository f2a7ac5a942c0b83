//! Bodies of answers: bytes in memory, files, documents that are compressed as they are read.

use std::{
    io,
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::{
    files::OpenFile,
    gzip::Packing,
    metrics::Counted,
    wire::{Answers, PART_BYTES_MAX, Piece},
};

/// The end of a file is read, and sent when the file is known not to have been written to meanwhile: otherwise the
/// connection is cut, so that the client sees an incomplete answer rather than a mixed one.
const LAST_BYTES: u64 = 64 * 1024;

/// What is given at a time of bytes in memory: the larger, the fewer calls; the smaller, the less waits here for a slow
/// reader.
const WHOLE_BYTES_MAX: usize = 64 * 1024;

/// The body of an answer.
pub(crate) struct AnswerBody {
    source: Source,
    counted: Option<Counted>,
    answers: Answers,
}

impl AnswerBody {
    /// Counted until what it gives has been sent over the connection of these answers.
    pub(crate) fn new(source: Source, counted: Counted, answers: Answers) -> Self {
        Self { source, counted: Some(counted), answers }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        if let Some(counted) = self.counted.take() {
            self.answers.ended(counted);
        }
    }
}

/// Where the bytes of a body come from.
pub(crate) enum Source {
    Whole(Bytes),
    Range(FileRange),
    Gzip(Compressed),
}

impl Source {
    pub(crate) const EMPTY: Self = Self::Whole(Bytes::new());
}

impl Body for AnswerBody {
    type Data = Piece;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, io::Error>>> {
        let piece = match &mut self.source {
            Source::Whole(bytes) => Piece::Bytes(bytes.split_to(bytes.len().min(WHOLE_BYTES_MAX))),
            Source::Range(range) => ready!(range.poll_next(context))?,
            Source::Gzip(compressed) => Piece::Bytes(ready!(compressed.poll_next(context))?),
        };
        if !piece.has_remaining() {
            return Poll::Ready(None);
        }
        if let Some(counted) = &self.counted {
            counted.sent(piece.remaining());
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.source, Source::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Range(range) => SizeHint::with_exact(range.left.end - range.left.start),
            Source::Gzip(_) => SizeHint::default(),
        }
    }
}

/// A range of a file. All but its end is sent by the connection itself.
pub(crate) struct FileRange {
    file: OpenFile,
    left: Range<u64>,
    answers: Answers,
    next: Option<JoinHandle<io::Result<Bytes>>>,
}

impl FileRange {
    /// Sent over the connection of these answers.
    pub(crate) fn new(file: OpenFile, range: Range<u64>, answers: Answers) -> Self {
        Self { file, left: range, answers, next: None }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Piece>> {
        if self.left.is_empty() {
            return Poll::Ready(Ok(Piece::Bytes(Bytes::new())));
        }
        let part = part(&self.left);
        let next = self.next.get_or_insert_with(|| fetch(&self.file, &self.left));
        let bytes = ready!(Pin::new(next).poll(context)).map_err(io::Error::other)??;
        self.next = None;
        self.left.start = part.end;
        if self.left.is_empty() {
            return Poll::Ready(Ok(Piece::Bytes(bytes)));
        }
        // The next part comes from the disk while this one is sent; the end must not be read before it is its turn.
        self.next = (!is_last(&self.left)).then(|| fetch(&self.file, &self.left));
        Poll::Ready(Ok(self.answers.place(self.file.clone(), part)))
    }
}

fn is_last(left: &Range<u64>) -> bool {
    left.end - left.start <= LAST_BYTES
}

/// What is sent next of what is left.
fn part(left: &Range<u64>) -> Range<u64> {
    if is_last(left) {
        return left.clone();
    }
    left.start..(left.end - LAST_BYTES).min(left.start + PART_BYTES_MAX as u64)
}

/// Reads the next part if it is the last one, or else has the system read it, so that sending it waits for no disk.
fn fetch(file: &OpenFile, left: &Range<u64>) -> JoinHandle<io::Result<Bytes>> {
    let (file, part, is_last) = (file.clone(), part(left), is_last(left));
    let length = usize::try_from(part.end - part.start).unwrap_or(usize::MAX);
    spawn_blocking(move || {
        if !is_last {
            return file.load(&part).map(|()| Bytes::new());
        }
        let bytes = file.read_at(part.start, length)?;
        file.check_unchanged()?;
        Ok(bytes.into())
    })
}

/// A document that is compressed as it is read.
pub(crate) enum Compressed {
    Reading(JoinHandle<(Packing, io::Result<Bytes>)>),
    Ended,
}

impl Compressed {
    pub(crate) fn new(file: OpenFile) -> Self {
        Self::read(Packing::new(file))
    }

    fn read(mut packing: Packing) -> Self {
        Self::Reading(spawn_blocking(move || {
            let bytes = packing.next();
            (packing, bytes)
        }))
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let Self::Reading(reading) = self else { return Poll::Ready(Ok(Bytes::new())) };
        let (packing, bytes) = ready!(Pin::new(reading).poll(context)).map_err(io::Error::other)?;
        *self = Self::Ended;
        let bytes = bytes?;
        if !bytes.is_empty() {
            *self = Self::read(packing);
        }
        Poll::Ready(Ok(bytes))
    }
}
