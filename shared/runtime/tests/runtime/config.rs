//! Configuration from all its sources, right and wrong.

use std::{collections::HashMap, ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf, time::Duration};

use rstuf_runtime::{
    config::{
        self, Common, CommonRaw, Defaults, Error, Invocation, Mistake, Mistakes, Origin, Process, Raw, Setting, parse,
    },
    telemetry::LogFormat,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Default, clap::Args, Serialize, Deserialize)]
struct TargetsRaw {
    #[command(flatten)]
    #[serde(flatten)]
    common: CommonRaw,
    /// The longest lifetime that is signed
    #[arg(long, value_name = "DAYS")]
    expiry_days_max: Option<Setting>,
    /// Make a key where there is none
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    create_key: Option<Setting>,
    /// Other services
    #[arg(long, value_delimiter = ',')]
    peers: Option<Vec<Setting>>,
    /// A secret
    #[arg(long)]
    token: Option<Setting>,
}

#[derive(Debug)]
struct Config {
    common: Common,
    expiry: Duration,
    create_key: bool,
    peers: Vec<String>,
    token: Option<String>,
}

impl Raw for TargetsRaw {
    const SERVICE: &'static str = "targets";
    type Config = Config;

    fn check(&self, mistakes: &mut Mistakes) -> Option<Config> {
        let defaults = Defaults { listen: "127.0.0.1:50052", admin_listen: "127.0.0.1:9102", requests_max: "32" };
        let common = self.common.check(mistakes, defaults);
        let expiry = mistakes.or("expiry_days_max", &self.expiry_days_max, "30", parse::days(1..=365));
        let create_key = mistakes.or("create_key", &self.create_key, "false", parse::boolean);
        let peers = mistakes.list("peers", &self.peers, parse::uri);
        let token = mistakes.secret("token", &self.token, |it| {
            if it.len() >= 8 { Ok(it.to_owned()) } else { Err("too short, allowed are 8 characters or more") }
        });
        Some(Config { common: common?, expiry: expiry?, create_key: create_key?, peers: peers?, token: token? })
    }

    fn process(config: &Config) -> &Process {
        &config.common.process
    }
}

/// A command line, an environment and a file.
struct Given {
    folder: tempfile::TempDir,
    file: Option<PathBuf>,
    environment: HashMap<OsString, OsString>,
}

impl Given {
    fn file(text: &str) -> Self {
        let mut given = Self::nothing();
        let path = given.folder.path().join("targets.toml");
        std::fs::write(&path, text).unwrap();
        given.file = Some(path);
        given
    }

    fn nothing() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), file: None, environment: HashMap::new() }
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    fn invoke(&self, flags: &[&str]) -> Result<Invocation<Config>, Error> {
        let file = self.file.iter().flat_map(|it| ["--config".into(), it.clone().into_os_string()]);
        let program = std::iter::once(OsString::from("rstuf-targets"));
        let args = program.chain(file).chain(flags.iter().map(OsString::from));
        config::invocation::<TargetsRaw>(args, self.environment.clone(), drop)
    }

    fn warnings(&self, flags: &[&str]) -> Vec<String> {
        let args = ["rstuf-targets"].into_iter().chain(flags.iter().copied());
        let mut warnings = Vec::new();
        let _ = config::invocation::<TargetsRaw>(args, self.environment.clone(), |it| warnings.push(it));
        warnings
    }

    fn config(&self, flags: &[&str]) -> Config {
        match self.invoke(flags) {
            Ok(Invocation::Run(config)) => config,
            other => panic!("{other:?}"),
        }
    }

    fn mistakes(&self, flags: &[&str]) -> Vec<Mistake> {
        match self.invoke(flags) {
            Err(Error::Invalid { mistakes }) => mistakes,
            other => panic!("{other:?}"),
        }
    }
}

