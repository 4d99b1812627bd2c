//! Tables for spreadsheets: CSV as a Russian or Kazakh Excel opens it (byte order mark, semicolons, decimal comma), or as RFC 4180 says.
//! Pure.

use crate::base::calendar::{self, Calendar};
use crate::base::clock::Time;
use serde::Serialize;
use serde_json::Value;

/// For whom a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Excel with a decimal comma.
    Excel,
    /// RFC 4180.
    Plain,
}

impl Form {
    /// `?csv=plain`, else Excel's.
    pub fn of(asked: Option<&str>) -> Form {
        if asked == Some("plain") { Form::Plain } else { Form::Excel }
    }
}

/// Rows as CSV, these columns in this order.
///
/// # Errors
/// When a row is no JSON object.
pub fn csv<T: Serialize>(form: Form, calendar: &Calendar, columns: &[&str], rows: &[T]) -> Result<Vec<u8>, csv::Error> {
    let mut out = head(form, columns)?;
    out.extend(lines(form, calendar, columns, rows)?);
    Ok(out)
}

/// The first line of a table, for one that is made piece by piece.
///
/// # Errors
/// Never in practice: memory takes all.
pub fn head(form: Form, columns: &[&str]) -> Result<Vec<u8>, csv::Error> {
    // Without the mark Excel takes UTF-8 for the system's code page.
    let mark = if form == Form::Excel { "\u{feff}" } else { "" };
    let mut writer = writer(form, mark.as_bytes().to_vec());
    writer.write_record(columns)?;
    writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))
}

fn writer(form: Form, out: Vec<u8>) -> csv::Writer<Vec<u8>> {
    let delimiter = if form == Form::Excel { b';' } else { b',' };
    csv::WriterBuilder::new().delimiter(delimiter).terminator(csv::Terminator::CRLF).from_writer(out)
}

/// Lines of a table below its first.
///
/// # Errors
/// When a row is no JSON object.
pub fn lines<T: Serialize>(form: Form, calendar: &Calendar, columns: &[&str], rows: &[T]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = writer(form, Vec::new());
    for row in rows {
        let value = serde_json::to_value(row).map_err(std::io::Error::other)?;
        writer.write_record(columns.iter().map(|column| cell(form, calendar, column, &value[*column])))?;
    }
    writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))
}

fn cell(form: Form, calendar: &Calendar, column: &str, value: &Value) -> String {
    match (column, value) {
        ("day", Value::Number(day)) => {
            let day = day.as_i64().and_then(|day| i32::try_from(day).ok()).unwrap_or_default();
            if form == Form::Excel { calendar::plain(day) } else { calendar::iso(day) }
        }
        ("started" | "ended", Value::Number(micros)) => {
            let moment = Time::from_micros(micros.as_i64().unwrap_or_default());
            if form == Form::Excel { calendar.clock(moment) } else { moment.to_rfc3339() }
        }
        (_, Value::Number(number)) if form == Form::Excel => number.to_string().replace('.', ","),
        (_, Value::Number(number)) => number.to_string(),
        (_, Value::Bool(yes)) => u8::from(*yes).to_string(),
        // A spreadsheet would take it for a formula.
        (_, Value::String(text)) if form == Form::Excel && text.starts_with(['=', '+', '-', '@', '\t', '\r']) => format!("'{text}"),
        (_, Value::String(text)) => text.clone(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn excel_and_the_rfc_each_get_their_own() {
        let almaty = Calendar::of("Asia/Almaty").expect("known");
        let rows = [
            json!({"school": "№ 7; \"Абай\"", "day": 20_781, "rtt": 41.5, "started": 1_795_496_400_000_000_i64, "busy": true, "none": null}),
            json!({"school": "=SUM(A1)", "day": 0, "rtt": 7, "started": 0, "busy": false}),
        ];
        let columns = ["school", "day", "rtt", "started", "busy", "none"];
        let text = |form| String::from_utf8(csv(form, &almaty, &columns, &rows).expect("writes")).expect("UTF-8");
        assert_eq!(
            text(Form::Excel),
            "\u{feff}school;day;rtt;started;busy;none\r\n\"№ 7; \"\"Абай\"\"\";24.11.2026;41,5;24.11.2026 10:00;1;\r\n'=SUM(A1);01.01.1970;7;01.01.1970 06:00;0;\r\n"
        );
        assert_eq!(
            text(Form::Plain),
            "school,day,rtt,started,busy,none\r\n\"№ 7; \"\"Абай\"\"\",2026-11-24,41.5,2026-11-24T05:00:00.000000Z,1,\r\n=SUM(A1),1970-01-01,7,1970-01-01T00:00:00.000000Z,0,\r\n"
        );
    }
}
