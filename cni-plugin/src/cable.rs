//! The cable between a pod and its host: made, checked, deleted.
//!
//! 1. the veth pair appears in the pod's namespace with its other end on the host, in one step;
//! 2. inside: addresses, up, the neighbour entry for the gateway that nobody is, default routes;
//! 3. on the host: forwarding of this one interface, up, neighbour entries for the pod's addresses.
//!
//! Routes to the pod are meshd's. What happens inside the namespace happens on a thread of its own, which ends in it.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use meshd_api::local::PodLease;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::fault;
use crate::kernel::{Kernel, Mac, Veth, bits};
use crate::outcome::{CniError, Code};

/// What pods take for the next hop. Nobody has it.
pub const GATEWAY4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The same, IPv6.
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// Hardware address of every cable's end on the host. The host never bridges them, so they may be alike.
pub const HOST_MAC: Mac = [0x02, 0x6d, 0x65, 0x73, 0x68, 0x01];

/// A pod's network namespace.
pub struct Namespace(File);

impl Namespace {
    /// Opens it.
    ///
    /// # Errors
    /// Where it does not exist, is no namespace, or is this program's own.
    pub fn open(path: &Path) -> Result<Self, CniError> {
        let file = File::open(path).map_err(|error| {
            let code = match error.kind() {
                io::ErrorKind::NotFound => Code::NoContainer,
                _ => Code::Io,
            };
            CniError::new(code, format!("the namespace {} cannot be opened", path.display())).because(error)
        })?;
        let identity = |metadata: &fs::Metadata| (metadata.dev(), metadata.ino());
        let same = file
            .metadata()
            .and_then(|pod| Ok(identity(&pod) == identity(&fs::metadata("/proc/thread-self/ns/net")?)));
        match same {
            Ok(true) => Err(CniError::new(
                Code::Environment,
                format!("CNI_NETNS {} is the host's own namespace", path.display()),
            )),
            Ok(false) => Ok(Self(file)),
            Err(error) => Err(CniError::new(Code::Io, "the namespaces cannot be compared").because(error)),
        }
    }

    /// Does `work` inside.
    fn inside<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))?;
                work()
            });
            worker
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the work inside the namespace failed")))
        })
    }
}

/// The hardware address of a pod's end: local, and of the pod's own IPv4 address.
pub fn pod_mac(lease: &PodLease) -> Mac {
    let [a, b, c, d] = lease.ipv4.octets();
    [0x02, 0x6d, a, b, c, d]
}

/// The addresses of a lease.
pub fn addresses(lease: &PodLease) -> impl Iterator<Item = IpAddr> + use<> {
    [IpAddr::from(lease.ipv4)]
        .into_iter()
        .chain(lease.ipv6.map(IpAddr::from))
}

/// The next hop for packets of an address's IP version.
pub fn gateway(ip: IpAddr) -> IpAddr {
    if ip.is_ipv4() {
        GATEWAY4.into()
    } else {
        GATEWAY6.into()
    }
}

/// Makes the cable. What a call before left unfinished goes first.
///
/// # Errors
/// In the kernel's words; what was made so far is the caller's to delete.
pub fn make(pod: &Namespace, interface: &str, lease: &PodLease) -> Result<(), CniError> {
    let failed = |step: &'static str| {
        move |error: io::Error| {
            let taken = error.kind() == io::ErrorKind::AlreadyExists;
            let code = if taken { Code::Environment } else { Code::Kernel };
            let message = match taken {
                true => format!("CNI_IFNAME {interface} is there already"),
                false => format!("the pod's interface cannot be set up: {step}"),
            };
            CniError::new(code, message).because(error)
        }
    };
    let host = File::open("/proc/thread-self/ns/net").map_err(failed("open the host's namespace"))?;
    let mut kernel = Kernel::open().map_err(failed("talk to the kernel"))?;
    delete_on_host(&mut kernel, &lease.host).map_err(failed("delete what was left of it"))?;
    pod.inside(|| make_inside(&host, interface, lease))
        .map_err(failed("inside the pod"))?;
    fault::point("inside");
    make_on_host(&mut kernel, lease).map_err(failed("on the host"))
}

