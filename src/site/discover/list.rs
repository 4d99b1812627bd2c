//! Lists of addresses as teachers keep them: plain text with one a line, or a table (CSV) from a spreadsheet.
//!
//! A table is known by a column that is called `url`, `link`, `адрес` or kin, or whose cells are addresses; cells are parted by comma,
//! semicolon (Excel in Kazakh and Russian) or tab. At most as many addresses as a sitemap may name.

use crate::base::target::Target;
use crate::site::discover::sitemap::MAX_URLS;
use encoding_rs::{Encoding, UTF_8, WINDOWS_1251};
use std::borrow::Cow;

/// What the column of addresses is called, in small letters.
const NAMES: [&str; 14] =
    ["url", "urls", "uri", "link", "links", "href", "address", "адрес", "адреса", "ссылка", "ссылки", "сілтеме", "мекенжай", "мекен-жай"];
/// Lines by which a table is told from a plain list.
const SAMPLE: usize = 20;

/// The addresses of a list; lines that hold none are skipped. `content_type` and the path's ending help to tell a table.
pub fn read(base: &Target, content_type: Option<&str>, bytes: &[u8]) -> Vec<Target> {
    let text = decode(bytes);
    let said = content_type.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/csv") || kind.contains("tab-separated"))
        || [".csv", ".tsv"].iter().any(|end| base.path().to_ascii_lowercase().ends_with(end));
    if let Some(table) = table(&text, said) {
        return table.addresses(base, &text);
    }
    // A single column may have a heading, too.
    let headed = plain(&text).next().is_some_and(is_name);
    plain(&text).skip(usize::from(headed)).filter_map(|line| base.join(line)).take(MAX_URLS).collect()
}

/// UTF-8, UTF-16 with its mark (Excel's "Unicode text"), else the old code page of Windows in Kazakhstan.
fn decode(bytes: &[u8]) -> Cow<'_, str> {
    let encoding =
        Encoding::for_bom(bytes).map_or(if std::str::from_utf8(bytes).is_ok() { UTF_8 } else { WINDOWS_1251 }, |(found, _)| found);
    encoding.decode(bytes).0
}

fn plain(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Table {
    mark: u8,
    column: usize,
}

/// Whether the text is a table, and which column holds the addresses.
fn table(text: &str, said: bool) -> Option<Table> {
    let head: Vec<&str> = plain(text).take(SAMPLE).collect();
    let first = head.first()?;
    for mark in [b';', b'\t', b','] {
        let rows = cells(&head.join("\n"), mark);
        let width = rows.first().map_or(0, Vec::len);
        if width < 2 {
            continue;
        }
        if let Some(column) = rows.first().and_then(|row| row.iter().position(|cell| is_name(cell))) {
            return Some(Table { mark, column });
        }
        // Addresses may hold commas and semicolons: a line that is one as a whole is no row, unless somebody said so.
        let whole = is_address(first) && !said;
        let even = rows.iter().all(|row| row.len() == width);
        if even && !whole {
            let full = |column: usize| rows.iter().filter(|row| row.get(column).is_some_and(|cell| is_address(cell))).count();
            // The first row may be a heading of another name.
            if let Some(column) = (0..width).find(|column| full(*column) > 0 && full(*column) + 1 >= rows.len()) {
                return Some(Table { mark, column });
            }
        }
    }
    None
}

fn is_name(text: &str) -> bool {
    NAMES.contains(&text.trim().to_lowercase().as_str())
}

/// An address alone, or the beginning of a row that has nothing else in its first cell.
fn is_address(text: &str) -> bool {
    let text = text.trim();
    (text.starts_with("http://") || text.starts_with("https://")) && !text.contains(char::is_whitespace)
}

fn cells(text: &str, mark: u8) -> Vec<Vec<String>> {
    let mut reader = reader(text, mark);
    reader.records().map_while(Result::ok).map(|row| row.iter().map(str::to_owned).collect()).collect()
}

fn reader(text: &str, mark: u8) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new().delimiter(mark).has_headers(false).flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes())
}

