//! What would be logged again and again is logged once, and then counted.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Different texts told apart at a time. More at once are counted together, until one of them has had its period.
const TEXTS_MAX: usize = 8;
/// How those are called.
const OTHERS: &str = "others";

/// Says of an event that comes back when to log it: a text at its first occurrence, then its count, at most one line a
/// period. Cheap to clone; clones count together.
///
/// Whoever logs keeps one for each kind of event, and ends it once all is well again. Texts in it must not differ by
/// accident, as by a duration. Time here is the machine's monotonic clock, never [`crate::Clock`].
///
/// ```
/// # fn call() -> Result<(), std::io::Error> { Ok(()) }
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let unreachable = rstuf_runtime::repeat::Repeated::new(std::time::Duration::from_secs(60));
/// match call() {
///     Ok(()) => unreachable.ended(|it| tracing::info!(error = it.text, times = it.times, "the signer answers again")),
///     Err(error) => unreachable.happened(&error, |it| tracing::warn!(error = it.text, times = it.times, "no answer")),
/// }
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Repeated {
    period: Duration,
    state: Arc<Mutex<State>>,
}

/// A line to be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// What happened.
    pub text: &'a str,
    /// How often, since the line before of this text.
    pub times: u64,
}

#[derive(Debug, Default)]
struct State {
    seen: Vec<Seen>,
    /// Occurrences of texts for which there was no room.
    others: u64,
}

/// A text that was logged.
#[derive(Debug)]
struct Seen {
    text: String,
    logged: Instant,
    /// Occurrences since then.
    unsaid: u64,
}

impl Repeated {
    /// Nothing has happened yet; the count of a text is logged at most once a `period`.
    pub fn new(period: Duration) -> Self {
        Self { period, state: Arc::default() }
    }

    /// `text` happened: `log` is called with every line that is due now.
    pub fn happened(&self, text: impl fmt::Display, mut log: impl FnMut(Line<'_>)) {
        let (text, now) = (text.to_string(), Instant::now());
        let mut state = self.lock();
        match state.seen.iter().position(|it| it.text == text) {
            Some(at) => state.seen[at].unsaid += 1,
            None if state.make_room(now, self.period, &mut log) => {
                log(Line { text: &text, times: 1 });
                state.seen.push(Seen { text, logged: now, unsaid: 0 });
            }
            None => state.others += 1,
        }
        for seen in state.seen.iter_mut().filter(|it| it.is_due(now, self.period)) {
            seen.logged = now;
            seen.say(&mut log);
        }
    }

    /// It is over: `log` is called with every count that was not logged yet; the same text will be new.
    pub fn ended(&self, mut log: impl FnMut(Line<'_>)) {
        let State { mut seen, others } = std::mem::take(&mut *self.lock());
        seen.iter_mut().for_each(|it| it.say(&mut log));
        if others > 0 {
            log(Line { text: OTHERS, times: others });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether there is room for another text; one that has had its period gives way, and its count is said.
    fn make_room(&mut self, now: Instant, period: Duration, log: &mut impl FnMut(Line<'_>)) -> bool {
        if self.seen.len() < TEXTS_MAX {
            return true;
        }
        let Some(oldest) = (0..self.seen.len()).min_by_key(|at| self.seen[*at].logged) else { return true };
        if now.duration_since(self.seen[oldest].logged) < period {
            return false;
        }
        self.seen.swap_remove(oldest).say(log);
        true
    }
}

impl Seen {
    fn is_due(&self, now: Instant, period: Duration) -> bool {
        self.unsaid > 0 && now.duration_since(self.logged) >= period
    }

    fn say(&mut self, log: &mut impl FnMut(Line<'_>)) {
        let times = std::mem::take(&mut self.unsaid);
        if times > 0 {
            log(Line { text: &self.text, times });
        }
    }
}
