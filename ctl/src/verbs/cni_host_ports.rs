//! Host ports on mesh addresses alone: conditions of the plugin portmap, which makes them.

use meshd_api::local::{NetworkStatus, Status};
use serde_json::{Value, json};

use crate::cli::Global;
use crate::failure::Failure;
use crate::local::Local;

/// Without it portmap makes rules of nftables.
const IPTABLES: &str = "iptables";

/// Has the chain's portmap open ports on this machine's addresses in the network only. It stays on loopback no more.
pub async fn on_the_mesh(
    global: &Global,
    network: Option<&str>,
    conflist: &mut Value,
) -> Result<(), Failure> {
    let status: Status = Local::connect(&global.socket).await?.get("status").await?;
    let meant = |one: &&NetworkStatus| match network {
        Some(name) => one.name == name,
        None => one.pods.is_some(),
    };
    let Some(network) = status.networks.iter().find(meant) else {
        return Err(Failure::failed(
            "the machine's mesh addresses are not known, on which host ports would be: `meshctl up` brings its network back",
        ));
    };
    let addresses = [network.ipv4.to_string(), network.ipv6.to_string()];
    set(conflist, &addresses, has_iptables());
    Ok(())
}

fn set(conflist: &mut Value, [v4, v6]: &[String; 2], iptables: bool) {
    let plugins = conflist["plugins"].as_array_mut().into_iter().flatten();
    for plugin in plugins.filter(|plugin| plugin["type"] == "portmap") {
        let conditions = |ip: &str, address: &str| match iptables {
            true => json!(["-d", address]),
            false => json!([ip, "daddr", address]),
        };
        plugin["conditionsV4"] = conditions("ip", v4);
        plugin["conditionsV6"] = conditions("ip6", v6);
    }
}

fn has_iptables() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    std::env::split_paths(&path)
        .chain(usual)
        .any(|folder| folder.join(IPTABLES).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portmap_alone_is_told_in_the_language_of_its_rules() {
        let addresses = ["10.77.0.1", "fd77::1"].map(str::to_owned);
        let mut chain =
            json!({"plugins": [{"type": "mesh-cni"}, {"type": "portmap"}, {"type": "bandwidth"}]});
        set(&mut chain, &addresses, true);
        let told = json!({"type": "portmap", "conditionsV4": ["-d", "10.77.0.1"], "conditionsV6": ["-d", "fd77::1"]});
        assert_eq!(
            chain["plugins"],
            json!([{"type": "mesh-cni"}, told, {"type": "bandwidth"}])
        );
        set(&mut chain, &addresses, false);
        assert_eq!(
            chain["plugins"][1]["conditionsV6"],
            json!(["ip6", "daddr", "fd77::1"])
        );
    }
}
