//! The process that writes, acknowledges each durable step on its standard output, and is killed.

use std::{
    ffi::OsString,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use super::{Dice, Open, Suite, model};
use crate::Error;

const ROLE: &str = "RSTUF_CONFORMANCE_ROLE";
const DIR: &str = "RSTUF_CONFORMANCE_DIR";

/// In a worker process: does its work and ends the process. Returns in the process of the test.
pub(super) fn serve(test: &'static str, open: Open) {
    let (Some(role), Some(dir)) = (std::env::var_os(ROLE), std::env::var_os(DIR)) else { return };
    let dir = Path::new(&dir);
    match role.to_str() {
        Some("write") => write(dir, open),
        Some("full-disk") => Suite { test, open, scratch: dir }.small_disk(dir),
        _ => panic!("unknown role {}", role.display()),
    }
    std::process::exit(0);
}

/// Steps until something fails; every line is one acknowledgement, the last may tell the failure.
fn write(dir: &Path, open: Open) {
    let mut out = std::io::stdout();
    // The test harness has begun a line of its own.
    writeln!(out).unwrap();
    let store = match open(dir) {
        Ok(store) => store,
        Err(error) => return writeln!(out, "refused {error}").unwrap(),
    };
    let mut step = model::check(store.as_ref(), "at the worker's start");
    loop {
        step += 1;
        match model::commit(store.as_ref(), step) {
            Ok(()) => writeln!(out, "ack {step}").unwrap(),
            Err(error @ (Error::NoSpace { .. } | Error::Limit { .. })) => {
                // Nothing was changed, so the store must go on and hold what it held.
                assert_eq!(model::check(store.as_ref(), "after a refusal"), step - 1);
                return writeln!(out, "refused {error}").unwrap();
            }
            Err(error) => {
                let next = model::commit(store.as_ref(), step);
                assert!(matches!(next, Err(Error::Failed { .. })), "a failed store goes on: {next:?}");
                return writeln!(out, "failed {error}").unwrap();
            }
        }
    }
}

/// A worker, and what it acknowledged.
pub(super) struct Worker {
    child: Child,
    lines: BufReader<ChildStdout>,
    pub(super) acknowledged: u64,
    pub(super) end: Option<String>,
}

impl Suite<'_> {
    /// The command that runs this executable's test again, in a role.
    pub(super) fn command(&self, role: &str, dir: &Path) -> Vec<(OsString, OsString)> {
        vec![(ROLE.into(), role.into()), (DIR.into(), dir.into())]
    }

    pub(super) fn arguments(&self) -> Vec<OsString> {
        let executable = std::env::current_exe().unwrap().into_os_string();
        vec![executable, "--exact".into(), self.test.into(), "--nocapture".into(), "--test-threads=1".into()]
    }

    /// Starts a writing worker; `wrapper` runs it (a shell, say), `environment` is added.
    pub(super) fn worker(&self, dir: &Path, wrapper: &[&str], environment: &[(&str, OsString)]) -> Worker {
        let mut line: Vec<OsString> = wrapper.iter().map(OsString::from).collect();
        line.extend(self.arguments());
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).envs(self.command("write", dir)).envs(environment.iter().cloned());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Worker { child, lines, acknowledged: 0, end: None }
    }
}

impl Worker {
    /// Reads acknowledgements until there are `count`, or the worker ends.
    pub(super) fn wait_for(&mut self, count: u64) {
        let mut seen = 0;
        while seen < count && self.end.is_none() && self.read_line() {
            seen += 1;
        }
    }

    /// Kills the worker at a moment nobody can foresee, and reads what it had acknowledged.
    pub(super) fn kill(mut self, dice: &mut Dice) -> u64 {
        std::thread::sleep(Duration::from_micros(dice.below(4000)));
        self.child.kill().unwrap();
        self.finish()
    }

    /// Waits for the worker's end.
    pub(super) fn finish(&mut self) -> u64 {
        while self.read_line() {}
        self.child.wait().unwrap();
        self.acknowledged
    }

    /// One line; those of the test harness mean nothing. A line cut short by the kill is no acknowledgement.
    fn read_line(&mut self) -> bool {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return false;
            }
            if let Some(step) = line.strip_prefix("ack ").and_then(|step| step.strip_suffix('\n')) {
                self.acknowledged = step.parse().unwrap();
                return true;
            }
            if line.starts_with("refused ") || line.starts_with("failed ") {
                self.end = Some(line);
                return true;
            }
        }
    }
}
