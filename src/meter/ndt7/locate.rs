//! Which server is near: the document of M-Lab's Locate service (version 2), read as a stranger's and written for others. Pure.

use crate::base::clock::Time;
use crate::meter::ndt7::{Dialect, Way};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use url::Url;

/// Servers that are taken from one answer: M-Lab sends four.
const MOST_RESULTS: usize = 8;

/// Longest document, bytes: M-Lab's have some 8 KiB, most of it tokens.
pub const LONGEST: usize = 256 << 10;

/// A server that offers a test now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nearest {
    /// How the service calls it.
    pub machine: String,
    /// Where it is; empty when that is not told.
    pub city: String,
    /// In which country, two letters; empty when that is not told.
    pub country: String,
    /// What to call, token included.
    pub target: super::client::Target,
}

/// What a service answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Nearest first; empty: it has no capacity.
    pub results: Vec<Nearest>,
    /// Not to be asked again before this.
    pub not_before: Option<Time>,
}

/// Why an answer is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// No document of Locate: HTML of a login page, half a document, something else.
    #[error("it is no document of Locate")]
    Malformed,
    /// The service says itself that it cannot.
    #[error("the service says {0}")]
    Status(u64),
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    results: Option<Vec<Value>>,
    #[serde(default)]
    next_request: Option<Value>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    machine: String,
    #[serde(default)]
    location: Option<Location>,
    urls: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct Location {
    #[serde(default)]
    city: String,
    #[serde(default)]
    country: String,
}

/// Reads an answer's body. Of a server's addresses the secure ones are preferred; one without both directions is left out.
///
/// # Errors
/// See [`Bad`].
pub fn parse(body: &[u8]) -> Result<Answer, Bad> {
    let document: Document = serde_json::from_slice(body).map_err(|_| Bad::Malformed)?;
    if let Some(error) = document.error.filter(|error| !error.is_null()) {
        return Err(Bad::Status(error["status"].as_u64().unwrap_or(500)));
    }
    if document.results.is_none() && document.next_request.is_none() {
        return Err(Bad::Malformed);
    }
    let results = document.results.unwrap_or_default().into_iter().filter_map(result).take(MOST_RESULTS).collect();
    let not_before = document.next_request.as_ref().and_then(|next| time(next["nbf"].as_str()?));
    Ok(Answer { results, not_before })
}

fn result(value: Value) -> Option<Nearest> {
    let result: Entry = serde_json::from_value(value).ok()?;
    let location = result.location.unwrap_or_default();
    let of = |way: Way| ["wss", "ws"].into_iter().find_map(|scheme| address(&result.urls, scheme, way));
    let target = super::client::Target { download: of(Way::Download)?, upload: of(Way::Upload)? };
    let short = |text: String| if text.chars().count() <= 64 && !text.chars().any(char::is_control) { text } else { String::new() };
    Some(Nearest { machine: short(result.machine), city: short(location.city), country: short(location.country), target })
}

/// Of the addresses the one for this: named by scheme and path (`wss:///ndt/v7/download`), and itself of that scheme.
fn address(urls: &BTreeMap<String, String>, scheme: &str, way: Way) -> Option<Url> {
    let named = |dialect: Dialect| urls.get(&format!("{scheme}://{}", dialect.path(way)));
    let text = named(Dialect::Ndt7).or_else(|| named(Dialect::Throughput1))?;
    text.parse().ok().filter(|url: &Url| url.scheme() == scheme && url.has_host())
}

fn time(text: &str) -> Option<Time> {
    text.parse::<jiff::Timestamp>().ok().map(|stamp| Time::from_micros(stamp.as_microsecond()))
}

