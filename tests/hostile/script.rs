//! Reads the cases: text files, one class of mischief each.
//!
//! ```text
//! class chunks                       what the file is about; `rule RFC 9112 7.1` names the rule of the cases that follow
//! define NAME … end                  lines that `use NAME` puts in, wherever they stand
//! for size in "-1" "0x3"             makes the next case once for each value, in which `{size}` stands for it; several multiply
//! case a size of {size}
//! origin [close|reset|endless|drip]  what the origin answers, in order; without one it echoes what it was asked
//! | HTTP/1.1 200 OK                  a line of bytes, with CR LF; a backslash at its end takes CR LF away
//! client [B]                         sends these bytes, byte for byte, and reads what comes; A unless another is named
//! ask [B] [METHOD] [/path]           the same with request line, Host and the empty line made, and these fields
//! pause 2                            waits, in seconds
//! want refused                       what must be true of the answers to the step before; `odd want …` when it would be merely impolite
//! ```
//!
//! Escapes: `\r \n \t \0 \\ \" \{ \} \xNN`. Placeholders in braces are told in `fill.rs`.

use std::fmt;

/// What the origin does after it has said its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Keep,
    Close,
    Reset,
    /// Says the bytes' last KiB again and again, as fast as they are taken.
    Endless,
    /// Says one more byte now and then.
    Drip,
}

/// One answer of the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) text: String,
    pub(crate) then: Then,
}

/// What one side does, and what must be true then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Which connection.
    pub(crate) client: char,
    pub(crate) text: String,
    /// Goes away without reading to the end.
    pub(crate) leaves: bool,
    /// Seconds to wait before.
    pub(crate) pause: u64,
    pub(crate) wants: Vec<(Weight, Want)>,
}

/// How bad it is when a wish is not met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    Unsafe,
    Odd,
}

/// What must be true of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Answered by the proxy with 4xx or 5xx, or closed; nothing whole reaches the origin.
    Refused,
    /// Refused, or passed on as one well-formed request, which is odd.
    Repaired,
    /// Reaches the origin, and its answer the client.
    Passed,
    /// The connection ends.
    Closed,
    /// A 4xx of the proxy, and no connection.
    Denied,
    /// No answer that looks whole and good.
    Broken,
    /// Asked of the origin, not taken out of the store.
    Fresh,
    /// A whole answer with this status.
    Status(u16),
    /// No answer with this status.
    Not(u16),
    /// The answers hold this text, or do not.
    Has(String),
    Lacks(String),
    /// What the origin was asked holds this text, or does not.
    OriginHas(String),
    OriginLacks(String),
}

/// One case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) class: String,
    pub(crate) rule: String,
    pub(crate) name: String,
    pub(crate) origin: Vec<Said>,
    pub(crate) steps: Vec<Step>,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} [{}]", self.class, self.name, self.rule)
    }
}

/// The cases of a file.
///
/// # Errors
/// The first line that cannot be read.
pub(crate) fn parse(text: &str) -> Result<Vec<Case>, String> {
    let mut file = File::default();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        let say = |what: String| format!("line {}: {what}", number + 1);
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "" | "#" => {}
            "class" => rest.clone_into(&mut file.class),
            "rule" => rest.clone_into(&mut file.rule),
            "define" => {
                let mut body = Vec::new();
                loop {
                    match lines.next() {
                        Some((_, "end")) => break,
                        Some((_, line)) => body.push(line.to_owned()),
                        None => return Err(say(format!("`{rest}` has no end"))),
                    }
                }
                file.defines.push((rest.to_owned(), body));
            }
            "for" => file.variables.push(variable(rest).ok_or_else(|| say(format!("`{line}` is no `for NAME in \"…\"`")))?),
            "case" => {
                let mut body = Vec::new();
                while let Some((_, line)) = lines.peek() {
                    if matches!(line.split(' ').next(), Some("class" | "rule" | "define" | "for" | "case")) {
                        break;
                    }
                    body.push((*line).to_owned());
                    lines.next();
                }
                file.add(rest, &body).map_err(say)?;
            }
            _ => return Err(say(format!("`{line}` is nothing that is known"))),
        }
    }
    Ok(file.cases)
}

#[derive(Default)]
struct File {
    class: String,
    rule: String,
    defines: Vec<(String, Vec<String>)>,
    variables: Vec<(String, Vec<String>)>,
    cases: Vec<Case>,
}

