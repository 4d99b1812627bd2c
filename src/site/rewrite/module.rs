//! JavaScript modules, import maps and web manifests: texts that are read whole, and small.
//!
//! In a module the names of its imports are changed, where they are written out: nothing can do that at run time. A script
//! without an `import` or `export … from` statement stays byte for byte, so that its `integrity` holds.

use crate::site::discover::module;
use crate::site::rewrite::address::Map;
use serde_json::Value;
use url::Url;

/// Longest text that is read: the largest bundles of real sites are 3 to 4 MB.
pub(super) const MAX_TEXT: usize = 4 << 20;

/// The script with its imports changed. `None`: it stays as it is.
pub(super) fn script(map: &Map, base: &Url, text: &str) -> Option<String> {
    let (mut edits, mut is_module) = (Vec::new(), false);
    module::each(text, |import| {
        is_module |= import.is_static;
        // A name with an escape in it is nobody's habit.
        let written = !import.address.contains('\\') && is_address(import.address);
        if let Some(new) = map.link(base, import.address).filter(|new| written && !new.contains(['"', '\'', '\\', '\n', '<'])) {
            edits.push((import.at..import.at + import.address.len(), new));
        }
    });
    if !is_module || edits.is_empty() {
        return None;
    }
    let mut out = String::with_capacity(text.len() + 64 * edits.len());
    let mut at = 0;
    for (range, new) in edits {
        out.push_str(text.get(at..range.start)?);
        out.push_str(&new);
        at = range.end;
    }
    out.push_str(text.get(at..)?);
    Some(out)
}

/// Bare names are the import map's business.
fn is_address(text: &str) -> bool {
    text.starts_with(['/', '.']) || text.contains("://")
}

/// An import map (HTML Living Standard section 8.1.5.1). Its checksums are of modules as they were, so they go.
pub(super) fn import_map(map: &Map, base: &Url, text: &str) -> Option<String> {
    let mut tree: Value = serde_json::from_str(text).ok()?;
    let mut changed = tree.as_object_mut()?.remove("integrity").is_some();
    if let Some(imports) = tree.get_mut("imports") {
        changed |= names(map, base, imports);
    }
    if let Some(scopes) = tree.get_mut("scopes") {
        for scope in scopes.as_object_mut().into_iter().flat_map(|scopes| scopes.values_mut()) {
            changed |= names(map, base, scope);
        }
        changed |= keys(map, base, scopes);
    }
    changed.then(|| tree.to_string().replace("</", "<\\/"))
}

/// Keys and values of one table.
fn names(map: &Map, base: &Url, table: &mut Value) -> bool {
    let mut changed = keys(map, base, table);
    for value in table.as_object_mut().into_iter().flat_map(|table| table.values_mut()) {
        changed |= replace(map, base, value);
    }
    changed
}

fn keys(map: &Map, base: &Url, table: &mut Value) -> bool {
    let Some(table) = table.as_object_mut() else { return false };
    let new = |name: &String| is_address(name).then(|| map.link(base, name)).flatten();
    let changed: Vec<(String, String)> = table.keys().filter_map(|name| Some((name.clone(), new(name)?))).collect();
    for (old, new) in &changed {
        if let Some(value) = table.remove(old) {
            table.insert(new.clone(), value);
        }
    }
    !changed.is_empty()
}

fn replace(map: &Map, base: &Url, value: &mut Value) -> bool {
    let new = value.as_str().and_then(|text| map.link(base, text));
    let changed = new.is_some();
    if let Some(new) = new {
        *value = Value::String(new);
    }
    changed
}

/// A web manifest (W3C Web Application Manifest).
pub(super) fn manifest(map: &Map, base: &Url, text: &str) -> Option<String> {
    let mut tree: Value = serde_json::from_str(text).ok()?;
    walk(map, base, &mut tree, 0).then(|| tree.to_string())
}

fn walk(map: &Map, base: &Url, value: &mut Value, depth: usize) -> bool {
    // Icons of shortcuts lie four deep.
    if depth > 8 {
        return false;
    }
    match value {
        Value::Array(list) => list.iter_mut().fold(false, |changed, one| walk(map, base, one, depth + 1) | changed),
        Value::Object(members) => members.iter_mut().fold(false, |changed, (name, value)| {
            let address = matches!(name.as_str(), "src" | "url" | "start_url" | "scope" | "action");
            let own = if address { replace(map, base, value) } else { walk(map, base, value, depth + 1) };
            own | changed
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::rewrite::address::Form;
    use crate::site::rewrite::address::tests::map;

    #[test]
    fn imports_of_modules() {
        let base = Url::parse("https://a.kz/j/m.js").expect("valid");
        let (names, path) = (map(Form::Names, false), map(Form::Path, false));
        let table = [
            ("import './x.js'", None, None),
            ("import '/x.js'; import(\"/y.js\")", None, Some("import '/m/a.kz/x.js'; import(\"/m/a.kz/y.js\")")),
            ("import v from 'vue'", None, None),
            ("import(\"/y.js\")", None, None),
            (
                "export * from 'https://b.cdn.kz/x.js'",
                Some("export * from 'http://b-cdn-kz.m.s.internal:8082/x.js'"),
                Some("export * from '/m/b.cdn.kz/x.js'"),
            ),
            ("import '//other.kz/x.js'", None, None),
            ("'import \"/x.js\"'", None, None),
        ];
        for (code, by_names, by_path) in table {
            assert_eq!(script(&names, &base, code).as_deref(), by_names, "{code}");
            assert_eq!(script(&path, &base, code).as_deref(), by_path, "{code}");
        }
    }

    #[test]
    fn maps_and_manifests() {
        let base = Url::parse("https://a.kz/d/").expect("valid");
        let path = map(Form::Path, false);
        let text = r#"{"imports":{"vue":"/vue.js","/x/":"./y/","z/":"https://b.cdn.kz/z/"},"scopes":{"/s/":{"q":"/</script>"}},"integrity":{"/vue.js":"sha256-x"}}"#;
        let told = import_map(&path, &base, text).expect("changed");
        let tree: Value = serde_json::from_str(&told).expect("JSON");
        assert_eq!(tree["imports"]["vue"], "/m/a.kz/vue.js");
        assert_eq!(tree["imports"]["/m/a.kz/x/"], "./y/");
        assert_eq!(tree["imports"]["z/"], "/m/b.cdn.kz/z/");
        assert_eq!(tree["scopes"]["/m/a.kz/s/"]["q"], "/m/a.kz/</script>");
        assert!(tree["integrity"].is_null() && !told.contains("</"));
        assert_eq!(import_map(&path, &base, r#"{"imports":{"vue":"./vue.js"}}"#), None);
        assert_eq!(import_map(&path, &base, "{"), None);
        let told = manifest(&path, &base, r#"{"start_url":"/","icons":[{"src":"/i.png"}],"name":"/"}"#).expect("changed");
        assert_eq!(told, r#"{"icons":[{"src":"/m/a.kz/i.png"}],"name":"/","start_url":"/m/a.kz/"}"#);
    }
}
