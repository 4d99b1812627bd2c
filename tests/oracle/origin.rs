//! The scenes behind a real socket: one listener for all, each scene under an address of its own in 127.0.0.0/8.

use crate::scene::{Fields, Reply, Request, Scene};
use crate::story::Framing;
use crate::wire::{self, Message};
use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use std::io::{self, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Longest wait for what may happen behind an answer; when it comes later, the oracle allows for it.
const PATIENCE: Duration = Duration::from_millis(30);
/// And for what nobody waits for, which comes when the machine comes to it.
const BEHIND: Duration = Duration::from_secs(1);

/// A scene and where it is to be found.
#[derive(Clone)]
pub(crate) struct Stage {
    pub(crate) host: String,
    pub(crate) scene: Arc<Mutex<Scene>>,
    /// Something came or ended.
    pub(crate) stirred: Arc<Condvar>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Stage {
    pub(crate) fn new(host: String) -> Stage {
        Stage { host, scene: Arc::default(), stirred: Arc::default(), open: Arc::default() }
    }

    /// Waits until no exchange is under way, and, if wished, until one was made for this request; not for ever.
    pub(crate) fn settle(&self, wanted: Option<usize>) {
        let patience = if wanted.is_some() { BEHIND } else { PATIENCE };
        let mut scene = self.scene.lock();
        let done = |scene: &Scene| scene.open == 0 && wanted.is_none_or(|id| scene.log.iter().any(|exchange| exchange.ask == Some(id)));
        while !done(&scene) {
            if self.stirred.wait_for(&mut scene, patience).timed_out() {
                return;
            }
        }
    }
}

/// All scenes.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    stages: Arc<Mutex<HashMap<String, Stage>>>,
    next: Arc<AtomicU32>,
}

impl Origin {
    pub(crate) fn start() -> Origin {
        let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, listener.local_addr().expect("an address").port()));
        let origin = Origin { address, stages: Arc::default(), next: Arc::default() };
        let seen = origin.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let origin = seen.clone();
                // A connection that breaks is part of the play.
                std::thread::spawn(move || origin.serve(stream).ok());
            }
        });
        origin
    }

    /// A new scene under an address of its own.
    pub(crate) fn stage(&self) -> Stage {
        let [_, one, two, three] = (self.next.fetch_add(1, Ordering::Relaxed) + 256).to_be_bytes();
        let host = format!("127.{}.{two}.{three}:{}", one + 1, self.address.port());
        let stage = Stage::new(host.clone());
        self.stages.lock().insert(host, stage.clone());
        stage
    }

    /// Ends a scene and its connections.
    pub(crate) fn leave(&self, stage: &Stage) {
        self.stages.lock().remove(&stage.host);
        for stream in stage.open.lock().drain(..) {
            stream.shutdown(Shutdown::Both).ok(); // it may have gone by itself
        }
    }

    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        let mut known = false;
        while let Some(mut message) = wire::read_head(&mut reader)? {
            wire::read_body(&mut reader, &mut message, false)?;
            let host = message.field("host").unwrap_or_default();
            let Some(stage) = self.stages.lock().get(&host).cloned() else { return Ok(()) };
            if !known {
                stage.open.lock().push(writer.try_clone()?);
                known = true;
            }
            let request = read(&message);
            let head = request.method == "HEAD";
            let reply = {
                let mut scene = stage.scene.lock();
                scene.open += 1;
                scene.answer(request)
            };
            let goes_on = match &reply {
                Some(reply) => write(&mut writer, reply, head),
                None => Ok(false),
            };
            if !matches!(goes_on, Ok(true)) {
                writer.shutdown(Shutdown::Both).ok(); // the proxy may have closed first
            }
            stage.scene.lock().open -= 1;
            stage.stirred.notify_all();
            if !goes_on? {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn read(message: &Message) -> Request {
    let mut words = message.line.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let path = words.next().unwrap_or_default();
    let place = path.strip_prefix("/p").and_then(|number| number.parse().ok()).unwrap_or(usize::MAX);
    Request { method, place, fields: message.fields.clone() }
}

/// Whether the connection goes on.
fn write(writer: &mut TcpStream, reply: &Reply, head: bool) -> io::Result<bool> {
    let bodiless = head || matches!(reply.status, 204 | 304);
    let mut text = format!("HTTP/1.1 {} Told\r\n", reply.status);
    let put = |text: &mut String, fields: &Fields| fields.iter().for_each(|(name, value)| text.extend([name, ": ", value, "\r\n"]));
    put(&mut text, &reply.fields);
    if bodiless {
        text.push_str("\r\n");
        writer.write_all(text.as_bytes())?;
        return Ok(true);
    }
    let sent = if reply.cut { &reply.body[..reply.body.len() / 2] } else { &reply.body[..] };
    let mut bytes = match reply.framing {
        Framing::Length => format!("{text}content-length: {}\r\n\r\n", reply.body.len()).into_bytes(),
        Framing::Chunked => format!("{text}transfer-encoding: chunked\r\n\r\n").into_bytes(),
        Framing::Close => format!("{text}connection: close\r\n\r\n").into_bytes(),
    };
    if reply.framing == Framing::Chunked {
        for piece in sent.chunks(700) {
            bytes.extend(format!("{:x}\r\n", piece.len()).bytes().chain(piece.iter().copied()).chain(*b"\r\n"));
        }
        if !reply.cut {
            bytes.extend(b"0\r\n\r\n");
        }
    } else {
        bytes.extend(sent);
    }
    writer.write_all(&bytes)?;
    Ok(!reply.cut && reply.framing != Framing::Close)
}
