//! Connections that are held: those that say nothing, and those that read slowly. What counts is the memory that they cost a proxy.

use super::device::Diary;
use super::play::Stage;
use super::scenario::{Idle, Readers};
use super::wire::{Connection, Fault, Want, Way, look, promised};
use std::time::Duration;
use tokio::io::AsyncBufReadExt;

/// So many connections are opened at a time.
const TOGETHER: usize = 100;

/// What an idle device keeps ready for reading.
const LITTLE: usize = 1 << 10;

/// How often a slow reader reads.
const EVERY: Duration = Duration::from_millis(100);

/// The least that the system gives a socket: what it holds for a reader is not the proxy's.
const WINDOW: u32 = 4 << 10;

/// Each connection asks once and stays.
pub(crate) fn idle(stage: &Stage<'_>, idle: &Idle) -> Diary {
    let mut diary = Diary::default();
    let want = Want { object: &stage.content.objects[stage.content.pages[0]], part: None, has: false };
    let began = stage.clock.steady();
    runtime().block_on(async {
        let mut connections: Vec<Connection> = (0..idle.connections).map(|_| Connection::default()).collect();
        let mut answered = Vec::with_capacity(connections.len());
        for (batch, some) in connections.chunks_mut(TOGETHER).enumerate() {
            let want = &want;
            let asks = some.iter_mut().enumerate().map(|(at, connection)| async move {
                let device = (batch * TOGETHER + at) % stage.scenario.devices.count;
                let way = Way { buffer: LITTLE, ..stage.way(device) };
                let asked = stage.clock.steady();
                connection.fetch(&way, want, stage.clock).await.map(|got| got.first - asked)
            });
            for result in futures_util::future::join_all(asks).await {
                answered.push(result.is_ok());
                match result {
                    Ok(first) => {
                        diary.right += 1;
                        diary.first_bytes.push(first);
                    }
                    Err(fault) => note(&mut diary, &fault, want),
                }
            }
        }
        tokio::time::sleep(idle.hold.0).await;
        // Those that were closed meanwhile were not held: a proxy may not save memory by throwing its class out.
        for (connection, answered) in connections.iter_mut().zip(answered) {
            if answered && connection.is_closed().await {
                diary.right -= 1;
                *diary.faults.entry("closed").or_default() += 1;
            }
        }
    });
    diary.visits.push(stage.clock.steady() - began);
    diary
}

/// A connection did not get what it asked for.
fn note(diary: &mut Diary, fault: &Fault, want: &Want<'_>) {
    *diary.faults.entry(fault.word()).or_default() += 1;
    if diary.examples.is_empty() {
        diary.examples.push(fault.text(want));
    }
}

/// All read a file that is here, slowly, from its begin, and compare it.
pub(crate) fn readers(stage: &Stage<'_>, readers: &Readers) -> Diary {
    let mut diary = Diary::default();
    let object = &stage.content.objects[stage.content.pages[0]];
    let want = Want { object, part: None, has: false };
    let began = stage.clock.steady();
    let share = readers.rate.bytes_per_second() * 100 / 1000;
    runtime().block_on(async {
        let end = stage.clock.steady() + readers.hold.0;
        let want = &want;
        let reads = (0..stage.scenario.devices.count).map(|device| async move {
            let way = Way { buffer: LITTLE, window: Some(WINDOW), ..stage.way(device) };
            let mut connection = Connection::default();
            let stream = connection.ask(&way, want).await?;
            promised(stream, want, way.patience).await?;
            let mut at = 0;
            while stage.clock.steady() < end {
                let mut left = usize::try_from(share.min(object.length - at)).unwrap_or(usize::MAX);
                while left > 0 {
                    let taken = look(stream, way.patience).await?.min(left);
                    if taken == 0 {
                        return Err(Fault::Length);
                    }
                    if !object.is_at(at, &stream.buffer()[..taken]) {
                        return Err(Fault::Wrong);
                    }
                    stream.consume(taken);
                    at += taken as u64;
                    left -= taken;
                }
                tokio::time::sleep(EVERY).await;
            }
            Ok(())
        });
        for result in futures_util::future::join_all(reads).await {
            match result {
                Ok(()) => diary.right += 1,
                Err(fault) => note(&mut diary, &fault, want),
            }
        }
    });
    diary.visits.push(stage.clock.steady() - began);
    diary
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
