//! The proxies to measure beside, as Debian has them and as their documentation advises for streaming: nginx and haproxy.

use crate::proxies::{Proxy, folder, free_port, start};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

/// The program of that name, where it is installed.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// Starts nginx as a streaming reverse proxy, as its documentation advises for one.
pub fn nginx(program: &Path, nodes: &[SocketAddr]) -> Result<Proxy, String> {
    let (home, port) = (folder()?, free_port()?);
    let servers: String = nodes.iter().map(|node| format!("    server {node};\n")).collect();
    let folder = home.path().display();
    // One process: what it costs is then the cost of one process. Connections live as long as they are used.
    let text = format!(
        "daemon off;
master_process off;
worker_rlimit_nofile 8192;
pid {folder}/pid;
error_log {folder}/log warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  client_max_body_size 64m;
  client_body_buffer_size 128k;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream nodes {{
{servers}    keepalive 1024;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      proxy_pass http://nodes;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_buffering off;
      proxy_request_buffering off;
      proxy_read_timeout 600s;
    }}
  }}
}}
"
    );
    let config = home.path().join("nginx.conf");
    fs::write(&config, text).map_err(|error| format!("{}: {error}", config.display()))?;
    let mut command = Command::new(program);
    command.arg("-p").arg(home.path()).arg("-e").arg(home.path().join("log")).arg("-c").arg(&config);
    start(&command, home, port)
}

/// Starts haproxy with one thread, keep-alive on both sides and nothing held back.
pub fn haproxy(program: &Path, nodes: &[SocketAddr]) -> Result<Proxy, String> {
    let (home, port) = (folder()?, free_port()?);
    let servers: String = (0..).zip(nodes).map(|(at, node)| format!("  server node{at} {node}\n")).collect();
    let text = format!(
        "global
  nbthread 1
  maxconn 2500
defaults
  mode http
  timeout connect 3s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
  option http-no-delay
  http-reuse always
listen nodes
  bind 127.0.0.1:{port} backlog 1024
  balance roundrobin
{servers}"
    );
    let config = home.path().join("haproxy.cfg");
    fs::write(&config, text).map_err(|error| format!("{}: {error}", config.display()))?;
    let mut command = Command::new(program);
    command.arg("-db").arg("-f").arg(&config);
    start(&command, home, port)
}
