//! The targets signer's settings.

use rstuf_runtime::config::{Defaults, Mistakes, Process, Raw, Setting, parse};
use rstuf_signing::{REQUESTS_MAX, SignerConfig, SignerConfigRaw, SignerDefaults};
use rstuf_tuf::DOCUMENT_BYTES_MAX;

use crate::removals::Allowance;

const DEFAULTS: SignerDefaults = SignerDefaults {
    common: Defaults { listen: "127.0.0.1:50052", admin_listen: "127.0.0.1:9102", requests_max: REQUESTS_MAX },
    lifetime_days_max: "365",
};
/// What every reader takes at most: 16 MiB.
const DOCUMENT_BYTES_MAX_DEFAULT: &str = "16777216";

/// Signs targets metadata, by its rules and with its own key
#[derive(Debug, Clone, Default, clap::Args, serde::Serialize, serde::Deserialize)]
pub struct ConfigRaw {
    /// What every signer has.
    #[command(flatten)]
    #[serde(flatten)]
    pub signer: SignerConfigRaw,
    /// Largest document that it signs, 1024 to 16777216 bytes
    #[arg(long, value_name = "BYTES")]
    pub document_bytes_max: Option<Setting>,
    /// Artifacts that a role may lose in one publication: a number, a share, or the greater of both; any without it
    #[arg(long, value_name = "\"N or P%\"")]
    pub removals_per_publication_max: Option<Setting>,
    /// Artifacts that a role may lose in a day: a number, a share, or the greater of both; any without it
    #[arg(long, value_name = "\"N or P%\"")]
    pub removals_per_day_max: Option<Setting>,
}

/// The checked settings of the targets signer.
#[derive(Debug, Clone)]
pub struct Config {
    /// What every signer has.
    pub signer: SignerConfig,
    /// Largest document that it signs, in bytes.
    pub document_bytes_max: usize,
    /// What a role may lose in one publication; any where there is none.
    pub removals_per_publication_max: Option<Allowance>,
    /// What a role may lose in a day; any where there is none.
    pub removals_per_day_max: Option<Allowance>,
}

impl Raw for ConfigRaw {
    const SERVICE: &'static str = "targets";
    type Config = Config;

    fn check(&self, mistakes: &mut Mistakes) -> Option<Config> {
        let signer = self.signer.check(mistakes, DEFAULTS);
        let bytes = parse::integer(1_024..=DOCUMENT_BYTES_MAX);
        let bytes = mistakes.or("document_bytes_max", &self.document_bytes_max, DOCUMENT_BYTES_MAX_DEFAULT, bytes);
        let publication = &self.removals_per_publication_max;
        let publication = mistakes.optional("removals_per_publication_max", publication, parse::from_str::<Allowance>);
        let day = mistakes.optional("removals_per_day_max", &self.removals_per_day_max, parse::from_str::<Allowance>);
        Some(Config {
            signer: signer?,
            document_bytes_max: bytes?,
            removals_per_publication_max: publication?,
            removals_per_day_max: day?,
        })
    }

    fn process(config: &Config) -> &Process {
        &config.signer.common.process
    }
}
