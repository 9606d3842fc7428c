//! What of UPnP a mapping needs (UPnP Device Architecture 1.1; WANIPConnection:1 and :2): a search, the router's
//! description, and three calls. Texts are searched for the elements that count and for nothing else; whatever else a
//! router writes is passed over.

use std::net::{Ipv4Addr, SocketAddrV4};

/// Where routers listen for searches.
pub const SEARCH_TO: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 255, 255, 250), 1900);
/// Most bytes of a description or an answer that are read.
pub const MAX_TEXT: usize = 64 * 1024;
/// Services that map ports, the ones that are asked first before the others.
const SERVICES: [&str; 3] = ["WANIPConnection:2", "WANIPConnection:1", "WANPPPConnection:1"];
/// The lease is refused: only mappings without end are made.
pub const ONLY_PERMANENT: u16 = 725;
/// The outside port is another's.
pub const CONFLICT: u16 = 718;

/// A search for internet gateways.
pub fn search() -> Vec<u8> {
    let target = "urn:schemas-upnp-org:device:InternetGatewayDevice:1";
    format!(
        "M-SEARCH * HTTP/1.1\r\nHOST: {SEARCH_TO}\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: {target}\r\n\r\n"
    )
    .into_bytes()
}

/// An address and a path of the router's own web server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Address and port.
    pub server: SocketAddrV4,
    /// The path, with its slash.
    pub path: String,
}

impl Place {
    /// From an `http://address:port/path`; none for anything else, names too.
    fn of_url(url: &str) -> Option<Self> {
        let rest = url.trim().strip_prefix("http://")?;
        let (server, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let server = match server.contains(':') {
            true => server.parse().ok()?,
            false => SocketAddrV4::new(server.parse().ok()?, 80),
        };
        let path = if path.is_empty() { "/" } else { path };
        is_plain(path).then(|| Self {
            server,
            path: path.to_owned(),
        })
    }
}

/// Nothing that would end a line of a request.
fn is_plain(path: &str) -> bool {
    path.len() <= 1024 && path.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Where the description of the router that answered a search is, if it is on the router.
pub fn location(answer: &[u8], router: Ipv4Addr) -> Option<Place> {
    let text = std::str::from_utf8(answer).ok()?;
    if !text.starts_with("HTTP/1.1 200") {
        return None;
    }
    let location = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("location").then_some(value)
    })?;
    Place::of_url(location).filter(|place| *place.server.ip() == router)
}

/// A request for a page.
pub fn get(place: &Place) -> Vec<u8> {
    let Place { server, path } = place;
    format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n").into_bytes()
}

/// The body of an answer, with its status.
fn body(answer: &[u8]) -> Option<(u16, String)> {
    let text = String::from_utf8_lossy(&answer[..answer.len().min(MAX_TEXT)]).into_owned();
    let status = text.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    let (_, body) = text.split_once("\r\n\r\n")?;
    Some((status, body.to_owned()))
}

/// The text of the first element of this name, its prefix aside.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = text;
    loop {
        let (_, after) = rest.split_once('<')?;
        let (tag, content) = after.split_once('>')?;
        let tag_name = tag.split_ascii_whitespace().next().unwrap_or_default();
        let tag_name = tag_name.rsplit(':').next().unwrap_or_default();
        if tag_name == name && !tag.ends_with('/') {
            return content.find('<').map(|end| content[..end].trim());
        }
        rest = content;
    }
}

/// A service that maps ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    control: Place,
    kind: &'static str,
}

impl Service {
    /// From the answer to [`get`]ting the description at `from`.
    pub fn of_description(answer: &[u8], from: &Place) -> Option<Self> {
        let (status, text) = body(answer)?;
        if status != 200 {
            return None;
        }
        SERVICES.into_iter().find_map(|kind| {
            let wanted = format!("urn:schemas-upnp-org:service:{kind}");
            let mut services = text.split("<service>").skip(1);
            let service = services.find(|service| element(service, "serviceType") == Some(&wanted))?;
            let url = element(service, "controlURL")?;
            let control = match url.starts_with("http://") {
                true => Place::of_url(url).filter(|place| place.server.ip() == from.server.ip())?,
                false => Place {
                    server: from.server,
                    path: format!("/{}", url.trim_start_matches('/')),
                },
            };
            is_plain(&control.path).then_some(Self { control, kind })
        })
    }

    /// Where its calls go.
    pub fn server(&self) -> SocketAddrV4 {
        self.control.server
    }

    /// Asks for the outside address.
    pub fn address(&self) -> Vec<u8> {
        self.call("GetExternalIPAddress", "")
    }

    /// Asks for a mapping of `own` to the outside port `port` for `lease` seconds; 0 is without end.
    pub fn map(&self, own: SocketAddrV4, port: u16, lease: u32) -> Vec<u8> {
        let arguments = format!(
            "<NewRemoteHost></NewRemoteHost><NewExternalPort>{port}</NewExternalPort><NewProtocol>UDP</NewProtocol>\
             <NewInternalPort>{}</NewInternalPort><NewInternalClient>{}</NewInternalClient><NewEnabled>1</NewEnabled>\
             <NewPortMappingDescription>meshd</NewPortMappingDescription><NewLeaseDuration>{lease}</NewLeaseDuration>",
            own.port(),
            own.ip()
        );
        self.call("AddPortMapping", &arguments)
    }

