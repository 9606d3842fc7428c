//! What examples/ has is run, up to a provider's API.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use meshd_tests::mesh::{Node, program, words};
use meshd_tests::{Machine, Nat, skip};

use crate::bed::{self, NET};

/// Where a test puts what it makes of an example.
const OWN: &str = "/var/lib/example";
/// Settings by which the lab's cloud-init does what user data say and nothing else; `/var/log` is the computer's own.
const CLOUD_CONFIG: &str = "\
datasource_list: [NoCloud, None]
datasource: {NoCloud: {seedfrom: /var/lib/example/seed/}}
disable_root: false
network: {config: disabled}
def_log_file: /run/cloud-init.log
syslog_fix_perms: []
cloud_init_modules: [write-files]
cloud_config_modules: [runcmd]
cloud_final_modules: [scripts-user]
system_info: {distro: debian, paths: {cloud_dir: /var/lib/cloud, run_dir: /run/cloud-init}}
";

#[test]
fn the_ansible_role_joins_a_machine_and_changes_nothing_when_run_again() {
    if Command::new("ansible-playbook")
        .arg("--version")
        .output()
        .is_err()
    {
        return skip("the Ansible role", "ansible-playbook is not installed");
    }
    let bed = bed::empty();
    let site = bed.world.site(Nat::PortRestricted);
    let node = Node::start(&site.machine("edge", 2));
    let token = bed.relay.token(NET, &["--uses", "1"]);
    let folder = copied(node.machine(), "ansible");
    let settings = format!(
        "{{\"meshd_token\": \"{token}\", \"meshd_service\": false, \"meshd_become\": false, \"meshd_hostname\": \"edge-1\", \"meshd_meshctl\": \"{}\"}}",
        program("meshctl")
    );
    fs::write(node.machine().file(&format!("{OWN}/settings.json")), settings)
        .expect("the machine's own file");
    let play = || {
        let output = node.machine().output(&[
            "env",
            "ANSIBLE_HOME=/run/ansible",
            "ANSIBLE_LOCAL_TEMP=/run/ansible",
            "ANSIBLE_REMOTE_TEMP=/run/ansible",
            "ANSIBLE_NOCOLOR=1",
            "ansible-playbook",
            "-c",
            "local",
            "-i",
            "localhost,",
            "-e",
            "ansible_python_interpreter=/usr/bin/python3",
            "-e",
            &format!("@{OWN}/settings.json"),
            &format!("{folder}/join.yml"),
        ]);
        assert!(output.status.success(), "{}", words(&output));
        words(&output)
    };
    let first = play();
    assert!(first.contains("changed=1"), "{first}");
    assert!(!first.contains(&token), "the word is a secret: {first}");
    assert_eq!(node.network(NET).expect("it is in")["hostname"], "edge-1");
    let second = play();
    assert!(second.contains("changed=0"), "{second}");
}

#[test]
fn debians_cloud_init_runs_the_user_data_until_the_machine_is_in_the_mesh() {
    let Some(folder) = std::env::var_os("MESHD_LAB_CLOUD_INIT").map(PathBuf::from) else {
        return skip(
            "cloud-init",
            "MESHD_LAB_CLOUD_INIT is not set: ./test unpacks Debian's cloud-init and sets it",
        );
    };
    let bed = bed::empty();
    let site = bed.world.site(Nat::PortRestricted);
    let node = Node::start(&site.machine("clone-7", 2));
    let machine = node.machine();
    let examples = copied(machine, "cloud-init");
    let data = machine.read(&format!("{examples}/user-data.yaml"));
    let token = bed.relay.token(NET, &["--uses", "1", "--expires", "1d"]);
    let put = |path: &str, text: &str| {
        let file = machine.file(path);
        fs::create_dir_all(file.parent().expect("in a folder")).expect("the machine's own folder");
        fs::write(file, text).expect("the machine's own file");
    };
    put(
        &format!("{OWN}/seed/user-data"),
        &data.replace("content: TOKEN", &format!("content: {token}")),
    );
    put(
        &format!("{OWN}/seed/meta-data"),
        "instance-id: clone-7\nlocal-hostname: clone-7\n",
    );
    put("/etc/cloud/cloud.cfg", CLOUD_CONFIG);
    let programs = Path::new(&program("meshctl"))
        .parent()
        .expect("in a folder")
        .display()
        .to_string();
    let path = format!("PATH={programs}:{}", std::env::var("PATH").unwrap_or_default());
    let packages = format!(
        "PYTHONPATH={}",
        folder.join("usr/lib/python3/dist-packages").display()
    );
    let main =
        "import sys; sys.argv[0] = 'cloud-init'; from cloudinit.cmd.main import main; sys.exit(main())";
    let stages: [&[&str]; 4] = [
        &["init", "--local"],
        &["init"],
        &["modules", "--mode=config"],
        &["modules", "--mode=final"],
    ];
    let mut said = String::new();
    for stage in stages {
        let own = ["env", &path, &packages, "/usr/bin/python3", "-c", main];
        said += &words(&machine.output(&[&own[..], stage].concat()));
    }
    let log = machine.read("/run/cloud-init.log");
    let network = node.network(NET);
    assert!(network.is_some(), "it is not in the mesh: {said}\n{log}");
    assert_eq!(network.expect("it is in")["hostname"], "clone-7");
    assert!(
        !machine.file("/run/meshd/token").exists(),
        "the word is gone: {said}"
    );
}

