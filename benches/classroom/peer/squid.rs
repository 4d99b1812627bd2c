//! squid as a forward proxy with a disk: collapsed forwarding on, objects up to 2 GB. For all pieces of large files it gets the recipe of
//! its own wiki for updates (whole files from the first range on, fetched to the end); without it every range would be fetched for itself,
//! which is less where only one piece is wanted.

use super::{Job, Peer, Start};
use crate::classroom::content::HOST;
use crate::kit::program;
use std::process::Command;

/// What it is told for a job beside what it is always told.
pub(super) fn recipe(job: Job) -> Option<&'static str> {
    (job == Job::Pieces).then_some("whole files from the first range on, fetched to their end")
}

/// Starts it.
pub(super) fn start(here: Start<'_>) -> Result<Peer, String> {
    let (port, near) = (here.port(), here.near());
    let folder = here.folder.path().display().to_string();
    let pieces = if recipe(here.job).is_some() { "range_offset_limit none\nquick_abort_min -1 KB\n" } else { "" };
    here.write(
        "squid.conf",
        &format!(
            "http_port 127.0.0.1:{port}\nhttp_access allow all\npid_filename {folder}/squid.pid\ncache_log {folder}/cache.log\n\
             access_log none\ncache_store_log none\ncoredump_dir {folder}\nvisible_hostname squid.school.test\n\
             cache_dir aufs {folder}/cache 2048 16 256\ncache_mem 64 MB\nmaximum_object_size 2 GB\nmaximum_object_size_in_memory 1 MB\n\
             memory_cache_shared off\ncollapsed_forwarding on\nconnect_timeout 10 seconds\nmax_filedescriptors 32768\n\
             pinger_enable off\nshutdown_lifetime 0 seconds\nnetdb_filename none\nhosts_file {folder}/hosts\n{pieces}"
        ),
    )?;
    here.write("hosts", &format!("{} {HOST}\n", near.ip()))?;
    let file = here.folder.path().join("squid.conf");
    // The folders of its disk are made first, by a squid that ends.
    program::run(Command::new(program::need("squid")).args(["-N", "-z", "-f"]).arg(&file), 60);
    let mut command = here.command(program::need("squid"));
    command.args(["-N", "-f"]).arg(&file);
    let host = format!("{HOST}:{}", near.port());
    here.launch(&mut command, port, format!("http://{host}"), host)
}
