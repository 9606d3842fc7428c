//! A person's own settings, merged over the files that are made.

use serde_json::Value;

use super::File;

/// Why settings cannot be merged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// A document that is no object, or says not what it is.
    #[error(
        "document {0} says no `kind`: write `kind: ClusterConfiguration`, for example, above its settings"
    )]
    Kindless(usize),
    /// No file has such a document.
    #[error("document {number} is a {kind}, and none of the files is: they are {known}")]
    Unknown {
        /// Counted from 1.
        number: usize,
        /// What it says it is.
        kind: String,
        /// What there is.
        known: String,
    },
}

/// Merges each document of `patch` over the document of the same kind (RFC 7396: objects are merged, `null` takes a setting
/// away, anything else takes the place of what was there). Lists of things with a `name`, such as a component's arguments, are merged
/// by that name; other lists take the place of what was there.
///
/// # Errors
/// Where a document is of no kind that the files have.
pub fn merge(files: &mut [File], patch: &[Value]) -> Result<(), PatchError> {
    for (index, over) in patch.iter().enumerate() {
        let number = index + 1;
        let kind = kind(over).ok_or(PatchError::Kindless(number))?;
        let all = || files.iter().flat_map(|file| &file.documents);
        if !all().any(|document| self::kind(document) == Some(kind)) {
            let known: Vec<&str> = all().filter_map(self::kind).collect();
            return Err(PatchError::Unknown {
                number,
                kind: crate::id::excerpt(kind),
                known: known.join(", "),
            });
        }
        for document in files.iter_mut().flat_map(|file| &mut file.documents) {
            if self::kind(document) == Some(kind) {
                merge_value(document, over);
            }
        }
    }
    Ok(())
}

/// Merges settings over a file of options, as k3s reads them: a mapping without a `kind`. Lists of `name=value` are merged by the name;
/// otherwise as by [`merge`].
pub fn overlay(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else { return };
    for (name, over) in patch {
        match (target.get_mut(name).and_then(Value::as_array_mut), over) {
            (Some(list), Value::Array(over)) if is_assigned(list) && is_assigned(over) => {
                list.retain(|one| !over.iter().any(|other| assigned(other) == assigned(one)));
                list.extend(over.iter().cloned());
            }
            _ => {
                let one = serde_json::Map::from_iter([(name.clone(), over.clone())]);
                merge_value(target, &Value::Object(one));
            }
        }
    }
}

/// The name before an option's `=`.
fn assigned(option: &Value) -> Option<&str> {
    Some(option.as_str()?.split_once('=')?.0)
}

fn is_assigned(list: &[Value]) -> bool {
    !list.is_empty() && list.iter().all(|one| assigned(one).is_some())
}

fn kind(document: &Value) -> Option<&str> {
    document.get("kind")?.as_str()
}

/// RFC 7396 section 2, but for lists of what has names.
fn merge_value(target: &mut Value, patch: &Value) {
    let patch = match (&mut *target, patch) {
        (Value::Array(target), Value::Array(patch)) if is_named(target) && is_named(patch) => {
            return merge_named(target, patch);
        }
        (_, Value::Object(patch)) => patch,
        (target, patch) => {
            *target = patch.clone();
            return;
        }
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(target) = target else { return };
    for (name, value) in patch {
        match value {
            Value::Null => drop(target.remove(name)),
            value => merge_value(target.entry(name.clone()).or_insert(Value::Null), value),
        }
    }
}

/// Whether it is a list of things that have names.
fn is_named(list: &[Value]) -> bool {
    !list.is_empty() && list.iter().all(|one| one["name"].is_string())
}

fn merge_named(target: &mut Vec<Value>, patch: &[Value]) {
    for over in patch {
        match target.iter_mut().find(|one| one["name"] == over["name"]) {
            Some(one) => merge_value(one, over),
            None => target.push(over.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn files() -> Vec<File> {
        let document = json!({"kind": "A", "x": {"y": 1, "z": [1, 2]}, "w": "v"});
        vec![File {
            path: "/a".into(),
            mode: 0o600,
            documents: vec![json!({"kind": "B"}), document],
        }]
    }

    #[test]
    fn settings_are_merged_by_kind() {
        let mut all = files();
        let patch = json!({"kind": "A", "x": {"z": [3], "n": {"deep": true, "gone": null}}, "w": null});
        merge(&mut all, &[patch]).unwrap();
        let merged = json!({"kind": "A", "x": {"y": 1, "z": [3], "n": {"deep": true}}});
        assert_eq!(all[0].documents, [json!({"kind": "B"}), merged]);
    }

    #[test]
    fn arguments_are_merged_by_name() {
        let mut all = files();
        all[0].documents[1]["args"] = json!([{"name": "a", "value": "1"}, {"name": "b", "value": "2"}]);
        let patch = json!({"kind": "A", "args": [{"name": "b", "value": "3"}, {"name": "c", "value": "4"}]});
        merge(&mut all, &[patch]).unwrap();
        let merged =
            json!([{"name": "a", "value": "1"}, {"name": "b", "value": "3"}, {"name": "c", "value": "4"}]);
        assert_eq!(all[0].documents[1]["args"], merged);
    }

    #[test]
    fn options_are_merged_by_name() {
        let mut options = json!({"a": ["x=1", "y=2"], "b": ["servicelb"], "c": 1});
        let patch = json!({"a": ["y=3", "z=4"], "b": ["traefik"], "c": null, "d": true});
        overlay(&mut options, &patch);
        assert_eq!(
            options,
            json!({"a": ["x=1", "y=3", "z=4"], "b": ["traefik"], "d": true})
        );
        overlay(&mut options, &json!(["of", "another", "form"]));
        assert_eq!(options["d"], true);
    }

    #[test]
    fn settings_for_nothing_are_refused_and_named() {
        let refused = merge(&mut files(), &[json!({"kind": "B"}), json!({"kind": "C"})]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "document 2 is a C, and none of the files is: they are B, A"
        );
        for odd in [json!(null), json!([1]), json!({"x": 1}), json!({"kind": 3})] {
            assert_eq!(merge(&mut files(), &[odd]).unwrap_err(), PatchError::Kindless(1));
        }
    }
}
