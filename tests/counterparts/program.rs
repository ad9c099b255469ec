//! A program that nobody here wrote, run for a test.

use std::{
    fs,
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::{port, wait};

/// A server that listens; it ends with this value, and its files go with it.
pub struct Program {
    pub port: u16,
    child: Child,
    _folder: TempDir,
}

impl Program {
    /// Starts what listens on `port` and has its files in `folder`. `package` is what to install
    /// where it is missing.
    pub async fn start(
        command: &mut Command,
        (port, folder): (u16, TempDir),
        package: &str,
    ) -> Self {
        let started = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = started.unwrap_or_else(|error| panic!("install `{package}`: {error}"));
        let program = Self { port, child, _folder: folder };
        wait::until(&format!("{package} listens on {port}"), async || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok()
        })
        .await;
        program
    }

    /// nginx before a service. `http` stands among the settings of all its servers, `location`
    /// among those of the only one.
    pub async fn nginx(port: u16, service: &str, (http, location): (&str, &str)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display();
        let settings = format!(
            "daemon off; master_process off; pid {at}/pid; error_log stderr;\n\
             events {{ worker_connections 64; }}\n\
             http {{\n\
               access_log off; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;\n\
               fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
               {http}\n\
               server {{\n\
                 listen 127.0.0.1:{port};\n\
                 location / {{ proxy_pass http://{service}; {location} }}\n\
               }}\n\
             }}\n"
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, settings).unwrap();
        let mut command = Command::new("nginx");
        command.args(["-e", "stderr", "-p"]).arg(folder.path()).arg("-c").arg(&file);
        Self::start(&mut command, (port, folder), "nginx-light").await
    }

    pub async fn haproxy(service: &str) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), port::free());
        let settings = format!(
            "defaults\n  mode http\n  timeout connect 5s\n  timeout client 50s\n  timeout server 50s\n\
             frontend public\n  bind 127.0.0.1:{port}\n  compression algo gzip\n\
             \x20 compression type text/event-stream\n  default_backend service\n\
             backend service\n  server service {service}\n"
        );
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, settings).unwrap();
        let mut command = Command::new("haproxy");
        command.args(["-db", "-f"]).arg(&file);
        Self::start(&mut command, (port, folder), "haproxy").await
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Already gone when it could not start.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
