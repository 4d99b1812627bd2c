//! The judge's eyes: a strict reader of HTTP/1.1 (RFC 9110, RFC 9112) that repairs nothing and guesses nothing.
//!
//! It shares no line with what it judges. Bytes in, messages out, or the first thing that is wrong.

use std::fmt;

/// How a stream of messages reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Whole messages, in order.
    pub(crate) whole: Vec<Message>,
    /// A message that has begun and is not whole.
    pub(crate) begun: Option<Message>,
    /// What no reader should have to read; nothing after it is looked at.
    pub(crate) fault: Option<String>,
    /// Bytes of the whole messages.
    pub(crate) used: usize,
}

/// A message as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// The request line or status line.
    pub(crate) line: String,
    /// Names in lower case, values trimmed; bytes beyond ASCII as they would read in Latin-1.
    pub(crate) fields: Vec<(String, String)>,
    /// Without framing.
    pub(crate) body: Vec<u8>,
    /// The head is complete.
    pub(crate) headed: bool,
}

impl Message {
    /// The first value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The method of a request.
    pub(crate) fn method(&self) -> &str {
        self.line.split(' ').next().unwrap_or_default()
    }

    /// The target of a request.
    pub(crate) fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    /// The status of an answer, 0 of anything else.
    pub(crate) fn status(&self) -> u16 {
        if self.line.starts_with("HTTP/") { self.target().parse().unwrap_or(0) } else { 0 }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` with {} bytes", self.line.chars().take(80).collect::<String>().escape_debug(), self.body.len())
    }
}

/// Reads what a client (or a proxy as a client) sends.
pub(crate) fn requests(bytes: &[u8]) -> Reading {
    let mut reading = Reading::default();
    while reading.used < bytes.len() {
        match request(&bytes[reading.used..]) {
            Ok(Some((message, used))) => {
                reading.whole.push(message);
                reading.used += used;
            }
            Ok(None) => {
                reading.begun = begun(&bytes[reading.used..]);
                return reading;
            }
            Err(fault) => {
                reading.fault = Some(fault);
                return reading;
            }
        }
    }
    reading
}

/// Reads what a server (or a proxy as a server) sends in answer to `methods`; `ended`: the connection was closed.
pub(crate) fn answers(bytes: &[u8], methods: &[String], ended: bool) -> Reading {
    let mut reading = Reading::default();
    for method in methods {
        let rest = &bytes[reading.used..];
        if rest.is_empty() {
            return reading;
        }
        match answer(rest, method, ended) {
            Ok(Some((message, used))) => {
                reading.used += used;
                // After a 101, or a 2xx to CONNECT, the bytes are no longer HTTP.
                let through = message.status() == 101 || (method == "CONNECT" && message.status() / 100 == 2);
                reading.whole.push(message);
                if through {
                    return reading;
                }
            }
            Ok(None) => {
                reading.begun = begun(rest);
                return reading;
            }
            Err(fault) => {
                reading.fault = Some(fault);
                return reading;
            }
        }
    }
    if reading.used < bytes.len() {
        reading.fault = Some(format!("{} bytes that answer nothing: {}", bytes.len() - reading.used, shown(&bytes[reading.used..])));
    }
    reading
}

/// The start of bytes, for people.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(80)];
    let more = if bytes.len() > start.len() { "…" } else { "" };
    format!("\"{}\"{more}", start.escape_ascii())
}

type Found = Result<Option<(Message, usize)>, String>;

fn request(bytes: &[u8]) -> Found {
    let Some((mut message, mut at)) = head(bytes, request_line)? else { return Ok(None) };
    let old = message.line.ends_with("HTTP/1.0");
    let hosts: Vec<&str> = message.all("host").collect();
    if hosts.len() > 1 || (hosts.is_empty() && !old) {
        return Err(format!("{} Host fields", hosts.len()));
    }
    if hosts.first().is_some_and(|host| host.bytes().any(|byte| matches!(byte, b'@' | b'/' | b' ' | b',' | b'\t' | b'\\'))) {
        return Err(format!("Host `{}`", hosts[0].escape_debug()));
    }
    let (length, chunked) = framing(&message)?;
    if chunked && old {
        return Err("a transfer coding in HTTP/1.0".into());
    }
    if !body(bytes, &mut at, &mut message, length.or(Some(0)), chunked)? {
        return Ok(None);
    }
    Ok(Some((message, at)))
}

fn answer(bytes: &[u8], method: &str, ended: bool) -> Found {
    let mut at = 0;
    loop {
        let Some((mut message, used)) = head(&bytes[at..], status_line)? else { return Ok(None) };
        at += used;
        let status = message.status();
        if (100..200).contains(&status) && status != 101 {
            if framing(&message)? != (None, false) {
                return Err(format!("an interim answer {status} with a body"));
            }
            continue;
        }
        let (length, chunked) = framing(&message)?;
        if chunked && message.line.starts_with("HTTP/1.0") {
            return Err("a transfer coding in HTTP/1.0".into());
        }
        let none = method == "HEAD" || matches!(status, 101 | 204 | 304) || (method == "CONNECT" && status / 100 == 2);
        if status == 204 && (chunked || length.is_some_and(|length| length > 0)) {
            return Err("a 204 with a body".into());
        }
        if none {
            return Ok(Some((message, at)));
        }
        if !chunked && length.is_none() {
            message.body = bytes[at..].to_vec();
            return Ok(ended.then_some((message, bytes.len())));
        }
        return Ok(body(bytes, &mut at, &mut message, length, chunked)?.then_some((message, at)));
    }
}

/// What of a message is there.
fn begun(bytes: &[u8]) -> Option<Message> {
    let mut message = Message { line: String::from_utf8_lossy(&bytes[..bytes.len().min(100)]).into_owned(), ..Message::default() };
    for reader in [request_line as fn(&str) -> bool, status_line] {
        if let Ok(Some((found, at))) = head(bytes, reader) {
            message = found;
            message.body = bytes[at..].to_vec();
        }
    }
    (!bytes.is_empty()).then_some(message)
}

fn head(bytes: &[u8], first: fn(&str) -> bool) -> Found {
    let mut at = 0;
    let Some(line) = line(bytes, &mut at)? else { return Ok(None) };
    if !first(&line) {
        return Err(format!("the line {}", shown(line.as_bytes())));
    }
    let mut message = Message { line, ..Message::default() };
    Ok(fields(bytes, &mut at, &mut message.fields)?.then(|| {
        message.headed = true;
        (message, at)
    }))
}

/// One line without its CR LF; none while it is not whole.
fn line(bytes: &[u8], at: &mut usize) -> Result<Option<String>, String> {
    let rest = &bytes[*at..];
    let end = rest.iter().position(|byte| *byte == b'\n');
    let text = &rest[..end.unwrap_or(rest.len())];
    let Some(end) = end else {
        // A CR that is not the last byte is bare already.
        let bare = text.iter().rev().skip(1).any(|byte| *byte == b'\r');
        return if bare { Err(format!("a bare CR in {}", shown(text))) } else { Ok(None) };
    };
    let Some(text) = text.strip_suffix(b"\r") else { return Err(format!("a bare LF after {}", shown(text))) };
    if text.iter().any(|byte| matches!(byte, b'\r' | 0)) {
        return Err(format!("a bare CR or NUL in {}", shown(text)));
    }
    *at += end + 1;
    Ok(Some(text.iter().map(|byte| char::from(*byte)).collect()))
}

/// Field lines up to the empty one; whether it was there.
fn fields(bytes: &[u8], at: &mut usize, into: &mut Vec<(String, String)>) -> Result<bool, String> {
    loop {
        let Some(line) = line(bytes, at)? else { return Ok(false) };
        if line.is_empty() {
            return Ok(true);
        }
        let Some((name, value)) = line.split_once(':') else { return Err(format!("no field: {}", shown(line.as_bytes()))) };
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(format!("the field name {}", shown(name.as_bytes())));
        }
        into.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
    }
}

/// Length and coding (RFC 9112 section 6.3).
fn framing(message: &Message) -> Result<(Option<u64>, bool), String> {
    let codings: Vec<&str> = message.all("transfer-encoding").collect();
    let lengths: Vec<&str> = message.all("content-length").collect();
    if !codings.is_empty() && !lengths.is_empty() {
        return Err("both Content-Length and Transfer-Encoding".into());
    }
    if codings.len() > 1 || codings.first().is_some_and(|coding| !coding.eq_ignore_ascii_case("chunked")) {
        return Err(format!("Transfer-Encoding {codings:?}"));
    }
    if lengths.len() > 1 || lengths.first().is_some_and(|text| text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(format!("Content-Length {lengths:?}"));
    }
    let length = lengths.first().map(|text| text.parse().map_err(|_| format!("Content-Length {text}"))).transpose()?;
    Ok((length, !codings.is_empty()))
}

fn body(bytes: &[u8], at: &mut usize, message: &mut Message, length: Option<u64>, chunked: bool) -> Result<bool, String> {
    if chunked {
        return chunks(bytes, at, message);
    }
    let length = usize::try_from(length.unwrap_or(0)).unwrap_or(usize::MAX);
    let there = bytes.len() - *at;
    message.body.extend_from_slice(&bytes[*at..*at + length.min(there)]);
    *at += length.min(there);
    Ok(length <= there)
}

fn chunks(bytes: &[u8], at: &mut usize, message: &mut Message) -> Result<bool, String> {
    loop {
        let Some(line) = line(bytes, at)? else { return Ok(false) };
        let digits = line.split(';').next().unwrap_or_default();
        let controls = line.bytes().any(|byte| (byte < b' ' && byte != b'\t') || byte == 127);
        if digits.is_empty() || digits.len() > 16 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) || controls {
            return Err(format!("the chunk size {}", shown(line.as_bytes())));
        }
        let size = u64::from_str_radix(digits, 16).map_err(|error| error.to_string())?;
        if size == 0 {
            let mut trailers = Vec::new();
            let done = fields(bytes, at, &mut trailers)?;
            if trailers.iter().any(|(name, _)| matches!(name.as_str(), "content-length" | "transfer-encoding" | "host")) {
                return Err("a trailer that frames or routes".into());
            }
            return Ok(done);
        }
        let there = bytes.len() - *at;
        let size = usize::try_from(size).unwrap_or(usize::MAX).min(there.saturating_add(1));
        message.body.extend_from_slice(&bytes[*at..*at + size.min(there)]);
        *at += size.min(there);
        match bytes.get(*at..(*at + 2).min(bytes.len())) {
            Some(b"\r\n") => *at += 2,
            Some([] | b"\r") if size <= there => return Ok(false),
            _ if size > there => return Ok(false),
            _ => return Err("a chunk longer or shorter than its size".into()),
        }
    }
}

fn request_line(line: &str) -> bool {
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = words[..] else { return false };
    let visible = target.bytes().all(|byte| matches!(byte, 0x21..=0x7e) && byte != b'#');
    !method.is_empty() && method.bytes().all(is_token) && !target.is_empty() && visible && matches!(version, "HTTP/1.1" | "HTTP/1.0")
}

fn status_line(line: &str) -> bool {
    let (Some(version), Some(code)) = (line.get(..9), line.get(9..12)) else { return false };
    matches!(version, "HTTP/1.1 " | "HTTP/1.0 ")
        && code.bytes().all(|byte| byte.is_ascii_digit())
        && !code.starts_with('0')
        && matches!(line.as_bytes().get(12), None | Some(b' '))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_whole_begun_or_faulty() {
        let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let table: &[(String, usize, bool, bool)] = &[
            (get.repeat(2), 2, false, false),
            (format!("{get}GET / HT"), 1, true, false),
            (format!("{get}GET / HTTP/1.1\nHost: a\n\n"), 1, false, true),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab".into(), 0, true, false),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n".into(), 1, false, false),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab".into(), 0, false, true),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\n".into(), 0, false, true),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n".into(), 0, false, true),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n".into(), 0, false, true),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc".into(), 0, false, true),
            ("GET / HTTP/1.1\r\n\r\n".into(), 0, false, true),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".into(), 0, false, true),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n".into(), 0, false, true),
            ("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n".into(), 0, false, true),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0\r\n\r\n".into(), 0, false, true),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n".into(), 0, false, true),
            ("GET /\u{b} HTTP/1.1\r\nHost: a\r\n\r\n".into(), 0, false, true),
            ("GET / HTTP/1.2\r\nHost: a\r\n\r\n".into(), 0, false, true),
        ];
        for (text, whole, begun, fault) in table {
            let reading = requests(text.as_bytes());
            assert_eq!((reading.whole.len(), reading.begun.is_some(), reading.fault.is_some()), (*whole, *begun, *fault), "{text:?}");
        }
    }

    #[test]
    fn answers_are_whole_cut_or_faulty() {
        let table: &[(&str, &str, bool, usize, bool, bool)] = &[
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "GET", false, 1, false, false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", "GET", true, 0, true, false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd", "GET", true, 1, false, true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "HEAD", false, 1, false, false),
            ("HTTP/1.1 200 OK\r\n\r\nabc", "GET", false, 0, true, false),
            ("HTTP/1.1 200 OK\r\n\r\nabc", "GET", true, 1, false, false),
            ("HTTP/1.1 103 E\r\n\r\nHTTP/1.1 204 N\r\n\r\n", "GET", false, 1, false, false),
            ("HTTP/1.1 204 N\r\nContent-Length: 3\r\n\r\nabc", "GET", false, 0, false, true),
            ("HTTP/1.1 2000 OK\r\n\r\n", "GET", true, 0, false, true),
            ("HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n", "GET", true, 0, false, true),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", "GET", true, 0, true, false),
        ];
        for (text, method, ended, whole, begun, fault) in table {
            let reading = answers(text.as_bytes(), &[(*method).to_owned()], *ended);
            assert_eq!((reading.whole.len(), reading.begun.is_some(), reading.fault.is_some()), (*whole, *begun, *fault), "{text:?}");
        }
    }
}
