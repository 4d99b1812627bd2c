//! `bulak why URL`: lane, stored or not, fresh until when, which rule decided.

use crate::base::target::Target;
use crate::cli::local::Local;
use crate::cli::table::{pairs, text};
use crate::cli::{Context, Exit, Failure};
use serde_json::Value;

/// `bulak why`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  bulak why https://kk.wikipedia.org/\n  bulak why http://example.kz/lesson.html --json")]
pub(crate) struct Args {
    /// The address as a browser shows it
    url: String,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    // A slip of the hand is told with or without a node.
    if let Err(bad) = Target::parse(&args.url) {
        let message = format!("{:?} is no address of a page ({bad})", args.url);
        return Err(Failure::new("cli.bad_url", message, "write it with http:// or https://").exit(Exit::Misuse));
    }
    let query: String = url::form_urlencoded::Serializer::new(String::new()).append_pair("url", &args.url).finish();
    let document = Local::connect(context).await?.get(&format!("/api/v1/why?{query}")).await?;
    context.show(&document, || people(&document))?;
    Ok(Exit::Done)
}

fn people(document: &Value) -> String {
    let mut out = pairs([
        ("address", text(&document["url"])),
        ("lane", document["note"].as_str().map_or_else(|| text(&document["lane"]), |note| format!("{} {note}", text(&document["lane"])))),
        ("decision", text(&document["decision"])),
        ("rule", text(&document["rule"])),
    ]);
    if let Some(original) = document["original"].as_str() {
        out.push(format!("original  {original}"));
    }
    if let Some(mirror) = document["mirror"].as_str() {
        out.push(format!("mirror    {mirror}"));
    }
    let stored = document["stored"].as_array().map(Vec::as_slice).unwrap_or_default();
    if stored.is_empty() {
        out.push("stored    nothing".to_owned());
    }
    for variant in stored {
        let words: Vec<String> = variant.as_object().into_iter().flatten().map(|(name, value)| format!("{name} {}", fact(value))).collect();
        out.push(format!("stored    {}", words.join(", ")));
    }
    out.join("\n")
}

/// Texts without quotes, numbers and answers as they are.
fn fact(value: &Value) -> String {
    if value.is_string() || value.is_null() { text(value) } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn people_read_one_fact_a_line() {
        let document = json!({"url": "http://a.kz/", "lane": "Cache", "decision": "serve", "rule": "fresh (RFC 9111 section 4.2)",
            "stored": [{"age_seconds": 3, "pinned": true, "object": null, "source": "pack"}]});
        assert_eq!(
            people(&document),
            "address   http://a.kz/\nlane      Cache\ndecision  serve\nrule      fresh (RFC 9111 section 4.2)\nstored    age_seconds 3, object unknown, pinned true, source pack"
        );
        assert!(people(&json!({"url": "http://a.kz/"})).contains("lane      unknown\n"));
        let opened = json!({"url": "https://a.kz/", "lane": "intercept", "note": "on enrolled devices; others are passed on unopened"});
        assert!(people(&opened).contains("lane      intercept on enrolled devices; others are passed on unopened\n"));
    }
}
