//! The mirror's settings.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use rstuf_runtime::config::{Mistakes, Process, ProcessRaw, Raw, Setting, parse, peer_percent_max};

const LISTEN: &str = "127.0.0.1:8080";
const ADMIN_LISTEN: &str = "127.0.0.1:9105";
/// Short enough that a publication is seen at once by people, long enough that a cache in front takes the load of a
/// crowd.
const SHORT_MAX_AGE_SECONDS: &str = "5";
/// Each costs some 20 kB when idle, and two file descriptors when busy.
const CONNECTIONS_MAX: &str = "4096";
const HEADER_TIMEOUT_SECONDS: &str = "10";
/// A client that reads slowly, but all the time, shows it only when a sixteenth of its receive buffer is free again:
/// with 32 MiB and 20 kB/s after 100 s.
const STALL_TIMEOUT_SECONDS: &str = "120";

/// Serves published metadata, and artifacts, over plain HTTP
#[derive(Debug, Clone, Default, clap::Args, serde::Serialize, serde::Deserialize)]
pub struct ConfigRaw {
    /// Where metadata and artifacts are served, plain HTTP for anybody; default 127.0.0.1:8080, port 0 picks a free one
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<Setting>,
    /// The directory that the coordinator publishes to; metadata/ in it is served
    #[arg(long, value_name = "DIR")]
    pub published_dir: Option<Setting>,
    /// The directory of artifacts, each in a file named by its SHA-256 in hexadecimal; without it no artifacts are
    /// served
    #[arg(long, value_name = "DIR")]
    pub artifacts_dir: Option<Setting>,
    /// How long caches may keep timestamp.json, and artifacts asked for without a hash, 0 to 3600 seconds, default 5
    #[arg(long, value_name = "SECONDS")]
    pub short_max_age_seconds: Option<Setting>,
    /// Connections open at the same time, 1 to 1000000, default 4096; then idle ones give way, or new ones are closed.
    /// A fourth of them is kept for timestamp.json
    #[arg(long, value_name = "COUNT")]
    pub connections_max: Option<Setting>,
    /// How much of them one client may hold: 1 to 100 percent, default 50
    #[arg(long, value_name = "PERCENT")]
    pub peer_percent_max: Option<Setting>,
    /// How long a connection may take to send a request, 1 to 600 seconds, default 10
    #[arg(long, value_name = "SECONDS")]
    pub header_timeout_seconds: Option<Setting>,
    /// How long a client may take nothing of an answer, 1 to 3600 seconds, default 30
    #[arg(long, value_name = "SECONDS")]
    pub stall_timeout_seconds: Option<Setting>,
    /// What every process has.
    #[command(flatten)]
    #[serde(flatten)]
    pub process: ProcessRaw,
}

/// The checked settings of the mirror.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where metadata and artifacts are served.
    pub listen: SocketAddr,
    /// The directory that the coordinator publishes to.
    pub published_dir: PathBuf,
    /// The directory of artifacts, by SHA-256.
    pub artifacts_dir: Option<PathBuf>,
    /// How long caches may keep what is replaced under its name.
    pub short_max_age_seconds: u32,
    /// Connections open at the same time.
    pub connections_max: usize,
    /// How much of them one client may hold, in percent.
    pub peer_percent_max: usize,
    /// How long a connection may take to send a request.
    pub header_timeout: Duration,
    /// How long a client may take nothing of an answer.
    pub stall_timeout: Duration,
    /// What every process has.
    pub process: Process,
}

impl Raw for ConfigRaw {
    const SERVICE: &'static str = "mirror";
    type Config = Config;

    fn check(&self, mistakes: &mut Mistakes) -> Option<Config> {
        let listen = mistakes.or("listen", &self.listen, LISTEN, parse::socket_addr);
        let published_dir = mistakes.required("published_dir", &self.published_dir, parse::path);
        let artifacts_dir = mistakes.optional("artifacts_dir", &self.artifacts_dir, parse::path);
        let short = parse::integer(0..=3_600);
        let short = mistakes.or("short_max_age_seconds", &self.short_max_age_seconds, SHORT_MAX_AGE_SECONDS, short);
        let connections = parse::integer(1..=1_000_000);
        let connections = mistakes.or("connections_max", &self.connections_max, CONNECTIONS_MAX, connections);
        let percent = peer_percent_max(mistakes, &self.peer_percent_max);
        let header = parse::seconds(1..=600);
        let header =
            mistakes.or("header_timeout_seconds", &self.header_timeout_seconds, HEADER_TIMEOUT_SECONDS, header);
        let stall = parse::seconds(1..=3_600);
        let stall = mistakes.or("stall_timeout_seconds", &self.stall_timeout_seconds, STALL_TIMEOUT_SECONDS, stall);
        let process = self.process.check(mistakes, ADMIN_LISTEN);
        Some(Config {
            listen: listen?,
            published_dir: published_dir?,
            artifacts_dir: artifacts_dir?,
            short_max_age_seconds: short?,
            connections_max: connections?,
            peer_percent_max: percent?,
            header_timeout: header?,
            stall_timeout: stall?,
            process: process?,
        })
    }

    fn process(config: &Config) -> &Process {
        &config.process
    }
}

#[cfg(test)]
mod tests {
    use rstuf_runtime::config::{Invocation, invocation};

    use super::*;

    #[test]
    fn the_sample_is_valid_and_states_every_default() {
        let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/config/mirror.toml");
        let dumped = invocation::<ConfigRaw>(["rstuf-mirror", "--config", sample, "--dump-config"], [], drop);
        let Ok(Invocation::Dump(dump)) = dumped else { panic!("{dumped:?}") };
        let text = std::fs::read_to_string(sample).unwrap();
        for line in dump.lines() {
            let written = match line.strip_suffix(" # default") {
                Some(default) => text.lines().any(|found| found == format!("# {default}")),
                None => {
                    let key = line.trim_start_matches("# ").split(' ').next().unwrap();
                    text.lines().any(|found| found.trim_start_matches("# ").starts_with(&format!("{key} = ")))
                }
            };
            assert!(written, "the sample lacks {line}");
        }
    }

    #[test]
    fn every_mistake_is_reported() {
        let flags = ["rstuf-mirror", "--listen", "mirror", "--connections-max", "0", "--stall-timeout-seconds", "soon"];
        let error = invocation::<ConfigRaw>(flags, [], drop).unwrap_err().to_string();
        for key in ["listen", "connections_max", "stall_timeout_seconds", "published_dir"] {
            assert!(error.contains(key), "{key} is not in: {error}");
        }
    }
}
