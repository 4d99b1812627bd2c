//! Turns the text of a case into bytes: escapes, and what stands in braces.
//!
//! `{host}` the authority of the case's own origin, `{ip} {port} {url}` · `{name}` its name in the DNS · `{bad} {bad-name} {rebind}` an
//! address that must never be reached, a name that leads there, one that does so the second time; `{bad-decimal}` and so on other ways
//! to write it · `{proxy} {proxy-port}` the proxy itself · `{smuggled} {smuggled-length} {smuggled-hex}` a whole request that nobody sends on
//! purpose · `{now} {past} {future}` dates · `{pause}` (of the origin) a moment · `{evil-or-good}` (of the origin) what it was told · `{3*text}` the text three times · `{bomb}` 300 MiB of
//! zeros, gzipped · `{gzip}` the gzipped word `fine`.

use bulak::base::clock::Clock;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;

/// Stands for a moment's silence in what the origin says.
pub(crate) const PAUSE: &[u8] = b"\x00<a moment>\x00";

/// Stands for `evil` when that is in what the origin was asked, else for `good`.
pub(crate) const REFLECTED: &[u8] = b"\x00<evil or good>\x00";

/// What a case's placeholders come to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The case's number, from which its addresses and names follow.
    pub(crate) number: u16,
    /// The origin's port, at every address.
    pub(crate) port: u16,
    pub(crate) proxy: SocketAddr,
}

impl Place {
    /// Where the case's origin is.
    pub(crate) fn ip(self) -> Ipv4Addr {
        let [high, low] = self.number.to_be_bytes();
        Ipv4Addr::new(127, 10, high, low)
    }

    /// An address of its own where nobody may go.
    pub(crate) fn bad(self) -> Ipv4Addr {
        let [high, low] = self.number.to_be_bytes();
        Ipv4Addr::new(127, 200, high, low)
    }

    pub(crate) fn host(self) -> String {
        format!("{}:{}", self.ip(), self.port)
    }

    fn smuggled(self) -> String {
        format!("GET http://{host}/smuggled HTTP/1.1\r\nHost: {host}\r\n\r\n", host = self.host())
    }

    fn word(self, name: &str) -> Option<Vec<u8>> {
        let bad = self.bad();
        let [a, b, c, d] = bad.octets();
        let whole = u32::from(bad);
        let (high, low) = (whole >> 16, whole & 0xffff);
        let date = |seconds: i64| {
            let (by, now) = (Duration::from_secs(seconds.unsigned_abs()), Clock::system().now());
            (if seconds < 0 { now.minus(by) } else { now.plus(by) }).to_http()
        };
        let text = match name {
            "host" => self.host(),
            "url" => format!("http://{}/c", self.host()),
            "ip" => self.ip().to_string(),
            "port" => self.port.to_string(),
            "name" => format!("c{}.hostile.test", self.number),
            "bad" => bad.to_string(),
            "bad-name" => format!("bad{}.hostile.test", self.number),
            "bad-six" => format!("six{}.hostile.test", self.number),
            "rebind" => format!("re{}.hostile.test", self.number),
            "bad-decimal" => whole.to_string(),
            "bad-hex" => format!("0x{whole:08x}"),
            "bad-octal" => format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
            "bad-hexes" => format!("0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}"),
            "bad-two" => format!("{a}.{}", whole & 0xff_ffff),
            "bad-three" => format!("{a}.{b}.{low}"),
            "bad-zeros" => format!("{a:03}.{b:03}.{c:03}.{d:03}"),
            "bad-mapped" => format!("[::ffff:{a}.{b}.{c}.{d}]"),
            "bad-mapped-hex" => format!("[::ffff:{high:x}:{low:x}]"),
            "bad-mapped-long" => format!("[0:0:0:0:0:ffff:{high:04x}:{low:04x}]"),
            "bad-compatible" => format!("[::{a}.{b}.{c}.{d}]"),
            "bad-nat64" => format!("[64:ff9b::{a}.{b}.{c}.{d}]"),
            "bad-nat64-local" => format!("[64:ff9b:1::{high:x}:{low:x}]"),
            "bad-6to4" => format!("[2002:{high:x}:{low:x}::1]"),
            "bad-teredo" => format!("[2001:0:4136:e378:8000:63bf:{:x}:{:x}]", !high & 0xffff, !low & 0xffff),
            "bad-isatap" => format!("[2001:470::200:5efe:{high:x}:{low:x}]"),
            "bad-translated" => format!("[::ffff:0:{high:x}:{low:x}]"),
            "proxy" => self.proxy.to_string(),
            "proxy-port" => self.proxy.port().to_string(),
            "smuggled" => self.smuggled(),
            "smuggled-length" => self.smuggled().len().to_string(),
            "smuggled-hex" => format!("{:x}", self.smuggled().len()),
            "now" => date(0),
            "past" => date(-864_000),
            "future" => date(86_400),
            "pause" => return Some(PAUSE.to_vec()),
            "evil-or-good" => return Some(REFLECTED.to_vec()),
            "bomb" => return Some(bomb().to_vec()),
            "gzip" => return Some(gzip(1, b"fine")),
            _ => return None,
        };
        Some(text.into_bytes())
    }

