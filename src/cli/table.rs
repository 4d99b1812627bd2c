//! Tables and quantities for people: plain, narrow enough for a terminal, without colours. Programs get `--json` instead.

use crate::base::unit::Bytes;
use comfy_table::{ContentArrangement, Table, presets};
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

fn unknown() -> String {
    "unknown".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_unknown_is_written_so() {
        assert_eq!(pairs([("a", bytes(&json!(4_100_000_000_u64))), ("long", count(&Value::Null))]), ["a     4.1 GB", "long  unknown"]);
        assert_eq!(text(&json!("")), "unknown");
    }
}