fn make_inside(host: &File, interface: &str, lease: &PodLease) -> io::Result<()> {
    let mut kernel = Kernel::open()?;
    kernel.make_veth(&Veth {
        name: interface,
        mac: pod_mac(lease),
        peer: &lease.host,
        peer_mac: HOST_MAC,
        peer_namespace: host.as_raw_fd(),
        mtu: lease.mtu,
    })?;
    fault::point("veth");
    let (index, _) = kernel
        .link(interface)?
        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    if lease.ipv6.is_some() {
        let _ = set(6, interface, "disable_ipv6", "0");
        let _ = set(6, interface, "accept_ra", "0");
    }
    for ip in addresses(lease) {
        kernel.add_address(index, ip)?;
    }
    kernel.up(index)?;
    for ip in addresses(lease) {
        kernel.add_neighbour(index, gateway(ip), HOST_MAC)?;
        kernel.add_default_route(index, gateway(ip))?;
    }
    Ok(())
}

fn make_on_host(kernel: &mut Kernel, lease: &PodLease) -> io::Result<()> {
    let (index, _) = kernel
        .link(&lease.host)?
        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    set(4, &lease.host, "forwarding", "1")?;
    if lease.ipv6.is_some() {
        let _ = set(6, &lease.host, "disable_ipv6", "0");
        let _ = set(6, &lease.host, "accept_ra", "0");
        // Since Linux 6.17 one interface can forward IPv6; before, the whole machine must (meshd says so where it does not).
        let _ = set(6, &lease.host, "force_forwarding", "1");
    }
    kernel.up(index)?;
    for ip in addresses(lease) {
        kernel.add_neighbour(index, ip, pod_mac(lease))?;
    }
    Ok(())
}

/// Deletes the cable by its end on the host, whose name nobody else's has; no error where there is none. What the pod calls it says
/// nothing: another container, or another plugin, may have an interface of that name in the namespace.
///
/// # Errors
/// In the kernel's words.
pub fn delete(host: &str) -> io::Result<()> {
    delete_on_host(&mut Kernel::open()?, host)
}

fn delete_on_host(kernel: &mut Kernel, name: &str) -> io::Result<()> {
    match kernel.link(name)? {
        Some((index, _)) => kernel.delete_link(index),
        None => Ok(()),
    }
}

/// What is not as it was set up, as sentences.
///
/// # Errors
/// Where the kernel does not answer.
pub fn check(pod: &Namespace, interface: &str, lease: &PodLease) -> io::Result<Vec<String>> {
    let mut wrong = Vec::new();
    let mut kernel = Kernel::open()?;
    match kernel.link(&lease.host)? {
        Some((_, true)) => {}
        Some((_, false)) => wrong.push(format!("{} is switched off", lease.host)),
        None => wrong.push(format!("{} is gone", lease.host)),
    }
    wrong.extend(pod.inside(|| check_inside(interface, lease))?);
    Ok(wrong)
}

fn check_inside(interface: &str, lease: &PodLease) -> io::Result<Vec<String>> {
    let mut kernel = Kernel::open()?;
    let (index, up) = match kernel.link(interface)? {
        Some(found) => found,
        None => return Ok(vec![format!("{interface} is gone")]),
    };
    let mut wrong = Vec::new();
    if !up {
        wrong.push(format!("{interface} is switched off"));
    }
    let present = kernel.addresses(index)?;
    for ip in addresses(lease) {
        if !present.contains(&(ip, bits(ip))) {
            wrong.push(format!("{interface} has lost its address {ip}"));
        }
        if !kernel.has_default_route(index, ip.is_ipv4())? {
            wrong.push(format!(
                "there is no default route over {interface} by which {ip} is left"
            ));
        }
    }
    Ok(wrong)
}

/// Sets `/proc/sys/net/ipvVERSION/conf/INTERFACE/KEY` of the calling thread's namespace.
fn set(version: u8, interface: &str, key: &str, value: &str) -> io::Result<()> {
    let path = format!("/proc/sys/net/ipv{version}/conf/{interface}/{key}");
    match fs::read_to_string(&path)?.trim() == value {
        true => Ok(()),
        false => fs::write(path, value),
    }
}
