//! `bulak why`: what would become of a device's request, which rule decided, what is stored.

use crate::admin::Parts;
use crate::admin::local::target;
use crate::base::problem::Problem;
use crate::base::target::{Scheme, Target};
use crate::proxy::classify::Refusal;
use crate::proxy::outlook::Outlook;
use crate::tls::hello::Splice;
use axum::Json;
use axum::extract::{Query, State};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
pub(super) struct Asked {
    url: String,
}

pub(super) async fn why(State(parts): State<Parts>, Query(asked): Query<Asked>) -> Result<Json<Value>, Problem> {
    let target = target(&asked.url)?;
    let Some(mut outlook) = (parts.foresee)(&target) else {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "node.starting", "the node is starting", "try again in a moment"));
    };
    // Names that lead to the web port past the proxy.
    if outlook == Outlook::Cache && is_name(&target) && parts.names.owns(target.authority(), None) {
        outlook = Outlook::Local;
    }
    let original = if let Outlook::Mirror(original) = &outlook { original } else { &target };
    let mut document = serde_json::to_value(parts.cache.explain(original).await).unwrap_or_default();
    document["url"] = json!(target.url());
    if let Some(lane) = lane(&outlook) {
        document["lane"] = json!(lane);
    }
    if let Some((decision, word, rule)) = instead(&outlook, target.scheme()) {
        // Nothing of the cache's rules is asked then.
        (document["decision"], document["why"], document["rule"]) = (json!(decision), json!(word), json!(rule));
    }
    match &outlook {
        Outlook::Mirror(original) => document["original"] = json!(original.url()),
        Outlook::Intercept => document["note"] = json!("on enrolled devices; others are passed on unopened"),
        _ => {}
    }
    document["mirror"] = json!((parts.mirrored)(&target, None));
    Ok(Json(document))
}

fn is_name(target: &Target) -> bool {
    !matches!(url::Host::parse(target.host()), Ok(url::Host::Ipv4(_) | url::Host::Ipv6(_)))
}

/// The lane of a device's request; `None`: the cache knows it. A secure address is opened for enrolled devices where it is listed,
/// else it reaches us as a tunnel, whatever the night has stored of it.
fn lane(outlook: &Outlook) -> Option<&'static str> {
    Some(match outlook {
        Outlook::Cache => return None,
        Outlook::Local => "local",
        Outlook::Mirror(_) | Outlook::Unmirrored => "mirror",
        Outlook::Intercept => "intercept",
        Outlook::Tunnel(_) | Outlook::Unproven(_) => "tunnel",
        Outlook::Prohibited(_) | Outlook::Refused(_) => "refused",
    })
}

/// Decision, its word, and why in words, where the cache does not decide.
fn instead(outlook: &Outlook, scheme: Scheme) -> Option<(&'static str, &'static str, String)> {
    Some(match outlook {
        Outlook::Cache | Outlook::Intercept | Outlook::Mirror(_) => return None,
        Outlook::Local if scheme == Scheme::Https => ("local", "own", "a page of ours: opened by us, under the school's CA".into()),
        Outlook::Local => ("local", "own", "a page of ours".into()),
        Outlook::Unmirrored => ("refuse", Refusal::Unmirrored.word(), "no pack in force names this address".into()),
        Outlook::Tunnel(why) => ("tunnel", why.word(), not_opened(*why).into()),
        Outlook::Unproven(known) => {
            ("tunnel", known.why.word(), format!("listed, but not opened and passed on: {} (seen {})", known.reason, known.at.to_rfc3339()))
        }
        Outlook::Prohibited(address) => {
            ("refuse", "target_prohibited", format!("status 403: {address} is an address that this proxy does not reach"))
        }
        Outlook::Refused(refusal) => ("refuse", refusal.word(), refused(*refusal).into()),
    })
}

/// Why something is not done, for whoever asks by `bulak why`.
fn refused(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Own => "a name of ours, but no https is served there: there is no CA, or it is another port than 443",
        Refusal::Port => "a port that the proxy does not reach (proxy.connect_ports)",
        Refusal::Target => "an address that cannot be asked for",
        Refusal::Library => "a library on this node: it is read by http://, and never asked for over the line",
        _ => "not done by the proxy",
    }
}

/// Why https to a place is passed on.
fn not_opened(why: Splice) -> &'static str {
    match why {
        Splice::Off => "not opened: interception is off, or there is no CA or consent",
        Splice::Port => "not opened: only port 443 is",
        Splice::Literal => "not opened: an address instead of a name",
        Splice::Refused => "not opened: on the list of hosts that are never opened",
        Splice::Unlisted => "not opened: not in intercept.hosts",
        Splice::Outside => "not opened: the CA cannot vouch for it",
        _ => "not opened for this device",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outlook_has_its_lane_and_word() {
        let original = Target::parse("https://a.kz/").expect("valid");
        let table = [
            (Outlook::Cache, None, None),
            (Outlook::Intercept, Some("intercept"), None),
            (Outlook::Mirror(original), Some("mirror"), None),
            (Outlook::Local, Some("local"), Some(("local", "own"))),
            (Outlook::Unmirrored, Some("mirror"), Some(("refuse", "unmirrored"))),
            (Outlook::Tunnel(Splice::Unlisted), Some("tunnel"), Some(("tunnel", "unlisted"))),
            (Outlook::Prohibited([127, 0, 0, 1].into()), Some("refused"), Some(("refuse", "target_prohibited"))),
            (Outlook::Refused(Refusal::Own), Some("refused"), Some(("refuse", "own"))),
        ];
        for (outlook, wanted, word) in table {
            assert_eq!(lane(&outlook), wanted, "{outlook:?}");
            assert_eq!(instead(&outlook, Scheme::Https).map(|(decision, word, _)| (decision, word)), word, "{outlook:?}");
        }
    }
}
