//! Reads a case: what the origin says, what the client asks, what is expected.
//!
//! A case is a text file of blocks; a block is a line at the margin and the indented lines below it. `#` starts a comment.
//!
//! ```text
//! policy rfc9111                 which node (rfc9111, school, targeted, offline); first block of the file
//! origin 200                     the origin's next answer; its body is `body 1`, `body 2`, … unless given
//!   Cache-Control: max-age=60    a field; `{date}`, `{date+60}`, `{rfc850-60}` and `{url}` are filled in
//!   > other body                 the body
//!   interim 103                  an interim answer before it, with a Link field
//!   cut                          the connection breaks in the middle of the body
//! origin close                   the origin closes instead of answering, now and until the end
//! origin gone                    the origin stops listening (policy `offline` only)
//! client GET /sub?query          a request; the path is below the case's own
//!   Range: bytes=0-1             a field
//!   > body                       the body
//! expect 200 from 1              the answer: status (or `any`, which may break off) and, if said, whose body
//!   > text                       the body itself
//!   empty                        no body
//!   cut                          the body breaks off
//!   has Age                      the field is there
//!   lacks Age                    it is not
//!   Etag: "a"                    it has this value
//!   Cache-Status ~ hit           its value holds this text
//!   about Age: 30                it is a number from 30 to 40
//!   interim 103                  such an interim answer came first
//! until 200 from 1               as `expect`, but the request is repeated until it holds or patience ends
//! saw 2                          requests that have reached the origin by now; fields are those of the last one
//!   If-None-Match: "a"
//!   lacks Cookie
//! ```

/// One case.
#[derive(Debug, PartialEq)]
pub(crate) struct Case {
    pub(crate) policy: String,
    pub(crate) answers: Vec<Answer>,
    pub(crate) steps: Vec<Step>,
}

/// An answer of the origin.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    /// 0: close the connection instead.
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: String,
    pub(crate) interim: Option<u16>,
    pub(crate) cut: bool,
}

/// What happens, in order.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    Ask(Request, Expected),
    Saw(usize, Vec<Check>),
    Gone,
}

/// A request of the client.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) place: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Option<String>,
}

/// What the client must get.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Expected {
    /// `None`: any.
    pub(crate) status: Option<u16>,
    pub(crate) from: Option<usize>,
    pub(crate) body: Option<String>,
    pub(crate) cut: bool,
    pub(crate) interim: Option<u16>,
    pub(crate) checks: Vec<Check>,
    /// Ask again until it holds.
    pub(crate) patient: bool,
}

/// What must hold of a message's fields.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Check {
    Has(String),
    Lacks(String),
    Is(String, String),
    Holds(String, String),
    About(String, u64),
}

/// Reads a case; an error names the line.
pub(crate) fn parse(text: &str) -> Result<Case, String> {
    let mut case = Case { policy: String::new(), answers: Vec::new(), steps: Vec::new() };
    let mut asked: Option<Request> = None;
    for block in blocks(text) {
        let (number, head, lines) = block;
        let fail = |what: String| format!("line {number}: {what}");
        let (word, rest) = head.split_once(' ').unwrap_or((head, ""));
        if asked.is_some() && !matches!(word, "expect" | "until") {
            return Err(fail(format!("`client` needs its `expect` before `{word}`")));
        }
        match word {
            "policy" => rest.clone_into(&mut case.policy),
            "origin" if rest == "gone" => case.steps.push(Step::Gone),
            "origin" => {
                let answer = answer(rest, &lines, case.answers.len() + 1).map_err(fail)?;
                case.answers.push(answer);
            }
            "client" => asked = Some(request(rest, &lines).map_err(fail)?),
            "expect" | "until" => {
                let request = asked.take().ok_or_else(|| fail(format!("`{word}` without `client`")))?;
                let expected = expected(rest, &lines).map_err(fail)?;
                case.steps.push(Step::Ask(request, Expected { patient: word == "until", ..expected }));
            }
            "saw" => {
                let count = rest.parse().map_err(|_| fail(format!("`saw {rest}` is no number")))?;
                let checks = lines.iter().map(|line| check(line)).collect::<Result<_, _>>().map_err(fail)?;
                case.steps.push(Step::Saw(count, checks));
            }
            _ => return Err(fail(format!("`{word}` is no block"))),
        }
    }
    if !["rfc9111", "school", "targeted", "offline"].contains(&case.policy.as_str()) {
        return Err(format!("policy `{}` is none of rfc9111, school, targeted, offline", case.policy));
    }
    if asked.is_some() || !case.steps.iter().any(|step| matches!(step, Step::Ask(..))) {
        return Err("nothing is expected".into());
    }
    Ok(case)
}

/// Line number, line at the margin, indented lines.
fn blocks(text: &str) -> Vec<(usize, &str, Vec<&str>)> {
    let mut blocks: Vec<(usize, &str, Vec<&str>)> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        match (line.starts_with(' '), blocks.last_mut()) {
            (true, Some((_, _, lines))) => lines.push(line.trim()),
            _ => blocks.push((at + 1, line.trim(), Vec::new())),
        }
    }
    blocks
}

fn answer(rest: &str, lines: &[&str], number: usize) -> Result<Answer, String> {
    if rest == "close" {
        return if lines.is_empty() { Ok(Answer::default()) } else { Err("a closing origin says nothing".into()) };
    }
    let status = rest.parse().map_err(|_| format!("`origin {rest}` is no status"))?;
    let mut answer = Answer { status, body: format!("body {number}"), ..Answer::default() };
    for line in lines {
        if let Some(body) = line.strip_prefix('>') {
            body.trim_start().clone_into(&mut answer.body);
        } else if let Some(status) = line.strip_prefix("interim ") {
            answer.interim = Some(status.parse().map_err(|_| format!("`{line}` is no status"))?);
        } else if *line == "cut" {
            answer.cut = true;
        } else {
            answer.fields.push(field(line)?);
        }
    }
    Ok(answer)
}

