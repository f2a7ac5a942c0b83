//! The coordinator's settings.

use std::{path::PathBuf, time::Duration};

use rstuf_runtime::config::{Common, CommonRaw, Defaults, Mistakes, Process, Raw, Setting, parse};

const DEFAULTS: Defaults = Defaults { listen: "127.0.0.1:50051", admin_listen: "127.0.0.1:9101", requests_max: "128" };
const TARGETS_SIGNER: &str = "http://127.0.0.1:50052";
const SNAPSHOT_SIGNER: &str = "http://127.0.0.1:50053";
const TIMESTAMP_SIGNER: &str = "http://127.0.0.1:50054";
/// Longer than any client takes from its timestamp to its last download.
const SUPERSEDED_GRACE_SECONDS: &str = "3600";

/// Takes submissions in and publishes them; holds no key
#[derive(Debug, Clone, Default, clap::Args, serde::Serialize, serde::Deserialize)]
pub struct ConfigRaw {
    /// What every service has.
    #[command(flatten)]
    #[serde(flatten)]
    pub common: CommonRaw,
    /// The directory to publish to; metadata/ in it is what a mirror serves
    #[arg(long, value_name = "DIR")]
    pub published_dir: Option<Setting>,
    /// Where the targets signer answers
    #[arg(long, value_name = "http://HOST:PORT")]
    pub targets_signer: Option<Setting>,
    /// Where the snapshot signer answers
    #[arg(long, value_name = "http://HOST:PORT")]
    pub snapshot_signer: Option<Setting>,
    /// Where the timestamp signer answers
    #[arg(long, value_name = "http://HOST:PORT")]
    pub timestamp_signer: Option<Setting>,
    /// How long superseded metadata stays for clients that began before, 60 to 2592000 seconds, default 3600
    #[arg(long, value_name = "SECONDS")]
    pub superseded_grace_seconds: Option<Setting>,
}

/// The checked settings of the coordinator.
#[derive(Debug, Clone)]
pub struct Config {
    /// What every service has.
    pub common: Common,
    /// The directory to publish to.
    pub published_dir: PathBuf,
    /// Where the signers answer: targets, snapshot, timestamp.
    pub signers: [String; 3],
    /// How long superseded metadata stays.
    pub superseded_grace: Duration,
}

impl Raw for ConfigRaw {
    const SERVICE: &'static str = "coordinator";
    type Config = Config;

    fn check(&self, mistakes: &mut Mistakes) -> Option<Config> {
        let common = self.common.check(mistakes, DEFAULTS);
        let published_dir = mistakes.required("published_dir", &self.published_dir, parse::path);
        let targets = mistakes.or("targets_signer", &self.targets_signer, TARGETS_SIGNER, parse::uri);
        let snapshot = mistakes.or("snapshot_signer", &self.snapshot_signer, SNAPSHOT_SIGNER, parse::uri);
        let timestamp = mistakes.or("timestamp_signer", &self.timestamp_signer, TIMESTAMP_SIGNER, parse::uri);
        let grace = parse::seconds(60..=2_592_000);
        let grace =
            mistakes.or("superseded_grace_seconds", &self.superseded_grace_seconds, SUPERSEDED_GRACE_SECONDS, grace);
        Some(Config {
            common: common?,
            published_dir: published_dir?,
            signers: [targets?, snapshot?, timestamp?],
            superseded_grace: grace?,
        })
    }

    fn process(config: &Config) -> &Process {
        &config.common.process
    }
}
