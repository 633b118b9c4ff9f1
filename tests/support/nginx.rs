//! An independent hub: nginx with static answers in the format of a hub.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::free_port;

/// An nginx that is stopped at the end of the test.
pub struct Nginx {
    child: Child,
    pub endpoint: String,
    /// Base URL to which it redirects requests for large files.
    pub cdn: String,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

impl Nginx {
    /// Returns the id of its first process; the workers are children of it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Serves the files of `listing` from `dir/files`: JSON answers, small files, and redirects to another address for
    /// large files.
    pub fn serve(dir: &Path, repo: &str, commit: &str, listing: &[Value]) -> Self {
        let (hub, cdn) = (free_port(), free_port());
        let write = |path: PathBuf, bytes: &[u8]| std::fs::write(path, bytes).unwrap();
        let mut locations = String::new();
        for entry in listing {
            let path = entry["path"].as_str().unwrap();
            let size = &entry["size"];
            let head = format!("add_header X-Repo-Commit {commit} always; ");
            let _ = if let Some(oid) = entry["lfs"]["oid"].as_str() {
                writeln!(
                    locations,
                    "location = /{repo}/resolve/{commit}/{path} {{ {head}add_header X-Linked-Etag '\"{oid}\"' always; add_header X-Linked-Size {size} always; return 302 http://127.0.0.2:{cdn}/{path}; }}"
                )
            } else {
                writeln!(
                    locations,
                    "location = /{repo}/resolve/{commit}/{path} {{ {head}etag off; add_header ETag '\"{}\"' always; alias {}; }}",
                    entry["oid"].as_str().unwrap(),
                    dir.join("files").join(path).display()
                )
            };
        }
        write(dir.join("tree.json"), Value::from(listing).to_string().as_bytes());
        let revision = serde_json::json!({ "id": repo, "sha": commit, "siblings": [] }).to_string();
        write(dir.join("revision.json"), revision.as_bytes());
        let config = format!(
            "daemon off; pid {dir}/pid; error_log {dir}/error.log; worker_processes 2;
events {{}}
http {{
  access_log off; default_type application/json; sendfile on;
  client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3; uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
  server {{ listen 127.0.0.1:{hub};
    location = /api/models/{repo}/revision/main {{ alias {dir}/revision.json; }}
    location = /api/models/{repo}/tree/{commit} {{ alias {dir}/tree.json; }}
    {locations}
  }}
  server {{ listen 127.0.0.2:{cdn}; root {dir}/files; }}
}}
",
            dir = dir.display()
        );
        write(dir.join("nginx.conf"), config.as_bytes());
        let child = Command::new("nginx")
            .args([
                "-p",
                dir.to_str().unwrap(),
                "-e",
                dir.join("error.log").to_str().unwrap(),
                "-c",
                dir.join("nginx.conf").to_str().unwrap(),
            ])
            .spawn()
            .expect("install nginx-light");
        let nginx = Self {
            child,
            endpoint: format!("http://127.0.0.1:{hub}"),
            cdn: format!("http://127.0.0.2:{cdn}"),
        };
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", hub)).is_err() {
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "nginx does not listen: {}",
                std::fs::read_to_string(dir.join("error.log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        nginx
    }
}
