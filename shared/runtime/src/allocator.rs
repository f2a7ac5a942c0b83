//! The allocator of every process.

/// glibc keeps what was freed for each of its arenas: after an import, or with snapshots of thousands of bins, a
/// service then holds several times the memory that it uses. jemalloc gives it back, as soon as `.cargo/config.toml`
/// says.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
