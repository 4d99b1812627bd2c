//! `kill -9` at any time, the index gone or damaged, and an orderly end.

use crate::kit;
use crate::kit::http::{Connection, request};
use crate::kit::node::{Node, Setup};
use crate::kit::origin::{Origin, Reply, ok, promise};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

const FILES: u64 = 40;

fn library() -> Origin {
    Origin::start(|ask| {
        let seed = ask.target.trim_start_matches('/').parse().unwrap_or(0);
        Reply::Bytes(ok(&["Cache-Control: public, max-age=3600"], &kit::noise(seed, 20_000)))
    })
}

fn url(number: u64) -> String {
    format!("http://l.school.test/{number}")
}

/// A node that holds all files durably: it was ended in order once.
fn filled(origin: &Origin) -> Node {
    let mut node = Setup::new().host("l.school.test", origin.addr).start();
    for number in 1..=FILES {
        assert!(node.get(&url(number)).complete);
    }
    assert!(node.terminate().success());
    node.restart();
    node
}

fn serves_all_without_the_origin(node: &Node, origin: &Origin) {
    let asked = origin.count();
    for number in 1..=FILES {
        let answer = node.get(&url(number));
        assert!(answer.is_hit() && answer.body == kit::noise(number, 20_000), "file {number}: {}", answer.cache_status());
    }
    assert_eq!(origin.count(), asked);
}

#[test]
fn what_was_stored_is_served_after_kill_9() {
    let origin = library();
    let mut node = filled(&origin);
    for _ in 0..3 {
        node.kill();
        node.restart();
        serves_all_without_the_origin(&node, &origin);
    }
}

#[test]
fn what_was_committed_for_a_while_survives_a_sudden_end() {
    let origin = library();
    let mut node = Setup::new().set("store.sync_after", "\"200 ms\"").host("l.school.test", origin.addr).start();
    for number in 1..=FILES {
        node.get(&url(number));
    }
    // A process killed leaves its written bytes with the kernel; only those still in its own memory may be missing.
    assert!(node.get(&url(FILES)).is_hit());
    std::thread::sleep(Duration::from_millis(600)); // three rounds of the group commit set above
    node.kill();
    node.restart();
    serves_all_without_the_origin(&node, &origin);
}

#[test]
fn kill_9_in_the_middle_of_storing_leaves_no_wrong_bytes() {
    let origin = library();
    let mut node = Setup::new().host("l.school.test", origin.addr).start();
    for round in 0..4 {
        let proxy = node.proxy;
        let clients: Vec<_> = (0..4)
            .map(|client| {
                std::thread::spawn(move || {
                    for number in (1..=FILES).skip(client).step_by(4) {
                        let Ok(mut stream) = std::net::TcpStream::connect(proxy) else { return };
                        // The node dies under this client: any outcome but wrong bytes is right.
                        let _sent = stream.write_all(&request("GET", &url(number + round * FILES), &["Connection: close"]));
                        let _read = std::io::copy(&mut stream, &mut std::io::sink());
                    }
                })
            })
            .collect();
        let seen = origin.count();
        kit::until("it is busy", 20, || origin.count() >= seen + 10 || clients.iter().all(std::thread::JoinHandle::is_finished));
        node.kill();
        for client in clients {
            client.join().expect("a client");
        }
        node.restart();
        for number in 1..=FILES {
            let number = number + round * FILES;
            let answer = node.get(&url(number));
            assert!(answer.complete && answer.body == kit::noise(number, 20_000), "file {number}: {}", answer.cache_status());
        }
    }
}

/// The folder of the index: the one beside the segments that holds sled's `db` or `conf` file.
fn index(node: &Node) -> PathBuf {
    let store = node.folder.path().join("store");
    let entries = fs::read_dir(&store).expect("the store");
    let mut folders = entries.filter_map(Result::ok).map(|entry| entry.path());
    folders.find(|path| path.join("db").exists() || path.join("conf").exists()).expect("an index folder")
}

#[test]
fn the_index_may_be_deleted() {
    let origin = library();
    let mut node = filled(&origin);
    node.kill();
    fs::remove_dir_all(index(&node)).expect("removed");
    node.restart();
    serves_all_without_the_origin(&node, &origin);
}

#[test]
fn the_index_may_be_damaged() {
    let origin = library();
    let mut node = filled(&origin);
    node.kill();
    for entry in fs::read_dir(index(&node)).expect("the index").filter_map(Result::ok) {
        if entry.path().is_file() {
            let mut bytes = fs::read(entry.path()).expect("a file");
            for (at, byte) in bytes.iter_mut().enumerate().skip(16) {
                *byte ^= u8::try_from(at % 251).unwrap_or(0);
            }
            fs::write(entry.path(), bytes).expect("a file");
        }
    }
    node.restart();
    serves_all_without_the_origin(&node, &origin);
}

#[test]
fn a_damaged_segment_is_a_miss_and_never_wrong_bytes() {
    let origin = library();
    let mut node = filled(&origin);
    node.kill();
    let mut damaged = 0;
    for entry in fs::read_dir(node.folder.path().join("store/seg")).expect("segments").filter_map(Result::ok) {
        let mut bytes = fs::read(entry.path()).expect("a file");
        for byte in bytes.iter_mut().skip(5000).step_by(50_000) {
            *byte ^= 0x55;
            damaged += 1;
        }
        fs::write(entry.path(), bytes).expect("a file");
    }
    assert!(damaged > 0);
    node.restart();
    for number in 1..=FILES {
        let answer = node.get(&url(number));
        assert!(answer.complete && answer.body == kit::noise(number, 20_000), "file {number}: {}", answer.cache_status());
    }
}

#[test]
fn an_answer_under_way_is_finished_before_the_end() {
    let (tell, told) = std::sync::mpsc::channel::<()>();
    let told = std::sync::Mutex::new(Some(told));
    let origin = Origin::start(move |_| {
        let told = told.lock().expect("one thread").take();
        Reply::Act(Box::new(move |stream| {
            stream.write_all(&promise(&["Cache-Control: no-store"], 10)).expect("sends");
            stream.write_all(b"first").expect("sends");
            told.expect("asked once").recv().expect("the test goes on");
            stream.write_all(b" last").expect("sends");
        }))
    });
    let mut node = Setup::new().host("l.school.test", origin.addr).start();
    let mut connection = Connection::open(node.proxy);
    connection.send(&request("GET", "http://l.school.test/", &[])).expect("sends");
    std::io::BufRead::fill_buf(connection.raw()).expect("a first byte");
    let proxy = node.proxy;
    let ended = std::thread::spawn(move || (node.terminate(), node));
    kit::until("no new clients are taken", 20, || std::net::TcpStream::connect(proxy).is_err());
    tell.send(()).expect("the origin listens");
    assert_eq!(connection.read(false).text(), "first last");
    let (status, _node) = ended.join().expect("it ends");
    assert_eq!(status.code(), Some(0));
}