#[test]
fn a_root_folder_is_prepared_so_that_the_machine_joins_on_its_first_boot() {
    let temporary = tempfile::tempdir().expect("a folder");
    let at = |path: &str| temporary.path().join(path);
    for folder in ["root/etc/systemd", "deb/DEBIAN", "deb/usr/lib/systemd/system"] {
        fs::create_dir_all(at(folder)).expect("our own folder");
    }
    let control =
        "Package: meshd\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: of a test\n";
    fs::write(at("deb/DEBIAN/control"), control).expect("our own file");
    let unit = example("../packaging/systemd/meshd.service");
    fs::copy(unit, at("deb/usr/lib/systemd/system/meshd.service")).expect("our own file");
    fs::write(at("token"), "mesh1word").expect("our own file");
    let built = Command::new("dpkg-deb")
        .arg("--build")
        .arg(at("deb"))
        .arg(at("meshd.deb"))
        .output();
    if !built.is_ok_and(|built| built.status.success()) {
        return skip("a root folder", "dpkg-deb is not installed");
    }
    let prepared = Command::new(example("bare-metal/prepare-root"))
        .args([at("root"), at("meshd.deb"), at("token")])
        .output()
        .expect("a shell");
    assert!(prepared.status.success(), "{}", words(&prepared));
    assert_eq!(
        fs::read_to_string(at("root/etc/meshd/token")).expect("the word"),
        "mesh1word"
    );
    let wanted = at("root/etc/systemd/system/multi-user.target.wants");
    for (name, target) in [
        ("meshd.service", "/usr/lib/systemd/system/meshd.service"),
        ("meshd-join.service", "/etc/systemd/system/meshd-join.service"),
    ] {
        assert_eq!(
            fs::read_link(wanted.join(name)).expect("enabled"),
            Path::new(target)
        );
        assert!(at("root").join(&target[1..]).exists(), "{target}");
    }
    let no_root = Command::new(example("bare-metal/prepare-root"))
        .args([at("deb"), at("meshd.deb"), at("token")])
        .output()
        .expect("a shell");
    assert!(words(&no_root).contains("no root folder"), "{}", words(&no_root));
}

#[test]
fn what_is_for_terraform_and_packer_is_read_by_their_parser() {
    let Some(parser) = std::env::var_os("MESHD_LAB_HCLFMT") else {
        return skip(
            "Terraform and Packer",
            "MESHD_LAB_HCLFMT is not set: ./test builds it by Go and sets it",
        );
    };
    for file in ["proxmox/meshd.pkr.hcl", "proxmox/main.tf", "hetzner/main.tf"] {
        let text = fs::read(example(file)).expect("an example");
        let output = Command::new(&parser)
            .args(["-check", "-require-no-change"])
            .arg(example(file))
            .output()
            .expect("it starts");
        assert!(
            output.status.success(),
            "{file} is not as `fmt` writes it: {}",
            words(&output)
        );
        let broken = tempfile::NamedTempFile::new().expect("a file");
        fs::write(broken.path(), [&text[..], b"resource {{"].concat()).expect("our own file");
        let output = Command::new(&parser)
            .arg("-check")
            .arg(broken.path())
            .output()
            .expect("it starts");
        assert!(!output.status.success(), "the parser takes anything");
    }
}

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples")
        .join(path)
}

/// An example's folder on a machine.
fn copied(machine: &Machine, name: &str) -> String {
    let to = machine.file(OWN);
    fs::create_dir_all(&to).expect("the machine's own folder");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(example(name))
        .arg(&to)
        .output()
        .expect("cp runs");
    assert!(copied.status.success(), "{}", words(&copied));
    format!("{OWN}/{name}")
}
