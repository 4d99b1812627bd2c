//! The looks at names: whether a DNS server answers, and whether anybody has a name.

use super::verdict::{Finding, State};
use crate::config::Config;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;

/// A question that every DNS server answers from memory: the name servers of the root (RFC 1035 section 4.1, RFC 9609).
const ROOT_QUESTION: [u8; 17] = [0x62, 0x75, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];

pub(super) async fn names(config: &Config) -> Finding {
    const NAME: (&str, Option<&str>) = ("names", Some("line"));
    let (servers, from) = servers(config);
    if servers.is_empty() {
        return Finding::new(
            NAME.0,
            NAME.1,
            State::Failed,
            "the system names no DNS server",
            "set upstream.resolver, or mend /etc/resolv.conf",
        );
    }
    let mut silent = Vec::new();
    for server in servers.iter().take(3) {
        // One after the other, a second each: the usual first answers at once.
        match tokio::time::timeout(Duration::from_secs(1), ask(*server)).await {
            Ok(Ok(())) if silent.is_empty() => return Finding::fine(NAME.0, NAME.1, format!("{server} answers")),
            Ok(Ok(())) => {
                let message = format!("{} is silent, {server} answers: each new name waits", silent.join(", "));
                return Finding::new(
                    NAME.0,
                    NAME.1,
                    State::Attention,
                    message,
                    format!("put it first, or take the silent one from {from}"),
                );
            }
            Ok(Err(_)) | Err(_) => silent.push(server.to_string()),
        }
    }
    Finding::new(
        NAME.0,
        NAME.1,
        State::Failed,
        format!("no DNS server answers ({})", silent.join(", ")),
        format!("look at the line first, then at the servers of {from}"),
    )
}

/// The DNS servers that the node asks, and where they are named.
pub(super) fn servers(config: &Config) -> (Vec<SocketAddr>, &'static str) {
    if config.upstream.resolver.is_empty() {
        (std::fs::read_to_string("/etc/resolv.conf").map(|text| system_servers(&text)).unwrap_or_default(), "the system")
    } else {
        (config.upstream.resolver.clone(), "upstream.resolver")
    }
}

/// Whether a DNS server says that nobody has the name of this place.
pub(super) async fn denies(servers: &[SocketAddr], place: &str) -> bool {
    let host = place.rsplit_once(':').map_or(place, |(host, _)| host);
    let Some(question) = question(host) else { return false };
    for server in servers.iter().take(2) {
        if let Ok(Ok(answer)) = tokio::time::timeout(Duration::from_secs(1), answer(*server, &question)).await {
            return answer.get(3).is_some_and(|flags| flags & 0xf == NO_SUCH_NAME);
        }
    }
    false
}

/// RCODE of RFC 1035 section 4.1.1: the name does not exist.
const NO_SUCH_NAME: u8 = 3;

/// The question for the address of a name; `None` where it is none.
fn question(name: &str) -> Option<Vec<u8>> {
    let name = name.trim_end_matches('.');
    if name.parse::<IpAddr>().is_ok() || name.starts_with('[') {
        return None;
    }
    // The head of the other question; one name, A, IN.
    let mut question = ROOT_QUESTION[..12].to_vec();
    for label in name.split('.') {
        // RFC 1035 section 2.3.4.
        let length = u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length))?;
        question.push(length);
        question.extend(label.bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    Some(question)
}

async fn ask(server: SocketAddr) -> std::io::Result<()> {
    answer(server, &ROOT_QUESTION).await.map(drop)
}

/// What a server says to a question. Any answer to it will do, a refusal too: the server is there.
async fn answer(server: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let any: SocketAddr = if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (std::net::Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut answer = vec![0; 512];
    let length = socket.recv(&mut answer).await?;
    answer.truncate(length);
    let ours = length >= 12 && answer[..2] == question[..2] && answer[2] & 0x80 != 0;
    if ours { Ok(answer) } else { Err(std::io::Error::from(ErrorKind::InvalidData)) }
}

fn system_servers(text: &str) -> Vec<SocketAddr> {
    let addresses =
        text.lines().filter_map(|line| line.trim().strip_prefix("nameserver")?.split_whitespace().next()?.parse::<IpAddr>().ok());
    addresses.map(|ip| SocketAddr::new(ip, 53)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::look::{line, reach};
    use tokio::net::TcpListener;

    #[test]
    fn the_systems_servers_are_read() {
        let text = "# comment\nsearch school\nnameserver 192.168.8.1\nnameserver  fd00::1 \nnameserver x\n";
        let wanted: Vec<SocketAddr> = ["192.168.8.1:53", "[fd00::1]:53"].iter().map(|text| text.parse().expect("an address")).collect();
        assert_eq!(system_servers(text), wanted);
    }

    #[tokio::test]
    async fn a_name_that_nobody_has_is_told_from_a_dead_line() {
        let server = UdpSocket::bind("127.0.0.1:0").await.expect("binds");
        let addr = server.local_addr().expect("bound");
        let answering = async {
            loop {
                let mut packet = [0; 512];
                let (length, client) = server.recv_from(&mut packet).await.expect("a question");
                packet[2] |= 0x80;
                packet[3] = if packet[12..length].starts_with(b"\x06nobody\x07example\x00") { NO_SUCH_NAME } else { 0 };
                server.send_to(&packet[..length], client).await.expect("answers");
            }
        };
        let asking = async {
            assert!(denies(&[addr], "nobody.example:443").await);
            for place in ["somebody.example:443", "127.0.0.1:9", "[::1]:9", ":9", "a..b:9"] {
                assert!(!denies(&[addr], place).await, "{place}");
            }
            let mut config = Config::default();
            config.upstream.resolver = vec![addr];
            config.link.check = vec![String::from("nobody.example:443")];
            let finding = line(&config, None).await;
            assert_eq!((finding.state, finding.message.as_str()), (State::Attention, "there is no such name: nobody.example:443"));
            let closed = TcpListener::bind("127.0.0.1:0").await.expect("binds").local_addr().expect("bound");
            config.link.check.push(closed.to_string());
            assert_eq!(line(&config, None).await.state, State::Failed, "one that exists and is silent is another matter");
        };
        tokio::select! {
            () = answering => {}
            () = asking => {}
        }
    }

    #[tokio::test]
    async fn a_silent_name_server_is_told_from_one_that_answers() {
        let server = UdpSocket::bind("127.0.0.1:0").await.expect("binds");
        let addr = server.local_addr().expect("bound");
        let answer = async {
            let mut question = [0; 64];
            let (length, client) = server.recv_from(&mut question).await.expect("a question");
            assert_eq!(question[..length], ROOT_QUESTION);
            question[2] |= 0x80;
            server.send_to(&question[..length], client).await.expect("answers");
        };
        let (asked, ()) = tokio::join!(ask(addr), answer);
        assert!(asked.is_ok());
        let closed = TcpListener::bind("127.0.0.1:0").await.expect("binds").local_addr().expect("bound");
        assert!(reach(&closed.to_string()).await.is_err());
    }
}