    /// The bytes that `text` stands for.
    ///
    /// # Errors
    /// What cannot be read.
    pub(crate) fn fill(self, text: &str) -> Result<Vec<u8>, String> {
        let mut out = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(['\\', '{', '}']) {
            out.extend_from_slice(&rest.as_bytes()[..at]);
            let mark = rest.as_bytes()[at];
            rest = &rest[at + 1..];
            rest = match mark {
                b'\\' => escape(rest, &mut out)?,
                b'{' => {
                    let end = closing(rest).ok_or_else(|| format!("a brace without end in `{text}`"))?;
                    let inside = &rest[..end];
                    if let Some((count, what)) = inside.split_once('*').filter(|(count, _)| count.parse::<usize>().is_ok()) {
                        let count = count.parse().map_err(|_| count.to_owned())?;
                        out.extend(self.fill(what)?.repeat(count));
                    } else {
                        out.extend(self.word(inside).ok_or_else(|| format!("`{{{inside}}}` stands for nothing"))?);
                    }
                    &rest[end + 1..]
                }
                _ => return Err(format!("a brace too many in `{text}`")),
            };
        }
        out.extend_from_slice(rest.as_bytes());
        Ok(out)
    }
}

/// Where the brace closes that was opened before `text`.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut escaped) = (0, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn escape<'a>(rest: &'a str, out: &mut Vec<u8>) -> Result<&'a str, String> {
    let letter = rest.chars().next().ok_or("a backslash at the end")?;
    if letter == 'x' {
        let byte = rest.get(1..3).and_then(|hex| u8::from_str_radix(hex, 16).ok()).ok_or_else(|| format!("`\\{rest}`"))?;
        out.push(byte);
        return Ok(&rest[3..]);
    }
    out.push(match letter {
        'r' => b'\r',
        'n' => b'\n',
        't' => b'\t',
        '0' => 0,
        '\\' | '"' | '{' | '}' => u8::try_from(letter).unwrap_or(b'?'),
        other => return Err(format!("`\\{other}` is no escape")),
    });
    Ok(&rest[letter.len_utf8()..])
}

/// Far beyond 200:1 and beyond 256 MiB.
fn bomb() -> &'static [u8] {
    static BOMB: OnceLock<Vec<u8>> = OnceLock::new();
    BOMB.get_or_init(|| gzip(300, &vec![0; 1 << 20]))
}

fn gzip(times: usize, bytes: &[u8]) -> Vec<u8> {
    let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..times {
        coder.write_all(bytes).expect("memory");
    }
    coder.finish().expect("memory")
}

#[test]
fn text_becomes_bytes() {
    let place = Place { number: 258, port: 80, proxy: SocketAddr::from(([127, 0, 0, 1], 3128)) };
    let table: &[(&str, &[u8])] = &[
        ("a\\r\\n\\x00\\xff\\{\\}\\\"\\\\", b"a\r\n\0\xff{}\"\\"),
        ("{host} {bad}", b"127.10.1.2:80 127.200.1.2"),
        ("{3*a\\t}{2*{port}}", b"a\ta\ta\t8080"),
        ("{bad-octal} {bad-mapped-hex}", b"0177.0310.01.02 [::ffff:7fc8:102]"),
    ];
    for (text, bytes) in table {
        assert_eq!(place.fill(text).as_deref(), Ok(*bytes), "{text}");
    }
    for text in ["{nothing}", "{open", "close}", "\\q", "\\x1", "end\\"] {
        assert!(place.fill(text).is_err(), "{text}");
    }
    assert!(bomb().len() < 1 << 20);
}
