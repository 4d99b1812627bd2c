//! What a Giga Meter server's answer means. Pure. It is judged by status and document together: 201 alone says nothing, since records
//! of a version that the server does not like are dropped with an empty 201; and a 200 of a portal that wants a sign-in is no answer.

use serde_json::Value;

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The server has it; `data` is what it says of it.
    Taken(Value),
    /// Never: what is sent is wrong, or the school is.
    Refused(String),
    /// It knows no such user: register first.
    Stranger,
    /// It does not take our key: nothing more is sent.
    Stopped(String),
    /// Certainly not taken; later.
    Later(String),
    /// Nobody knows whether it was taken.
    Unknown(String),
}

/// What came of a look whether something has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// It has.
    There,
    /// It has not.
    Absent,
    /// Nobody may look.
    Closed,
    /// Later.
    Unknown,
}

/// Longest reason that is kept, characters.
const REASON: usize = 200;

/// The answer to a POST.
pub fn judge(status: u16, body: &[u8]) -> Verdict {
    let document: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let said = reason(&document);
    match status {
        201 if document["success"] == true => Verdict::Taken(document["data"].clone()),
        201 if body.is_empty() => Verdict::Refused("the server dropped it without a word: it does not take this version of the app".into()),
        201 if document["success"] == false => Verdict::Refused(said.unwrap_or_else(|| "the server did not take it".into())),
        401 => Verdict::Stopped(said.unwrap_or_else(|| "the server does not take the key".into())),
        // A gateway's page, or nothing: nothing of the record was judged.
        400 | 404 | 409 | 422 if !document.is_object() => Verdict::Later(format!("the server answered {status}")),
        400 | 404 | 409 | 422 => {
            let said = said.unwrap_or_else(|| format!("the server answered {status}"));
            if said.to_lowercase().contains("regist") { Verdict::Stranger } else { Verdict::Refused(said) }
        }
        413 => Verdict::Refused("the server takes nothing of this size".into()),
        // A gateway that gave up says nothing of what lies behind it.
        502 | 504 => Verdict::Unknown(format!("the server's gateway answered {status}")),
        429 | 403 | 500..600 => Verdict::Later(format!("the server answered {status}")),
        _ => Verdict::Unknown(format!("the answer is none of a Giga Meter server ({status})")),
    }
}

/// The answer to a look for the record with this `UUID`.
pub fn look(status: u16, body: &[u8], uuid: &str) -> Look {
    match status {
        200 => {
            let document: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
            let Some(list) = document["data"].as_array().filter(|_| document["success"] == true) else { return Look::Unknown };
            let is_it = |record: &Value| record["UUID"] == uuid || record["uuid"] == uuid;
            if list.iter().any(is_it) { Look::There } else { Look::Absent }
        }
        401 | 403 | 404 | 405 => Look::Closed,
        _ => Look::Unknown,
    }
}

/// The words of an error document, made harmless.
fn reason(document: &Value) -> Option<String> {
    let text = ["message", "error", "title"].iter().find_map(|field| match &document[*field] {
        Value::String(text) => Some(text.clone()),
        Value::Array(list) => Some(list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; ")),
        _ => None,
    })?;
    let text: String = text.chars().filter(|letter| !letter.is_control()).take(REASON).collect();
    Some(text).filter(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn answers_are_judged_by_status_and_document() {
        let refused = |why: &str| Verdict::Refused(why.into());
        let huge = format!("{{\"success\":true,\"message\":\"{}\"}}", "x".repeat(100_000));
        let table: Vec<(u16, &str, Verdict)> = vec![
            (201, r#"{"success":true,"data":{"user_id":"u"}}"#, Verdict::Taken(json!({"user_id": "u"}))),
            (201, &huge, Verdict::Taken(Value::Null)),
            (201, "", refused("the server dropped it without a word: it does not take this version of the app")),
            (201, r#"{"success":false,"message":"no"}"#, refused("no")),
            (201, "<html>", Verdict::Unknown("the answer is none of a Giga Meter server (201)".into())),
            (200, r#"{"success":true}"#, Verdict::Unknown("the answer is none of a Giga Meter server (200)".into())),
            (200, "<html>sign in</html>", Verdict::Unknown("the answer is none of a Giga Meter server (200)".into())),
            (302, "", Verdict::Unknown("the answer is none of a Giga Meter server (302)".into())),
            (400, r#"{"message":"school does not exist"}"#, refused("school does not exist")),
            (400, r#"{"message":["wrong","country\u0007 code"]}"#, refused("wrong; country code")),
            (400, r#"{"message":"device is not registered"}"#, Verdict::Stranger),
            (400, "{}", refused("the server answered 400")),
            (400, "", Verdict::Later("the server answered 400".into())),
            (404, "<html>nginx", Verdict::Later("the server answered 404".into())),
            (401, "", Verdict::Stopped("the server does not take the key".into())),
            (429, "", Verdict::Later("the server answered 429".into())),
            (500, "<html>", Verdict::Later("the server answered 500".into())),
            (504, "", Verdict::Unknown("the server's gateway answered 504".into())),
        ];
        for (status, body, wanted) in table {
            assert_eq!(judge(status, body.as_bytes()), wanted, "{status} {}", &body[..body.len().min(60)]);
        }
    }

    #[test]
    fn a_look_tells_absent_from_closed() {
        let table = [
            (200, r#"{"success":true,"data":[{"UUID":"a"}]}"#, Look::There),
            (200, r#"{"success":true,"data":[{"UUID":"b"}]}"#, Look::Absent),
            (200, r#"{"success":true,"data":[]}"#, Look::Absent),
            (200, r#"{"success":true}"#, Look::Unknown),
            (200, "<html>", Look::Unknown),
            (403, "", Look::Closed),
            (401, "", Look::Closed),
            (500, "", Look::Unknown),
        ];
        for (status, body, wanted) in table {
            assert_eq!(look(status, body.as_bytes(), "a"), wanted, "{status} {body}");
        }
    }
}
