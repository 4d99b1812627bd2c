//! What the answers of DNS servers say, of a name and of the servers themselves. Pure.

use super::{Addrs, Servers};
use crate::base::socket;
use crate::upstream::error::NO_SUCH_NAME;
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use std::net::IpAddr;
use std::time::Duration;

/// A family that is late is waited for this long, for those who ask next; and so long an answer of IPv6 alone is kept while nothing is known of
/// IPv4, which most schools have alone.
pub(super) const HALF: Duration = Duration::from_secs(5);
/// How long a server's own trouble is remembered.
const TROUBLE: Duration = Duration::from_secs(5);
/// A denial without SOA.
const NO_SOA: u32 = 30;
/// Of a name that has records, and none of an address.
pub(super) const NO_ADDRESS: &str = "no address records";

/// What came of asking.
#[derive(Clone)]
pub(super) enum Outcome {
    /// Addresses, and for how long.
    Found(Addrs, Duration),
    /// A no, for how long; or a server's own trouble.
    Denied { why: String, ttl: Duration, trouble: bool },
    /// Nobody answered.
    Silent,
    /// This machine had no socket free: nothing was learned.
    Ours(String),
}

/// What the answers of both families say together.
pub(super) fn fold(results: impl Iterator<Item = Outcome>) -> Outcome {
    let mut addrs = Vec::new();
    let mut life = Duration::MAX;
    let mut denied = None;
    let (mut silent, mut ours) = (false, None);
    for result in results {
        match result {
            Outcome::Found(found, ttl) => {
                addrs.extend(found.iter().copied());
                life = life.min(ttl);
            }
            Outcome::Silent => silent = true,
            other @ Outcome::Ours(_) => ours = Some(other),
            other @ Outcome::Denied { .. } => denied = Some(other),
        }
    }
    if !addrs.is_empty() {
        let unknown = silent || ours.is_some() || matches!(denied, Some(Outcome::Denied { trouble: true, .. }));
        let is_half = unknown && addrs.iter().all(IpAddr::is_ipv6);
        return Outcome::Found(addrs.into(), if is_half { life.min(HALF) } else { life });
    }
    ours.or(denied.filter(|_| !silent)).unwrap_or(Outcome::Silent)
}

/// What came back for one family.
pub(super) type Answer = Result<Lookup, NetError>;

/// What one family's answer says.
pub(super) fn read(answer: Answer) -> Outcome {
    match answer {
        Ok(lookup) => {
            let records = lookup.answers();
            let addrs: Vec<IpAddr> = records.iter().filter_map(|record| record.data.ip_addr()).collect();
            let ttl = records.iter().map(|record| record.ttl).min().unwrap_or(NO_SOA);
            if addrs.is_empty() { denial(NO_ADDRESS, NO_SOA) } else { Outcome::Found(addrs.into(), Duration::from_secs(u64::from(ttl))) }
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => match none.response_code {
            ResponseCode::NXDomain => denial(NO_SUCH_NAME, none.negative_ttl.unwrap_or(NO_SOA)),
            ResponseCode::NoError => denial(NO_ADDRESS, none.negative_ttl.unwrap_or(NO_SOA)),
            code => trouble(code.to_string()),
        },
        Err(NetError::Dns(DnsError::ResponseCode(code))) => trouble(code.to_string()),
        Err(NetError::Dns(error)) => trouble(error.to_string()),
        Err(NetError::Proto(error)) => trouble(error.to_string()),
        Err(NetError::Io(error)) if socket::is_ours(&error) => Outcome::Ours(error.to_string()),
        Err(_) => Outcome::Silent,
    }
}

fn denial(why: &str, ttl: u32) -> Outcome {
    Outcome::Denied { why: why.to_owned(), ttl: Duration::from_secs(u64::from(ttl)), trouble: false }
}

fn trouble(why: String) -> Outcome {
    Outcome::Denied { why, ttl: TROUBLE, trouble: true }
}

/// What an answer about a name that exists says of the servers.
pub(super) fn hear(answer: &Answer) -> Servers {
    match answer {
        Ok(_) => Servers::Well,
        Err(NetError::Dns(DnsError::NoRecordsFound(none)))
            if matches!(none.response_code, ResponseCode::NoError | ResponseCode::NXDomain) =>
        {
            Servers::Well
        }
        Err(NetError::Dns(_)) => Servers::Failing,
        Err(_) => Servers::Silent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;
    use std::io;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn what_this_machine_lacks_says_nothing_of_names() {
        let failed = |errno: Errno| read(Err(NetError::from(io::Error::from(errno))));
        let lacks = || failed(Errno::MFILE);
        assert!(matches!(lacks(), Outcome::Ours(_)));
        assert!(matches!(failed(Errno::NETUNREACH), Outcome::Silent));
        let found = || Outcome::Found([IpAddr::from(Ipv4Addr::LOCALHOST)].into(), Duration::ZERO);
        assert!(matches!(fold([lacks(), found()].into_iter()), Outcome::Found(..)));
        assert!(matches!(fold([lacks(), denial(NO_ADDRESS, NO_SOA)].into_iter()), Outcome::Ours(_)), "of the other family");
        assert!(matches!(fold([lacks(), Outcome::Silent].into_iter()), Outcome::Ours(_)));
        assert!(matches!(fold([denial(NO_ADDRESS, NO_SOA), Outcome::Silent].into_iter()), Outcome::Silent));
        assert!(matches!(fold([denial(NO_ADDRESS, NO_SOA)].into_iter()), Outcome::Denied { .. }));
    }

    #[test]
    fn an_answer_of_ipv6_alone_is_kept_for_its_time_where_there_is_no_other() {
        let hour = Duration::from_hours(1);
        let lasts = |first: IpAddr, second: Outcome| match fold([Outcome::Found([first].into(), hour), second].into_iter()) {
            Outcome::Found(_, life) => life,
            _ => panic!("an address was found"),
        };
        let (v4, v6) = (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST));
        assert_eq!(lasts(v6, denial(NO_ADDRESS, NO_SOA)), hour);
        assert_eq!(lasts(v6, Outcome::Found([v4].into(), hour)), hour);
        for unknown in [Outcome::Silent, trouble("SERVFAIL".into()), Outcome::Ours("no socket".into())] {
            assert_eq!((lasts(v6, unknown.clone()), lasts(v4, unknown)), (HALF, hour));
        }
    }
}
