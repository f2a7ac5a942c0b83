//! `rstuf status`: what the repository is, and how it does.

use std::time::Duration;

use jiff::Timestamp;
use rstuf_tuf::TopLevel;
use serde::Serialize;

use crate::{
    client::silence,
    context::Context,
    error::Error,
    output::table,
    view::{Health, Lifetimes, Repository, RoleVersion, Signer},
};

const EXAMPLES: &str = "\
What needs attention stands at the end. Exit code 0 whatever it is, unless --check is given: then 1 where anything
needs attention, for monitoring.

Examples:
  rstuf status
  rstuf status --check --output json | jq -r '.attention[]'";

/// Show what the repository is, and how it does
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatusArgs {
    /// Exit 1 where anything needs attention
    #[arg(long)]
    check: bool,
}

/// How long a coordinator may take to tell what it knows by heart. What its signers say may take longer.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(6);

#[derive(Debug, Serialize)]
struct Status {
    server: String,
    program_version: String,
    ceremony_held: bool,
    repository_id: Option<String>,
    layout: Option<String>,
    publication: u64,
    published_at: Option<Timestamp>,
    submissions_waiting: u32,
    submissions_running: u32,
    submissions_held: u32,
    submissions_set_aside: u32,
    roles: Vec<Role>,
    roles_total: u32,
    lifetimes: Option<Lifetimes>,
    signers: Vec<Signer>,
    /// What a person should look at; empty when all is well.
    attention: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Role {
    role: String,
    version: u32,
    expires_at: Option<Timestamp>,
    /// Negative when it has expired.
    expires_in_seconds: Option<i64>,
}

pub(crate) async fn run(context: &Context, args: StatusArgs) -> Result<(), Error> {
    let client = context.client()?;
    let described = tokio::time::timeout(DESCRIBE_TIMEOUT, client.describe()).await.map_err(|_late| {
        let server = client.server();
        Error::try_again(silence(server)).next(format!("look at its log, or whether {server} is the right address"))
    })??;
    let status = client.status().await?;
    let answer = Status::new(client.server(), described, status, context.clock.now());
    context.output.answer(&answer, human)?;
    if args.check && !answer.attention.is_empty() {
        let count = match answer.attention.len() {
            1 => "1 thing needs".to_owned(),
            count => format!("{count} things need"),
        };
        let message = format!("{count} attention: {}", answer.attention.join("; "));
        return Err(Error::failed(message));
    }
    Ok(())
}

impl Status {
    fn new(server: &str, repository: Repository, health: Health, now: Timestamp) -> Self {
        let mut answer = Self {
            server: server.to_owned(),
            program_version: repository.program_version,
            ceremony_held: health.ceremony_held,
            repository_id: repository.id,
            layout: repository.layout.map(|layout| layout.to_string()),
            publication: health.publication,
            published_at: health.published_at,
            submissions_waiting: health.submissions_waiting,
            submissions_running: health.submissions_running,
            submissions_held: health.submissions_held,
            submissions_set_aside: health.submissions_set_aside,
            roles: health.roles.into_iter().map(|role| Role::new(role, now)).collect(),
            roles_total: health.roles_total,
            lifetimes: repository.lifetimes,
            signers: health.signers,
            attention: Vec::new(),
        };
        answer.attention = answer.faults();
        answer.attention.extend(health.warnings);
        answer
    }

