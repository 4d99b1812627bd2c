//! The API in words of OpenAPI 3.1: what each part says of its own routes, put together, with the role that each needs.
//!
//! The roles come from the same rule as the guard's, so that document and door cannot differ. `tests/it/api.rs` holds the document
//! against the routes and against real answers.

use crate::admin::api::role::{ROLES, needed};
use crate::base::problem::{self, Problem};
use axum::Json;
use http::Method;
use serde_json::{Value, json};
use std::sync::LazyLock;
use utoipa::OpenApi;

/// Where a refusal that is no route's own can come.
#[derive(Clone, Copy)]
enum Holds {
    /// Everywhere.
    Always,
    /// Where a body is taken.
    Body,
    /// Where a body is taken, or the path holds a name.
    Words,
}

/// What any route may answer, said once.
const EVERYWHERE: [(&str, &str, Holds); 9] = [
    ("400", "the request cannot be read", Holds::Words),
    ("401", "no token that counts", Holds::Always),
    ("403", "the token's role is too low, or the client's address is no private one", Holds::Always),
    ("413", "the body is too long", Holds::Body),
    ("415", "the body has no Content-Type: application/json", Holds::Body),
    ("422", "the body is JSON of another form", Holds::Body),
    ("429", "too many requests without a token that counts", Holds::Always),
    ("500", "the node could not answer; its log says why", Holds::Always),
    ("503", "the node is not ready, or took too long", Holds::Always),
];

static DOCUMENT: LazyLock<Value> = LazyLock::new(whole);

#[derive(OpenApi)]
#[openapi(
    paths(show),
    components(schemas(Problem)),
    info(
        title = "Bulak",
        description = "The school's node: packs, plans, jobs, the night, live events, the store. Errors are problem documents (RFC 9457) \
                       with an id of ours. Within v1 things are only added: ignore what you do not know.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    tags(
        (name = "packs", description = "Packs: what is fetched in the night"),
        (name = "jobs", description = "Long work that somebody asked for"),
        (name = "night", description = "The night: running, paused, and when"),
        (name = "wishes", description = "What people wish to be fetched"),
        (name = "events", description = "What happens, as it happens"),
        (name = "status", description = "How node and line are doing"),
        (name = "store", description = "What is stored"),
        (name = "reports", description = "What leaves for the region"),
        (name = "tokens", description = "Who may use the API over the web port")
    )
)]
struct Document;

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "status", responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub(super) async fn show() -> Json<Value> {
    Json(DOCUMENT.clone())
}

fn whole() -> Value {
    let mut document = Document::openapi();
    for part in [
        crate::prefetch::api::document(),
        super::jobs::Document::openapi(),
        super::events::Document::openapi(),
        crate::admin::local::Document::openapi(),
        crate::admin::store::Document::openapi(),
        crate::report::api::document(),
        crate::report::statement::api::document(),
        crate::report::sheet::document(),
        crate::report::giga::api::document(),
        crate::meter::api::document(),
        crate::meter::outages::api::document(),
        crate::meter::echo::api::document(),
        super::tokens::Document::openapi(),
    ] {
        document.merge(part);
    }
    let mut document = serde_json::to_value(document).unwrap_or_default();
    let roles: Vec<&str> = ROLES.iter().map(|role| role.name()).collect();
    document["components"]["securitySchemes"] = json!({
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": format!("`bulak user token add NAME --role {}`; each role may do what the ones before it may. The local socket asks for none.", roles.join("|")),
        }
    });
    for (path, operations) in document["paths"].as_object_mut().into_iter().flatten() {
        for (method, operation) in operations.as_object_mut().into_iter().flatten() {
            // What is no method needs the highest role, and is none of ours.
            let Ok(method) = method.to_ascii_uppercase().parse::<Method>() else { continue };
            let role = needed(&method, path).name();
            operation["operationId"] = json!(name(&method, path));
            operation["x-role"] = json!(role);
            operation["security"] = json!([{ "bearer": [role] }]);
            let takes = operation["requestBody"].is_object();
            let named = path.contains('{');
            for (status, what, holds) in EVERYWHERE {
                let answers = match holds {
                    Holds::Always => true,
                    Holds::Body => takes,
                    Holds::Words => takes || named,
                };
                // What a route says of itself is more exact.
                if answers && operation["responses"][status].is_null() {
                    operation["responses"][status] = problem::described(what);
                }
            }
            problem::in_document(&mut operation["responses"]);
        }
    }
    document
}

/// What generated code calls an operation: `get_packs_id_plan`.
fn name(method: &Method, path: &str) -> String {
    let words = path.trim_start_matches("/api/v1/").split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.fold(method.as_str().to_ascii_lowercase(), |name, word| name + "_" + word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_names_its_role_and_is_told_once() {
        let document = whole();
        assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")), "{}", document["openapi"]);
        assert_eq!(document["paths"]["/api/v1/packs/{id}/fetch"]["post"]["x-role"], "operate");
        assert_eq!(document["paths"]["/api/v1/tokens"]["get"]["security"], json!([{ "bearer": ["admin"] }]));
        let mut ids = Vec::new();
        for operations in document["paths"].as_object().expect("paths").values() {
            for operation in operations.as_object().expect("operations").values() {
                assert!(operation["summary"].is_string() || operation["description"].is_string(), "{operation}");
                assert!(operation["responses"]["401"]["content"][problem::CONTENT_TYPE].is_object());
                assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{operation}");
                ids.push(operation["operationId"].to_string());
            }
        }
        let all = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), all, "operation ids are names in generated code: {ids:?}");
    }

    #[test]
    fn every_reference_leads_somewhere() {
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
        walk(&document, &mut found);
        assert!(found.len() > 20);
        for place in found {
            assert!(document.pointer(place.trim_start_matches('#')).is_some(), "{place}");
        }
    }
}