const STATE: &[&str] = &["--state-dir", "/state"];

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let given = Given::file(
        "listen = '127.0.0.1:1'\nstate_dir = '/file'\nexpiry_days_max = 7\nlog_format = 'json'\ncreate_key = true",
    )
    .variable("RSTUF_TARGETS_LISTEN", "127.0.0.1:2")
    .variable("RSTUF_TARGETS_STATE_DIR", "/environment");
    let config = given.config(&["--listen", "127.0.0.1:3"]);
    assert_eq!(config.common.listen, "127.0.0.1:3".parse().unwrap());
    assert_eq!(config.common.state_dir, PathBuf::from("/environment"));
    assert_eq!(config.expiry, Duration::from_secs(7 * 24 * 3_600));
    assert_eq!(config.common.process.log_format, LogFormat::Json);
    assert!(config.create_key);
    assert_eq!(config.common.process.admin_listen, "127.0.0.1:9102".parse().unwrap(), "the default");
    assert!(!given.config(&["--create-key=false"]).create_key);

    let config = Given::nothing().config(&["--state-dir", "/s", "--create-key", "--peers", "http://a:1,http://b:2/"]);
    assert!(config.create_key);
    assert_eq!(config.peers, ["http://a:1", "http://b:2"]);
    let config = Given::file("peers = ['http://c:3']").variable("RSTUF_TARGETS_PEERS", "").config(STATE);
    assert!(config.peers.is_empty());
    let config = Given::nothing().config(&["--state-dir", "/s", "--peers", "http://a:1", "--peers", "http://b:2"]);
    assert_eq!(config.peers.len(), 2);

    let path = given.file.clone().unwrap().into_os_string().into_string().unwrap();
    let named = Given::nothing().variable("RSTUF_TARGETS_CONFIG", &path).config(&[]);
    assert_eq!(named.common.state_dir, PathBuf::from("/file"));
}

#[test]
fn every_mistake_is_reported_at_once() {
    let file = "listen = 'nowhere'\nlog_format = ['json']\nexpiry_days_max = 0\nadmin_listn = '127.0.0.1:1'\nport = 5\n\
                peers = ['http://a:1', 'ftp://b', 3, 'c']\ntoken = 'canary'";
    let given = Given::file(file).variable("RSTUF_TARGETS_SHUTDOWN_DEADLINE_SECONDS", "soon");
    let mistakes = given.mistakes(&["--log-filter", "rstuf=loud", "--insecure-plaintext=perhaps"]);
    let path = given.file.clone().unwrap();
    let text = Error::Invalid { mistakes: mistakes.clone() }.to_string();
    for (key, told) in [
        ("listen", "IP:PORT"),
        ("log_format", "expected a string, an integer or a boolean"),
        ("expiry_days_max", "allowed are whole numbers from 1 to 365"),
        ("admin_listn", "did you mean admin_listen?"),
        ("port", "unknown key, allowed are listen, "),
        ("shutdown_deadline_seconds", "allowed are whole numbers from 1 to 3600"),
        ("log_filter", "allowed are directives such as"),
        ("insecure_plaintext", "allowed are true and false"),
        ("state_dir", "missing"),
        ("token", "too short"),
    ] {
        let found: Vec<_> = mistakes.iter().filter(|it| it.key.as_deref() == Some(key)).collect();
        assert_eq!(found.len(), 1, "{key} in {text}");
        assert!(found[0].message.contains(told), "{key} in {text}");
    }
    let of = |key: &str| mistakes.iter().find(|it| it.key.as_deref() == Some(key)).unwrap();
    assert_eq!(of("listen").value, Some("nowhere".into()));
    assert_eq!(of("log_filter").to_string().matches("rstuf=loud").count(), 1, "{}", of("log_filter"));
    assert_eq!(of("listen").origin, Some(Origin::File(path)));
    assert_eq!(of("insecure_plaintext").origin, Some(Origin::Flag("--insecure-plaintext".to_owned())));
    let variable = Origin::Environment("RSTUF_TARGETS_SHUTDOWN_DEADLINE_SECONDS".to_owned());
    assert_eq!(of("shutdown_deadline_seconds").origin, Some(variable));
    let peers: Vec<_> = mistakes.iter().filter(|it| it.key.as_deref() == Some("peers")).collect();
    let values: Vec<_> = peers.iter().map(|it| it.value.as_ref().unwrap().to_string()).collect();
    assert_eq!(values, ["\"ftp://b\"", "3", "\"c\""]);
    assert!(!text.contains("canary"), "a secret shows in {text}");
    assert_eq!(mistakes.len(), 13, "{text}");
}

