//! How large keys, values and batches may be.

/// Longest key in bytes: sled keeps some hundreds of keys in one page, which must stay far below the size that it
/// would write to a file without fsync.
pub const KEY_BYTES_MAX: usize = 256;
/// Largest value in bytes that stands in a row; a larger one becomes a content-addressed file.
pub const INLINE_BYTES_MAX: usize = 4096;
/// Largest number of rows that one batch changes.
pub const BATCH_ROWS_MAX: usize = 131_072;
/// Largest batch in bytes of keys and values.
pub const BATCH_BYTES_MAX: usize = 1 << 30;
