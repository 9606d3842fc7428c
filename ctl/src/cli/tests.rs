//! Lines that are taken, and lines that are not.

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

fn visit(command: &clap::Command, path: &str, look: &mut impl FnMut(&str, &mut clap::Command)) {
    look(path, &mut command.clone());
    command
        .get_subcommands()
        .for_each(|sub| visit(sub, &format!("{path} {}", sub.get_name()), look));
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_help_has_an_example_and_fits_the_terminal() {
    visit(&Cli::tree(), "meshctl", &mut |path, command| {
        if path.split(' ').any(|word| word == "help") {
            return;
        }
        let help = command.clone().term_width(80).render_long_help().to_string();
        assert!(help.contains("Example"), "{path} has no example:\n{help}");
        let wide: Vec<&str> = help.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(wide.is_empty(), "{path}: {wide:?}");
    });
}

#[test]
fn every_verb_of_the_documentation_is_taken() {
    for line in [
        "meshctl join mesh1abc --hostname db1 --ip 10.77.0.9 --listen-port 51820 --force",
        "meshctl join --token-file /run/token",
        "meshctl join -",
        "meshctl status --json",
        "meshctl netcheck --network prod --json",
        "meshctl ping db1 -c 3 --until-direct",
        "meshctl why db1 --network prod",
        "meshctl leave prod",
        "meshctl down",
        "meshctl up --socket /tmp/x",
        "meshctl clean --forget",
        "meshctl network create prod --cidr 10.77.0.0/16 --cidr6 fd00::/64 --mtu 1280",
        "meshctl network create prod --cidr 10.77.0.0/16 --admin-key-file prod.key",
        "meshctl network create prod --cidr 10.77.0.0/16 --pod-cidr 10.42.0.0/16 --pod-cidr6 none --service-cidr 10.43.0.0/16",
        "meshctl network pods prod --pod-cidr 10.42.0.0/16 --pod-cidr6 fd42::/56 --pod-prefix 25",
        "meshctl network pods prod --pod-cidr 10.42.0.0/16 --authority kubernetes --control-planes cp1,tag:cp",
        "meshctl network pods",
        "meshctl network list",
        "meshctl network show prod",
        "meshctl network delete prod --yes",
        "meshctl token create --network prod --uses 20 --expires 7d --tags a,b --tags c --ephemeral",
        "meshctl token create --hostname db1 --ip 10.77.0.9 --listen-port 51820 --approve --template",
        "meshctl token list --network prod",
        "meshctl token revoke 0011223344556677 --with-nodes",
        "meshctl node list",
        "meshctl node show db1",
        "meshctl node rename db1 db2",
        "meshctl node approve db1",
        "meshctl node remove db1",
        "meshctl node remove w2 --drain --kubeconfig /etc/kubernetes/admin.conf --drain-timeout 90s --network prod",
        "meshctl node replace 00112233445566778899aabbccddeeff",
        "meshctl gateway add gw1 --range 192.168.50.0/24",
        "meshctl gateway add gw1 --range 192.168.50.0/24 --range 2001:db8:50::/64 --no-nat --priority 20",
        "meshctl gateway add gw1 --range 192.168.50.0/24 --as 10.200.1.0/24 --nat --to laptop,tag:office",
        "meshctl gateway add gw1 --range 10.8.0.0/24 --pods app=web,!old",
        "meshctl gateway add gw1 --exit",
        "meshctl gateway list --network prod",
        "meshctl exit use gw1 --network prod",
        "meshctl exit use none",
        "meshctl gateway remove gw1 --range 192.168.50.0/24",
        "meshctl gateway remove gw1 --exit",
        "meshctl endpoint add api --to cp1:6443,cp2:6443 --ca /etc/kubernetes/pki/ca.crt",
        "meshctl endpoint add api --address 10.0.1.99:60443 --to cp1:6443 --network prod",
        "meshctl endpoint add registry --port 5000 --to store1:5000 --no-ca",
        "meshctl endpoint list --network prod",
        "meshctl k8s backup /mnt/cluster.tar",
        "meshctl k8s restore - --patch own.yaml --dry-run",
        "meshctl import netmaker netmaker.json --dry-run --network home --as prod",
        "meshctl import netmaker - --expires 30d",
        "meshctl inventory",
        "meshctl inventory --format kubespray --network prod",
        "meshctl endpoint remove api --to cp1:6443",
        "meshctl endpoint remove registry",
        "meshctl expose web --tcp 443 --sni www.example.org,*.example.net --to n1:8443,n2:8443 --proxy-protocol v2",
        "meshctl expose dns --udp 53 --to n1:53 --max-connections 9 --max-per-second 5 --idle 30s --network prod",
        "meshctl expose list --network prod",
        "meshctl expose remove web",
        "meshctl cni install --bin-dir /usr/lib/cni --conf-dir /etc/cni/net.d --wait 300 --cni-version 1.1.0",
        "meshctl cni uninstall --force",
        "meshctl cni credentials --kubeconfig /root/meshd.kubeconfig --network prod",
        "meshctl k8s init",
        "meshctl k8s init --flavor kubeadm --patch own.yaml --dry-run --json --network prod",
        "meshctl k8s init --public-node-ports --force --ignore-preflight-errors NumCPU,Mem",
        "meshctl k8s join meshkw1abc --dry-run",
        "meshctl k8s join --word-file /run/word --patch own.yaml",
        "meshctl k8s join -",
        "meshctl k8s status --json",
        "meshctl k8s reset --yes",
        "meshctl k8s kubeconfig",
        "meshctl k8s node-ip --dry-run --ipv4-only --file /etc/sysconfig/kubelet",
        "meshctl name free db1",
        "meshctl template seal mesh1abc",
        "meshctl backup /tmp/b --relay-socket /tmp/s",
        "meshctl restore /tmp/b",
        "meshctl completion bash",
        "meshctl completions zsh",
        "meshctl man",
        "meshctl man /tmp/pages",
        "meshctl version",
        "meshctl --relay https://vpn.example.net --admin-key-file F node list",
    ] {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
    }
}

#[test]
fn wrong_lines_are_refused_with_a_reason() {
    for (line, reason) in [
        ("meshctl join", "TOKEN"),
        ("meshctl join a --token-file b", "cannot be used with"),
        ("meshctl join a --ip fd00::1", "--ip"),
        ("meshctl join a --listen-port 0", "--listen-port"),
        ("meshctl network create prod", "--cidr"),
        (
            "meshctl network create Prod.X --cidr 10.0.0.0/8",
            "such as \"prod-x\"",
        ),
        (
            "meshctl network create prod --cidr 10.0.0.0/8 --mtu 1281",
            "multiple of 16",
        ),
        ("meshctl network create prod --cidr 10.0.0.0", "10.77.0.0/16"),
        ("meshctl token create --expires 7", "as in 7d"),
        ("meshctl token create --uses 0", "--uses"),
        ("meshctl ping", "PEER"),
        ("meshctl ping db1 -c 0", "--count"),
        ("meshctl token revoke xyz", "16 hexadecimal digits"),
        ("meshctl node remove ../x", "small letters"),
        ("meshctl gateway add gw1", "--range"),
        (
            "meshctl gateway add gw1 --range 192.168.50.7/24",
            "192.168.50.0/24",
        ),
        ("meshctl gateway add gw1 --range 192.168.50.0", "192.168.50.0/24"),
        (
            "meshctl gateway add gw1 --range 10.0.0.0/8 --nat --no-nat",
            "cannot be used with",
        ),
        (
            "meshctl gateway add gw1 --exit --as 10.0.0.0/8",
            "cannot be used with",
        ),
        ("meshctl gateway add gw1 --range 10.0.0.0/8 --to tag:", "tag:NAME"),
        ("meshctl endpoint add api --to cp1", "cp1:6443"),
        ("meshctl endpoint add api --to cp1:0", "cp1:6443"),
        ("meshctl endpoint add api --address 10.0.1.99", "--address"),
        (
            "meshctl endpoint add api --address 10.0.1.99:6 --port 5",
            "cannot be used with",
        ),
        ("meshctl k8s init --flavor rancher", "kubeadm"),
        ("meshctl k8s join", "WORD"),
        ("meshctl k8s join a --word-file b", "cannot be used with"),
        ("meshctl expose", "Examples"),
        ("meshctl expose web --tcp 443", "--to"),
        ("meshctl expose web --to n1:80", "--udp"),
        (
            "meshctl expose web --tcp 1 --udp 1 --to n1:1",
            "cannot be used with",
        ),
        (
            "meshctl expose web --udp 1 --sni a.b --to n1:1",
            "cannot be used with",
        ),
        (
            "meshctl expose web --tcp 1 --sni 192.0.2.1 --to n1:1",
            "www.example.org",
        ),
        (
            "meshctl expose web --tcp 1 --to n1:1 --proxy-protocol v3",
            "v1, v2",
        ),
        ("meshctl completion tcsh", "bash"),
    ] {
        let error = parse(line).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
        assert!(error.to_string().contains(reason), "{line}: {error}");
    }
}
