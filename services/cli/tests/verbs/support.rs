//! How the tests run the command.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;

pub(crate) fn rstuf(server: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rstuf"));
    // Settings of whoever runs the tests have no part in them.
    command.env_clear().env("RSTUF_SERVER", server).env("RSTUF_OUTPUT", "json").args(arguments);
    command
}

/// Runs a verb that must end with `exit`; answers its JSON document, from standard error where it failed.
pub(crate) fn run(server: &str, arguments: &[&str], exit: i32) -> Value {
    let output = rstuf(server, arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {output:?}");
    if output.stdout.is_empty() {
        return error(&output);
    }
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output:?}"))
}

/// The error, which is the last line of standard error; what `dev` logs stands before it.
pub(crate) fn error(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().last().map(serde_json::from_str::<Value>);
    last.unwrap_or_else(|| panic!("no error: {output:?}")).unwrap()["error"].clone()
}

/// `rstuf dev`, killed when a test ends early.
pub(crate) struct Dev {
    process: Child,
    pub(crate) ready: Value,
}

impl Dev {
    /// Waits until it says where it answers.
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_at(data, "127.0.0.1:0", "127.0.0.1:0")
    }

    pub(crate) fn start_at(data: &Path, coordinator: &str, mirror: &str) -> Self {
        let data = data.to_str().unwrap();
        let mut command = rstuf("", &["dev", "--data", data, "--coordinator", coordinator, "--mirror", mirror]);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = process.stdout.take().unwrap();
        let ready = serde_json::Deserializer::from_reader(stdout).into_iter::<Value>().next();
        Self { process, ready: ready.expect("dev ended early").unwrap() }
    }

    pub(crate) fn server(&self) -> String {
        self.ready["coordinator"].as_str().unwrap().to_owned()
    }

    /// Ends it as an operator does.
    pub(crate) fn stop(mut self) {
        self.signal("TERM");
        assert_eq!(self.process.wait().unwrap().code(), Some(0));
    }

    /// Stops it where it stands: it keeps its connections, and says nothing.
    pub(crate) fn hang(&self) {
        self.signal("STOP");
    }

    /// After [`Dev::hang`].
    pub(crate) fn wake(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn paths(listed: &Value) -> Vec<&str> {
    listed["artifacts"].as_array().unwrap().iter().map(|artifact| artifact["path"].as_str().unwrap()).collect()
}

/// The status and the body of what a mirror answers.
pub(crate) fn get(url: &str) -> (u16, Vec<u8>) {
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /{path} HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    let status = String::from_utf8_lossy(&answer[..head]).split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_off(head + 4))
}

/// Runs a verb for people; answers its exit code, and what it wrote to standard output and standard error.
pub(crate) fn human(server: &str, arguments: &[&str]) -> (i32, String, String) {
    let output = rstuf(server, arguments).env("RSTUF_OUTPUT", "human").stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// A directory of three files and a link.
pub(crate) fn sample() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("lib")).unwrap();
    for (name, text) in [("app", "1"), ("lib/a", "22"), ("lib/b", "333")] {
        fs::write(dir.path().join(name), text).unwrap();
    }
    std::os::unix::fs::symlink("app", dir.path().join("latest")).unwrap();
    dir
}
