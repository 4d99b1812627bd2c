//! Names on a LAN, seen from the next room: two network namespaces, two nodes of one name, and questions as any device asks them.

use crate::kit;
use crate::kit::node::{Node, Setup};
use crate::kit::program;
use std::process::Command;

/// Reads the records of a DNS message in Python: owner, kind, time to live, and address or name (RFC 1035 section 4).
const RECORDS: &str = r"
import socket, struct, sys, time
def label(d, at):
    parts, back = [], None
    while d[at]:
        if d[at] >= 192:
            back = back or at + 2; at = (d[at] & 63) << 8 | d[at + 1]; continue
        parts.append(d[at + 1:at + 1 + d[at]].decode()); at += 1 + d[at]
    return '.'.join(parts), back or at + 1
def records(d):
    _, _, qs, an, ns, ar = struct.unpack('>6H', d[:12]); at = 12
    for _ in range(qs): _, at = label(d, at); at += 4
    for _ in range(an + ns + ar):
        owner, at = label(d, at)
        t, _, ttl, n = struct.unpack('>2HIH', d[at:at + 10]); at += 10
        yield owner.lower(), t, ttl, socket.inet_ntoa(d[at:at + 4]) if t == 1 else label(d, at)[0] if t == 12 else ''
        at += n
";

/// Two rooms of one LAN: network namespaces joined by a pair of veth interfaces. Needs root.
struct Rooms {
    names: [String; 2],
}

impl Rooms {
    fn open() -> Option<Rooms> {
        let rooms = Rooms { names: ["a", "b"].map(|end| format!("bulak{}{end}", std::process::id())) };
        let [a, b] = &rooms.names;
        let ip = |words: &str| {
            let output = program::run(Command::new(program::find("ip")?).args(words.split(' ')), 10);
            output.status.success().then_some(())
        };
        ip(&format!("netns add {a}"))?;
        ip(&format!("netns add {b}"))?;
        ip(&format!("-n {a} link add lan type veth peer name lan netns {b}"))?;
        for (room, address) in [(a, "10.9.8.1/24"), (b, "10.9.8.2/24")] {
            ip(&format!("-n {room} link set lo up"))?;
            ip(&format!("-n {room} address add {address} dev lan"))?;
            ip(&format!("-n {room} link set lan up"))?;
            ip(&format!("-n {room} route add 224.0.0.0/4 dev lan"))?;
        }
        Some(rooms)
    }

    /// A node in a room, on all of its addresses.
    fn node(&self, room: usize) -> Node {
        Setup::new()
            .set("node.title", "\"№12 Абай мектебі\"")
            .set("web.listen", "[\"0.0.0.0:80\"]")
            .under(&["ip", "netns", "exec", &self.names[room]])
            .start()
    }

    /// Asks the LAN from a room, as any device does: `A` and `PTR` questions by multicast DNS. The raw answers, as text.
    fn ask(&self, room: usize, name: &str, kind: u16) -> Vec<String> {
        // A question of RFC 6762 section 5.1 (one-shot), answered to this socket; records are picked out by their kind.
        const SCRIPT: &str = r"
name, kind, mine = sys.argv[1].lower(), int(sys.argv[2]), sys.argv[3]
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(mine))
s.bind((mine, 0)); s.settimeout(0.5)
q = struct.pack('>6H', 7, 0, 1, 0, 0, 0) + b''.join(bytes([len(p)]) + p.encode() for p in name.split('.')) + b'\0' + struct.pack('>2H', kind, 1)
found, end = set(), time.time() + 2
while time.time() < end and not found:
    s.sendto(q, ('224.0.0.251', 5353))
    try:
        while True:
            for owner, t, ttl, value in records(s.recv(9000)):
                if t == kind and owner == name and ttl: found.add(value)
    except TimeoutError: pass
print('\n'.join(sorted(found)))
";
        let mine = ["10.9.8.1", "10.9.8.2"][room];
        let mut ask = Command::new(program::need("ip"));
        ask.args(["netns", "exec", &self.names[room], "python3", "-c", &format!("{RECORDS}{SCRIPT}"), name, &kind.to_string(), mine]);
        let output = program::run(&ask, 20);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// Listens in a room for the goodbye of a name (its records with no time left), and writes a line once it hears it.
    fn hear(&self, room: usize, name: &str, log: &std::path::Path) -> program::Running {
        const SCRIPT: &str = r"
name, mine = sys.argv[1].lower(), sys.argv[2]
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
s.bind(('224.0.0.251', 5353))
s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton('224.0.0.251') + socket.inet_aton(mine))
print('listening', flush=True)
while True:
    for owner, t, ttl, value in records(s.recv(9000)):
        if t == 1 and owner == name and not ttl: print('goodbye', value, flush=True)
";
        let mine = ["10.9.8.1", "10.9.8.2"][room];
        let mut listen = Command::new(program::need("ip"));
        listen.args(["netns", "exec", &self.names[room], "python3", "-c", &format!("{RECORDS}{SCRIPT}"), name, mine]);
        let running = program::start(&mut listen, log);
        kit::until("an ear", 20, || std::fs::read_to_string(log).is_ok_and(|text| text.contains("listening")));
        running
    }
}

impl Drop for Rooms {
    fn drop(&mut self) {
        for name in &self.names {
            if let Some(ip) = program::find("ip") {
                // One that was never made is not there to be removed.
                let _removed = program::run(Command::new(ip).args(["netns", "del", name]), 10);
            }
        }
    }
}

/// What a node says of its names.
fn announced(node: &Node) -> serde_json::Value {
    node.local("GET", "/api/v1/status")["local_names"].clone()
}

#[test]
fn names_are_announced_on_the_lan_and_taken_back() {
    let Some(rooms) = Rooms::open() else {
        let why = "network namespaces are not to be had (root, ip netns)";
        return program::skipped("names_are_announced_on_the_lan_and_taken_back", why);
    };
    let mut first = rooms.node(0);
    for name in ["abay-12.local", "bulak.local"] {
        kit::until(name, 30, || rooms.ask(1, name, 1) == ["10.9.8.1"]);
    }
    let listed = rooms.ask(1, "_http._tcp.local", 12);
    assert!(listed.iter().any(|name| name.starts_with("№12 Абай мектебі._http")), "{listed:?}");
    assert_eq!(announced(&first), serde_json::json!({ "names": ["abay-12.local", "bulak.local"], "renamed": false }));
    // A second node of the same name in the next room gets a number, and says so.
    let second = rooms.node(1);
    kit::until("a number", 60, || {
        announced(&second) == serde_json::json!({ "names": ["abay-12-2.local", "bulak-2.local"], "renamed": true })
    });
    kit::until("the number is announced", 30, || rooms.ask(0, "abay-12-2.local", 1) == ["10.9.8.2"]);
    assert_eq!(rooms.ask(1, "abay-12.local", 1), ["10.9.8.1"], "the first keeps its name");
    assert!(second.log_text().contains("a name is taken by another machine"), "{}", second.log_text());
    let report: serde_json::Value = serde_json::from_slice(&second.command(&["doctor", "--json"]).stdout).expect("JSON");
    let found = report["checks"].as_array().expect("checks").iter().find(|found| found["check"] == "local names").cloned();
    assert_eq!(found.expect("looked at")["state"], "attention");
    // A node that ends takes its names back: nobody keeps them for two minutes.
    let log = first.folder.path().join("heard");
    let _ear = rooms.hear(1, "bulak.local", &log);
    first.terminate();
    kit::until("a goodbye", 20, || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("goodbye 10.9.8.1")));
    assert!(rooms.ask(1, "bulak.local", 1).is_empty());
}
