//! Plain lists: one address a line, `#` starts a comment. At most as many as a sitemap may name.

use crate::base::target::Target;
use crate::site::discover::sitemap::MAX_URLS;

/// The addresses of a list; lines that are no address are skipped.
pub fn read(base: &Target, bytes: &[u8]) -> Vec<Target> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(|line| base.join(line)).take(MAX_URLS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_addresses() {
        let base = Target::parse("http://a.kz/list.txt").expect("valid");
        let found = read(&base, "\u{feff}http://a.kz/1\r\n# no\n\n  /2  \nmailto:x\nhttps://b.kz/Абай".as_bytes());
        let urls: Vec<_> = found.iter().map(Target::url).collect();
        assert_eq!(urls, ["http://a.kz/1", "http://a.kz/2", "https://b.kz/%D0%90%D0%B1%D0%B0%D0%B9"]);
    }
}
