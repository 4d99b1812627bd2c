//! Which lane a request takes, from its method, target, fields and the address it came in on. Pure; the first thing that is
//! decided about a request and the only place where that is decided (RFC 9112 section 3.2).

use crate::base::target::{Scheme, Target, split_authority};
use crate::policy::header::max_forwards;
use http::{HeaderMap, Method, Uri, Version, header};
use std::net::{IpAddr, SocketAddr};

/// What is known of the house itself.
#[derive(Clone, Debug, Default)]
pub struct House {
    /// Host names that are ours, in lower case.
    pub names: Vec<String>,
    /// Ports that the proxy and our web pages listen on.
    pub ports: Vec<u16>,
    /// Ports that CONNECT may reach.
    pub connect_ports: Vec<u16>,
}

impl House {
    /// Whether this name is ours.
    pub fn owns(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        self.names.iter().any(|name| name.eq_ignore_ascii_case(host))
    }
}

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target as sent.
    pub uri: &'a Uri,
    /// The version.
    pub version: Version,
    /// The fields, unchanged.
    pub headers: &'a HeaderMap,
    /// Our end of the connection.
    pub to: SocketAddr,
}

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lane {
    /// A page of ours.
    Local,
    /// The cache, which also passes what cannot be cached.
    Cache(Target),
    /// CONNECT.
    Tunnel {
        /// Host, an IPv6 address in brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// CONNECT to a name of ours, at the port of https: opened by ourselves where there is a CA.
    Own {
        /// The name in lower case, without a dot at its end.
        host: String,
    },
    /// Asks to switch protocols: passed through whole.
    Pass(Target),
    /// Answered by the proxy itself: `OPTIONS *`, and TRACE or OPTIONS with `Max-Forwards: 0`.
    Here,
    /// Not done.
    Refuse(Refusal),
}

/// Why a request is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The target has a form that does not fit the method, or cannot be read.
    Target,
    /// The target names a user: credentials do not belong into addresses (RFC 9110 section 4.2.4).
    UserInfo,
    /// Neither http nor https.
    Scheme,
    /// Neither our name nor a target in absolute form.
    Misdirected,
    /// CONNECT to a port that is not listed, or HTTP to a port that speaks something else.
    Port,
    /// CONNECT to ourselves.
    Own,
    /// An expectation other than `100-continue`.
    Expectation,
    /// TRACE with a body (RFC 9110 section 9.3.8).
    TraceBody,
    /// Has been here before.
    Loop,
    /// No pack in force names this address, so the mirror has nothing of it.
    Unmirrored,
    /// A mirror is for reading.
    ReadOnly,
    /// A service worker above the pages of its own host.
    Worker,
    /// A tunnel to a library on this node, which is read by plain HTTP alone.
    Library,
}

impl Refusal {
    /// The label value.
    pub const fn word(self) -> &'static str {
        match self {
            Refusal::Target => "target_form",
            Refusal::UserInfo => "user_info",
            Refusal::Scheme => "scheme",
            Refusal::Misdirected => "misdirected",
            Refusal::Port => "port",
            Refusal::Own => "own",
            Refusal::Expectation => "expectation",
            Refusal::TraceBody => "trace_body",
            Refusal::Loop => "loop",
            Refusal::Unmirrored => "unmirrored",
            Refusal::ReadOnly => "read_only",
            Refusal::Worker => "worker",
            Refusal::Library => "library",
        }
    }
}

/// Decides.
pub fn classify(house: &House, ask: &Ask<'_>) -> Lane {
    settle(by_target(house, ask), ask)
}

/// What a connection that we opened was opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// An origin in whose name we stand there.
    Origin,
    /// A page of ours.
    Own,
}

/// Decides about a request on a connection over TLS that was opened in the name of `host`: it may mean that host alone, at port 443.
/// `socket`: it is an extended CONNECT for WebSocket (RFC 8441).
pub fn inside(host: &str, purpose: Purpose, ask: &Ask<'_>, socket: bool) -> Lane {
    let lane = match (within(host, ask, socket), purpose) {
        (Lane::Cache(_) | Lane::Pass(_), Purpose::Own) => Lane::Local,
        (lane, _) => lane,
    };
    settle(lane, ask)
}

