//! Pods that may use a gateway, by their labels: `app=web,tier in (a,b)`.
//!
//! The text is that of Kubernetes' label selectors (API concepts, "Labels and Selectors"): requirements with commas between,
//! each `key=value`, `key==value`, `key!=value`, `key in (a,b)`, `key notin (a,b)`, `key` or `!key`.

use crate::policy::{Operator, Requirement, Selector};

/// Longest text, in bytes: that of any text of an act.
pub const MAX_SELECTOR: usize = 253;
/// Longest name of a label, without its prefix, and longest value.
const MAX_NAME: usize = 63;

/// Why a text selects no pods.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// Nothing is in it: that would be every pod.
    #[error("no label is named: write them as app=web,tier in (a,b)")]
    Empty,
    /// Too long.
    #[error("it has {0} bytes; at most {MAX_SELECTOR} are possible")]
    Long(usize),
    /// A part that is none of the forms.
    #[error(
        "\"{0}\" is no label requirement: write key=value, key!=value, key in (a,b), key notin (a,b), key or !key"
    )]
    Odd(String),
}

/// Reads a selector.
///
/// # Errors
/// Why it is none.
pub fn parse_selector(text: &str) -> Result<Selector, SelectorError> {
    if text.len() > MAX_SELECTOR {
        return Err(SelectorError::Long(text.len()));
    }
    if text.trim().is_empty() {
        return Err(SelectorError::Empty);
    }
    let mut selector = Selector::default();
    for part in split(text) {
        let odd = || SelectorError::Odd(part.trim().chars().filter(|c| !c.is_control()).collect());
        let requirement = requirement(part.trim()).ok_or_else(odd)?;
        let usable = is_key(&requirement.key) && requirement.values.iter().all(|value| is_value(value));
        if !usable {
            return Err(odd());
        }
        selector.expressions.push(requirement);
    }
    Ok(selector)
}

/// At the commas outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut inside) = (Vec::new(), 0, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => inside = true,
            b')' => inside = false,
            b',' if !inside => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn requirement(part: &str) -> Option<Requirement> {
    let made = |key: &str, operator, values: Vec<&str>| Requirement {
        key: key.trim().into(),
        operator,
        values: values.into_iter().map(|value| value.trim().into()).collect(),
    };
    if let Some(list) = part.strip_suffix(')') {
        let (head, list) = list.split_once('(')?;
        let (key, word) = head.trim().rsplit_once(char::is_whitespace)?;
        let operator = match word {
            "in" => Operator::In,
            "notin" => Operator::NotIn,
            _ => return None,
        };
        return Some(made(key, operator, list.split(',').collect()));
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Some(made(key, Operator::NotIn, vec![value]));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Some(made(key, Operator::In, vec![value]));
    }
    Some(match part.strip_prefix('!') {
        Some(key) => made(key, Operator::DoesNotExist, Vec::new()),
        None => made(part, Operator::Exists, Vec::new()),
    })
}

/// A label's name, with or without a prefix and a slash.
fn is_key(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let lower = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-.".contains(&c);
    let prefix = prefix.is_none_or(|prefix| !prefix.is_empty() && prefix.bytes().all(lower));
    prefix && !name.is_empty() && is_value(name)
}

/// A label's value; an empty one is one.
fn is_value(value: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
    let ends = |c: Option<u8>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    value.len() <= MAX_NAME
        && value.bytes().all(plain)
        && ends(value.bytes().next())
        && ends(value.bytes().last())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Labels;

    fn selects(text: &str, labels: &[(&str, &str)]) -> bool {
        let labels: Labels = labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        parse_selector(text).unwrap().matches(&labels)
    }

    #[test]
    fn each_form_selects_what_kubernetes_selects() {
        let web = [("app", "web"), ("example.com/tier", "a")];
        for (text, wanted) in [
            ("app=web", true),
            ("app == web", true),
            ("app=db", false),
            ("app!=db", true),
            ("other!=x", true),
            ("app!=web", false),
            ("example.com/tier in (a, b)", true),
            ("example.com/tier notin (a,b)", false),
            ("other notin (a,b)", true),
            ("app", true),
            ("!app", false),
            ("!other", true),
            ("app=web,example.com/tier in (b,c)", false),
            ("app in (db,web),!other", true),
        ] {
            assert_eq!(selects(text, &web), wanted, "{text}");
        }
        assert!(selects("app=", &[("app", "")]));
    }

    #[test]
    fn what_is_no_selector_is_refused_in_a_sentence() {
        for text in [
            "app=we b",
            "app in",
            "in (a)",
            "app like (a)",
            "a,,b",
            "app=web,",
            "=x",
            "app=a(b",
            "/x=y",
            "-a",
        ] {
            let said = parse_selector(text).unwrap_err().to_string();
            assert!(said.contains("write key=value"), "{text}: {said}");
        }
        assert_eq!(parse_selector(" "), Err(SelectorError::Empty));
        assert_eq!(parse_selector(&"a".repeat(254)), Err(SelectorError::Long(254)));
    }
}