/// A number in quotes, or a directory without, is a slip that would show only later.
#[test]
fn a_file_uses_the_type_of_each_setting_and_numbers_are_shown_as_numbers() {
    for (line, told) in [
        ("state_dir = 5", "state_dir = 5 (FILE): an integer, allowed is a string"),
        ("otlp_endpoint = true", "otlp_endpoint = true (FILE): a boolean, allowed is a string"),
        ("expiry_days_max = '7'", "expiry_days_max = \"7\" (FILE): a string, allowed is an integer"),
        ("create_key = 1", "create_key = 1 (FILE): an integer, allowed is a boolean"),
        ("peers = [3]", "peers = 3 (FILE): an integer, allowed is a string"),
        ("token = 123456789", "token (FILE): an integer, allowed is a string"),
        ("expiry_days_max = 0", "expiry_days_max = 0 (FILE): out of range, allowed are whole numbers from 1 to 365"),
    ] {
        let given = Given::file(line);
        let flags: &[&str] = if line.starts_with("state_dir") { &[] } else { STATE };
        let told = told.replace("FILE", given.file.as_ref().unwrap().to_str().unwrap());
        let mistakes: Vec<_> = given.mistakes(flags).iter().map(ToString::to_string).collect();
        assert_eq!(mistakes, [told]);
    }
    // Elsewhere all is text, whatever it looks like, and it stays what it is.
    let named = Given::nothing().variable("RSTUF_TARGETS_STATE_DIR", "5");
    assert_eq!(named.config(&["--expiry-days-max", "7"]).common.state_dir, PathBuf::from("5"));
    let Ok(Invocation::Dump(dump)) = named.invoke(&["--dump-config"]) else { panic!("no dump") };
    assert_eq!(Given::file(&dump).config(&[]).common.state_dir, PathBuf::from("5"), "{dump}");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let given = Given::file("listen = \nstate_dir");
    let mistakes = given.mistakes(STATE);
    assert_eq!(mistakes.len(), 1);
    assert!(mistakes[0].to_string().starts_with(given.file.as_ref().unwrap().to_str().unwrap()), "{}", mistakes[0]);
    let missing = Given::nothing().variable("RSTUF_TARGETS_CONFIG", "/no/such/file.toml").mistakes(STATE);
    assert!(
        missing[0].to_string().contains("/no/such/file.toml: cannot read the file that RSTUF_TARGETS_CONFIG names")
    );
    let huge = Given::file(&format!("listen = '{}'", "1".repeat(2 * 1024 * 1024))).mistakes(STATE);
    assert!(huge[0].message.contains("allowed are 1048576"), "{}", huge[0]);
    let mut given = Given::nothing();
    given.environment.insert("RSTUF_TARGETS_LISTEN".into(), OsString::from_vec(vec![0xff]));
    assert!(given.mistakes(STATE)[0].message.contains("UTF-8"));
    let unreadable = Given::file("state_dir = ['a']").mistakes(&[]);
    assert_eq!(unreadable.len(), 1, "it is not reported as missing, too: {unreadable:?}");
}

#[test]
fn what_kubernetes_injects_is_ignored_and_no_key_of_ours_looks_like_it() {
    let given = Given::nothing()
        .variable("RSTUF_TARGETS_PORT", "tcp://10.0.0.1:50052")
        .variable("RSTUF_TARGETS_SERVICE_HOST", "10.0.0.1")
        .variable("RSTUF_TARGETS_SERVICE_PORT_GRPC", "50052")
        .variable("RSTUF_TARGETS_PORT_50052_TCP_ADDR", "10.0.0.1")
        .variable("RSTUF_COORDINATOR_PORT", "tcp://10.0.0.1:50051")
        .variable("RSTUF_COORDINATOR_LISTEN", "127.0.0.1:50051")
        .variable("RSTUF_TARGETS_UNKNOWN", "1");
    assert_eq!(given.config(STATE).common.listen.port(), 50_052);
    assert_eq!(given.warnings(STATE), [""; 0]);
    let command = config::command::<TargetsRaw>();
    assert!(command.get_arguments().all(|it| !it.get_id().as_str().ends_with("port")));
    command.debug_assert();
}

#[test]
fn one_cause_is_one_mistake() {
    for file in ["stat_dir = '/state'", "this is no TOML", "state_dir = ['a']"] {
        let mistakes = Given::file(file).mistakes(&[]);
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    }
    let missing = Given::nothing().variable("RSTUF_TARGETS_CONFIG", "/no/such/file.toml").mistakes(&[]);
    assert_eq!(missing.len(), 1, "what is missing may be in the file: {missing:?}");
    let both = Given::file("expiry_dys_max = 7").mistakes(&[]);
    assert_eq!(both.len(), 2, "two causes are two: {both:?}");
}

