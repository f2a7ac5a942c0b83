/* A power cut, simulated: an LD_PRELOAD library that keeps, beside a directory tree, only what its processes made durable.
 *
 * Watched is the tree under RSTUF_POWERCUT_ROOT; RSTUF_POWERCUT_SHADOW is a directory with one file, `log`, to which all processes append:
 *
 *   fsync, fdatasync of a file        its content and mode, by identity (inode and birth time)
 *   fsync, fdatasync of a directory   its entries: name -> identity
 *   syncfs, sync                      everything under the root
 *
 * So a created, renamed or deleted name counts only once its directory was synced, and sync_file_range counts for
 * nothing. The first process records the whole tree as it finds it. powercut.rs replays the log into a new directory.
 *
 * Records become valid together, when the length at the head of the log is raised; a process killed in between leaves no
 * trace. A mutex and flock keep order between threads and processes. Of a large file only the ranges written by pwrite since
 * the last record are appended; a file must therefore not be changed by two processes at once, or by mmap, or (once synced) by
 * copy_file_range.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define HEADER_BYTES 16
#define MAGIC "PWRCUT01"
#define TRACKED_MAX 64
#define RANGES_MAX 4096
/* Smaller files are recorded whole each time. */
#define TRACKED_BYTES_MIN (64 * 1024)

struct id { uint64_t inode, seconds, nanoseconds; } __attribute__((packed));
struct range { uint64_t offset, length; };
struct tracked { struct id id; int whole; size_t count; struct range *ranges; };
struct known { struct id id; uint64_t size, seconds, nanoseconds; int used; };
struct buffer { uint8_t *bytes; size_t length, capacity; };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char root[4096];
static size_t root_length;
static int log_fd = -1;
static struct tracked tracked[TRACKED_MAX];
static volatile int tracked_count;
static struct known *known;
static size_t known_count, known_capacity;

static void die(const char *what) {
    dprintf(2, "powercut: %s: %s\n", what, strerror(errno));
    abort();
}

/* ---- buffer ---- */

static void reserve(struct buffer *b, size_t more) {
    if (b->length + more <= b->capacity) return;
    size_t capacity = (b->length + more) * 2;
    b->bytes = realloc(b->bytes, capacity);
    if (!b->bytes) die("realloc");
    b->capacity = capacity;
}
static void put(struct buffer *b, const void *bytes, size_t length) {
    reserve(b, length);
    memcpy(b->bytes + b->length, bytes, length);
    b->length += length;
}
static void put8(struct buffer *b, uint8_t v) { put(b, &v, 1); }
static void put16(struct buffer *b, uint16_t v) { put(b, &v, 2); }
static void put32(struct buffer *b, uint32_t v) { put(b, &v, 4); }
static void put64(struct buffer *b, uint64_t v) { put(b, &v, 8); }

/* Bytes of a file; what it does not have (any more) is zero. */
static void put_content(struct buffer *b, int fd, uint64_t offset, uint64_t length) {
    reserve(b, length);
    uint8_t *to = b->bytes + b->length;
    uint64_t done = 0;
    while (done < length) {
        ssize_t n = pread(fd, to + done, length - done, offset + done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        done += n;
    }
    memset(to + done, 0, length - done);
    b->length += length;
}

/* ---- identities ---- */

static int look(int fd, const char *name, struct statx *st) {
    int flags = AT_SYMLINK_NOFOLLOW | (*name ? 0 : AT_EMPTY_PATH);
    return statx(fd, name, flags, STATX_BASIC_STATS | STATX_BTIME, st);
}
static struct id id_of(const struct statx *st) {
    struct id id = { st->stx_ino, st->stx_btime.tv_sec, st->stx_btime.tv_nsec };
    return id;
}
static int same(struct id a, struct id b) { return memcmp(&a, &b, sizeof a) == 0; }

static int watched(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < (ssize_t)root_length) return 0;
    path[n] = 0;
    return memcmp(path, root, root_length) == 0 && (path[root_length] == '/' || path[root_length] == 0);
}

/* ---- what this process has recorded already, so that syncfs can pass over it ---- */

static struct known *slot_of(struct id id) {
    size_t i = (id.inode * 0x9E3779B97F4A7C15ull ^ id.nanoseconds) & (known_capacity - 1);
    while (known[i].used && !same(known[i].id, id)) i = (i + 1) & (known_capacity - 1);
    return &known[i];
}
static void grow_known(void) {
    struct known *old = known;
    size_t capacity = known_capacity;
    known_capacity = capacity ? capacity * 2 : 1024;
    known = calloc(known_capacity, sizeof *known);
    if (!known) die("calloc");
    for (size_t i = 0; i < capacity; i++)
        if (old[i].used) *slot_of(old[i].id) = old[i];
    free(old);
}
static void remember(const struct statx *st) {
    /* A time stamp this young may stay the same when the file changes again. */
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t age = (now.tv_sec - st->stx_ctime.tv_sec) * 1000000000ll + now.tv_nsec - (int64_t)st->stx_ctime.tv_nsec;
    if (age < 50000000) return;
    if (known_count * 2 >= known_capacity) grow_known();
    struct known *k = slot_of(id_of(st));
    if (!k->used) known_count++;
    struct known fresh = { id_of(st), st->stx_size, st->stx_ctime.tv_sec, st->stx_ctime.tv_nsec, 1 };
    *k = fresh;
}
static int unchanged(const struct statx *st) {
    if (!known_capacity) return 0;
    struct known *k = slot_of(id_of(st));
    return k->used && k->size == st->stx_size && k->seconds == (uint64_t)st->stx_ctime.tv_sec &&
           k->nanoseconds == st->stx_ctime.tv_nsec;
}

