//! Varnish as a reverse proxy of this one host: stale answers for a week (grace), bodies in memory (`malloc`), which is the storage that
//! its makers advise; it has as much of it as others have disk. It fetches whole objects and lets all who wait read along.

use super::{Peer, Start};
use crate::classroom::content::HOST;
use crate::kit::program;

/// Starts it.
pub(super) fn start(here: Start<'_>) -> Result<Peer, String> {
    let (port, near) = (here.port(), here.near());
    here.write(
        "school.vcl",
        &format!(
            "vcl 4.1;\nbackend origin {{ .host = \"{}\"; .port = \"{}\"; .connect_timeout = 10s; .first_byte_timeout = 60s; \
             .between_bytes_timeout = 60s; }}\n\
             sub vcl_backend_response {{ set beresp.grace = 7d; set beresp.keep = 7d; }}\n",
            near.ip(),
            near.port()
        ),
    )?;
    let mut command = here.command(program::need("varnishd"));
    command.args(["-F", "-j", "none", "-n"]).arg(here.folder.path().join("work"));
    command.args(["-a", &format!("127.0.0.1:{port}"), "-s", "malloc,2g", "-p", "timeout_idle=3600", "-p", "listen_depth=2048", "-f"]);
    command.arg(here.folder.path().join("school.vcl"));
    here.launch(&mut command, port, String::new(), HOST.to_owned())
}