fn request(rest: &str, lines: &[&str]) -> Result<Request, String> {
    let (method, place) = rest.split_once(' ').unwrap_or((rest, ""));
    if method.is_empty() {
        return Err("`client` needs a method".into());
    }
    let mut request = Request { method: method.into(), place: place.into(), ..Request::default() };
    for line in lines {
        match line.strip_prefix('>') {
            Some(body) => request.body = Some(body.trim_start().into()),
            None => request.fields.push(field(line)?),
        }
    }
    Ok(request)
}

fn expected(rest: &str, lines: &[&str]) -> Result<Expected, String> {
    let mut words = rest.split(' ');
    let status = match words.next() {
        Some("any") => None,
        Some(word) => Some(word.parse().map_err(|_| format!("`{word}` is no status"))?),
        None => return Err("`expect` needs a status".into()),
    };
    let from = match (words.next(), words.next()) {
        (None, None) => None,
        (Some("from"), Some(number)) => Some(number.parse().map_err(|_| format!("`{number}` is no number"))?),
        _ => return Err(format!("`expect {rest}` is not `expect STATUS from N`")),
    };
    let mut expected = Expected { status, from, ..Expected::default() };
    for line in lines {
        if let Some(body) = line.strip_prefix('>') {
            expected.body = Some(body.trim_start().into());
        } else if *line == "empty" {
            expected.body = Some(String::new());
        } else if *line == "cut" {
            expected.cut = true;
        } else if let Some(status) = line.strip_prefix("interim ") {
            expected.interim = Some(status.parse().map_err(|_| format!("`{line}` is no status"))?);
        } else {
            expected.checks.push(check(line)?);
        }
    }
    Ok(expected)
}

fn check(line: &str) -> Result<Check, String> {
    if let Some(name) = line.strip_prefix("has ") {
        return Ok(Check::Has(name.to_ascii_lowercase()));
    }
    if let Some(name) = line.strip_prefix("lacks ") {
        return Ok(Check::Lacks(name.to_ascii_lowercase()));
    }
    if let Some(rest) = line.strip_prefix("about ") {
        let (name, value) = field(rest)?;
        return Ok(Check::About(name.to_ascii_lowercase(), value.parse().map_err(|_| format!("`{value}` is no number"))?));
    }
    if let Some((name, part)) = line.split_once(" ~ ") {
        return Ok(Check::Holds(name.to_ascii_lowercase(), part.into()));
    }
    field(line).map(|(name, value)| Check::Is(name.to_ascii_lowercase(), value))
}

fn field(line: &str) -> Result<(String, String), String> {
    match line.split_once(':') {
        Some((name, value)) if !name.is_empty() && !name.contains(' ') => Ok((name.into(), value.trim().into())),
        _ => Err(format!("`{line}` is no field")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_reads_like_a_tale() {
        let case = parse(
            "# a comment\npolicy school\n\norigin 200\n  ETag: \"a\"\n  > hello: there\norigin 304\n  interim 103\norigin close\n\
             client GET /x?y\n  Foo: 1\nexpect 200 from 1\n  has Age\n  lacks Via\n  ETag: \"a\"\n  Cache-Status ~ hit\n  about Age: 30\n\
             saw 2\n  If-None-Match: \"a\"\norigin gone\nclient POST\n  > data\nuntil any\n  empty\n",
        )
        .expect("a case");
        assert_eq!(case.policy, "school");
        assert_eq!((case.answers[0].body.as_str(), case.answers[1].body.as_str()), ("hello: there", "body 2"));
        assert_eq!((case.answers[1].interim, case.answers[2].status), (Some(103), 0));
        let Step::Ask(request, expected) = &case.steps[0] else { panic!("{:?}", case.steps[0]) };
        assert_eq!((request.method.as_str(), request.place.as_str(), request.fields.len()), ("GET", "/x?y", 1));
        assert_eq!((expected.status, expected.from, expected.checks.len()), (Some(200), Some(1), 5));
        assert_eq!(expected.checks[4], Check::About("age".into(), 30));
        assert_eq!(case.steps[1], Step::Saw(2, vec![Check::Is("if-none-match".into(), "\"a\"".into())]));
        assert_eq!(case.steps[2], Step::Gone);
        let Step::Ask(request, expected) = &case.steps[3] else { panic!("{:?}", case.steps[3]) };
        assert_eq!((request.body.as_deref(), expected.status, expected.body.as_deref()), (Some("data"), None, Some("")));
        assert!(expected.patient);
    }

    #[test]
    fn slips_are_told_with_their_line() {
        let table = [
            ("policy rfc9111\nclient GET\nsaw 1", "line 3: `client` needs its `expect` before `saw`"),
            ("policy rfc9111\nexpect 200", "line 2: `expect` without `client`"),
            ("policy rfc9111\norigin twohundred", "line 2: `origin twohundred` is no status"),
            ("policy rfc9111\norigin 200\n  no field", "line 2: `no field` is no field"),
            ("policy rfc9111\nclient GET\nexpect 200 of 1", "line 3: `expect 200 of 1` is not `expect STATUS from N`"),
            ("policy rfc9111\nwait 3", "line 2: `wait` is no block"),
            ("policy none\nclient GET\nexpect 200", "policy `none` is none of rfc9111, school, targeted, offline"),
            ("policy rfc9111\norigin 200", "nothing is expected"),
            ("policy rfc9111\nclient GET", "nothing is expected"),
        ];
        for (text, wanted) in table {
            assert_eq!(parse(text), Err(wanted.into()), "{text}");
        }
    }
}