/* ---- records ---- */

static size_t begin(struct buffer *b, char type) {
    put8(b, type);
    put64(b, 0);
    return b->length;
}
static void end(struct buffer *b, size_t start) {
    uint64_t length = b->length - start;
    memcpy(b->bytes + start - 8, &length, 8);
}

static struct tracked *find_tracked(struct id id) {
    for (int i = 0; i < tracked_count; i++)
        if (same(tracked[i].id, id)) return &tracked[i];
    return NULL;
}
static struct tracked *track(struct id id) {
    /* When the table is full, files are recorded whole. */
    if (tracked_count == TRACKED_MAX) return NULL;
    struct tracked *t = &tracked[tracked_count];
    t->ranges = malloc(RANGES_MAX * sizeof *t->ranges);
    if (!t->ranges) die("malloc");
    t->id = id;
    t->whole = 1;
    t->count = 0;
    tracked_count++;
    return t;
}

static void record_patch(struct buffer *b, int fd, const struct statx *st, struct tracked *t) {
    size_t start = begin(b, 'P');
    struct id id = id_of(st);
    put(b, &id, sizeof id);
    put32(b, st->stx_mode & 07777);
    put64(b, st->stx_size);
    put32(b, t->count);
    for (size_t i = 0; i < t->count; i++) {
        put64(b, t->ranges[i].offset);
        put64(b, t->ranges[i].length);
        put_content(b, fd, t->ranges[i].offset, t->ranges[i].length);
    }
    t->count = 0;
    end(b, start);
}

/* `own`: this process syncs the file itself, so it is the one that writes it. */
static void record_file(struct buffer *b, int fd, const struct statx *st, int own) {
    struct id id = id_of(st);
    struct tracked *t = find_tracked(id);
    if (t && !t->whole) {
        record_patch(b, fd, st, t);
        return;
    }
    if (!t && own && st->stx_size >= TRACKED_BYTES_MIN) t = track(id);
    if (t) t->whole = 0, t->count = 0;
    size_t start = begin(b, 'F');
    put(b, &id, sizeof id);
    put32(b, st->stx_mode & 07777);
    put64(b, st->stx_size);
    put_content(b, fd, 0, st->stx_size);
    end(b, start);
    remember(st);
}

static void record_entry(struct buffer *b, int dir, const char *name, const struct statx *st) {
    struct id id = id_of(st);
    put(b, &id, sizeof id);
    put8(b, S_ISDIR(st->stx_mode) ? 'd' : S_ISLNK(st->stx_mode) ? 'l' : 'f');
    put32(b, st->stx_mode & 07777);
    put16(b, strlen(name));
    put(b, name, strlen(name));
    if (!S_ISLNK(st->stx_mode)) return;
    char target[4096];
    ssize_t n = readlinkat(dir, name, target, sizeof target);
    if (n < 0) n = 0;
    put16(b, n);
    put(b, target, n);
}

/* The entries of a directory; with `deep`, everything below as well. `fd` stays open. */
static void record_dir(struct buffer *b, int fd, const struct statx *st, int deep) {
    struct buffer below = { 0 };
    int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = own < 0 ? NULL : fdopendir(own);
    if (!dir) die("open directory");
    size_t start = begin(b, 'D');
    struct id id = id_of(st);
    put(b, &id, sizeof id);
    put32(b, st->stx_mode & 07777);
    size_t count_at = b->length;
    uint32_t count = 0;
    put32(b, 0);
    struct dirent *entry;
    while ((entry = readdir(dir))) {
        struct statx child;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        if (look(own, entry->d_name, &child)) continue;
        if (!S_ISDIR(child.stx_mode) && !S_ISREG(child.stx_mode) && !S_ISLNK(child.stx_mode)) continue;
        record_entry(b, own, entry->d_name, &child);
        count++;
        if (!deep || S_ISLNK(child.stx_mode) || (S_ISREG(child.stx_mode) && unchanged(&child))) continue;
        int child_fd = openat(own, entry->d_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (child_fd < 0) continue;
        if (!look(child_fd, "", &child)) {
            if (S_ISDIR(child.stx_mode)) record_dir(&below, child_fd, &child, 1);
            else record_file(&below, child_fd, &child, 0);
        }
        close(child_fd);
    }
    closedir(dir);
    memcpy(b->bytes + count_at, &count, 4);
    end(b, start);
    put(b, below.bytes, below.length);
    free(below.bytes);
}

static void record_tree(struct buffer *b) {
    struct statx st;
    int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || look(fd, "", &st)) die("open root");
    record_dir(b, fd, &st, 1);
    close(fd);
}

