//! The hub's API in words of OpenAPI 3.1: what each part says of its own routes, put together.

use crate::base::problem::{self, Problem};
use axum::Json;
use serde_json::{Value, json};
use std::sync::LazyLock;
use utoipa::OpenApi;

static DOCUMENT: LazyLock<Value> = LazyLock::new(whole);

#[derive(OpenApi)]
#[openapi(
    paths(show, super::show_echo),
    components(schemas(Problem)),
    info(
        title = "Bulak hub",
        description = "The regional server: reports of nodes in, figures of schools out. Errors are problem documents (RFC 9457) with an id \
                       of ours. Within v1 things are only added: ignore what you do not know.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    tags(
        (name = "nodes", description = "What nodes send: signed, without a token"),
        (name = "figures", description = "Schools, days, tests, outages"),
        (name = "tables", description = "The same for spreadsheets"),
        (name = "office", description = "Codes, nodes, tokens: with an admin's token"),
        (name = "about", description = "This document")
    )
)]
struct Document;

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "about", responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub(super) async fn show() -> Json<Value> {
    Json(DOCUMENT.clone())
}

fn whole() -> Value {
    let mut document = Document::openapi();
    for part in [super::reports::Document::openapi(), super::figures::Document::openapi(), super::office::Document::openapi()] {
        document.merge(part);
    }
    let mut document = serde_json::to_value(document).unwrap_or_default();
    document["components"]["securitySchemes"] = json!({
        "bearer": { "type": "http", "scheme": "bearer", "description": "bulak hub token add NAME --role viewer|admin" },
        "basic": { "type": "http", "scheme": "basic", "description": "any name, the token as the password" },
        "session": { "type": "apiKey", "in": "cookie", "name": "__Host-bulak", "description": "whoever signed in at /sign-in, for reading; without TLS: bulak" },
    });
    for operation in
        document["paths"].as_object_mut().into_iter().flatten().filter_map(|(_, operations)| operations.as_object_mut()).flatten()
    {
        complete(operation.0 == "get", operation.1);
    }
    document
}

/// Who may, and errors in their own media type.
fn complete(reads: bool, operation: &mut Value) {
    let role = match operation["tags"][0].as_str() {
        Some("figures" | "tables") => "viewer",
        Some("office") => "admin",
        _ => return problem::in_document(&mut operation["responses"]),
    };
    operation["x-role"] = json!(role);
    operation["security"] =
        if reads { json!([{ "bearer": [role] }, { "basic": [role] }, { "session": [role] }]) } else { json!([{ "bearer": [role] }]) };
    for (status, what) in
        [("401", "no token that counts"), ("403", "the token's role is too low"), ("429", "too many requests without a token")]
    {
        operation["responses"][status] = problem::described(what);
    }
    problem::in_document(&mut operation["responses"]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_told_and_every_reference_leads_somewhere() {
        fn walk<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
            match value {
                Value::Object(fields) => {
                    found.extend(fields.get("$ref").and_then(Value::as_str));
                    fields.values().for_each(|value| walk(value, found));
                }
                Value::Array(items) => items.iter().for_each(|value| walk(value, found)),
                _ => {}
            }
        }
        let (document, mut found) = (whole(), Vec::new());
        assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
        walk(&document, &mut found);
        assert!(found.len() > 20);
        for place in found {
            assert!(document.pointer(place.trim_start_matches('#')).is_some(), "{place}");
        }
        // The routes as the sources have them.
        let sources = [include_str!("reports.rs"), include_str!("figures.rs"), include_str!("office.rs"), include_str!("../serve.rs")];
        let routes = sources.iter().flat_map(|text| text.split(".route(\"").skip(1)).filter_map(|rest| rest.split('"').next());
        let mut count = 0;
        for route in routes.filter(|route| route.starts_with("/api/")) {
            assert!(document["paths"][route].is_object(), "{route} is not told");
            count += 1;
        }
        assert_eq!(document["paths"].as_object().map(serde_json::Map::len), Some(count));
        assert_eq!(document["paths"]["/api/v1/nodes/{id}/revoke"]["post"]["x-role"], "admin");
        assert!(document["paths"]["/api/v1/reports"]["post"]["security"].is_null());
    }
}
