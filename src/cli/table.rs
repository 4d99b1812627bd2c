//! Tables and quantities for people: plain, narrow enough for a terminal, without colours. Programs get `--json` instead.

use crate::base::unit::Bytes;
use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::Value;

/// A table with these headings.
pub fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(headings.to_vec());
    table
}

/// Two columns: what, and how much; one line each.
pub fn pairs<'p>(rows: impl IntoIterator<Item = (&'p str, String)>) -> Vec<String> {
    let rows: Vec<(&str, String)> = rows.into_iter().collect();
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    rows.iter().map(|(name, value)| format!("{name:<width$}  {value}")).collect()
}

/// A number of bytes from a document, for people; `unknown` when it is not there.
pub fn bytes(value: &Value) -> String {
    value.as_u64().map_or_else(unknown, |bytes| Bytes(bytes).human())
}

/// A whole number from a document; `unknown` when it is not there.
pub fn count(value: &Value) -> String {
    value.as_u64().map_or_else(unknown, |count| count.to_string())
}

/// A text from a document; `unknown` when it is not there.
pub fn text(value: &Value) -> String {
    value.as_str().filter(|text| !text.is_empty()).map_or_else(unknown, str::to_owned)
}

/// A moment (RFC 3339) or a day (`2026-11-26`) from a document, as people at the school read it: `26.11.2026 07:00`; as it is where it
/// is neither.
pub fn moment(zone: &TimeZone, stamp: &str) -> String {
    if let Ok(moment) = stamp.parse::<Timestamp>() {
        return moment.to_zoned(zone.clone()).strftime("%d.%m.%Y %H:%M").to_string();
    }
    // A moment of another form would be read as its day.
    let day = Some(stamp).filter(|stamp| stamp.len() == 10).and_then(|stamp| stamp.parse::<Date>().ok());
    day.map_or_else(|| stamp.to_owned(), |day| day.strftime("%d.%m.%Y").to_string())
}

fn unknown() -> String {
    "unknown".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn moments_are_the_schools() {
        let almaty = TimeZone::get("Asia/Almaty").expect("a zone");
        for (stamp, wanted) in [
            ("2026-11-26T23:29:57.794929Z", "27.11.2026 04:29"),
            ("2026-11-26T02:00:00Z", "26.11.2026 07:00"),
            ("2026-12-01", "01.12.2026"),
            ("unknown", "unknown"),
            ("", ""),
        ] {
            assert_eq!(moment(&almaty, stamp), wanted);
        }
    }

    #[test]
    fn what_is_unknown_is_written_so() {
        assert_eq!(pairs([("a", bytes(&json!(4_100_000_000_u64))), ("long", count(&Value::Null))]), ["a     4.1 GB", "long  unknown"]);
        assert_eq!(text(&json!("")), "unknown");
    }
}
