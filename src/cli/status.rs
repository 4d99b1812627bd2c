//! `bulak status`: how the node is doing, on one screen, health last. What is not known is written "unknown".

use crate::cli::local::Local;
use crate::cli::room::{self, Room};
use crate::cli::table::{bytes, count, moment, pairs, text};
use crate::cli::{Context, Exit, Failure};
use jiff::tz::TimeZone;
use serde_json::Value;

/// `bulak status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  bulak status\n  bulak status --json")]
pub(crate) struct Args {}

pub(crate) async fn run(context: &Context, _args: Args) -> Result<Exit, Failure> {
    let document = Local::connect(context).await?.get("/api/v1/status").await?;
    let needs = attention(&document);
    context.show(&document, || people(&document, &needs, &context.zone()))?;
    Ok(if needs.is_empty() { Exit::Done } else { Exit::Attention })
}

/// What a person should look at.
pub(super) fn attention(document: &Value) -> Vec<String> {
    let mut needs: Vec<String> = document["reasons"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|reason| format!("not ready: {reason}"))
        .collect();
    needs.extend(document["notices"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
    let store = &document["store"];
    if store["writable"] == false {
        needs.push("the store cannot be written: nothing new is kept".to_owned());
    } else if let Some(trouble) = room(store) {
        needs.push(format!("{}; {}", trouble.message, trouble.remedy));
    } else if store["admitting"] == false {
        needs.push("the store is full: nothing new is kept".to_owned());
    }
    if store["damaged"].as_u64().is_some_and(|damaged| damaged > 0) {
        needs.push(format!("{} damaged records were dropped since start", count(&store["damaged"])));
    }
    let causes: Vec<&str> =
        document["outages"].as_array().into_iter().flatten().filter_map(|kept| kept["event"]["what"].as_str()).collect();
    // One host's trouble is nothing that this school can mend; line and clock are told below.
    let told = [
        ("names_down", "no DNS server answers, the line works: ask the provider, or name others in upstream.resolver"),
        ("interface_lost", "the way out has no interface: look at cable and modem"),
    ];
    needs.extend(told.iter().filter(|(cause, _)| causes.contains(cause)).map(|(_, words)| String::from(*words)));
    // A cause hides its consequences.
    if document["link"]["state"] == "down" && !causes.contains(&"interface_lost") {
        needs.push("the line is down: what is stored is served".to_owned());
    }
    if let Some(why) = document["report"]["by_hand"].as_str() {
        needs.push(format!("reports do not reach the region: {why}"));
    }
    needs.extend(giga_needs(&document["giga"]).into_iter().map(|(message, remedy)| match remedy {
        "" => message,
        remedy => format!("{message}; {remedy}"),
    }));
    if document["clock_ok"] == false {
        needs.push("the clock is wrong: nothing expires by it".to_owned());
    }
    needs
}

/// What a person should look at of what is told to a Giga Meter server, each with its remedy where there is one.
pub(super) fn giga_needs(giga: &Value) -> Vec<(String, &'static str)> {
    let mut needs = Vec::new();
    if let Some(why) = giga["stopped"].as_str() {
        needs.push((format!("the Giga Meter server is told nothing more: {why}"), "write its key to giga.key"));
    }
    if let Some(why) = giga["parked"][0]["why"].as_str() {
        needs.push((format!("the Giga Meter server refused {} records for good: {why}", count(&giga["waiting"]["parked"])), ""));
    }
    needs
}

/// What is wrong with the room that the store has.
fn room(store: &Value) -> Option<room::Trouble> {
    let [quota, free, total] = ["quota_bytes", "free_bytes", "size_bytes"].map(|name| store[name].as_u64());
    room::look(Room { quota: quota?, free: free?, total: total?, used: store["disk_bytes"].as_u64() })
}

fn people(document: &Value, needs: &[String], zone: &TimeZone) -> String {
    let at = |value: &Value| moment(zone, &text(value));
    let (store, link, cache) = (&document["store"], &document["link"], &document["cache"]);
    let milliseconds = |value: &Value| value.as_f64().map_or_else(|| "unknown".to_owned(), |seconds| format!("{:.0} ms", seconds * 1000.0));
    let listens = |value: &Value| {
        let list: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if list.is_empty() { "unknown".to_owned() } else { list.join(", ") }
    };
    let mut rows = vec![
        ("node", format!("{} (bulak {})", text(&document["name"]), text(&document["version"]))),
        ("since", format!("{}, up {}", at(&document["started"]), uptime(&document["uptime_seconds"]))),
        ("proxy", listens(&document["proxy"])),
        ("web", listens(&document["web"])),
        ("key", text(&document["report"]["key"])),
    ];
    // What a school does not use is not shown.
    for (member, name) in [("mirror", "mirror"), ("tls", "by TLS"), ("sni", "port 443")] {
        if document[member].as_array().is_some_and(|list| !list.is_empty()) {
            rows.push((name, listens(&document[member])));
        }
    }
    if document["report"]["hub"].is_string() {
        rows.push(("reports", reports(&document["report"])));
    }
    if document["giga"]["server"].is_string() {
        rows.push(("Giga Meter", giga(&document["giga"])));
    }
    rows.extend([
        ("line", format!("{} since {}", text(&link["state"]), at(&link["since"]))),
        ("  download", text(&link["download"])),
        ("  round trip", milliseconds(&link["rtt_seconds"])),
        ("  first byte", milliseconds(&link["first_byte_seconds"])),
        ("night", text(&document["night"]["sentence"])),
        ("last night", document["night"]["last_night"]["sentence"].as_str().unwrap_or("not told yet").to_owned()),
        ("  fetched ahead", worth(&document["night"]["worth"])),
        ("to devices", format!("{} since start", bytes(&cache["client_bytes"]))),
        ("over the line", format!("{} since start", bytes(&cache["upstream_bytes"]))),
    ]);
    let ways: Vec<(String, String)> = cache["by_way"].as_object().into_iter().flatten().map(|(way, words)| by_way(way, words)).collect();
    rows.extend(ways.iter().map(|(way, words)| (way.as_str(), words.clone())));
    rows.extend([
        (
            "store",
            format!(
                "{} of {} on disk, {} objects, {} answers",
                bytes(&store["disk_bytes"]),
                bytes(&store["quota_bytes"]),
                count(&store["objects"]),
                count(&store["entries"])
            ),
        ),
        ("index", text(&store["index"])),
    ]);
    let mut out = pairs(rows);
    if needs.is_empty() {
        out.push("health: nothing needs attention".to_owned());
    } else {
        out.extend(needs.iter().map(|need| format!("health: {need}")));
        out.push("next: bulak doctor".to_owned());
    }
    out.join("\n")
}

/// What was asked for by one way, and what became of it.
fn by_way(way: &str, words: &Value) -> (String, String) {
    let told = words.as_object().into_iter().flatten();
    let told: Vec<String> = told.map(|(word, pair)| format!("{word} {} ({})", count(&pair[0]), bytes(&pair[1]))).collect();
    (format!("  by {way}"), told.join(", "))
}

/// What is told to the hub.
fn reports(report: &Value) -> String {
    let outbox = &report["outbox"];
    let trouble = report["trouble"].as_str().map(|why| format!(" ({})", why.split("; ").next().unwrap_or(why))).unwrap_or_default();
    format!("{} told, {} wait for {}{trouble}", count(&outbox["delivered"]), count(&outbox["waiting"]), text(&report["hub"]))
}

/// What is told to a Giga Meter server.
fn giga(giga: &Value) -> String {
    let waiting = &giga["waiting"];
    let known = if giga["registered"] == true { "" } else { ", not registered yet" };
    let trouble = giga["trouble"].as_str().map(|why| format!(" ({why})")).unwrap_or_default();
    let [delivered, tests, checks] = ["delivered", "tests", "checks"].map(|name| count(&waiting[name]));
    format!("{delivered} records told, {tests} tests and {checks} checks wait{known}{trouble}")
}

/// What the night brought in four weeks, used against wasted.
fn worth(worth: &Value) -> String {
    match worth["brought_bytes"].as_u64() {
        None | Some(0) => "nothing in four weeks".to_owned(),
        Some(_) => {
            let [brought, used, unused] = ["brought_bytes", "used_bytes", "unused_bytes"].map(|name| bytes(&worth[name]));
            format!("{brought} in four weeks: {used} used, {unused} not used yet")
        }
    }
}

fn uptime(seconds: &Value) -> String {
    let Some(seconds) = seconds.as_u64() else { return "unknown".to_owned() };
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} min"),
        (0, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn health_comes_last_and_names_what_needs_attention() {
        let well = json!({"ready": true, "reasons": [], "store": {"writable": true, "admitting": true, "damaged": 0}, "link": {"state": "up"}, "clock_ok": true});
        assert!(attention(&well).is_empty());
        assert!(people(&well, &[], &TimeZone::UTC).ends_with("health: nothing needs attention"));
        let ill = json!({"reasons": ["store is starting"], "store": {"writable": true, "admitting": false, "damaged": 2}, "link": {"state": "down"}, "clock_ok": false});
        let needs = attention(&ill);
        assert_eq!(needs.len(), 5, "{needs:?}");
        assert!(people(&ill, &needs, &TimeZone::UTC).ends_with("next: bulak doctor"));
        let of = |what: &str, state: &str| json!({"link": {"state": state}, "outages": [{"event": {"what": what, "seconds": 60, "open": true}}]});
        for (what, state, wanted) in
            [("names_down", "up", "DNS"), ("interface_lost", "down", "cable"), ("line_down", "down", "the line is down")]
        {
            let needs = attention(&of(what, state));
            assert!(needs.len() == 1 && needs[0].contains(wanted), "{what}: {needs:?}");
        }
        assert!(attention(&of("origin_down", "up")).is_empty());
        let barred = json!({"report": {"hub": "http://hub", "by_hand": "the hub does not know this node; enrol it by a code"}});
        assert_eq!(attention(&barred), ["reports do not reach the region: the hub does not know this node; enrol it by a code"]);
        let away = json!({"report": {"hub": "http://hub", "trouble": "the hub did not answer", "by_hand": null}});
        assert!(attention(&away).is_empty(), "a school works without the hub, and nothing nags");
        let noticed = json!({"notices": ["pack a.toml is refused: no signature"]});
        assert_eq!(attention(&noticed), ["pack a.toml is refused: no signature"]);
    }

    #[test]
    fn a_store_without_the_room_that_it_was_promised_is_told() {
        let store = |quota: u64, free: u64, admitting: bool| json!({"store": {"quota_bytes": quota, "disk_bytes": 0, "free_bytes": free, "size_bytes": 1_000, "admitting": admitting}});
        assert!(attention(&store(500, 600, true)).is_empty());
        for (ill, wanted) in [
            (store(5_000, 600, true), "larger than the disk"),
            (store(700, 600, true), "to come"),
            // Others have filled the disk: its quota is not to blame.
            (store(700, 10, false), "free space"),
        ] {
            let needs = attention(&ill);
            assert!(needs.len() == 1 && needs[0].contains(wanted), "{needs:?}");
        }
    }

    #[test]
    fn one_screen_and_unknown_written_so() {
        let key = "5f3a90c1".repeat(8);
        let text = people(&json!({"uptime_seconds": 90_000, "report": {"key": key}}), &[], &TimeZone::UTC);
        assert!(text.contains(&key), "the hub's file asks for it, with a hub or without: {text}");
        assert!(text.lines().count() <= 24);
        assert!(!text.contains("mirror") && !text.contains("443"), "{text}");
        let more = people(&json!({"mirror": ["127.0.0.1:8082"], "tls": ["127.0.0.1:3129"], "sni": ["127.0.0.1:443"]}), &[], &TimeZone::UTC);
        for listener in ["127.0.0.1:8082", "127.0.0.1:3129", "127.0.0.1:443"] {
            assert!(more.contains(listener), "{more}");
        }
        assert!(text.contains("round trip") && text.contains("unknown") && text.contains("up 1 d 1 h"));
    }
}