fn within(host: &str, ask: &Ask<'_>, socket: bool) -> Lane {
    if *ask.method == Method::CONNECT && !socket {
        return Lane::Refuse(Refusal::Target);
    }
    let mut named = ask.headers.get_all(header::HOST).iter().map(|value| value.to_str().unwrap_or_default());
    let authority = match (ask.uri.scheme_str(), ask.uri.authority()) {
        (Some("https"), Some(authority)) => authority.as_str(),
        // http over TLS is neither.
        (Some(_), _) => return Lane::Refuse(Refusal::Misdirected),
        (None, Some(_)) => return Lane::Refuse(Refusal::Target),
        (None, None) if ask.uri.path() == "*" && *ask.method == Method::OPTIONS => return Lane::Here,
        (None, None) => match named.next() {
            Some(authority) => authority,
            None => return Lane::Refuse(Refusal::Target),
        },
    };
    if authority.contains('@') {
        return Lane::Refuse(Refusal::UserInfo);
    }
    let fits = |text: &str| matches!(split_authority(text, Scheme::Https), Ok((name, 443)) if name.eq_ignore_ascii_case(host));
    if !fits(authority) || !named.all(fits) {
        return Lane::Refuse(Refusal::Misdirected);
    }
    let path = ask.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    match Target::from_parts(Scheme::Https, host, path) {
        Ok(target) if socket => Lane::Pass(target),
        Ok(target) => Lane::Cache(target),
        Err(_) => Lane::Refuse(Refusal::Target),
    }
}

/// What every lane has in common.
fn settle(lane: Lane, ask: &Ask<'_>) -> Lane {
    if matches!(lane, Lane::Refuse(_)) {
        return lane;
    }
    if let Some(expected) = ask.headers.get(header::EXPECT)
        && ask.version >= Version::HTTP_11
        && !expected.as_bytes().eq_ignore_ascii_case(b"100-continue")
    {
        return Lane::Refuse(Refusal::Expectation);
    }
    if *ask.method == Method::TRACE
        && (ask.headers.contains_key(header::CONTENT_LENGTH) || ask.headers.contains_key(header::TRANSFER_ENCODING))
    {
        return Lane::Refuse(Refusal::TraceBody);
    }
    if is_last_stop(ask) {
        return Lane::Here;
    }
    match lane {
        Lane::Cache(target) if wants_upgrade(ask) => Lane::Pass(target),
        lane => lane,
    }
}

fn by_target(house: &House, ask: &Ask<'_>) -> Lane {
    if *ask.method == Method::CONNECT {
        return connect(house, ask);
    }
    match (ask.uri.scheme_str(), ask.uri.authority()) {
        (Some(scheme), Some(authority)) => {
            let scheme = match scheme {
                "http" => Scheme::Http,
                "https" => Scheme::Https,
                _ => return Lane::Refuse(Refusal::Scheme),
            };
            let path = ask.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
            absolute(house, ask, scheme, authority.as_str(), path)
        }
        (None, None) if ask.uri.path() == "*" => {
            if *ask.method == Method::OPTIONS {
                Lane::Here
            } else {
                Lane::Refuse(Refusal::Target)
            }
        }
        (None, None) => origin_form(house, ask),
        // Authority form is for CONNECT alone.
        _ => Lane::Refuse(Refusal::Target),
    }
}

fn absolute(house: &House, ask: &Ask<'_>, scheme: Scheme, authority: &str, path: &str) -> Lane {
    if authority.contains('@') {
        return Lane::Refuse(Refusal::UserInfo);
    }
    let Ok(target) = Target::from_parts(scheme, authority, path) else { return Lane::Refuse(Refusal::Target) };
    if house.owns(target.host()) || (is_own_address(ask, target.host()) && house.ports.contains(&target.port())) {
        return Lane::Local;
    }
    if target.has_bad_port() {
        return Lane::Refuse(Refusal::Port);
    }
    Lane::Cache(target)
}

