//! nginx beside the mirror, on the same files.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::Context as _;
use rstuf_tests::processes::free_port;
use rustix::process::{Pid, Signal, kill_process};

/// A running nginx; it ends when this is dropped.
pub(crate) struct Nginx {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Nginx {
    /// Of the process that started the others.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Serves a directory; `None`, and a word, where nginx is not installed.
    ///
    /// # Errors
    /// Where it does not start.
    pub(crate) async fn start(folder: &Path) -> anyhow::Result<Option<Self>> {
        let Some(version) = Command::new("nginx").arg("-v").stderr(Stdio::piped()).output().ok() else {
            eprintln!("  nginx is not installed: the mirror is measured without it");
            return Ok(None);
        };
        eprintln!("  beside it: {}", String::from_utf8_lossy(&version.stderr).trim());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let own = folder.join("nginx");
        fs::create_dir_all(&own)?;
        let file = own.join("nginx.conf");
        fs::write(&file, configuration(folder, &own, address))?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&own).arg("-e").arg(own.join("error.log")).arg("-c").arg(&file);
        let child = command.stdin(Stdio::null()).spawn().context("can't run nginx")?;
        let nginx = Self { child, address };
        rstuf_tests::until("nginx listens", async || Ok(tokio::net::TcpStream::connect(address).await.is_ok())).await?;
        Ok(Some(nginx))
    }
}

/// As Debian installs it, besides places, a log of each request, and connections that end after 1,000 requests.
fn configuration(folder: &Path, own: &Path, address: SocketAddr) -> String {
    let (folder, own) = (folder.display(), own.display());
    format!(
        "user root;
worker_processes auto;
daemon off;
pid {own}/pid;
events {{ worker_connections 768; }}
http {{
    sendfile on;
    tcp_nopush on;
    types {{ application/json json; }}
    default_type application/octet-stream;
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {own}/body;
    proxy_temp_path {own}/proxy;
    fastcgi_temp_path {own}/fastcgi;
    uwsgi_temp_path {own}/uwsgi;
    scgi_temp_path {own}/scgi;
    server {{
        listen {address};
        location /metadata/ {{ alias {folder}/published/metadata/; }}
        location /artifacts/ {{ alias {folder}/artifacts/; }}
    }}
}}
"
    )
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Killed, it would leave its workers behind.
        if let Some(id) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process(id, Signal::TERM);
        }
        let _ = self.child.wait();
    }
}