#[test]
fn a_variable_that_nearly_is_one_of_ours_is_told_of() {
    let given = Given::nothing()
        .variable("RSTUF_TARGETS_STATEDIR", "/state")
        .variable("RSTUF_TARGETS_TOKN", "canary")
        .variable("rstuf_targets_peers", "http://a:1")
        .variable("RSTUF_TARGETS_CONFIGS", "/file")
        .variable("RSTUF_TARGETS_EXPIRY_DAYS_MAX", "7")
        .variable("RSTUF_LISTEN", "127.0.0.1:1")
        .variable("RSTUF_CONFIG", "/the/command's.toml")
        .variable("TARGETS_LISTEN", "127.0.0.1:1");
    let told =
        |name: &str, meant: &str| format!("the environment has {name}, which is not read: did you mean {meant}?");
    let mut warnings = vec![
        told("RSTUF_LISTEN", "RSTUF_TARGETS_LISTEN"),
        told("RSTUF_TARGETS_CONFIGS", "RSTUF_TARGETS_CONFIG"),
        told("RSTUF_TARGETS_STATEDIR", "RSTUF_TARGETS_STATE_DIR"),
        told("RSTUF_TARGETS_TOKN", "RSTUF_TARGETS_TOKEN"),
        told("rstuf_targets_peers", "RSTUF_TARGETS_PEERS"),
    ];
    assert_eq!(given.warnings(STATE), warnings);
    // Where the value is missed, that is the mistake, and nothing else.
    let missing = warnings.remove(2);
    assert_eq!(given.warnings(&[]), warnings);
    let mistakes = given.mistakes(&[]);
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert!(mistakes[0].message.ends_with(&missing), "{}", mistakes[0]);
}

#[test]
fn plaintext_on_the_network_needs_a_word() {
    let given = Given::file("listen = '0.0.0.0:50052'");
    assert!(given.mistakes(STATE)[0].message.contains("--insecure-plaintext"));
    let config = given.config(&["--state-dir", "/s", "--insecure-plaintext"]);
    assert!(config.common.insecure_plaintext);
    let config = given.variable("RSTUF_TARGETS_INSECURE_PLAINTEXT", "true").config(STATE);
    assert_eq!(config.common.listen, "0.0.0.0:50052".parse().unwrap());
}

#[test]
fn check_and_dump_show_what_would_be_used() {
    let given =
        Given::file("state_dir = '/file'\ntoken = 'canary-canary'").variable("RSTUF_TARGETS_PEERS", "http://a:1");
    assert!(matches!(given.invoke(&["config", "check"]), Ok(Invocation::Check)));
    assert!(matches!(given.invoke(&["config", "check", "--expiry-days-max", "7"]), Ok(Invocation::Check)));
    assert!(matches!(given.invoke(&["config", "check", "--expiry-days-max", "x"]), Err(Error::Invalid { .. })));
    assert!(matches!(given.invoke(&["--expiry-days-max", "x", "config", "check"]), Err(Error::Invalid { .. })));
    assert!(matches!(given.invoke(&["--no-such-flag"]), Err(Error::Usage(_))));
    assert!(matches!(given.invoke(&["config"]), Err(Error::Usage(_))));

    let Ok(Invocation::Dump(dump)) = given.invoke(&["--dump-config", "--expiry-days-max", "7"]) else { panic!() };
    assert!(!dump.contains("canary"), "{dump}");
    let lines: Vec<_> = dump.lines().collect();
    let path = given.file.as_ref().unwrap().display();
    for line in [
        "listen = \"127.0.0.1:50052\" # default".to_owned(),
        format!("state_dir = \"/file\" # {path}"),
        "peers = [\"http://a:1\"] # RSTUF_TARGETS_PEERS".to_owned(),
        "expiry_days_max = 7 # --expiry-days-max".to_owned(),
        "insecure_plaintext = false # default".to_owned(),
        "# otlp_endpoint is not set".to_owned(),
        "# token is set, and not shown".to_owned(),
    ] {
        assert!(lines.contains(&line.as_str()), "{line} is missing in {dump}");
    }
    let again = Given::file(&dump).config(&[]);
    assert_eq!((again.expiry, again.peers.len(), again.token), (Duration::from_secs(7 * 24 * 3_600), 1, None));
}

#[test]
fn settings_made_in_code_are_checked_alike() {
    let common = CommonRaw { state_dir: Some("/s".into()), listen: Some("127.0.0.1:0".into()), ..CommonRaw::default() };
    let mut raw = TargetsRaw { common, ..TargetsRaw::default() };
    assert_eq!(config::checked(&raw).unwrap().common.listen.port(), 0);
    raw.expiry_days_max = Some("366".into());
    assert!(config::checked(&raw).unwrap_err().to_string().contains("expiry_days_max = 366: out of range"));
}