/// A request as to a web server: fine when it means us. Any other name is not ours to answer for (DNS rebinding).
fn origin_form(house: &House, ask: &Ask<'_>) -> Lane {
    let host = ask.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if host.is_empty() {
        return Lane::Refuse(Refusal::Target);
    }
    match split_authority(host, Scheme::Http) {
        Ok((host, _)) if house.owns(host) || is_own_address(ask, host) => Lane::Local,
        Ok(_) => Lane::Refuse(Refusal::Misdirected),
        Err(_) => Lane::Refuse(Refusal::Target),
    }
}

fn connect(house: &House, ask: &Ask<'_>) -> Lane {
    let Some(authority) = ask.uri.authority() else { return Lane::Refuse(Refusal::Target) };
    let text = authority.as_str();
    if text.contains('@') {
        return Lane::Refuse(Refusal::UserInfo);
    }
    // RFC 9112 section 3.2.3: the port must be written.
    if ask.uri.scheme().is_some() || authority.port_u16().is_none() {
        return Lane::Refuse(Refusal::Target);
    }
    let Ok((host, port)) = split_authority(text, Scheme::Https) else { return Lane::Refuse(Refusal::Target) };
    if house.owns(host) && port == 443 {
        return Lane::Own { host: host.trim_end_matches('.').to_ascii_lowercase() };
    }
    // Our other ports are guarded by `upstream`, which knows them all.
    if house.owns(host) || (is_own_address(ask, host) && house.ports.contains(&port)) {
        return Lane::Refuse(Refusal::Own);
    }
    if !house.connect_ports.contains(&port) {
        return Lane::Refuse(Refusal::Port);
    }
    Lane::Tunnel { host: host.to_ascii_lowercase(), port }
}

/// Whether `host` is the address on which this very request came in.
fn is_own_address(ask: &Ask<'_>, host: &str) -> bool {
    // Names are not parsed at all: this runs for every request.
    if !host.starts_with(|first: char| first.is_ascii_digit() || first == '[') {
        return false;
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical() == ask.to.ip().to_canonical())
}

/// RFC 9110 section 7.6.2.
fn is_last_stop(ask: &Ask<'_>) -> bool {
    (*ask.method == Method::TRACE || *ask.method == Method::OPTIONS) && max_forwards(ask.headers) == Some(0)
}

/// Whether the client asks for another protocol that may be passed on. `h2c` is not: it would hide requests from us, and a
/// server may always ignore it (RFC 9113 section 3.1).
fn wants_upgrade(ask: &Ask<'_>) -> bool {
    let Some(upgrade) = ask.headers.get(header::UPGRADE) else { return false };
    let named = ask.headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let is_named = named.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
    let text = upgrade.to_str().unwrap_or_default();
    let is_plain = !text.is_empty() && !text.split(',').any(|protocol| is_http(protocol.trim()));
    // What changes something at the origin goes through the cache, which has to learn of it (RFC 9111 section 4.4); a server may
    // always ignore an Upgrade, and every WebSocket begins with GET.
    *ask.method == Method::GET && ask.version == Version::HTTP_11 && is_named && is_plain
}