/* ---- the log ---- */

static void write_all(const void *bytes, size_t length, uint64_t offset) {
    for (size_t done = 0; done < length;) {
        ssize_t n = syscall(SYS_pwrite64, log_fd, (const char *)bytes + done, length - done, offset + done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) die("write log");
        done += n;
    }
}
static uint64_t log_length(void) {
    uint64_t length = 0;
    return pread(log_fd, &length, 8, 0) == 8 ? length : 0;
}
static void lock_log(void) {
    pthread_mutex_lock(&mutex);
    while (flock(log_fd, LOCK_EX))
        if (errno != EINTR) die("lock log");
}
static void unlock_log(struct buffer *b) {
    uint64_t length = log_length();
    write_all(b->bytes, b->length, length);
    length += b->length;
    write_all(&length, 8, 0);
    free(b->bytes);
    flock(log_fd, LOCK_UN);
    pthread_mutex_unlock(&mutex);
}

__attribute__((constructor)) static void start(void) {
    const char *root_given = getenv("RSTUF_POWERCUT_ROOT"), *shadow = getenv("RSTUF_POWERCUT_SHADOW");
    if (!root_given || !shadow) return;
    char path[4200];
    if (!realpath(root_given, root)) die("RSTUF_POWERCUT_ROOT");
    root_length = strlen(root);
    snprintf(path, sizeof path, "%s/log", shadow);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) die("RSTUF_POWERCUT_SHADOW");
    log_fd = fcntl(fd, F_DUPFD_CLOEXEC, 900);
    if (log_fd < 0) log_fd = fd;
    else close(fd);
    lock_log();
    struct buffer b = { 0 };
    if (!log_length()) {
        uint64_t length = HEADER_BYTES;
        struct statx st;
        if (look(AT_FDCWD, root, &st)) die("root");
        write_all(MAGIC, 8, 8);
        write_all(&length, 8, 0);
        size_t at = begin(&b, 'R');
        struct id id = id_of(&st);
        put(&b, &id, sizeof id);
        end(&b, at);
        record_tree(&b);
    }
    unlock_log(&b);
}

/* ---- calls that make durable ---- */

static void synced(int fd) {
    struct statx st;
    int error = errno;
    if (log_fd < 0 || !watched(fd)) return;
    lock_log();
    struct buffer b = { 0 };
    if (look(fd, "", &st)) die("statx");
    if (S_ISDIR(st.stx_mode)) record_dir(&b, fd, &st, 0);
    else if (S_ISREG(st.stx_mode)) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        int readable = open(path, O_RDONLY | O_CLOEXEC);
        if (readable < 0) die("reopen");
        record_file(&b, readable, &st, 1);
        close(readable);
    }
    unlock_log(&b);
    errno = error;
}
static void synced_all(void) {
    int error = errno;
    if (log_fd < 0) return;
    lock_log();
    struct buffer b = { 0 };
    record_tree(&b);
    unlock_log(&b);
    errno = error;
}

int fsync(int fd) {
    int result = syscall(SYS_fsync, fd);
    if (!result) synced(fd);
    return result;
}
int fdatasync(int fd) {
    int result = syscall(SYS_fdatasync, fd);
    if (!result) synced(fd);
    return result;
}
int syncfs(int fd) {
    int result = syscall(SYS_syncfs, fd);
    if (!result) synced_all();
    return result;
}
void sync(void) {
    syscall(SYS_sync);
    synced_all();
}

/* ---- calls that change a tracked file: noted once they are done, so that no fsync in between forgets them ---- */

static void changed(int fd, int whole, uint64_t offset, ssize_t length) {
    struct statx st;
    if (!tracked_count || length < 0) return;
    int error = errno;
    if (!look(fd, "", &st) && S_ISREG(st.stx_mode)) {
        pthread_mutex_lock(&mutex);
        struct tracked *t = find_tracked(id_of(&st));
        if (t && (whole || t->count == RANGES_MAX)) t->whole = 1;
        else if (t) {
            struct range range = { offset, length };
            t->ranges[t->count++] = range;
        }
        pthread_mutex_unlock(&mutex);
    }
    errno = error;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    ssize_t n = syscall(SYS_write, fd, bytes, length);
    changed(fd, 1, 0, n);
    return n;
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    ssize_t n = syscall(SYS_writev, fd, parts, count);
    changed(fd, 1, 0, n);
    return n;
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    ssize_t n = syscall(SYS_pwrite64, fd, bytes, length, offset);
    changed(fd, 0, offset, n);
    return n;
}
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    ssize_t n = syscall(SYS_pwrite64, fd, bytes, length, offset);
    changed(fd, 0, offset, n);
    return n;
}
int ftruncate(int fd, off_t length) {
    int result = syscall(SYS_ftruncate, fd, length);
    changed(fd, 1, 0, result);
    return result;
}
int ftruncate64(int fd, off64_t length) {
    int result = syscall(SYS_ftruncate, fd, length);
    changed(fd, 1, 0, result);
    return result;
}
