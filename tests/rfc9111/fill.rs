//! Fills in what a case leaves open: `{date}`, `{date+60}`, `{rfc850-60}` and `{url}`.

use bulak::base::clock::Time;
use std::time::Duration;

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The text with every `{…}` filled in; unknown ones stay, so that the check on them fails visibly.
pub(crate) fn fill(text: &str, now: Time, url: &str) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((word, next)) = after.split_once('}') else { break };
        filled.push_str(before);
        filled.push_str(&value(word, now, url).unwrap_or_else(|| format!("{{{word}}}")));
        rest = next;
    }
    filled + rest
}

fn value(word: &str, now: Time, url: &str) -> Option<String> {
    if word == "url" {
        return Some(url.into());
    }
    let at = word.find(['+', '-']).unwrap_or(word.len());
    let (name, shift) = word.split_at(at);
    let shift: i64 = if shift.is_empty() { 0 } else { shift.parse().ok()? };
    let wait = Duration::from_secs(shift.unsigned_abs());
    let moment = if shift < 0 { now.minus(wait) } else { now.plus(wait) };
    match name {
        "date" => Some(moment.to_http()),
        "rfc850" => Some(rfc850(&moment.to_http())),
        _ => None,
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` as `Sunday, 06-Nov-94 08:49:37 GMT`.
fn rfc850(date: &str) -> String {
    let day = DAYS.iter().find(|day| day.starts_with(&date[..3])).unwrap_or(&"Sunday");
    format!("{day}, {}-{}-{} {}", &date[5..7], &date[8..11], &date[14..16], &date[17..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_places_are_filled_in() {
        let now = Time::from_secs(784_111_777);
        let table = [
            ("{date}", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("a {date+60} b", "a Sun, 06 Nov 1994 08:50:37 GMT b"),
            ("{rfc850-37}", "Sunday, 06-Nov-94 08:49:00 GMT"),
            ("{url}/x", "http://a.kz/x"),
            ("{what} {", "{what} {"),
            ("plain", "plain"),
        ];
        for (text, wanted) in table {
            assert_eq!(fill(text, now, "http://a.kz"), wanted, "{text}");
        }
    }
}