impl File {
    fn add(&mut self, name: &str, body: &[String]) -> Result<(), String> {
        let mut all = vec![(name.to_owned(), self.put_in(body, 0)?)];
        for (variable, values) in std::mem::take(&mut self.variables) {
            let mark = format!("{{{variable}}}");
            all = all
                .iter()
                .flat_map(|(name, lines)| {
                    let fill = |value: &String| {
                        (name.replace(&mark, value), lines.iter().map(|line| line.replace(&mark, value)).collect::<Vec<_>>())
                    };
                    values.iter().map(fill).collect::<Vec<_>>()
                })
                .collect();
        }
        for (name, lines) in all {
            let mut case = Case { class: self.class.clone(), rule: self.rule.clone(), name, origin: Vec::new(), steps: Vec::new() };
            read(&mut case, &lines).map_err(|what| format!("{}: {what}", case.name))?;
            if self.cases.iter().any(|other| other.name == case.name) {
                return Err(format!("two cases are called `{}`", case.name));
            }
            self.cases.push(case);
        }
        Ok(())
    }

    /// Replaces every `use NAME`.
    fn put_in(&self, lines: &[String], depth: usize) -> Result<Vec<String>, String> {
        let mut out = Vec::new();
        for line in lines {
            let Some(name) = line.strip_prefix("use ") else {
                out.push(line.clone());
                continue;
            };
            let found = self.defines.iter().find(|(known, _)| known == name);
            let (_, body) = found.filter(|_| depth < 4).ok_or_else(|| format!("`{line}`: not defined"))?;
            out.extend(self.put_in(body, depth + 1)?);
        }
        Ok(out)
    }
}

/// `NAME in "value" "value"`; values stay escaped.
fn variable(text: &str) -> Option<(String, Vec<String>)> {
    let (name, list) = text.split_once(" in ")?;
    let (mut values, mut value) = (Vec::new(), None::<String>);
    let mut letters = list.chars();
    while let Some(letter) = letters.next() {
        match (&mut value, letter) {
            (None, '"') => value = Some(String::new()),
            (None, ' ') => {}
            (None, _) => return None,
            (Some(_), '"') => values.extend(value.take()),
            (Some(text), '\\') => {
                text.push('\\');
                text.push(letters.next()?);
            }
            (Some(text), letter) => text.push(letter),
        }
    }
    (value.is_none() && !values.is_empty()).then(|| (name.to_owned(), values))
}

/// Where lines of bytes belong.
enum Open {
    Nothing,
    Origin,
    Client { made: bool },
}

fn read(case: &mut Case, lines: &[String]) -> Result<(), String> {
    let mut open = Open::Nothing;
    let mut pause = 0;
    for line in lines {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(bytes) = line.strip_prefix("| ").or_else(|| line.strip_prefix('|')) {
            let into = match open {
                Open::Origin => case.origin.last_mut().map(|said| &mut said.text),
                Open::Client { .. } => case.steps.last_mut().map(|step| &mut step.text),
                Open::Nothing => None,
            };
            let into = into.ok_or_else(|| format!("`{line}` belongs to nothing"))?;
            if let Some(bytes) = bytes.strip_suffix('\\').filter(|bytes| !bytes.ends_with('\\')) {
                into.push_str(bytes);
            } else {
                into.push_str(bytes);
                into.push_str("\\r\\n");
            }
            continue;
        }
        finish(case, &open);
        open = Open::Nothing;
        let words: Vec<&str> = line.split(' ').collect();
        match words[0] {
            "origin" => {
                case.origin.push(Said { text: String::new(), then: then(words.get(1).copied())? });
                open = Open::Origin;
            }
            "client" | "ask" => {
                let mut step =
                    Step { client: 'A', text: String::new(), leaves: false, pause: std::mem::take(&mut pause), wants: Vec::new() };
                let made = words[0] == "ask";
                let (mut method, mut path) = ("GET", "/c");
                for word in &words[1..] {
                    match word.as_bytes() {
                        [letter @ b'A'..=b'Z'] => step.client = char::from(*letter),
                        b"leaves" => step.leaves = true,
                        [b'/' | b'?', ..] if made => path = word,
                        [b'A'..=b'Z', ..] if made => method = word,
                        _ => return Err(format!("`{line}`: what is `{word}`?")),
                    }
                }
                if made {
                    step.text = format!("{method} http://{{host}}{path} HTTP/1.1\\r\\nHost: {{host}}\\r\\n");
                }
                case.steps.push(step);
                open = Open::Client { made };
            }
            "pause" => pause = words.get(1).and_then(|word| word.parse().ok()).ok_or_else(|| format!("`{line}`: how long?"))?,
            "want" | "odd" => {
                let (weight, text) = line.strip_prefix("odd ").map_or((Weight::Unsafe, line.as_str()), |rest| (Weight::Odd, rest));
                let text = text.strip_prefix("want ").ok_or_else(|| format!("`{line}` is no wish"))?;
                let step = case.steps.last_mut().ok_or_else(|| format!("`{line}`: of what?"))?;
                step.wants.push((weight, want(text)?));
            }
            _ => return Err(format!("`{line}` is nothing that is known")),
        }
    }
    finish(case, &open);
    if case.steps.is_empty() { Err("nobody asks for anything".into()) } else { Ok(()) }
}

