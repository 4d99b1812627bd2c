//! nginx as a reverse proxy of this one host, since it is no forward proxy: `proxy_cache` with a lock, kept-alive connections to the origin,
//! open files kept, stale answers while the line is down. The lock waits as long as a slow line takes (its default of 5 s sends everybody
//! to the origin). For pieces of large files it cuts them into slices of 1 MiB, as its documentation advises.

use super::{Job, Peer, Start};
use crate::classroom::content::HOST;
use crate::kit::program;

/// What it is told for a job beside what it is always told.
pub(super) fn recipe(job: Job) -> Option<&'static str> {
    (job != Job::Objects).then_some("slices of 1 MiB")
}

/// Starts it.
pub(super) fn start(here: Start<'_>) -> Result<Peer, String> {
    let (port, near) = (here.port(), here.near());
    let folder = here.folder.path().display().to_string();
    let temporary =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {folder}/tmp-{kind}; ")).concat();
    let slices = if recipe(here.job).is_none() {
        "proxy_cache_key $uri;"
    } else {
        "slice 1m; proxy_cache_key $uri$slice_range; proxy_set_header Range $slice_range; proxy_cache_valid 200 206 7d;"
    };
    here.write(
        "nginx.conf",
        &format!(
            "daemon off; pid {folder}/pid; error_log {folder}/error.log warn; worker_processes auto; worker_rlimit_nofile 32768;\n\
             events {{ worker_connections 16384; }}\n\
             http {{ {temporary} access_log off; sendfile on; open_file_cache max=10000 inactive=1h;\n\
             tcp_nodelay on; keepalive_requests 1000000; keepalive_timeout 1h;\n\
             proxy_cache_path {folder}/cache levels=1:2 keys_zone=school:16m max_size=2g inactive=7d use_temp_path=off;\n\
             upstream origin {{ server {near}; keepalive 32; }}\n\
             server {{ listen 127.0.0.1:{port} backlog=2048; location / {{ proxy_pass http://origin; proxy_http_version 1.1; \
             proxy_set_header Connection \"\"; proxy_set_header Host {HOST}; proxy_cache school; {slices} \
             proxy_cache_lock on; proxy_cache_lock_timeout 10m; proxy_cache_lock_age 10m; proxy_cache_revalidate on; \
             proxy_connect_timeout 10s; proxy_cache_use_stale error timeout http_502 http_503 http_504; }} }} }}\n"
        ),
    )?;
    let mut command = here.command(program::need("nginx"));
    command.arg("-p").arg(here.folder.path()).arg("-c").arg(here.folder.path().join("nginx.conf"));
    command.arg("-e").arg(here.folder.path().join("error.log"));
    here.launch(&mut command, port, String::new(), HOST.to_owned())
}
