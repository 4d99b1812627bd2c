//! Who holds a port: read from /proc, so that "port already taken" can name the program. Best effort: without the rights to
//! look at other people's processes there is no name, and that is no error.

use std::fs;
use std::path::Path;

/// The name and number of a process that listens on `port`.
pub(crate) fn holder(port: u16) -> Option<String> {
    // /proc/net itself is not there for a service (`ProcSubset=pid`).
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
    let sockets: Vec<String> =
        tables.iter().filter_map(|path| fs::read_to_string(path).ok()).flat_map(|table| listening(&table, port)).collect();
    fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path()).find_map(|process| named(&process, &sockets))
}

/// The link targets (`socket:[inode]`) of sockets that listen on `port`, from a table as in /proc/net/tcp.
fn listening(table: &str, port: u16) -> Vec<String> {
    let wanted = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
            // 0A is LISTEN.
            (local.ends_with(&wanted) && *state == "0A").then(|| format!("socket:[{inode}]"))
        })
        .collect()
}

fn named(process: &Path, sockets: &[String]) -> Option<String> {
    let pid = process.file_name()?.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))?;
    let mut open = fs::read_dir(process.join("fd")).ok()?.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    if !open.any(|link| sockets.iter().any(|socket| link.as_os_str() == socket.as_str())) {
        return None;
    }
    let name = fs::read_to_string(process.join("comm")).ok()?;
    Some(format!("{} (process {pid})", name.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_tells_who_listens() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             \x20  0: 0100007F:0C38 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 4711 1 0 100 0 0 10 0\n\
             \x20  1: 0100007F:0C38 0100007F:9000 01 00000000:00000000 00:00000000 00000000  0 0 4712 1 0 100 0 0 10 0\n";
        assert_eq!(listening(table, 3128), ["socket:[4711]"]);
        assert_eq!(listening(table, 80), Vec::<String>::new());
    }

    #[test]
    fn our_own_port_is_held_by_us() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let found = holder(listener.local_addr().expect("bound").port()).expect("our own process is visible to us");
        assert!(found.contains(&format!("process {}", std::process::id())), "{found}");
    }
}
