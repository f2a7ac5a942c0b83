//! Lists of a large repository.

use std::time::{Duration, Instant};

use anyhow::ensure;
use futures::future::try_join_all;

use crate::{
    client::Client,
    report::{Figure, Report},
    scenarios::{MILLION, Scenario},
};

/// Artifacts in one page, as `rstuf artifact list` asks for them.
const PAGE: u32 = 1_000;
/// Lists at the same time, and how many pages each of them has.
const AT_ONCE: usize = 20;
const PAGES_AT_ONCE: usize = 100;
/// How long one page, and all pages of a million artifacts, may take.
const PAGE_AIM: Duration = Duration::from_millis(50);
const ALL_AIM: Duration = Duration::from_secs(10);

/// Lists everything, page after page; then many list a part of it at once.
pub(crate) async fn run(scenario: &Scenario, client: &Client, report: &mut Report) -> anyhow::Result<()> {
    let begun = Instant::now();
    let (pages, listed) = list(client, usize::MAX).await?;
    ensure!(listed >= scenario.artifacts, "{listed} artifacts are listed");
    let (all, aim) = (begun.elapsed(), (scenario.artifacts == MILLION).then_some(ALL_AIM));
    let mut add = |name: String, time, artifacts, aim| {
        eprintln!("  {name}: {time:.1?}");
        let figure = Figure { name, time, artifacts, aim, floor: None, effects: Default::default() };
        report.figure(&scenario.name(), figure);
    };
    let [median, last] = percentiles(pages);
    add(format!("a page of {PAGE} artifacts, p50"), median, 0, Some(PAGE_AIM));
    add(format!("a page of {PAGE} artifacts, p99"), last, 0, Some(PAGE_AIM));
    add(format!("all artifacts in pages of {PAGE}"), all, listed, aim);

    let begun = Instant::now();
    let lists = try_join_all((0..AT_ONCE).map(|_| list(client, PAGES_AT_ONCE))).await?;
    let (time, artifacts) = (begun.elapsed(), lists.iter().map(|(_, listed)| listed).sum());
    let pages = lists.into_iter().flat_map(|(pages, _)| pages).collect();
    add(format!("{AT_ONCE} lists of {PAGES_AT_ONCE} pages at once"), time, artifacts, None);
    let [median, last] = percentiles(pages);
    add(format!("a page among {AT_ONCE} lists, p50"), median, 0, Some(PAGE_AIM));
    add(format!("a page among {AT_ONCE} lists, p99"), last, 0, None);
    Ok(())
}

/// How long each page takes, of so many at most, and how many artifacts they have.
async fn list(client: &Client, pages_max: usize) -> anyhow::Result<(Vec<Duration>, u64)> {
    let (mut times, mut listed, mut token) = (Vec::new(), 0, String::new());
    while times.len() < pages_max {
        let begun = Instant::now();
        let page = client.page(PAGE, token).await?;
        times.push(begun.elapsed());
        listed += page.artifacts.len() as u64;
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    Ok((times, listed))
}

/// The median, and the 99th in a hundred.
fn percentiles(mut times: Vec<Duration>) -> [Duration; 2] {
    times.sort_unstable();
    [50, 99].map(|percent| times.get(times.len() * percent / 100).copied().unwrap_or_default())
}