impl Table {
    fn addresses(self, base: &Target, text: &str) -> Vec<Target> {
        let (mut reader, mut row, mut found) = (reader(text, self.mark), csv::StringRecord::new(), Vec::new());
        while found.len() < MAX_URLS && matches!(reader.read_record(&mut row), Ok(true)) {
            let cell = row.get(self.column).unwrap_or_default();
            // A path is an address here, a heading is none.
            if is_address(cell) || cell.starts_with('/') {
                found.extend(base.join(cell));
            }
        }
        found
    }
}

/// For the fuzzing corpus: any bytes, no panic.
pub fn fuzz(bytes: &[u8]) {
    let base = Target::parse("http://a.kz/list.csv").expect("a valid address");
    std::hint::black_box(read(&base, None, bytes));
    std::hint::black_box(read(&base, Some("text/csv"), bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(name: &str, content_type: Option<&str>, bytes: &[u8]) -> Vec<String> {
        let base = Target::parse(&format!("http://a.kz/{name}")).expect("valid");
        read(&base, content_type, bytes).iter().map(|target| target.url().to_owned()).collect()
    }

    #[test]
    fn lines_are_addresses() {
        let found = urls("list.txt", None, "\u{feff}http://a.kz/1\r\n# no\n\n  /2  \nmailto:x\nhttps://b.kz/Абай".as_bytes());
        assert_eq!(found, ["http://a.kz/1", "http://a.kz/2", "https://b.kz/%D0%90%D0%B1%D0%B0%D0%B9"]);
        assert_eq!(urls("list.txt", None, b"URL\nhttp://a.kz/1;2\n"), ["http://a.kz/1;2"]);
        // Commas and semicolons belong to addresses.
        let odd = "http://a.kz/a,b;c\nhttp://a.kz/d,e;f\n";
        assert_eq!(urls("list.txt", Some("text/plain"), odd.as_bytes()), ["http://a.kz/a,b;c", "http://a.kz/d,e;f"]);
    }

    #[test]
    fn tables_of_every_kind() {
        let wanted = ["http://a.kz/1", "http://a.kz/2,x"];
        let semicolon = "\u{feff}Сабақ;Адрес;Сынып\r\n\"Бір; екі\";http://a.kz/1;5\r\nҮш;http://a.kz/2,x;6\r\n";
        let table: [(&str, Option<&str>, String); 6] = [
            ("l.csv", None, semicolon.into()),
            ("l", Some("text/csv; charset=utf-8"), "title,URL\n\"a, b\",http://a.kz/1\nc,\"http://a.kz/2,x\"\n".into()),
            ("l.tsv", None, "название\tссылка\nа\thttp://a.kz/1\nб\thttp://a.kz/2,x\n".into()),
            // Without a known name: the first column that holds addresses.
            ("l", None, "lesson;where\n1;http://a.kz/1\n2;http://a.kz/2,x\n".into()),
            ("l", None, "1\thttp://a.kz/1\n2\thttp://a.kz/2,x\n".into()),
            ("l.csv", None, "http://a.kz/1;x\n\"http://a.kz/2,x\";y\n".into()),
        ];
        for (name, kind, text) in table {
            assert_eq!(urls(name, kind, text.as_bytes()), wanted, "{text}");
        }
        // As Excel saves it: in the old code page, or as "Unicode text".
        let old = WINDOWS_1251.encode("Сабак;Адрес\r\nурок;http://a.kz/1\r\n").0.into_owned();
        assert_eq!(urls("l.csv", None, &old), ["http://a.kz/1"]);
        let wide: Vec<u8> = "\u{feff}тема\tадрес\r\nа\thttp://a.kz/1\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(urls("l.txt", None, &wide), ["http://a.kz/1"]);
    }

    #[test]
    fn a_million_lines_are_read_as_far_as_allowed() {
        let text = (0..1_000_000).fold(String::from("name;url\n"), |mut text, line| {
            text.push_str("x;http://a.kz/");
            text.push_str(&line.to_string());
            text.push('\n');
            text
        });
        assert_eq!(urls("l.csv", None, text.as_bytes()).len(), MAX_URLS);
        // One cell without end, one row without end, quotes that never close.
        for text in [format!("name;url\n\"{}", "x;\n".repeat(300_000)), format!("name;url\n{}", "http://a.kz/1;".repeat(300_000))] {
            assert!(urls("l.csv", None, text.as_bytes()).len() <= 1);
        }
        fuzz(b"a;url\n\xff;\"");
        fuzz(b"");
    }
}
