//! Text in statements: addresses as text, and limits on what may be shown to a person.

use std::fmt::Display;
use std::str::FromStr;

use minicbor::{Decoder, Encoder};

/// Longest name of a node or network: one DNS label (RFC 1035 section 2.3.4).
pub const MAX_LABEL: usize = 63;
/// Longest other text in a statement.
pub const MAX_TEXT: usize = 253;

/// Encodes what has a text form as text.
pub fn encode<Ctx, T: Display, W: minicbor::encode::Write>(
    value: &T,
    e: &mut Encoder<W>,
    _: &mut Ctx,
) -> Result<(), minicbor::encode::Error<W::Error>> {
    e.str(&value.to_string())?.ok()
}

/// Decodes what has a text form from text.
pub fn decode<'b, Ctx, T: FromStr>(d: &mut Decoder<'b>, _: &mut Ctx) -> Result<T, minicbor::decode::Error> {
    let at = d.position();
    let text = d.str()?;
    let refused = || minicbor::decode::Error::message("a text that is not what it should say").at(at);
    text.parse().map_err(|_| refused())
}

/// At most `max` bytes and nothing that would move a terminal's cursor.
pub fn check(what: &str, text: &str, max: usize) -> Result<(), String> {
    if text.len() > max {
        return Err(format!(
            "{what} has {} bytes; at most {max} are allowed",
            text.len()
        ));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("{what} has a control character"));
    }
    Ok(())
}

/// [`check`] where there is a text.
pub fn check_some(what: &str, text: Option<&String>, max: usize) -> Result<(), String> {
    text.map_or(Ok(()), |text| check(what, text, max))
}
