//! The line on a page that is shown because the line is down: how old it is, in Kazakh, Russian and English.
//!
//! Pure. It goes right behind the `<body>` tag; a page without one, or in an encoding that is not ASCII-compatible, is left
//! as it is. No script, no class names, so it cannot clash with the page.

use std::time::Duration;

/// Largest page that is taken into memory for a banner.
pub(crate) const MAX_PAGE: u64 = 4 << 20;

/// The page with the banner, or `None` when there is no place for it.
pub(crate) fn insert(page: &[u8], age: Duration) -> Option<Vec<u8>> {
    let at = body_start(page)?;
    let banner = text(age);
    let mut out = Vec::with_capacity(page.len() + banner.len());
    out.extend_from_slice(&page[..at]);
    out.extend_from_slice(banner.as_bytes());
    out.extend_from_slice(&page[at..]);
    Some(out)
}

/// Character references only, so that the banner reads right in any ASCII-compatible encoding.
fn text(age: Duration) -> String {
    let (amount, kk, ru, en) = match age.as_secs() {
        secs if secs < 3600 => (secs / 60, "мин", "мин", "min"),
        secs if secs < 86_400 => (secs / 3600, "сағ", "ч", "h"),
        secs => (secs / 86_400, "күн", "дн.", "d"),
    };
    let plain = format!(
        "Интернет жоқ: сақталған көшірме, {amount} {kk} бұрын · Нет интернета: сохранённая копия, {amount} {ru} назад · \
         No Internet: stored copy, {amount} {en} old"
    );
    let mut escaped = String::new();
    for letter in plain.chars() {
        if letter.is_ascii() {
            escaped.push(letter);
        } else {
            escaped.extend(["&#", &u32::from(letter).to_string(), ";"]);
        }
    }
    format!(
        "<div role=\"status\" style=\"margin:0;padding:6px 12px;background:#fff3cd;color:#332701;font:14px/1.4 sans-serif;text-align:center\">{escaped}</div>"
    )
}

/// Where the first `<body …>` tag ends. Quoted attribute values may hold `>`; comments and scripts before it are skipped.
fn body_start(page: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < page.len() {
        let rest = &page[at..];
        if rest[0] != b'<' {
            at += rest.iter().position(|byte| *byte == b'<')?;
        } else if rest.starts_with(b"<!--") {
            at += find(rest, b"-->")? + 3;
        } else if starts_tag(rest, b"<script") {
            at += find_caseless(rest, b"</script")?;
            at += 1;
        } else if starts_tag(rest, b"<style") {
            at += find_caseless(rest, b"</style")?;
            at += 1;
        } else if starts_tag(rest, b"<body") {
            return tag_end(rest).map(|end| at + end);
        } else {
            at += 1;
        }
    }
    None
}

fn starts_tag(text: &[u8], tag: &[u8]) -> bool {
    text.len() > tag.len() && text[..tag.len()].eq_ignore_ascii_case(tag) && !text[tag.len()].is_ascii_alphanumeric()
}

fn tag_end(tag: &[u8]) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in tag.iter().enumerate() {
        match (quote, byte) {
            (Some(open), byte) if open == *byte => quote = None,
            (None, b'"' | b'\'') => quote = Some(*byte),
            (None, b'>') => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

fn find_caseless(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_stands_right_behind_the_body_tag() {
        let hour = Duration::from_hours(1);
        let table: [(&str, Option<&str>); 8] = [
            ("<html><body><p>x", Some("<html><body>")),
            ("<HTML><BODY class='a>b' x=\">\">hi", Some("<HTML><BODY class='a>b' x=\">\">")),
            ("<!-- <body> --><body>y", Some("<!-- <body> --><body>")),
            ("<script>'<body>'</script><body >z", Some("<script>'<body>'</script><body >")),
            ("<bodyguard>no", None),
            ("no tags", None),
            ("<body", None),
            ("", None),
        ];
        for (page, before) in table {
            let got = insert(page.as_bytes(), hour);
            match before {
                None => assert_eq!(got, None, "{page}"),
                Some(before) => {
                    let got = String::from_utf8(got.expect(page)).expect("ASCII");
                    assert!(got.starts_with(&format!("{before}<div role=\"status\"")), "{got}");
                    assert!(got.is_ascii() && got.contains("1 h old") && got.ends_with(&page[before.len()..]));
                }
            }
        }
    }
}
