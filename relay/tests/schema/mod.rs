//! JSON against the schemas of an OpenAPI document.

use serde_json::{Map, Value};

/// Why `value` does not fit `schema`: a small part of JSON Schema, all that the document uses. Fields that the schema
/// does not name are refused as well: they would be served and not documented.
pub fn misfit(document: &Value, schema: &Value, value: &Value) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = reference
            .strip_prefix('#')
            .and_then(|pointer| document.pointer(pointer));
        return match target {
            Some(target) => misfit(document, target, value),
            None => Some(format!("{reference} is not in the document")),
        };
    }
    if let Some(options) = schema["oneOf"].as_array() {
        let misfits: Vec<_> = options
            .iter()
            .map(|option| misfit(document, option, value))
            .collect();
        return match misfits.iter().any(Option::is_none) {
            true => None,
            false => Some(format!("{value} fits none of {misfits:?}")),
        };
    }
    if let Some(all) = schema["allOf"].as_array() {
        return all.iter().find_map(|part| misfit(document, part, value));
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        return Some(format!("{value} is not one of {allowed:?}"));
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return None,
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !kinds.contains(&kind) {
        return Some(format!("{value} is no {kinds:?}"));
    }
    match value {
        Value::Array(items) => items
            .iter()
            .find_map(|item| misfit(document, &schema["items"], item)),
        Value::Object(fields) => object_misfit(document, schema, fields),
        _ => None,
    }
}

fn object_misfit(document: &Value, schema: &Value, fields: &Map<String, Value>) -> Option<String> {
    let required = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let missing = required.into_iter().find(|name| !fields.contains_key(*name));
    if let Some(missing) = missing {
        return Some(format!("{missing} is missing in {fields:?}"));
    }
    fields
        .iter()
        .find_map(|(name, field)| match schema["properties"].get(name) {
            Some(known) => misfit(document, known, field),
            None if schema["additionalProperties"].is_object() => {
                misfit(document, &schema["additionalProperties"], field)
            }
            None => Some(format!("{name} is not documented")),
        })
}

#[test]
fn the_checker_finds_misfits() {
    let schema = serde_json::json!({ "type": "object", "required": ["a"], "properties": { "a": { "type": "string" } } });
    let fits = |value: Value| misfit(&Value::Null, &schema, &value).is_none();
    assert!(fits(serde_json::json!({ "a": "x" })));
    assert!(
        !fits(serde_json::json!({}))
            && !fits(serde_json::json!({ "a": 1 }))
            && !fits(serde_json::json!({ "a": "x", "b": 1 }))
            && !fits(serde_json::json!("a"))
    );
}
