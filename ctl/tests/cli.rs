//! The program as it is run: exit codes, where it writes, and its sentences.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn meshctl(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshctl"));
    for name in [
        "MESHD_SOCKET",
        "MESHRELAY_SOCKET",
        "MESHRELAY_URL",
        "MESHRELAY_PIN",
        "MESHCTL_ADMIN_KEY_FILE",
    ] {
        command.env_remove(name);
    }
    command.args(args).stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    meshctl(args).output().unwrap()
}

fn fails(args: &[&str], exit: i32, parts: &[&str]) {
    let output = run(args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(exit), "{args:?}: {said}");
    assert!(output.stdout.is_empty(), "{args:?} wrote to stdout");
    for part in parts {
        assert!(said.contains(part), "{args:?}: {said}");
    }
}

/// A word whose checksum is right: version 1, all fields zero but one address, `a.example:443`.
fn token() -> String {
    use meshd_core::keys::{CoordinatorPublic, JoinSecret, RootPublic};
    let token = meshd_core::token::JoinToken {
        id: [1; 8].into(),
        secret: JoinSecret::from_seed(&[2; 32]),
        coordinator: CoordinatorPublic::from_bytes([3; 32]),
        root: RootPublic::from_bytes([4; 32]),
        addresses: vec!["a.example:443".parse().unwrap()],
    };
    token.encode().unwrap().to_string()
}

#[test]
fn a_daemon_that_does_not_run_is_exit_code_3_and_says_how_to_start_it() {
    let token = token();
    for args in [
        &["status", "--socket", "/nonexistent/meshd.sock"][..],
        &["--socket", "/nonexistent/meshd.sock", "join", &token],
        &["down", "--socket", "/nonexistent/meshd.sock"],
    ] {
        fails(
            args,
            3,
            &[
                "cannot reach /nonexistent/meshd.sock",
                "systemctl start meshd",
                "`meshd run`",
            ],
        );
    }
    fails(
        &["network", "list", "--relay-socket", "/nonexistent/admin.sock"],
        3,
        &[
            "cannot reach /nonexistent/admin.sock",
            "systemctl start meshrelay",
            "--relay URL --admin-key-file",
        ],
    );
}

#[test]
fn the_environment_names_the_sockets() {
    let output = meshctl(&["status"])
        .env("MESHD_SOCKET", "/nonexistent/a")
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent/a"));
    let output = meshctl(&["node", "list"])
        .env("MESHRELAY_SOCKET", "/nonexistent/b")
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent/b"));
}

#[test]
fn a_mistyped_token_is_refused_before_anything_is_asked() {
    let good = token();
    let flipped = good.replace("mesh1", "mesh1a");
    fails(&["join", &flipped, "--socket", "/nonexistent"], 2, &["checksum"]);
    fails(
        &[
            "template",
            "seal",
            &good[..good.len() - 3],
            "--socket",
            "/nonexistent",
        ],
        2,
        &["checksum"],
    );
    fails(&["join", "hello", "--socket", "/nonexistent"], 2, &["mesh1"]);
    fails(
        &["join", "--token-file", "/nonexistent/token"],
        2,
        &["/nonexistent/token", "No such file"],
    );
}

#[test]
fn a_token_comes_from_a_file_or_from_stdin_with_white_space_around() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, format!("  {}\n", token())).unwrap();
    // the token is good: what fails is the connection
    fails(
        &[
            "join",
            "--token-file",
            file.to_str().unwrap(),
            "--socket",
            "/nonexistent",
        ],
        3,
        &["cannot reach"],
    );
    for args in [
        &["join", "-", "--socket", "/nonexistent"],
        &["join", "--token-file=-", "--socket", "/nonexistent"],
    ] {
        let mut child = meshctl(args)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(format!("{}\n", token()).as_bytes())
            .unwrap();
        assert_eq!(
            child.wait_with_output().unwrap().status.code(),
            Some(3),
            "{args:?}"
        );
    }
}

#[test]
fn errors_are_json_where_answers_are() {
    let output = run(&["status", "--json", "--socket", "/nonexistent"]);
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["code"], "unreachable");
    assert!(error["message"].as_str().unwrap().contains("/nonexistent"));
}

#[test]
fn a_relay_elsewhere_needs_the_key_and_the_pin() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("prod.key");
    fails(
        &["node", "list", "--relay", "https://vpn.example.net"],
        2,
        &["--admin-key-file"],
    );
    let with_key = [
        "node",
        "list",
        "--relay",
        "https://vpn.example.net",
        "--admin-key-file",
    ];
    fails(
        &[&with_key[..], &[key.to_str().unwrap()]].concat(),
        2,
        &["prod.key", "cannot be read"],
    );
    let file = format!("meshd admin key 1\nnetwork prod\nroot {}\n", "01".repeat(32));
    std::fs::write(&key, file).unwrap();
    fails(
        &[&with_key[..], &[key.to_str().unwrap()]].concat(),
        2,
        &["chmod 600"],
    );
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&key, private).unwrap();
    fails(
        &[&with_key[..], &[key.to_str().unwrap()]].concat(),
        2,
        &["--relay-pin"],
    );
    let wrong_url = [
        "node",
        "list",
        "--relay",
        "ftp://x y",
        "--admin-key-file",
        key.to_str().unwrap(),
    ];
    fails(&wrong_url, 2, &["https://HOST"]);
}

#[test]
fn a_network_that_does_not_come_to_be_leaves_no_key_behind() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("prod.key");
    let create = [
        "network",
        "create",
        "prod",
        "--cidr",
        "10.77.0.0/16",
        "--relay-socket",
        "/nonexistent",
    ];
    let create = [&create[..], &["--admin-key-file", key.to_str().unwrap()]].concat();
    fails(&create, 3, &["cannot reach"]);
    assert!(!key.exists());
    std::fs::write(&key, "precious").unwrap();
    fails(&create, 2, &["exists already"]);
    assert_eq!(std::fs::read_to_string(&key).unwrap(), "precious");
}

#[test]
fn completions_and_manual_pages_are_made() {
    for (shell, mark) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef meshctl"),
        ("fish", "complete -c meshctl"),
    ] {
        let output = run(&["completion", shell]);
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains(mark), "{shell}");
    }
    assert!(String::from_utf8_lossy(&run(&["man"]).stdout).contains(".TH"));
    let dir = tempfile::tempdir().unwrap();
    assert!(run(&["man", dir.path().to_str().unwrap()]).status.success());
    let page = |name: &str| Path::new(dir.path()).join(name).exists();
    assert!(page("meshctl.1") && page("meshctl-token-create.1"));
}

#[test]
fn versions_are_told_with_or_without_a_daemon() {
    let output = run(&["version", "--json", "--socket", "/nonexistent"]);
    let versions: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(versions["meshctl"], env!("CARGO_PKG_VERSION"));
    assert!(versions["meshd"].is_null() && output.status.success());
}

#[test]
fn a_reader_that_is_gone_is_no_error() {
    let mut child = meshctl(&["completion", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
