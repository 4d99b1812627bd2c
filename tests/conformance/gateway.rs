//! Between a client that knows nothing of proxies and a forward proxy: the request line becomes absolute form.
//!
//! One connection for one, and everything else passes byte for byte, so that what is measured is the proxy. It looks at
//! framing fields only to find where the next request begins.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};

/// Starts a gateway to `proxy` for the server `origin` and gives its address. It runs until the process ends.
pub(crate) fn start(proxy: SocketAddr, origin: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let addr = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for client in listener.incoming().filter_map(Result::ok) {
            std::thread::spawn(move || {
                // Either end may break off at any time; the other end then sees it, which is all that a gateway owes.
                let _carried = carry(client, proxy, origin);
            });
        }
    });
    addr
}

fn carry(client: TcpStream, proxy: SocketAddr, origin: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect(proxy)?;
    let (mut down_from, mut down_to) = (server.try_clone()?, client.try_clone()?);
    let down = std::thread::spawn(move || {
        let _copied = io::copy(&mut down_from, &mut down_to); // ends with the connection
        let _closed = down_to.shutdown(Shutdown::Both);
    });
    let mut reader = BufReader::new(client);
    let sent = requests(&mut reader, &mut &server, origin);
    let _closed = server.shutdown(Shutdown::Write); // it may be closed already
    let _ended = down.join();
    sent
}

/// Passes requests until the client closes: each first line in absolute form, the rest as it is.
fn requests(from: &mut impl BufRead, to: &mut impl Write, origin: SocketAddr) -> io::Result<()> {
    loop {
        let mut length = 0;
        let mut chunked = false;
        let mut first = true;
        loop {
            let line = line(from)?;
            if first && line.is_empty() {
                return Ok(());
            }
            let text = String::from_utf8_lossy(&line).to_ascii_lowercase();
            if let Some(value) = text.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
            }
            chunked |= text.starts_with("transfer-encoding:") && text.contains("chunked");
            let out = if first { absolute(&line, origin).ok_or(io::ErrorKind::InvalidData)? } else { line };
            to.write_all(&out)?;
            first = false;
            if text == "\r\n" {
                break;
            }
        }
        if chunked {
            chunks(from, to)?;
        } else {
            io::copy(&mut from.take(length), to)?;
        }
    }
}

fn chunks(from: &mut impl BufRead, to: &mut impl Write) -> io::Result<()> {
    loop {
        let size = line(from)?;
        to.write_all(&size)?;
        let text = String::from_utf8_lossy(&size);
        let size = u64::from_str_radix(text.trim(), 16).map_err(|_| io::ErrorKind::InvalidData)?;
        io::copy(&mut from.take(size + 2), to)?; // with the line end; after the last chunk there are no trailers
        if size == 0 {
            return Ok(());
        }
    }
}

fn line(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    from.take(64 << 10).read_until(b'\n', &mut line)?;
    Ok(line)
}

/// `GET /x HTTP/1.1` -> `GET http://origin/x HTTP/1.1`.
fn absolute(line: &[u8], origin: SocketAddr) -> Option<Vec<u8>> {
    let at = line.iter().position(|byte| *byte == b' ')?;
    let (method, rest) = line.split_at(at + 1);
    rest.starts_with(b"/").then(|| [method, format!("http://{origin}").as_bytes(), rest].concat())
}

#[test]
fn only_the_target_changes() {
    let origin = SocketAddr::from((Ipv4Addr::LOCALHOST, 8000));
    assert_eq!(absolute(b"PUT /a?b HTTP/1.1\r\n", origin), Some(b"PUT http://127.0.0.1:8000/a?b HTTP/1.1\r\n".to_vec()));
    assert_eq!(absolute(b"OPTIONS * HTTP/1.1\r\n", origin), None);
}