/// Whether an address is M-Lab's, who publish every test with the address of who tested: somebody has to have agreed to that.
pub fn is_mlab(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    ["measurementlab.net", "measurement-lab.org"]
        .iter()
        .any(|domain| host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

/// Our own document: this server, as whoever asks has reached it.
pub(super) fn document(dialect: Dialect, secure: bool, authority: &str) -> String {
    let scheme = if secure { "wss" } else { "ws" };
    let urls: BTreeMap<String, String> = [Way::Download, Way::Upload]
        .into_iter()
        .map(|way| (format!("{scheme}://{}", dialect.path(way)), format!("{scheme}://{authority}{}", dialect.path(way))))
        .collect();
    json!({ "results": [{ "machine": authority, "hostname": authority, "location": { "city": "", "country": "" }, "urls": urls }] })
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As M-Lab answers, shortened to two of four results.
    const SPOKEN: &str = r#"{"results":[
        {"machine":"mlab1-lhr01.mlab-oti.measurement-lab.org","hostname":"ndt-mlab1-lhr01.mlab-oti.measurement-lab.org",
         "location":{"city":"London","country":"GB"},"urls":{
          "ws:///ndt/v7/download":"ws://ndt-mlab1-lhr01.mlab-oti.measurement-lab.org/ndt/v7/download?access_token=a.b&index=0",
          "ws:///ndt/v7/upload":"ws://ndt-mlab1-lhr01.mlab-oti.measurement-lab.org/ndt/v7/upload?access_token=a.b",
          "wss:///ndt/v7/download":"wss://ndt-mlab1-lhr01.mlab-oti.measurement-lab.org/ndt/v7/download?access_token=a.b",
          "wss:///ndt/v7/upload":"wss://ndt-mlab1-lhr01.mlab-oti.measurement-lab.org/ndt/v7/upload?access_token=a.b"}},
        {"machine":"x","urls":{"wss:///ndt/v7/download":"wss://x/ndt/v7/download"}}],
        "next_request":{"nbf":"2026-11-27T10:00:00Z","exp":"2026-11-28T10:00:00Z","url":"https://locate.measurementlab.net/…"}}"#;

    #[test]
    fn what_mlab_says_is_understood() {
        let answer = parse(SPOKEN.as_bytes()).unwrap();
        let [only] = &answer.results[..] else { panic!("{answer:?}") };
        assert_eq!((only.city.as_str(), only.country.as_str()), ("London", "GB"));
        assert_eq!(only.target.download.as_str(), "wss://ndt-mlab1-lhr01.mlab-oti.measurement-lab.org/ndt/v7/download?access_token=a.b");
        assert!(is_mlab(&only.target.upload));
        assert_eq!(answer.not_before.map(Time::secs), Some(1_795_773_600));
    }

    #[test]
    fn no_capacity_errors_and_rubbish_are_told_apart() {
        let table = [
            (r#"{"results":[]}"#, Ok(0)),
            (r#"{"next_request":{"nbf":"never"}}"#, Ok(0)),
            (r#"{"results":[1,null,{"urls":7},{"urls":{"wss:///ndt/v7/download":"http://x/"}}]}"#, Ok(0)),
            (r#"{"error":{"type":"rate","title":"too often","status":429}}"#, Err(Bad::Status(429))),
            (r#"{"error":{}}"#, Err(Bad::Status(500))),
            ("{}", Err(Bad::Malformed)),
            ("<!DOCTYPE html><title>Sign in</title>", Err(Bad::Malformed)),
            ("", Err(Bad::Malformed)),
            ("[]", Err(Bad::Malformed)),
            (r#"{"results":"many"}"#, Err(Bad::Malformed)),
        ];
        for (text, wanted) in table {
            assert_eq!(parse(text.as_bytes()).map(|answer| answer.results.len()), wanted, "{text}");
        }
    }

    #[test]
    fn our_own_document_is_understood() {
        for (dialect, secure, wanted) in [
            (Dialect::Ndt7, false, "ws://10.0.0.1:8090/ndt/v7/download"),
            (Dialect::Throughput1, true, "wss://10.0.0.1:8090/throughput/v1/download"),
        ] {
            let answer = parse(document(dialect, secure, "10.0.0.1:8090").as_bytes()).unwrap();
            assert_eq!(answer.results[0].target.download.as_str(), wanted);
        }
        // Many servers, an endless one: only the first few are taken.
        let one: Value = serde_json::from_str(&document(Dialect::Ndt7, true, "x")).unwrap();
        let many = json!({ "results": vec![one["results"][0].clone(); 100] }).to_string();
        assert_eq!(parse(many.as_bytes()).unwrap().results.len(), MOST_RESULTS);
    }

    #[test]
    fn mlabs_names_and_no_others() {
        let table = [
            ("https://locate.measurementlab.net/v2/nearest/ndt/ndt7", true),
            ("wss://NDT-mlab1.mlab-oti.measurement-lab.org./ndt/v7/download", true),
            ("https://measurementlab.net", true),
            ("https://notmeasurementlab.net", false),
            ("https://hub.edu.kz/v2/nearest/ndt/ndt7?measurementlab.net", false),
            ("ws://10.0.0.1/", false),
        ];
        for (url, wanted) in table {
            assert_eq!(is_mlab(&url.parse().unwrap()), wanted, "{url}");
        }
    }
}
