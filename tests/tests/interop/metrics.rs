//! `deploy/METRICS.md` lists what the services export, no more and no less.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use rstuf_tests::processes::{Service, checkout};

use crate::scene::Scene;

/// Longer than any stop takes here, and shorter than the services' own deadline of one.
const STOP_MAX: Duration = Duration::from_secs(10);

/// A metric by its exposed name: its type and labels.
type Metrics = BTreeMap<String, (String, BTreeSet<String>)>;

/// What a service exports: the samples of an OpenMetrics text, besides the label that all have.
fn exported(text: &str) -> Metrics {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types
        .map(|(name, kind)| {
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                "histogram" => "_bucket",
                _ => "",
            };
            let begin = format!("{name}{suffix}{{");
            let samples = text.lines().filter_map(|line| line.strip_prefix(&begin));
            let labels =
                samples.flat_map(|sample| sample.split("=\"")).filter_map(|part| part.rsplit(['{', ',']).next());
            let labels = labels.filter(|label| !label.contains(['"', ' ']) && !["service", "le"].contains(label));
            let exposed = if kind == "histogram" { name.to_owned() } else { format!("{name}{suffix}") };
            (exposed, (kind.to_owned(), labels.map(str::to_owned).collect()))
        })
        .collect()
}

/// A row of the page: whether the metric appears only with its first event, and which services have it.
struct Row {
    with_first_event: bool,
    services: BTreeSet<String>,
    kind: String,
    labels: BTreeSet<String>,
}

fn listed() -> anyhow::Result<BTreeMap<String, Row>> {
    let page = std::fs::read_to_string(checkout().join("deploy/METRICS.md"))?;
    let words = |cell: &str| cell.split(',').map(|it| it.trim().trim_matches('`').to_owned()).collect::<BTreeSet<_>>();
    let rows = page.lines().filter(|line| line.starts_with("| `")).map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, name, kind, labels, services, _, _] = cells[..] else { anyhow::bail!("not five cells: {line}") };
        let services = match services {
            "all" => Service::ALL.map(|it| it.name().to_owned()).into(),
            services => words(services),
        };
        let row = Row {
            with_first_event: name.ends_with('*'),
            services,
            kind: kind.to_owned(),
            labels: words(labels).into_iter().filter(|label| !label.is_empty()).collect(),
        };
        Ok((name.trim_end_matches(['*', ' ']).trim_matches('`').to_owned(), row))
    });
    rows.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_lists_what_is_exported() -> anyhow::Result<()> {
    let mut scene = Scene::start("succinct:2").await?;
    scene.add(&[("a", b"bytes")]).await?;
    for path in ["metadata/timestamp.json", "targets/a"] {
        reqwest::get(format!("{}/{path}", scene.repo.mirror_url())).await?.error_for_status()?.bytes().await?;
    }
    let listed = listed()?;
    for service in Service::ALL.map(Service::name) {
        let text = reqwest::get(format!("{}/metrics", scene.repo.admin_url(service))).await?.text().await?;
        let exported = exported(&text);
        ensure!(exported.len() > 5, "{service} exports too little to be read rightly:\n{text}");
        for (name, (kind, labels)) in &exported {
            let row = listed.get(name).with_context(|| format!("{service} exports {name}, which is not listed"))?;
            ensure!(row.services.contains(service), "{name} is not listed for {service}");
            ensure!(row.kind == *kind, "{name} is a {kind}, not a {}", row.kind);
            ensure!(
                row.labels == *labels,
                "{name} of {service} has the labels {labels:?}, listed are {:?}",
                row.labels
            );
        }
        for (name, _) in listed.iter().filter(|(_, row)| row.services.contains(service) && !row.with_first_event) {
            ensure!(exported.contains_key(name), "{service} does not export {name}, which is listed:\n{text}");
        }
    }
    let names = std::fs::read_to_string(checkout().join("shared/runtime/src/names.rs"))?;
    for name in listed.keys() {
        let base = ["_total", "_info"].iter().find_map(|it| name.strip_suffix(it)).unwrap_or(name);
        ensure!(names.contains(&format!("\"{base}\"")), "{name} is listed, and no metric of ours");
    }
    // Whatever is asked at each scrape must not hold what a stop waits for, which would then take 20 s.
    tokio::time::timeout(STOP_MAX, scene.repo.stop()).await.context("the stop waits for something")?
}
