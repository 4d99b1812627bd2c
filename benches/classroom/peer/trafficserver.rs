//! Apache Traffic Server, mapped to this one host: readers share a running fetch (read while write), others wait for it instead of going
//! to the origin, and a fetch goes on when its asker leaves. For pieces of large files it gets its slice plugin with blocks of 1 MiB
//! where that is installed (package trafficserver-experimental-plugins).

use super::{Ground, Job, Peer, Start};
use crate::classroom::content::HOST;
use crate::kit::program;
use std::fs;
use std::path::Path;

/// Where Debian has what it needs at run time.
const LIBRARY: &str = "/usr/lib/trafficserver";

/// What it is told for a job beside what it is always told.
pub(super) fn recipe(job: Job) -> Option<&'static str> {
    (job != Job::Objects).then_some("its slice plugin, blocks of 1 MiB")
}

/// Starts it.
pub(super) fn start(here: Start<'_>) -> Result<Peer, String> {
    let (port, near) = (here.port(), here.near());
    let root = here.folder.path().display().to_string();
    for name in ["etc", "run", "log", "cache", "data"] {
        fs::create_dir(here.folder.path().join(name)).map_err(|error| error.to_string())?;
    }
    here.write(
        "runroot.yaml",
        &format!(
            "prefix: {root}\nexec_prefix: {root}\nbindir: /usr/bin\nsbindir: /usr/bin\nsysconfdir: {root}/etc\ndatadir: {root}/data\n\
             includedir: {root}/data\nlibdir: {LIBRARY}\nlibexecdir: {LIBRARY}/modules\nlocalstatedir: {root}/run\nruntimedir: {root}/run\n\
             logdir: {root}/log\ncachedir: {root}/cache\n"
        ),
    )?;
    here.write("etc/records.config", &records(port, here.ground))?;
    here.write("etc/storage.config", "cache 2048M\n")?;
    let slices = recipe(here.job).is_some();
    if slices && !Path::new(LIBRARY).join("modules/slice.so").exists() {
        return Err(String::from("it has no slice plugin: apt-get install trafficserver-experimental-plugins"));
    }
    let plugins = if slices { " @plugin=slice.so @pparam=--blockbytes=1m @plugin=cache_range_requests.so" } else { "" };
    here.write("etc/remap.config", &format!("map http://{HOST}/ http://{near}/{plugins}\n"))?;
    here.write("etc/ip_allow.yaml", "ip_allow:\n  - apply: in\n    ip_addrs: 0/0\n    action: allow\n    methods: ALL\n")?;
    for name in ["plugin.config", "cache.config", "hosting.config", "parent.config", "volume.config", "logging.yaml"] {
        here.write(&format!("etc/{name}"), "")?;
    }
    let mut command = here.command(program::need("traffic_server"));
    command.arg(format!("--run-root={root}/runroot.yaml"));
    here.launch(&mut command, port, format!("http://{HOST}"), HOST.to_owned())
}

fn records(port: u16, ground: Ground<'_>) -> String {
    // As many threads as there are cores and a half more is its default; on one core, one.
    let one = if matches!(ground, Ground::Core(_)) { ["exec_thread.autoconfig INT 0", "exec_thread.limit INT 1"].as_slice() } else { &[] };
    let lines = [
        &format!("http.server_ports STRING {port}:ip-in=127.0.0.1"),
        "admin.user_id STRING #-1",
        "reverse_proxy.enabled INT 1",
        "url_remap.remap_required INT 1",
        "http.wait_for_cache INT 1",
        "http.cache.required_headers INT 2",
        "cache.ram_cache.size INT 67108864",
        "cache.max_doc_size INT 0",
        // One fetch for all who wait.
        "cache.enable_read_while_writer INT 1",
        "cache.read_while_writer.max_retries INT 1000",
        "cache.read_while_writer_retry.delay INT 50",
        "http.cache.max_open_read_retries INT 1000",
        "http.cache.open_read_retry_time INT 50",
        "http.cache.max_open_write_retries INT 1",
        "http.cache.open_write_fail_action INT 5",
        "http.background_fill_active_timeout INT 0",
        "http.background_fill_completed_threshold FLOAT 0.0",
        "http.connect_attempts_timeout INT 10",
        "http.keep_alive_no_activity_timeout_in INT 3600",
        "net.connections_throttle INT 30000",
        "log.logging_enabled INT 0",
        "crash_log_helper STRING NULL",
    ];
    format!("CONFIG proxy.config.{}\n", [lines.as_slice(), one].concat().join("\nCONFIG proxy.config."))
}
