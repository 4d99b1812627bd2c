//! Holds JSON against schemas of an OpenAPI 3.1 document: the part of JSON Schema (2020-12) that ours uses.
//!
//! Stricter than a validator where it matters here: a field that the schema does not name is a fault, so that a document that forgets
//! one is found out; an object without named fields takes any. A keyword that this file does not know is a fault too.

use serde_json::Value;
use std::collections::BTreeSet;

/// Keywords that judge nothing, or that are looked at below.
const KNOWN: &[&str] = &[
    "$ref",
    "type",
    "properties",
    "required",
    "items",
    "prefixItems",
    "enum",
    "const",
    "oneOf",
    "anyOf",
    "allOf",
    "additionalProperties",
    "minimum",
    "maximum",
    "format",
    "description",
    "title",
    "example",
    "examples",
    "default",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "propertyNames",
    "nullable",
    "deprecated",
];

/// All that is wrong with a value.
pub(crate) fn faults(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    Check { document, found: &mut found }.value(schema, value, "$", true);
    found
}

/// The schema of an operation's answer, if it has one; the answer's media type must be named.
pub(crate) fn of_answer<'d>(document: &'d Value, method: &str, path: &str, status: u16, kind: &str) -> Option<&'d Value> {
    let response = &document["paths"][path][method.to_ascii_lowercase()]["responses"][status.to_string()];
    response["content"].get(kind)?.get("schema")
}

struct Check<'d, 'f> {
    document: &'d Value,
    found: &'f mut Vec<String>,
}

impl Check<'_, '_> {
    fn say(&mut self, place: &str, what: &str) {
        self.found.push(format!("{place}: {what}"));
    }

    fn value(&mut self, schema: &Value, value: &Value, place: &str, strict: bool) {
        let schema = match schema["$ref"].as_str() {
            Some(at) => match self.document.pointer(at.trim_start_matches('#')) {
                Some(schema) => schema,
                None => return self.say(place, &format!("{at} leads nowhere")),
            },
            None => schema,
        };
        let Some(words) = schema.as_object() else {
            if schema != &Value::Bool(true) {
                self.say(place, &format!("no schema: {schema}"));
            }
            return;
        };
        for word in words.keys().filter(|word| !KNOWN.contains(&word.as_str())) {
            self.say(place, &format!("a keyword that is not looked at: {word}"));
        }
        let types: Vec<&str> = match &schema["type"] {
            Value::String(one) => vec![one],
            Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if !types.is_empty() && !types.iter().any(|kind| is(kind, value)) {
            self.say(place, &format!("{value} is no {}", types.join(" or ")));
            return;
        }
        if let Some(list) = schema["enum"].as_array()
            && !list.contains(value)
        {
            self.say(place, &format!("{value} is none of {}", schema["enum"]));
        }
        let beyond = |bound: &str, wrong: fn(f64, f64) -> bool| {
            value.as_f64().zip(schema[bound].as_f64()).is_some_and(|(number, bound)| wrong(number, bound))
        };
        if beyond("minimum", |number, least| number < least) || beyond("maximum", |number, most| number > most) {
            self.say(place, &format!("{value} is out of bounds"));
        }
        if let Some(list) = value.as_array() {
            for (index, item) in list.iter().enumerate() {
                let schema = schema["prefixItems"].get(index).or_else(|| schema.get("items").filter(|items| items.is_object()));
                if let Some(schema) = schema {
                    self.value(schema, item, &format!("{place}[{index}]"), true);
                }
            }
        }
        if value.is_object() {
            self.object(schema, value, place, strict);
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.value(part, value, place, false);
        }
        for word in ["oneOf", "anyOf"] {
            let Some(list) = schema[word].as_array() else { continue };
            let tried: Vec<Vec<String>> = list.iter().map(|one| faults(self.document, one, value)).collect();
            let fits = tried.iter().filter(|faults| faults.is_empty()).count();
            if fits == 0 || (word == "oneOf" && fits > 1) {
                self.say(place, &format!("{value} fits {fits} of {word}: {tried:?}"));
            }
        }
    }

    fn object(&mut self, schema: &Value, value: &Value, place: &str, strict: bool) {
        let fields = value.as_object().expect("an object");
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                self.say(place, &format!("{name} is missing"));
            }
        }
        let mut named = BTreeSet::new();
        names(self.document, schema, &mut named);
        for (name, field) in fields {
            let place = format!("{place}.{name}");
            if let Some(schema) = schema["properties"].get(name) {
                self.value(schema, field, &place, true);
            } else if schema["additionalProperties"].is_object() {
                self.value(&schema["additionalProperties"], field, &place, true);
            } else if strict && !named.is_empty() && !named.contains(name) {
                self.say(&place, "is not in the schema");
            }
        }
    }
}

/// All fields that a schema names, in its parts too.
fn names(document: &Value, schema: &Value, found: &mut BTreeSet<String>) {
    if let Some(place) = schema["$ref"].as_str() {
        return names(document, document.pointer(place.trim_start_matches('#')).unwrap_or(&Value::Null), found);
    }
    found.extend(schema["properties"].as_object().into_iter().flat_map(|fields| fields.keys().cloned()));
    for word in ["allOf", "oneOf", "anyOf"] {
        schema[word].as_array().into_iter().flatten().for_each(|part| names(document, part, found));
    }
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}
