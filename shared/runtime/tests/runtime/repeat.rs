//! The same thing over and over is one line and a count.

use std::time::Duration;

use rstuf_runtime::repeat::{Line, Repeated};

const PERIOD: Duration = Duration::from_secs(60);

/// The lines of one event.
#[derive(Default)]
struct Log(Vec<(String, u64)>);

impl Log {
    fn say(&mut self) -> impl FnMut(Line<'_>) {
        |line| self.0.push((line.text.to_owned(), line.times))
    }

    fn take(&mut self) -> Vec<(String, u64)> {
        std::mem::take(&mut self.0)
    }
}

fn lines(wanted: &[(&str, u64)]) -> Vec<(String, u64)> {
    wanted.iter().map(|(text, times)| ((*text).to_owned(), *times)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_warning_is_logged_once_and_then_counted() {
    let (repeated, mut log) = (Repeated::new(PERIOD), Log::default());
    for _ in 0..569 {
        repeated.happened("no answer", log.say());
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    assert_eq!(log.take(), lines(&[("no answer", 1)]));
    tokio::time::advance(PERIOD).await;
    repeated.happened("no answer", log.say());
    repeated.happened("no answer", log.say());
    assert_eq!(log.take(), lines(&[("no answer", 569)]));
    repeated.ended(log.say());
    assert_eq!(log.take(), lines(&[("no answer", 1)]), "every occurrence is in some line, once");
    repeated.ended(log.say());
    assert_eq!(log.take(), []);
    repeated.happened("no answer", log.say());
    assert_eq!(log.take(), lines(&[("no answer", 1)]), "after its end it is new");
}

#[tokio::test(start_paused = true)]
async fn another_text_is_said_at_once_and_turns_of_two_are_counted() {
    let (repeated, mut log) = (Repeated::new(PERIOD), Log::default());
    for _ in 0..50 {
        repeated.happened("refused", log.say());
        repeated.clone().happened("no answer", log.say());
    }
    assert_eq!(log.take(), lines(&[("refused", 1), ("no answer", 1)]));
    // What is due is said when anything happens.
    tokio::time::advance(PERIOD).await;
    repeated.happened("disk full", log.say());
    assert_eq!(log.take(), lines(&[("disk full", 1), ("refused", 49), ("no answer", 49)]));
}

#[tokio::test(start_paused = true)]
async fn texts_without_end_are_bounded() {
    let (repeated, mut log) = (Repeated::new(PERIOD), Log::default());
    (0..1_000).for_each(|number| repeated.happened(number, log.say()));
    assert_eq!(log.take().len(), 8);
    tokio::time::advance(PERIOD).await;
    repeated.happened("new", log.say());
    assert_eq!(log.take(), lines(&[("new", 1)]), "the oldest gave way");
    repeated.ended(log.say());
    assert_eq!(log.take(), lines(&[("others", 992)]));
}
