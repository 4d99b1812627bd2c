//! Packets that come back: the hub's end of the nodes' pings. Stateless but for two counters a network: who pings shows a cookie that it
//! was sent (`meter::echo::packet`), no answer is longer than its question, and no network gets more than its share.

/// Who gets how much.
mod limit;

use crate::base::clock::Clock;
use crate::base::count::{IntCounter, Metrics};
use crate::life::Life;
use crate::meter::echo::Place;
use crate::meter::echo::packet::{LENGTH, Packet, Secret};
use limit::Limit;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;

/// Networks that are counted; 40 bytes each.
const BLOCKS: usize = 16_384;

/// What is counted of packets.
struct Counts {
    cookies: IntCounter,
    pongs: IntCounter,
    malformed: IntCounter,
    forged: IntCounter,
    limited: IntCounter,
}

impl Counts {
    fn new(metrics: &Metrics) -> Counts {
        let packets = metrics.counters("bulak_hub_echo_packets_total", "Packets of pings, by what became of them.", &["fate"]);
        let of = |fate: &str| packets.with_label_values(&[fate]);
        Counts { cookies: of("cookie"), pongs: of("pong"), malformed: of("malformed"), forged: of("forged"), limited: of("limited") }
    }
}

/// Answers at these places; where, if anywhere. A port that cannot be had is no reason to be no hub.
pub(super) async fn start(places: impl Iterator<Item = &SocketAddr>, clock: &Clock, life: &Life, metrics: &Metrics) -> Option<Place> {
    let (secret, counts) = (Arc::new(Secret(rand::random())), Arc::new(Counts::new(metrics)));
    let limit = Arc::new(parking_lot::Mutex::new(Limit::new(BLOCKS, clock.steady())));
    let mut first = None;
    for place in places {
        match UdpSocket::bind(place).await {
            Ok(socket) => {
                let port = socket.local_addr().map_or(place.port(), |place| place.port());
                first = first.or(Some(Place { port }));
                let server =
                    Server { clock: clock.clone(), secret: Arc::clone(&secret), limit: Arc::clone(&limit), counts: Arc::clone(&counts) };
                life.spawn_until_stop(server.run(socket));
            }
            Err(error) => tracing::warn!(%place, %error, "no echo at this port: nodes measure no loss by it"),
        }
    }
    first
}

struct Server {
    clock: Clock,
    secret: Arc<Secret>,
    limit: Arc<parking_lot::Mutex<Limit>>,
    counts: Arc<Counts>,
}

impl Server {
    async fn run(self, socket: UdpSocket) {
        let mut buffer = [0; LENGTH + 1];
        loop {
            let (length, client) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                Err(error) => {
                    // A client's closed port, told by its network; anything else would come back at once.
                    tracing::debug!(%error, "an echo packet");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                }
            };
            if let Some(answer) = self.answer(&buffer[..length], client) {
                // A full queue loses packets like any line; nobody is waited for.
                if let Err(error) = socket.try_send_to(&answer, client) {
                    tracing::debug!(%error, "an echo was not sent");
                }
            }
        }
    }

    /// What is sent back, if anything.
    fn answer(&self, bytes: &[u8], client: SocketAddr) -> Option<Vec<u8>> {
        let counts = &self.counts;
        let (now, age) = (self.clock.steady(), self.clock.age());
        let (answer, counter, proven) = match Packet::read(bytes) {
            Some(Packet::Hello(nonce)) => (Packet::Cookie(nonce, self.secret.cookie(client, age)), &counts.cookies, false),
            Some(Packet::Ping(nonce, number, cookie)) if self.secret.knows(&cookie, client, age) => {
                (Packet::Pong(nonce, number), &counts.pongs, true)
            }
            Some(Packet::Ping(..)) => {
                counts.forged.inc();
                return None;
            }
            Some(Packet::Cookie(..) | Packet::Pong(..)) | None => {
                counts.malformed.inc();
                return None;
            }
        };
        if !self.limit.lock().take(client.ip(), proven, now) {
            counts.limited.inc();
            return None;
        }
        counter.inc();
        Some(answer.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Time;

    fn server(clock: &Clock) -> Server {
        Server {
            clock: clock.clone(),
            secret: Arc::new(Secret([3; 32])),
            limit: Arc::new(parking_lot::Mutex::new(Limit::new(64, clock.steady()))),
            counts: Arc::new(Counts::new(&Metrics::default())),
        }
    }

    fn cookie(server: &Server, client: SocketAddr) -> [u8; 16] {
        let told = server.answer(&Packet::Hello([1; 8]).bytes(), client).expect("an answer");
        match Packet::read(&told) {
            Some(Packet::Cookie(nonce, cookie)) if nonce == [1; 8] => cookie,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_who_was_heard_there_gets_an_echo_and_never_more_than_it_sent() {
        let clock = Clock::manual(Time::BUILT);
        let server = server(&clock);
        let (client, other): (SocketAddr, SocketAddr) = ("192.0.2.7:4000".parse().expect("one"), "198.51.100.9:53".parse().expect("one"));
        let cookie = cookie(&server, client);
        let ping = Packet::Ping([1; 8], 7, cookie).bytes();
        let pong = server.answer(&ping, client).expect("an echo");
        assert_eq!(Packet::read(&pong), Some(Packet::Pong([1; 8], 7)));
        assert!(pong.len() <= ping.len());
        assert_eq!(server.answer(&ping, other), None, "somebody else's cookie");
        assert_eq!(server.answer(&Packet::Ping([1; 8], 7, [0; 16]).bytes(), client), None, "no cookie");
        let noises: [&[u8]; 6] = [&[], b"GET / HTTP/1.1\r\n\r\n", &[0; 64], &[0xff; 1_400], &Packet::Cookie([1; 8], cookie).bytes(), &pong];
        for noise in noises {
            assert_eq!(server.answer(noise, client), None);
        }
        clock.advance(Duration::from_mins(11));
        assert_eq!(server.answer(&ping, client), None, "an old one, said again");
        assert_eq!((server.counts.pongs.get(), server.counts.forged.get(), server.counts.malformed.get()), (1, 3, 6));
    }

    #[test]
    fn a_flood_of_forged_hellos_gets_little_out_of_it() {
        let clock = Clock::manual(Time::BUILT);
        let server = server(&clock);
        let hello = Packet::Hello([1; 8]).bytes();
        let victim = |port: u32| SocketAddr::from(([203, 0, 113, 5], u16::try_from(port % 60_000).expect("small")));
        let answered = (0..10_000).filter(|number| server.answer(&hello, victim(*number)).is_some()).count();
        assert!(answered <= 64, "{answered} of 10,000 packets to one victim");
        // Others are served all the same.
        let school: SocketAddr = "192.0.2.7:4000".parse().expect("an address");
        let cookie = cookie(&server, school);
        let pongs = (0..10).filter(|number| server.answer(&Packet::Ping([1; 8], *number, cookie).bytes(), school).is_some()).count();
        assert_eq!(pongs, 10);
    }
}
