//! Plays one case against a node and an origin, and says what differed.

use crate::fill::fill;
use crate::origin::Origin;
use crate::script::{Answer, Case, Check, Expected, Request, Step};
use crate::wire::{self, Message};
use bulak::base::clock::{Clock, Time};
use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest wait for a byte, and for something that happens behind an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Plays the steps in order; the error names the step and what differed.
pub(crate) fn play(name: &str, case: &Case, proxy: SocketAddr, origin: &Origin) -> Result<(), String> {
    origin.tell(name, case.answers.clone());
    let url = format!("http://{}/{name}", origin.address);
    // Dates of one case agree with each other: `{date}` is the moment when it began.
    let began = Clock::system().now();
    for (at, step) in case.steps.iter().enumerate() {
        let told = match step {
            Step::Gone => {
                origin.leave();
                Ok(())
            }
            Step::Saw(count, checks) => saw(name, origin, *count, checks, began, &url),
            Step::Ask(request, expected) => {
                let once = || {
                    let answer = ask(proxy, request, began, &url).map_err(|error| format!("no answer: {error}"))?;
                    judge(&answer, expected, &case.answers, began, &url)
                };
                if expected.patient { patiently(once) } else { once() }
            }
        };
        told.map_err(|what| format!("step {}: {what}", at + 1))?;
    }
    Ok(())
}

/// Tries again until it holds or patience ends.
fn patiently(once: impl Fn() -> Result<(), String>) -> Result<(), String> {
    let clock = Clock::system();
    let start = clock.steady();
    loop {
        let told = once();
        if told.is_ok() || clock.steady() - start > PATIENCE {
            return told;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

struct Exchange {
    answer: Message,
    interim: Vec<u16>,
}

fn ask(proxy: SocketAddr, request: &Request, now: Time, url: &str) -> io::Result<Exchange> {
    let mut stream = TcpStream::connect(proxy)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let host = url.split('/').nth(2).unwrap_or_default();
    let mut lines =
        vec![format!("{} {url}{} HTTP/1.1", request.method, request.place), format!("Host: {host}"), "Connection: close".into()];
    lines.extend(request.fields.iter().map(|(name, value)| format!("{name}: {}", fill(value, now, url))));
    if let Some(body) = &request.body {
        lines.push(format!("Content-Length: {}", body.len()));
    }
    lines.extend([String::new(), request.body.clone().unwrap_or_default()]);
    stream.write_all(lines.join("\r\n").as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut interim = Vec::new();
    loop {
        let mut answer = wire::read_head(&mut reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if (100..200).contains(&answer.status()) {
            interim.push(answer.status());
            continue;
        }
        if request.method != "HEAD" && !matches!(answer.status(), 204 | 304) {
            wire::read_body(&mut reader, &mut answer, true)?;
        }
        return Ok(Exchange { answer, interim });
    }
}

fn judge(got: &Exchange, expected: &Expected, answers: &[Answer], now: Time, url: &str) -> Result<(), String> {
    let answer = &got.answer;
    let said = || format!("got `{}` {:?} `{}`", answer.line, answer.fields, String::from_utf8_lossy(&answer.body));
    if expected.status.is_some_and(|status| status != answer.status()) {
        return Err(format!("expected status {}, {}", expected.status.unwrap_or(0), said()));
    }
    let wanted = match expected.from {
        Some(number) => Some(&answers.get(number.wrapping_sub(1)).ok_or("no such origin answer")?.body),
        None => expected.body.as_ref(),
    };
    if let Some(wanted) = wanted
        && wanted.as_bytes() != answer.body
    {
        return Err(format!("expected body `{wanted}`, {}", said()));
    }
    if expected.status.is_some() && expected.cut != answer.cut {
        return Err(format!("the body was {}, {}", if answer.cut { "cut" } else { "whole" }, said()));
    }
    if expected.interim.is_some_and(|status| !got.interim.contains(&status)) {
        return Err(format!("no interim {:?}, only {:?}", expected.interim, got.interim));
    }
    expected.checks.iter().try_for_each(|check| check_field(answer, check, now, url))
}

fn saw(name: &str, origin: &Origin, count: usize, checks: &[Check], now: Time, url: &str) -> Result<(), String> {
    let clock = Clock::system();
    let start = clock.steady();
    // A refresh behind an answer may come a little later.
    while origin.seen(name).len() < count && clock.steady() - start < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
    let seen = origin.seen(name);
    if seen.len() != count {
        return Err(format!("the origin saw {} requests, not {count}", seen.len()));
    }
    let Some(last) = seen.last() else { return Ok(()) };
    checks.iter().try_for_each(|check| check_field(last, check, now, url))
}

fn check_field(message: &Message, check: &Check, now: Time, url: &str) -> Result<(), String> {
    let (name, holds) = match check {
        Check::Has(name) => (name, message.field(name).is_some()),
        Check::Lacks(name) => (name, message.field(name).is_none()),
        Check::Is(name, value) => (name, message.field(name) == Some(fill(value, now, url))),
        Check::Holds(name, part) => (name, message.field(name).is_some_and(|value| value.contains(part))),
        Check::About(name, least) => {
            let number = message.field(name).and_then(|value| value.parse::<u64>().ok());
            (name, number.is_some_and(|number| (*least..=least + 10).contains(&number)))
        }
    };
    if holds { Ok(()) } else { Err(format!("{check:?}, but {name} is {:?}; `{}` {:?}", message.field(name), message.line, message.fields)) }
}
