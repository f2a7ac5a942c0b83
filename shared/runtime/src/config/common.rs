//! What every service's configuration has.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{mistakes::Mistakes, parse, setting::Setting};
use crate::{
    listen, peers,
    telemetry::{LOG_FILTER_DEFAULT, LogFormat, TelemetryConfig},
};

/// More than a build farm opens; each costs a file and some kilobytes.
const CONNECTIONS_MAX: &str = "2048";

/// The settings of every process; flatten them into those of a service without a gRPC listener.
#[derive(Debug, Clone, Default, clap::Args, Serialize, Deserialize)]
pub struct ProcessRaw {
    /// Where /metrics, /livez and /readyz are served: plain HTTP, so not for the public; port 0 picks a free one
    #[arg(long, value_name = "IP:PORT")]
    pub admin_listen: Option<Setting>,
    /// How logs look on standard error: human (default) or json
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<Setting>,
    /// What is logged, such as warn,rstuf=debug
    #[arg(long, value_name = "DIRECTIVES")]
    pub log_filter: Option<Setting>,
    /// Where traces are sent by OTLP over gRPC; nowhere without it
    #[arg(long, value_name = "http://HOST:PORT")]
    pub otlp_endpoint: Option<Setting>,
    /// How long requests may take to end at a shutdown, 1 to 3600 seconds, default 20
    #[arg(long, value_name = "SECONDS")]
    pub shutdown_deadline_seconds: Option<Setting>,
    /// How long to go on accepting at a shutdown, so that balancers notice, 0 to 600 seconds, default 0
    #[arg(long, value_name = "SECONDS")]
    pub shutdown_drain_seconds: Option<Setting>,
}

/// The checked settings of every process.
#[derive(Debug, Clone)]
pub struct Process {
    /// Where metrics and probes are served.
    pub admin_listen: SocketAddr,
    /// How logs look.
    pub log_format: LogFormat,
    /// What is logged.
    pub log_filter: String,
    /// Where traces are sent.
    pub otlp_endpoint: Option<String>,
    /// How long requests may take to end at a shutdown.
    pub shutdown_deadline: Duration,
    /// How long to go on accepting at a shutdown.
    pub drain: Duration,
}

impl ProcessRaw {
    /// Checks everything, with this default of `admin_listen`.
    pub fn check(&self, mistakes: &mut Mistakes, admin_listen: &str) -> Option<Process> {
        let admin_listen = mistakes.or("admin_listen", &self.admin_listen, admin_listen, parse::socket_addr);
        let log_format = mistakes.or("log_format", &self.log_format, "human", parse::log_format);
        let log_filter = mistakes.or("log_filter", &self.log_filter, LOG_FILTER_DEFAULT, parse::log_filter);
        let otlp_endpoint = mistakes.optional("otlp_endpoint", &self.otlp_endpoint, parse::uri);
        let deadline =
            mistakes.or("shutdown_deadline_seconds", &self.shutdown_deadline_seconds, "20", parse::seconds(1..=3_600));
        let drain = mistakes.or("shutdown_drain_seconds", &self.shutdown_drain_seconds, "0", parse::seconds(0..=600));
        Some(Process {
            admin_listen: admin_listen?,
            log_format: log_format?,
            log_filter: log_filter?,
            otlp_endpoint: otlp_endpoint?,
            shutdown_deadline: deadline?,
            drain: drain?,
        })
    }
}

impl Process {
    /// What telemetry is told, for the service of this name.
    pub fn telemetry(&self, service: &str) -> TelemetryConfig {
        TelemetryConfig {
            log_format: self.log_format,
            log_filter: self.log_filter.clone(),
            otlp_endpoint: self.otlp_endpoint.clone(),
            service_name: format!("rstuf-{service}"),
        }
    }
}

/// The settings of every service with a gRPC listener and a state directory; flatten them into its own.
#[derive(Debug, Clone, Default, clap::Args, Serialize, Deserialize)]
pub struct CommonRaw {
    /// Where gRPC is served; port 0 picks a free one
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<Setting>,
    /// Serve gRPC unencrypted on addresses that are not loopback: only where the network itself is trusted
    #[arg(long, value_name = "BOOLEAN", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub insecure_plaintext: Option<Setting>,
    /// The directory that this service alone owns
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<Setting>,
    /// Connections open at the same time, 2 to 1000000, default 2048; never more than half of the files allowed
    #[arg(long, value_name = "COUNT")]
    pub connections_max: Option<Setting>,
    /// Requests answered at the same time, 2 to 4096
    #[arg(long, value_name = "COUNT")]
    pub requests_max: Option<Setting>,
    /// How much of both one peer, such as a machine, may hold: 1 to 100 percent, default 50
    #[arg(long, value_name = "PERCENT")]
    pub peer_percent_max: Option<Setting>,
    /// What every process has.
    #[command(flatten)]
    #[serde(flatten)]
    pub process: ProcessRaw,
}

/// The checked settings of every service with a gRPC listener.
#[derive(Debug, Clone)]
pub struct Common {
    /// Where gRPC is served.
    pub listen: SocketAddr,
    /// Whether that need not be loopback.
    pub insecure_plaintext: bool,
    /// The directory that this service alone owns.
    pub state_dir: PathBuf,
    /// Connections open at the same time.
    pub connections_max: usize,
    /// Requests answered at the same time.
    pub requests_max: usize,
    /// How much of both one peer may hold, in percent.
    pub peer_percent_max: usize,
    /// What every process has.
    pub process: Process,
}

/// What differs between services.
#[derive(Debug, Clone, Copy)]
pub struct Defaults {
    /// Where gRPC is served.
    pub listen: &'static str,
    /// Where metrics and probes are served.
    pub admin_listen: &'static str,
    /// Requests answered at the same time: with the largest message each, this bounds what a flood costs in memory.
    pub requests_max: &'static str,
}

impl CommonRaw {
    /// Checks everything, also that plaintext stays on the machine unless it is allowed to leave.
    pub fn check(&self, mistakes: &mut Mistakes, defaults: Defaults) -> Option<Common> {
        let listen = mistakes.or("listen", &self.listen, defaults.listen, parse::socket_addr);
        let plaintext = mistakes.or("insecure_plaintext", &self.insecure_plaintext, "false", parse::boolean);
        if let (Some(listen), Some(plaintext)) = (listen, plaintext)
            && let Err(error) = listen::check(listen, plaintext)
        {
            mistakes.push("listen", error.to_string());
        }
        let state_dir = mistakes.required("state_dir", &self.state_dir, parse::path);
        let connections =
            mistakes.or("connections_max", &self.connections_max, CONNECTIONS_MAX, parse::integer(2..=1_000_000));
        let requests =
            mistakes.or("requests_max", &self.requests_max, defaults.requests_max, parse::integer(2..=4_096));
        let percent = peer_percent_max(mistakes, &self.peer_percent_max);
        let process = self.process.check(mistakes, defaults.admin_listen);
        Some(Common {
            listen: listen?,
            insecure_plaintext: plaintext?,
            state_dir: state_dir?,
            connections_max: connections?,
            requests_max: requests?,
            peer_percent_max: percent?,
            process: process?,
        })
    }
}

/// Checks how much of what all share one peer may hold, in percent, for every listener alike.
pub fn peer_percent_max(mistakes: &mut Mistakes, value: &Option<Setting>) -> Option<usize> {
    mistakes.or("peer_percent_max", value, &peers::PERCENT_MAX.to_string(), parse::integer(1..=100))
}
