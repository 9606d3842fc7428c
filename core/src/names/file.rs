//! The bytes of a hosts file: which lines are ours, and the file with our blocks replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{DOMAIN, is_label};

/// Longest hosts file that a writer should take on, in bytes. Nothing here depends on it.
pub const MAX_FILE_LEN: u64 = 16 << 20;

const BEGIN: &str = "# meshd begin ";
const END: &str = "# meshd end ";

/// One line with its line end, and the network whose block it belongs to.
#[derive(Debug)]
pub(super) struct Line<'a> {
    bytes: &'a [u8],
    marker: Option<Marker<'a>>,
    /// The network, where the line is ours; `None` for everybody else's.
    owner: Option<&'a str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Marker<'a> {
    begin: bool,
    instance: &'a str,
    network: &'a str,
}

/// Whether `name` can stand in a marker as an instance: 1 to 63 of `A-Z a-z 0-9 . _ -`.
pub fn is_instance(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Everything in `file` that is not ours.
pub fn outside(file: &[u8], instance: &str) -> Vec<u8> {
    rewrite(&dissect(file, instance), instance, &BTreeMap::new())
}

/// Whether `file` has a line that is ours.
pub fn has_blocks(file: &[u8], instance: &str) -> bool {
    dissect(file, instance).iter().any(|line| line.owner.is_some())
}

/// Splits `file` into lines and says whose each is.
///
/// A block is a begin marker and the same block's end marker with no other marker between; of the lines inside, those
/// that have exactly our form are ours. A begin without its end owns the lines of our form directly after it, an end
/// without its begin those directly before it. So torn, doubled and nested markers heal, and no foreign line is lost.
pub(super) fn dissect<'a>(file: &'a [u8], instance: &str) -> Vec<Line<'a>> {
    let mut lines: Vec<Line<'a>> = file
        .split_inclusive(|b| *b == b'\n')
        .map(|bytes| Line {
            bytes,
            marker: parse_marker(text(bytes)),
            owner: None,
        })
        .collect();
    let markers: Vec<(usize, Marker<'a>)> = lines
        .iter()
        .enumerate()
        .filter_map(|(i, line)| Some((i, line.marker?)))
        .collect();
    for (n, &(at, marker)) in markers.iter().enumerate() {
        if marker.instance != instance || lines[at].owner.is_some() {
            continue;
        }
        lines[at].owner = Some(marker.network);
        match (marker.begin, markers.get(n + 1)) {
            (true, Some(&(end, next)))
                if next
                    == (Marker {
                        begin: false,
                        ..marker
                    }) =>
            {
                lines[end].owner = Some(marker.network);
                lines[at + 1..end]
                    .iter_mut()
                    .for_each(|line| _ = claim(line, marker.network));
            }
            (true, _) => _ = lines[at + 1..].iter_mut().all(|line| claim(line, marker.network)),
            (false, _) => {
                _ = lines[..at]
                    .iter_mut()
                    .rev()
                    .all(|line| claim(line, marker.network))
            }
        }
    }
    lines
}

/// Makes a free line ours if it has our form, and says whether it did.
fn claim<'a>(line: &mut Line<'a>, network: &'a str) -> bool {
    let ours = line.owner.is_none() && line.marker.is_none() && has_our_form(text(line.bytes), network);
    if ours {
        line.owner = Some(network);
    }
    ours
}

/// A line without its line end; empty where it is not UTF-8, which none of ours is.
fn text(line: &[u8]) -> &str {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    std::str::from_utf8(line).unwrap_or_default()
}

fn parse_marker(line: &str) -> Option<Marker<'_>> {
    let (begin, rest) = match line.strip_prefix(BEGIN) {
        Some(rest) => (true, rest),
        None => (false, line.strip_prefix(END)?),
    };
    let (instance, network) = rest.trim_end().split_once('/')?;
    (is_instance(instance) && is_label(network)).then_some(Marker {
        begin,
        instance,
        network,
    })
}

/// Address, tab, `NODE.NETWORK.mesh`, and perhaps a blank and `NODE`; nothing more.
fn has_our_form(line: &str, network: &str) -> bool {
    let Some((address, names)) = line.split_once('\t') else {
        return false;
    };
    let (full, short) = match names.split_once(' ') {
        Some((full, short)) => (full, Some(short)),
        None => (names, None),
    };
    let label = full
        .strip_suffix(DOMAIN)
        .and_then(|rest| rest.strip_suffix('.'))
        .and_then(|rest| rest.strip_suffix(network))
        .and_then(|rest| rest.strip_suffix('.'));
    address.parse::<IpAddr>().is_ok()
        && label.is_some_and(|label| is_label(label) && short.is_none_or(|short| short == label))
}

/// The host names, in lower case, that lines outside of our blocks define.
///
/// Two instances on one machine must not both give way to the other: the blocks of an instance count only for those
/// that sort after it.
pub(super) fn foreign_names(lines: &[Line<'_>], instance: &str) -> BTreeSet<Vec<u8>> {
    let mut names = BTreeSet::new();
    let mut inside: Option<Marker<'_>> = None;
    for line in lines.iter().filter(|line| line.owner.is_none()) {
        if let Some(marker) = line.marker {
            inside = marker.begin.then_some(marker);
            continue;
        }
        let of_later =
            inside.is_some_and(|m| m.instance > instance && has_our_form(text(line.bytes), m.network));
        if !of_later {
            let code = line.bytes.split(|b| *b == b'#').next().unwrap_or_default();
            let words = code
                .split(u8::is_ascii_whitespace)
                .filter(|word| !word.is_empty());
            names.extend(words.skip(1).map(|word| word.to_ascii_lowercase()));
        }
    }
    names
}

/// The file with each network's block in the place of its old one; new blocks go to the end, but before a last line
/// that has no newline, so that taking them out again gives the same bytes.
pub(super) fn rewrite(lines: &[Line<'_>], instance: &str, blocks: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut left: BTreeMap<&str, &[u8]> = blocks.iter().map(|(k, v)| (k.as_str(), v.as_slice())).collect();
    let unterminated = lines
        .last()
        .is_some_and(|l| l.owner.is_none() && !l.bytes.ends_with(b"\n"));
    let held: BTreeSet<&str> = lines.iter().filter_map(|line| line.owner).collect();
    let (fresh, mut out) = (lines.len() - usize::from(unterminated), Vec::new());
    for (i, line) in lines.iter().enumerate() {
        if i == fresh {
            left.iter()
                .filter(|(k, _)| !held.contains(*k))
                .for_each(|(k, v)| push(&mut out, instance, k, v));
        }
        match line.owner {
            None => out.extend_from_slice(line.bytes),
            Some(network) => {
                if let Some(block) = left.remove(network) {
                    push(&mut out, instance, network, block);
                }
            }
        }
    }
    if !unterminated {
        left.iter().for_each(|(k, v)| push(&mut out, instance, k, v));
    }
    out
}

fn push(out: &mut Vec<u8>, instance: &str, network: &str, block: &[u8]) {
    out.extend_from_slice(format!("{BEGIN}{instance}/{network}\n").as_bytes());
    out.extend_from_slice(block);
    out.extend_from_slice(format!("{END}{instance}/{network}\n").as_bytes());
}