    /// What can be seen to be wrong in the answer besides the warnings in it: those of expiries are among them.
    fn faults(&self) -> Vec<String> {
        let unborn =
            (!self.ceremony_held).then(|| "no ceremony was held yet: hold one with `rstuf ceremony`".to_owned());
        let ailing = self.signers.iter().filter(|signer| !signer.reachable || signer.message.is_some());
        let ailing = ailing.map(|signer| {
            let complaint = signer.message.as_deref().unwrap_or("does not answer");
            if complaint.contains(&signer.endpoint) {
                return complaint.to_owned();
            }
            format!("{} signer at {}: {complaint}", signer.group, signer.endpoint)
        });
        unborn.into_iter().chain(ailing).collect()
    }
}

impl Role {
    fn new(published: RoleVersion, now: Timestamp) -> Self {
        let RoleVersion { role, version, expires_at } = published;
        let expires_in_seconds = expires_at.map(|at| at.as_second() - now.as_second());
        Self { role, version, expires_at, expires_in_seconds }
    }
}

fn human(status: &Status) -> String {
    let fact = |name: &str, value: String| format!("{name:<13} {value}");
    let mut lines = vec![fact("coordinator", format!("{}, version {}", status.server, status.program_version))];
    lines.extend(status.repository_id.iter().map(|id| fact("repository", id.clone())));
    lines.extend(status.layout.iter().map(|layout| fact("layout", format!("{layout}, {} roles", status.roles_total))));
    lines.extend(status.published_at.map(|at| fact("publication", format!("{}, {at:.0}", status.publication))));
    lines.push(fact("submissions", submissions(status)));
    if !status.roles.is_empty() {
        lines.push(String::new());
        lines.push(table(["ROLE", "VERSION", "EXPIRES", ""], status.roles.iter().map(role_row)));
        lines.extend(bins(status));
    }
    if !status.signers.is_empty() {
        lines.push(String::new());
        lines.push(table(["SIGNER", "ENDPOINT", "KEY", "STATE"], status.signers.iter().map(signer_row)));
    }
    lines.push(String::new());
    if status.attention.is_empty() {
        lines.push("all is well".to_owned());
    } else {
        lines.push("needs attention:".to_owned());
        lines.extend(status.attention.iter().map(|one| format!("  {one}")));
    }
    lines.join("\n")
}

fn submissions(status: &Status) -> String {
    let Status { submissions_waiting, submissions_running, submissions_held, submissions_set_aside, .. } = status;
    let aside = if *submissions_set_aside > 0 { format!(", {submissions_set_aside} set aside") } else { String::new() };
    format!("{submissions_waiting} waiting, {submissions_running} running, {submissions_held} held{aside}")
}

fn role_row(role: &Role) -> [String; 4] {
    let expires_at = role.expires_at.map(|at| format!("{at:.0}")).unwrap_or_default();
    let left = role.expires_in_seconds.map(relative).unwrap_or_default();
    [role.role.clone(), role.version.to_string(), expires_at, left]
}

/// Of the bins, only the one that expires first is in the table: what that says of the others.
fn bins(status: &Status) -> Option<String> {
    let (top_level, bins): (Vec<&Role>, Vec<&Role>) =
        status.roles.iter().partition(|role| role.role.parse::<TopLevel>().is_ok());
    let first = bins.first()?;
    let bins = usize::try_from(status.roles_total).ok()?.checked_sub(top_level.len())?;
    let expires = relative(first.expires_in_seconds?);
    Some(format!(
        "the first of {bins} bins expires {expires}; bins are renewed at different times, so that they never expire \
         together, and a bin's version grows only when it changes or is renewed"
    ))
}

/// Of a key id, enough to tell it from others.
const KEY_ID_CHARS: usize = 12;

fn signer_row(signer: &Signer) -> [String; 4] {
    let key = signer.key_id.as_deref().map(|id| id.get(..KEY_ID_CHARS).unwrap_or(id)).unwrap_or("unknown");
    let state = if signer.reachable { "answers" } else { "does not answer" };
    [signer.group.clone(), signer.endpoint.clone(), key.to_owned(), state.to_owned()]
}

/// Seconds from now, in the largest whole unit that says enough.
fn relative(seconds: i64) -> String {
    let size = seconds.unsigned_abs();
    let (count, unit) = match size {
        0..120 => (size, "s"),
        120..7_200 => (size / 60, "min"),
        7_200..172_800 => (size / 3_600, "h"),
        _ => (size / 86_400, "days"),
    };
    if seconds >= 0 { format!("in {count} {unit}") } else { format!("{count} {unit} ago") }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn status(ceremony_held: bool, left: i64, reachable: bool) -> Status {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let expires_at = Some(now + SignedDuration::from_secs(left));
        let health = Health {
            ceremony_held,
            roles: vec![RoleVersion { role: "timestamp".into(), version: 3, expires_at }],
            warnings: if left <= 0 { vec!["timestamp has expired".into()] } else { Vec::new() },
            signers: vec![Signer {
                group: "snapshot".into(),
                endpoint: "http://a:1".into(),
                reachable,
                key_id: None,
                message: None,
                key_json: None,
            }],
            ..Health::default()
        };
        Status::new("http://c:1", Repository::default(), health, now)
    }

    #[test]
    fn what_needs_attention_is_named() {
        assert!(status(true, 10, true).attention.is_empty());
        let ill = status(false, -10, false);
        assert_eq!(ill.attention.len(), 3);
        for (fault, part) in
            ill.attention.iter().zip(["ceremony", "snapshot signer at http://a:1", "timestamp has expired"])
        {
            assert!(fault.contains(part), "{fault}");
        }
        let text = human(&ill);
        assert!(text.contains("10 s ago") && text.contains("1970-01-12T13:46:30Z"), "{text}");
        assert_eq!(serde_json::to_value(&ill).unwrap()["roles"][0]["expires_in_seconds"], -10);
    }

    #[test]
    fn a_signer_is_named_once_in_a_line() {
        let mut answer = status(true, 10, false);
        answer.signers[0].message = Some("snapshot signer at http://a:1 is unreachable".into());
        assert_eq!(answer.faults(), ["snapshot signer at http://a:1 is unreachable"]);
    }

    #[test]
    fn of_the_bins_the_first_to_expire_is_told() {
        let mut answer = status(true, 10, true);
        assert!(!human(&answer).contains("bins"));
        answer.roles.push(Role {
            role: "bins-3a".to_owned(),
            version: 2,
            expires_at: None,
            expires_in_seconds: Some(20 * 86_400),
        });
        answer.roles_total = 257;
        let text = human(&answer);
        assert!(text.contains("the first of 256 bins expires in 20 days"), "{text}");
    }

    #[test]
    fn times_are_told_in_a_unit_that_says_enough() {
        let told =
            [(0, "in 0 s"), (90, "in 90 s"), (3_600, "in 60 min"), (86_400, "in 24 h"), (2_592_000, "in 30 days")];
        assert!(told.iter().all(|(seconds, text)| relative(*seconds) == *text));
        assert_eq!(relative(-600), "10 min ago");
    }
}