/// A made request gets its empty line.
fn finish(case: &mut Case, open: &Open) {
    if let (Open::Client { made: true }, Some(step)) = (open, case.steps.last_mut()) {
        step.text.push_str("\\r\\n");
    }
}

fn then(word: Option<&str>) -> Result<Then, String> {
    Ok(match word {
        None => Then::Keep,
        Some("close") => Then::Close,
        Some("reset") => Then::Reset,
        Some("endless") => Then::Endless,
        Some("drip") => Then::Drip,
        Some(other) => return Err(format!("an origin that does `{other}`?")),
    })
}

fn want(text: &str) -> Result<Want, String> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let number = || rest.parse().map_err(|_| format!("`{text}`: no status"));
    Ok(match word {
        "refused" if rest == "or repaired" => Want::Repaired,
        "refused" => Want::Refused,
        "passed" => Want::Passed,
        "closed" => Want::Closed,
        "denied" => Want::Denied,
        "broken" => Want::Broken,
        "fresh" => Want::Fresh,
        "status" => Want::Status(number()?),
        "not" => Want::Not(number()?),
        "has" => Want::Has(rest.into()),
        "lacks" => Want::Lacks(rest.into()),
        "origin" => match rest.split_once(' ') {
            Some(("has", text)) => Want::OriginHas(text.into()),
            Some(("lacks", text)) => Want::OriginLacks(text.into()),
            _ => return Err(format!("`want {text}` is no wish")),
        },
        _ => return Err(format!("`want {text}` is no wish")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_becomes_cases() {
        let text = "class c\nrule RFC 1\ndefine fin\nwant closed\nodd want lacks x y\nend\n# note\nfor a in \"1\" \"\\\"{host}\"\nfor b in \"x\"\n\
                    case {a}-{b}\norigin close\n| HTTP/1.1 200 OK\n| {b}\\\nask B HEAD /p\n| X: {a}\nuse fin\n\ncase plain\npause 2\nclient leaves\n| \\xff\nwant not 200\n";
        let cases = parse(text).expect("good");
        assert_eq!(cases.iter().map(|case| case.name.as_str()).collect::<Vec<_>>(), ["1-x", "\\\"{host}-x", "plain"]);
        assert_eq!(cases[0].origin, [Said { text: "HTTP/1.1 200 OK\\r\\nx".into(), then: Then::Close }]);
        let step = &cases[1].steps[0];
        assert_eq!(step.text, "HEAD http://{host}/p HTTP/1.1\\r\\nHost: {host}\\r\\nX: \\\"{host}\\r\\n\\r\\n");
        assert_eq!((step.client, &step.wants[1]), ('B', &(Weight::Odd, Want::Lacks("x y".into()))));
        assert_eq!((cases[2].steps[0].leaves, cases[2].steps[0].pause), (true, 2));
        assert_eq!(cases[2].to_string(), "c: plain [RFC 1]");
    }

    #[test]
    fn slips_are_told() {
        for text in [
            "define x",
            "for x of y",
            "for x in",
            "case x",
            "case x\nwant refused",
            "case x\n| bytes",
            "case x\nask\nwant hope",
            "case x\nask later",
            "case x\norigin maybe\nask",
            "case x\nuse y",
            "case x\nask\ncase x\nask",
            "nonsense",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
