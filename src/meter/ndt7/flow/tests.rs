//! Both ends in one process over pipes of memory, and strangers at one of them.

use super::*;
use crate::meter::ndt7::frame::whole;
use tokio::io::{DuplexStream, duplex};

const QUICK: Duration = Duration::from_millis(300);

fn plan(role: Role, way: Way) -> Plan {
    Plan {
        role,
        way,
        dialect: Dialect::Ndt7,
        time: QUICK,
        end: QUICK * 3,
        io: QUICK * 2,
        bytes: None,
        acked: None,
        info: ConnectionInfo { uuid: "0-1".into(), ..ConnectionInfo::default() },
    }
}

async fn go(stream: DuplexStream, plan: Plan) -> (Result<Closed, Wrong>, Seen) {
    let (stop, seen) = (CancellationToken::new(), Mutex::new(Seen::default()));
    let closed = run(stream, &[], None, &plan, &stop, &Clock::system(), &seen).await;
    (closed, seen.into_inner())
}

/// A stranger says these frames and then nothing more, but listens.
async fn against(says: Vec<u8>, plan: Plan) -> (Result<Closed, Wrong>, Seen) {
    let (ours, mut theirs) = duplex(1 << 16);
    let stranger = async {
        theirs.write_all(&says).await.unwrap();
        let mut room = vec![0; 1 << 16];
        while matches!(theirs.read(&mut room).await, Ok(count) if count > 0) {}
    };
    tokio::join!(go(ours, plan), stranger).0
}

fn frames(list: &[(Send, &[u8])], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (what, body) in list {
        whole(*what, body, mask, &mut bytes);
    }
    bytes
}

#[tokio::test]
async fn what_one_end_sends_the_other_counts() {
    for way in [Way::Download, Way::Upload] {
        let (near, far) = duplex(1 << 16);
        let ((client, mut by_client), (server, by_server)) =
            tokio::join!(go(near, plan(Role::Client, way)), go(far, plan(Role::Server, way)));
        // Whose time is up first is chance where both look at the clock.
        assert!(matches!(client, Ok(Closed::Time | Closed::Theirs)) && matches!(server, Ok(Closed::Time | Closed::Theirs)), "{client:?}");
        let (sent, received) = if way == Way::Download { (by_server.moved, by_client.moved) } else { (by_client.moved, by_server.moved) };
        assert!(received > 0 && sent > 0, "{way:?}: {sent} sent, {received} received");
        let newest = by_client.server.newest().expect("the server measures").clone();
        assert_eq!((newest.origin, newest.test), (Some(Origin::Server), Some(way)));
        assert_eq!(newest.connection_info.unwrap().uuid, "0-1");
        if way == Way::Upload {
            assert_eq!(by_client.told.map(|told| told.bytes), Some(by_server.moved), "the last word is the whole sum");
        }
        assert!(by_client.server.take().len() <= MOST_MESSAGES);
    }
}

#[tokio::test]
async fn a_limit_of_bytes_ends_it_to_the_byte() {
    for way in [Way::Download, Way::Upload] {
        let (near, far) = duplex(1 << 16);
        let limited = |role| Plan { bytes: Some(1_000_000), ..plan(role, way) };
        let sender = if way == Way::Download { Role::Server } else { Role::Client };
        let of = |role| if role == sender { limited(role) } else { plan(role, way) };
        let ((_, by_client), (_, by_server)) = tokio::join!(go(near, of(Role::Client)), go(far, of(Role::Server)));
        let received = if way == Way::Download { by_client.moved } else { by_server.moved };
        let texts = 20 * 1024;
        assert!((1_000_000..1_001_024 + texts).contains(&received), "{way:?}: {received}");
    }
}

#[tokio::test]
async fn whoever_does_not_do_as_agreed_is_left() {
    let binary: &[u8] = &[0; 100];
    let upload = plan(Role::Client, Way::Upload);
    let download = plan(Role::Client, Way::Download);
    let (ended, _) = against(frames(&[(Send::Payload, binary)], None), upload.clone()).await;
    assert_eq!(ended, Err(Wrong::Payload));
    let (ended, _) = against(frames(&[(Send::Text, b"<html>")], None), download.clone()).await;
    assert!(matches!(ended, Err(Wrong::Message(_))), "{ended:?}");
    let (ended, _) = against(frames(&[(Send::Payload, binary)], Some([1; 4])), download.clone()).await;
    assert_eq!(ended, Err(Wrong::Frame(Fault::Mask)));
    let chatter = vec![(Send::Text, &b"{}"[..]); 1_001];
    let (ended, _) = against(frames(&chatter, None), upload).await;
    assert_eq!(ended, Err(Wrong::Talks));
    let (ended, _) = against(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), download).await;
    assert!(matches!(ended, Err(Wrong::Frame(_))), "{ended:?}");
}

#[tokio::test]
async fn silence_and_a_cut_have_an_end_and_what_came_counts() {
    let said = frames(&[(Send::Payload, &[0; 5000])], None);
    let patient = Plan { time: QUICK * 100, end: QUICK * 200, ..plan(Role::Client, Way::Download) };
    let (ended, seen) = against(said.clone(), patient.clone()).await;
    assert_eq!((ended, seen.moved), (Ok(Closed::Stalled), 5000));
    // In the middle of a frame.
    let (ours, mut theirs) = duplex(1 << 16);
    let cut = async move {
        theirs.write_all(&said[..3000]).await.unwrap();
    };
    let ((ended, seen), ()) = tokio::join!(go(ours, patient), cut);
    assert_eq!((ended, seen.moved), (Ok(Closed::Broke), 2996));
}

#[tokio::test]
async fn pings_are_answered_with_the_same() {
    let (ours, mut theirs) = duplex(1 << 16);
    let stranger = async {
        let mut ping = vec![0x89, 4];
        ping.extend(b"ping");
        ping.extend([0x88, 0]);
        theirs.write_all(&ping).await.unwrap();
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).await.unwrap();
        heard
    };
    let ((ended, _), heard) = tokio::join!(go(ours, plan(Role::Client, Way::Download)), stranger);
    assert_eq!(ended, Ok(Closed::Theirs));
    let mask = [heard[2], heard[3], heard[4], heard[5]];
    let body: Vec<u8> = heard[6..10].iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]).collect();
    assert_eq!((heard[0], heard[1], body.as_slice()), (0x8a, 0x84, &b"ping"[..]));
    // And then the client says Close as well.
    assert_eq!((heard[10], heard[11]), (0x88, 0x82));
}

#[test]
fn of_many_messages_the_first_and_the_newest_are_kept() {
    let mut kept = Kept::default();
    for number in 0..1_000 {
        kept.push(Message { app_info: Some(AppInfo { num_bytes: Some(number), elapsed_time: None }), ..Message::default() });
    }
    let numbers: Vec<u64> = kept.take().iter().filter_map(|message| message.app_info?.num_bytes).collect();
    assert_eq!((numbers.len(), &numbers[..4], numbers[4], numbers[MOST_MESSAGES - 1]), (MOST_MESSAGES, &[0, 1, 2, 3][..], 940, 999));
}