fn is_http(protocol: &str) -> bool {
    let name = protocol.split('/').next().unwrap_or_default();
    ["h2c", "h2", "http", "tls"].iter().any(|other| name.eq_ignore_ascii_case(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    type Named<'a> = &'a [(&'static str, &'static str)];

    fn lane(method: &str, uri: &str, fields: Named) -> Lane {
        let house = House { names: vec!["bulak.internal".into()], ports: vec![3128, 8080], connect_ports: vec![80, 443] };
        let headers: HeaderMap =
            fields.iter().map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value))).collect();
        let (method, uri) = (method.parse().expect("method"), uri.parse().expect("uri"));
        let to = SocketAddr::from(([10, 0, 0, 1], 3128));
        classify(&house, &Ask { method: &method, uri: &uri, version: Version::HTTP_11, headers: &headers, to })
    }

    fn cache(url: &str) -> Lane {
        Lane::Cache(Target::parse(url).expect(url))
    }

    #[test]
    fn every_request_has_its_lane() {
        let tunnel = |host: &str, port| Lane::Tunnel { host: host.into(), port };
        let socket = [("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")];
        let h2c = [("connection", "upgrade, http2-settings"), ("upgrade", "h2c")];
        let table: &[(&str, &str, Named, Lane)] = &[
            ("GET", "http://a.kz/x?y", &[("host", "other.kz")], cache("http://a.kz/x?y")),
            ("GET", "http://a.kz?y", &[], cache("http://a.kz/?y")),
            ("POST", "https://a.kz/", &[], cache("https://a.kz/")),
            ("GET", "ftp://a.kz/", &[], Lane::Refuse(Refusal::Scheme)),
            ("GET", "http://u:p@a.kz/", &[], Lane::Refuse(Refusal::UserInfo)),
            ("GET", "http://a.kz:25/", &[], Lane::Refuse(Refusal::Port)),
            ("GET", "http://a.kz:6667/", &[], Lane::Refuse(Refusal::Port)),
            ("GET", "http://bulak.internal:9/", &[], Lane::Local),
            ("GET", "http://BULAK.internal./", &[], Lane::Local),
            ("GET", "http://10.0.0.1:3128/", &[], Lane::Local),
            ("GET", "http://10.0.0.1:8080/", &[], Lane::Local),
            ("GET", "http://10.0.0.2:8080/", &[], cache("http://10.0.0.2:8080/")),
            ("GET", "http://10.0.0.1/", &[], cache("http://10.0.0.1/")),
            ("GET", "/x", &[("host", "bulak.internal:3128")], Lane::Local),
            ("GET", "/x", &[("host", "10.0.0.1:3128")], Lane::Local),
            ("GET", "/x", &[("host", "10.0.0.2:3128")], Lane::Refuse(Refusal::Misdirected)),
            ("GET", "/x", &[("host", "evil.kz")], Lane::Refuse(Refusal::Misdirected)),
            ("GET", "/x", &[], Lane::Refuse(Refusal::Target)),
            ("GET", "a.kz:80", &[], Lane::Refuse(Refusal::Target)),
            ("OPTIONS", "*", &[], Lane::Here),
            ("GET", "*", &[], Lane::Refuse(Refusal::Target)),
            ("OPTIONS", "http://a.kz/", &[("max-forwards", "0")], Lane::Here),
            ("OPTIONS", "http://a.kz/", &[("max-forwards", "1")], cache("http://a.kz/")),
            ("GET", "http://a.kz/", &[("max-forwards", "0")], cache("http://a.kz/")),
            ("TRACE", "http://a.kz/", &[("max-forwards", "0")], Lane::Here),
            ("TRACE", "http://a.kz/", &[("content-length", "1")], Lane::Refuse(Refusal::TraceBody)),
            ("PUT", "http://a.kz/", &[("expect", "100-Continue")], cache("http://a.kz/")),
            ("PUT", "http://a.kz/", &[("expect", "soup")], Lane::Refuse(Refusal::Expectation)),
            ("GET", "http://a.kz/", &socket, Lane::Pass(Target::parse("http://a.kz/").expect("valid"))),
            ("GET", "http://a.kz/", &socket[1..], cache("http://a.kz/")),
            ("GET", "http://a.kz/", &h2c, cache("http://a.kz/")),
            ("CONNECT", "A.kz:443", &[], tunnel("a.kz", 443)),
            ("CONNECT", "[2001:db8::1]:443", &[], tunnel("[2001:db8::1]", 443)),
            ("CONNECT", "a.kz:25", &[], Lane::Refuse(Refusal::Port)),
            ("CONNECT", "a.kz", &[], Lane::Refuse(Refusal::Target)),
            ("CONNECT", "u@a.kz:443", &[], Lane::Refuse(Refusal::UserInfo)),
            ("CONNECT", "http://a.kz:443/", &[], Lane::Refuse(Refusal::Target)),
            ("CONNECT", "Bulak.internal.:443", &[], Lane::Own { host: "bulak.internal".into() }),
            ("CONNECT", "bulak.internal:80", &[], Lane::Refuse(Refusal::Own)),
            ("CONNECT", "10.0.0.1:443", &[], tunnel("10.0.0.1", 443)),
            ("CONNECT", "10.0.0.1:3128", &[], Lane::Refuse(Refusal::Own)),
            ("CONNECT", "10.0.0.1:8080", &[], Lane::Refuse(Refusal::Own)),
            ("CONNECT", "[::ffff:10.0.0.1]:3128", &[], Lane::Refuse(Refusal::Own)),
        ];
        for (method, uri, fields, wanted) in table {
            assert_eq!(lane(method, uri, fields), *wanted, "{method} {uri} {fields:?}");
        }
    }

    #[test]
    fn an_opened_connection_serves_its_host_alone() {
        let inside = |method: &str, uri: &str, fields: Named, version, purpose, socket| {
            let headers: HeaderMap =
                fields.iter().map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value))).collect();
            let (method, uri) = (method.parse().expect("method"), uri.parse().expect("uri"));
            let to = SocketAddr::from(([10, 0, 0, 1], 3128));
            super::inside("a.kz", purpose, &Ask { method: &method, uri: &uri, version, headers: &headers, to }, socket)
        };
        let one = |method: &str, uri: &str, fields: Named| inside(method, uri, fields, Version::HTTP_11, Purpose::Origin, false);
        let two = |method: &str, uri: &str, fields: Named| inside(method, uri, fields, Version::HTTP_2, Purpose::Origin, false);
        let misdirected = Lane::Refuse(Refusal::Misdirected);
        let upgrade = [("host", "a.kz"), ("connection", "Upgrade"), ("upgrade", "websocket")];
        let table = [
            (one("GET", "/x?y", &[("host", "A.kz")]), cache("https://a.kz/x?y")),
            (one("GET", "/", &[("host", "a.kz:443")]), cache("https://a.kz/")),
            (one("GET", "https://a.kz/x", &[("host", "a.kz")]), cache("https://a.kz/x")),
            (one("GET", "https://a.kz/x", &[("host", "b.kz")]), misdirected.clone()),
            (one("GET", "http://a.kz/x", &[("host", "a.kz")]), misdirected.clone()),
            (one("GET", "/", &[("host", "b.kz")]), misdirected.clone()),
            (one("GET", "/", &[("host", "a.kz:8443")]), misdirected.clone()),
            (one("GET", "/", &[("host", "a.kz:80")]), misdirected.clone()),
            (one("GET", "/", &[("host", "bulak.internal")]), misdirected.clone()),
            (one("GET", "/", &[("host", "u@a.kz")]), Lane::Refuse(Refusal::UserInfo)),
            (one("GET", "/", &[]), Lane::Refuse(Refusal::Target)),
            (one("GET", "/", &upgrade), Lane::Pass(Target::parse("https://a.kz/").expect("valid"))),
            (one("CONNECT", "a.kz:443", &[("host", "a.kz")]), Lane::Refuse(Refusal::Target)),
            (one("OPTIONS", "*", &[("host", "a.kz")]), Lane::Here),
            (one("TRACE", "/", &[("host", "a.kz"), ("max-forwards", "0")]), Lane::Here),
            (one("PUT", "/", &[("host", "a.kz"), ("expect", "soup")]), Lane::Refuse(Refusal::Expectation)),
            (two("GET", "https://a.kz/x", &[]), cache("https://a.kz/x")),
            (two("GET", "https://b.kz/x", &[]), misdirected.clone()),
            (two("GET", "https://a.kz/x", &[("host", "b.kz")]), misdirected.clone()),
            (two("CONNECT", "a.kz:443", &[]), Lane::Refuse(Refusal::Target)),
            (
                inside("CONNECT", "https://a.kz/chat", &[], Version::HTTP_2, Purpose::Origin, true),
                Lane::Pass(Target::parse("https://a.kz/chat").expect("valid")),
            ),
            (inside("GET", "/enrolled", &[("host", "a.kz")], Version::HTTP_11, Purpose::Own, false), Lane::Local),
            (inside("GET", "/enrolled", &[("host", "b.kz")], Version::HTTP_11, Purpose::Own, false), misdirected),
        ];
        for (number, (found, wanted)) in table.into_iter().enumerate() {
            assert_eq!(found, wanted, "row {number}");
        }
    }
}