    /// Ends the mapping of an outside port.
    pub fn unmap(&self, port: u16) -> Vec<u8> {
        let arguments = format!(
            "<NewRemoteHost></NewRemoteHost><NewExternalPort>{port}</NewExternalPort><NewProtocol>UDP</NewProtocol>"
        );
        self.call("DeletePortMapping", &arguments)
    }

    fn call(&self, action: &str, arguments: &str) -> Vec<u8> {
        let Self { control, kind } = self;
        let Place { server, path } = control;
        let body = format!(
            "<?xml version=\"1.0\"?>\r\n<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body><u:{action} \
             xmlns:u=\"urn:schemas-upnp-org:service:{kind}\">{arguments}</u:{action}></s:Body></s:Envelope>\r\n"
        );
        format!(
            "POST {path} HTTP/1.1\r\nHost: {server}\r\nContent-Type: text/xml; charset=\"utf-8\"\r\nContent-Length: {}\r\n\
             SOAPAction: \"urn:schemas-upnp-org:service:{kind}#{action}\"\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}

/// The outside address in the answer to [`Service::address`].
pub fn address_in(answer: &[u8]) -> Option<Ipv4Addr> {
    let (status, text) = body(answer)?;
    let address = element(&text, "NewExternalIPAddress")?;
    (status == 200).then(|| address.parse().ok()).flatten()
}

/// Whether the answer to a call says that it is done.
///
/// # Errors
/// The router's error code, 0 where it gave none.
pub fn done(answer: &[u8]) -> Result<(), u16> {
    let (status, text) = body(answer).ok_or(0u16)?;
    if status == 200 {
        return Ok(());
    }
    let code = element(&text, "errorCode").and_then(|code| code.parse().ok());
    Err(code.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

    fn place(path: &str) -> Place {
        Place {
            server: SocketAddrV4::new(ROUTER, 5000),
            path: path.into(),
        }
    }

    fn description(services: &str) -> Vec<u8> {
        format!("HTTP/1.1 200 OK\r\nServer: x\r\n\r\n<?xml version=\"1.0\"?><root><device>{services}</device></root>")
            .into_bytes()
    }

    #[test]
    fn only_a_description_on_the_router_itself_is_fetched() {
        let answer = |url: &str| format!("HTTP/1.1 200 OK\r\nST: x\r\nLocation: {url}\r\n\r\n").into_bytes();
        let found = |url: &str| location(&answer(url), ROUTER);
        assert_eq!(
            found("http://192.168.1.1:5000/rootDesc.xml"),
            Some(place("/rootDesc.xml"))
        );
        for other in [
            "http://192.168.1.2:5000/rootDesc.xml",
            "http://router.lan/x",
            "https://192.168.1.1/x",
            "http://192.168.1.1:5000/a b",
        ] {
            assert_eq!(found(other), None, "{other}");
        }
    }

    #[test]
    fn the_newest_service_that_maps_ports_is_called() {
        let service = |kind: &str, url: &str| {
            format!(
                "<service><serviceType>urn:schemas-upnp-org:service:{kind}</serviceType><controlURL>{url}</controlURL></service>"
            )
        };
        let all = [
            service("Layer3Forwarding:1", "/l3"),
            service("WANIPConnection:1", "ctl/IPConn"),
        ];
        let found = Service::of_description(&description(&all.concat()), &place("/rootDesc.xml"));
        let found = found.expect("a service");
        assert_eq!(
            (found.kind, &found.control),
            ("WANIPConnection:1", &place("/ctl/IPConn"))
        );
        let call = String::from_utf8(found.map("192.168.1.9:51820".parse().unwrap(), 51821, 3600)).unwrap();
        assert!(
            call.starts_with("POST /ctl/IPConn HTTP/1.1\r\nHost: 192.168.1.1:5000\r\n"),
            "{call}"
        );
        let (head, body) = call.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("Content-Length: {}", body.len())),
            "{head}"
        );
        assert_eq!(element(body, "NewInternalClient"), Some("192.168.1.9"));
        let elsewhere = service("WANIPConnection:1", "http://203.0.113.9/x");
        assert_eq!(
            Service::of_description(&description(&elsewhere), &place("/")),
            None
        );
        assert_eq!(Service::of_description(&description(""), &place("/")), None);
    }

    #[test]
    fn answers_say_what_was_done_or_why_not() {
        let address = b"HTTP/1.1 200 OK\r\n\r\n<s:Body><u:X><NewExternalIPAddress>198.51.100.7</NewExternalIPAddress></u:X></s:Body>";
        assert_eq!(address_in(address), Some([198, 51, 100, 7].into()));
        assert_eq!(done(address), Ok(()));
        let refused =
            b"HTTP/1.1 500 Internal Server Error\r\n\r\n<detail><errorCode>725</errorCode></detail>";
        assert_eq!((done(refused), address_in(refused)), (Err(ONLY_PERMANENT), None));
        assert_eq!(done(b"garbage"), Err(0));
        assert_eq!(done(b"HTTP/1.1 "), Err(0));
    }
}
