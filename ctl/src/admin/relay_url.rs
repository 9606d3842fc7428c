//! `--relay URL`.

use meshd_core::token::CoordinatorAddress;

/// Reads `https://host`, `https://host:port`, or either without the scheme.
pub fn parse(url: &str) -> Result<CoordinatorAddress, String> {
    let rest = url.strip_prefix("https://").unwrap_or(url);
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let has_port = match rest.strip_prefix('[') {
        Some(v6) => v6.contains("]:"),
        None => rest.contains(':'),
    };
    let address = if has_port {
        rest.to_owned()
    } else {
        format!("{rest}:443")
    };
    address
        .parse()
        .map_err(|_| format!("--relay \"{url}\" is not https://HOST or https://HOST:PORT"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_host_and_perhaps_a_port() {
        for (url, address) in [
            ("https://vpn.example.net", "vpn.example.net:443"),
            ("https://vpn.example.net:8443/", "vpn.example.net:8443"),
            ("203.0.113.1", "203.0.113.1:443"),
            ("https://[2001:db8::1]", "[2001:db8::1]:443"),
            ("[2001:db8::1]:8443", "[2001:db8::1]:8443"),
        ] {
            assert_eq!(parse(url).unwrap().to_string(), address);
        }
        for wrong in [
            "",
            "http://x.example",
            "https://",
            "https://a b",
            "https://x/y",
            "x:0",
            "2001:db8::1",
        ] {
            assert!(parse(wrong).unwrap_err().contains("https://HOST"), "{wrong}");
        }
    }
}
