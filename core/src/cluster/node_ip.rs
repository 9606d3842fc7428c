//! The address by which a kubelet that is there already is known: the environment file of its service.

/// The variable that kubeadm's unit for the kubelet leaves to the machine's owner.
const VARIABLE: &str = "KUBELET_EXTRA_ARGS";
const OPTION: &str = "--node-ip";

/// The environment file with these addresses in it; everything else stays as it is.
pub fn with_node_ip(text: &str, addresses: &str) -> String {
    let mut found = false;
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        match value(line) {
            // the last assignment counts, and all of them are kept in step
            Some(arguments) => {
                found = true;
                lines.push(assignment(arguments, addresses));
            }
            None => lines.push(line.to_owned()),
        }
    }
    if !found {
        lines.push(assignment("", addresses));
    }
    lines.join("\n") + "\n"
}

/// The arguments, where the line assigns them.
fn value(line: &str) -> Option<&str> {
    let rest = line
        .trim_start()
        .strip_prefix(VARIABLE)?
        .strip_prefix('=')?
        .trim();
    let quoted = |quote: char| rest.strip_prefix(quote)?.strip_suffix(quote);
    Some(quoted('"').or_else(|| quoted('\'')).unwrap_or(rest))
}

fn assignment(arguments: &str, addresses: &str) -> String {
    let mut kept: Vec<String> = Vec::new();
    let mut words = arguments.split_whitespace();
    while let Some(word) = words.next() {
        match word.strip_prefix(OPTION) {
            Some("") => drop(words.next()),
            Some(rest) if rest.starts_with('=') => {}
            _ => kept.push(word.to_owned()),
        }
    }
    kept.push(format!("{OPTION}={addresses}"));
    format!("{VARIABLE}=\"{}\"", kept.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_put_in_and_the_rest_stays() {
        for (before, after) in [
            ("", "KUBELET_EXTRA_ARGS=\"--node-ip=10.77.0.2\"\n"),
            (
                "KUBELET_EXTRA_ARGS=\n",
                "KUBELET_EXTRA_ARGS=\"--node-ip=10.77.0.2\"\n",
            ),
            (
                "# mine\nA=b\nKUBELET_EXTRA_ARGS=\"--v=2 --node-ip=192.168.1.2 --x\"",
                "# mine\nA=b\nKUBELET_EXTRA_ARGS=\"--v=2 --x --node-ip=10.77.0.2\"\n",
            ),
            (
                "KUBELET_EXTRA_ARGS='--node-ip 192.168.1.2 --v 2'\n",
                "KUBELET_EXTRA_ARGS=\"--v 2 --node-ip=10.77.0.2\"\n",
            ),
            (
                "KUBELET_EXTRA_ARGS=--node-ips-not\n",
                "KUBELET_EXTRA_ARGS=\"--node-ips-not --node-ip=10.77.0.2\"\n",
            ),
        ] {
            let got = with_node_ip(before, "10.77.0.2");
            assert_eq!(got, after);
            assert_eq!(with_node_ip(&got, "10.77.0.2"), after, "again");
        }
    }
}
