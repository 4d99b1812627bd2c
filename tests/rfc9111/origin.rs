//! The scripted origin: every case has a first path segment of its own, its answers are given in order.

use crate::fill::fill;
use crate::script::Answer;
use crate::wire::{self, Message};
use bulak::base::clock::Clock;
use std::collections::HashMap;
use std::io::{self, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// An origin on a port of its own.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    cases: Mutex<HashMap<String, Told>>,
    open: Mutex<Vec<TcpStream>>,
    gone: AtomicBool,
}

#[derive(Default)]
struct Told {
    answers: Vec<Answer>,
    seen: Vec<Message>,
}

impl Origin {
    pub(crate) fn start() -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let inner = Arc::new(Inner::default());
        let origin = Origin { address, inner: inner.clone() };
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if inner.gone.load(Ordering::SeqCst) {
                    return;
                }
                let inner = inner.clone();
                if let Ok(copy) = stream.try_clone() {
                    inner.open.lock().expect("no panic").push(copy);
                }
                // A connection that breaks is part of the play.
                std::thread::spawn(move || inner.serve(stream, address).ok());
            }
        });
        origin
    }

    pub(crate) fn tell(&self, case: &str, answers: Vec<Answer>) {
        self.inner.cases.lock().expect("no panic").insert(case.into(), Told { answers, seen: Vec::new() });
    }

    pub(crate) fn seen(&self, case: &str) -> Vec<Message> {
        self.inner.cases.lock().expect("no panic").get(case).map(|told| told.seen.clone()).unwrap_or_default()
    }

    /// Stops listening and breaks every connection.
    pub(crate) fn leave(&self) {
        self.inner.gone.store(true, Ordering::SeqCst);
        // Wakes the listener, which then goes; a refused connection means that it has gone.
        TcpStream::connect(self.address).ok();
        for stream in self.inner.open.lock().expect("no panic").drain(..) {
            stream.shutdown(Shutdown::Both).ok();
        }
    }
}

impl Inner {
    fn serve(&self, stream: TcpStream, address: SocketAddr) -> io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_mins(1)))?;
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        while let Some(mut request) = wire::read_head(&mut reader)? {
            wire::read_body(&mut reader, &mut request, false)?;
            let case = case_of(request.line.split(' ').nth(1).unwrap_or_default()).to_owned();
            let head_only = request.line.starts_with("HEAD ");
            let Some(answer) = self.next(&case, request) else { return writer.shutdown(Shutdown::Both) };
            write_answer(&mut writer, &answer, head_only, &format!("http://{address}/{case}"))?;
            if answer.cut {
                return writer.shutdown(Shutdown::Both);
            }
        }
        Ok(())
    }

    /// Notes the request and finds its answer; none when the script says `close`. Beyond the script the last `close` holds on,
    /// else a 599 shows that too much was asked.
    fn next(&self, case: &str, request: Message) -> Option<Answer> {
        let mut cases = self.cases.lock().expect("no panic");
        let told = cases.entry(case.into()).or_default();
        told.seen.push(request);
        let unscripted = Answer { status: 599, body: "unscripted".into(), ..Answer::default() };
        let answer = match told.answers.get(told.seen.len() - 1) {
            Some(answer) => answer.clone(),
            None => told.answers.last().filter(|last| last.status == 0).cloned().unwrap_or(unscripted),
        };
        (answer.status != 0).then_some(answer)
    }
}

/// The first path segment, of an absolute URL too.
fn case_of(url: &str) -> &str {
    let path = url.strip_prefix("http://").map_or(url, |rest| rest.find('/').map_or("", |at| &rest[at..]));
    path.split(['/', '?']).nth(1).unwrap_or_default()
}

fn write_answer(writer: &mut TcpStream, answer: &Answer, head_only: bool, url: &str) -> io::Result<()> {
    let now = Clock::system().now();
    let mut lines = Vec::new();
    if let Some(status) = answer.interim {
        lines.extend([format!("HTTP/1.1 {status} Interim"), "Link: </x>; rel=preload".into(), String::new()]);
    }
    lines.push(format!("HTTP/1.1 {} Scripted", answer.status));
    let bodiless = matches!(answer.status, 204 | 304);
    let framed = answer.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    if !framed && !bodiless {
        let missing = if answer.cut { 100 } else { 0 };
        lines.push(format!("Content-Length: {}", answer.body.len() + missing));
    }
    lines.extend(answer.fields.iter().map(|(name, value)| format!("{name}: {}", fill(value, now, url))));
    lines.push(String::new());
    lines.push(if head_only || bodiless { String::new() } else { answer.body.clone() });
    writer.write_all(lines.join("\r\n").as_bytes())
}
