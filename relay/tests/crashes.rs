//! The real program, killed between any two operations, and on a full disk.

mod world;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use meshd_api::client::{ClientError, unix};
use meshd_api::coordinator::admin::{Done, NetworkInfo, NodeInfo, TokenCreate, TokenCreated, TokenInfo};
use meshd_core::token::JoinToken;
use rand_core::{OsRng, RngCore};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use world::{PATIENCE, TestNode};

/// The program with a state directory of its own.
struct Process {
    command: Vec<String>,
    socket: PathBuf,
    https: SocketAddr,
    child: Child,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn spawn(command: &[String]) -> Child {
    let mut started = Command::new(&command[0]);
    started
        .args(&command[1..])
        .env("RUST_LOG", "warn")
        .stdout(Stdio::null());
    started.spawn().unwrap()
}

impl Process {
    /// Starts it; `before` runs it by another program.
    async fn start(dir: &Path, before: &[&str]) -> Self {
        let https = SocketAddr::new("127.0.0.1".parse().unwrap(), free_port());
        let socket = dir.join("admin.sock");
        let own = [
            env!("CARGO_BIN_EXE_meshrelay"),
            "run",
            "--state-dir",
            dir.join("state").to_str().unwrap(),
            "--public-addr",
            "127.0.0.1",
            "--listen-https",
            &https.to_string(),
            "--listen-udp",
            "127.0.0.1:0",
            "--admin-socket",
            socket.to_str().unwrap(),
        ]
        .map(str::to_owned);
        let command: Vec<String> = before.iter().map(|word| (*word).to_owned()).chain(own).collect();
        let child = spawn(&command);
        let process = Self {
            command,
            socket,
            https,
            child,
        };
        process.ready().await;
        process
    }

    async fn ready(&self) {
        let end = Instant::now() + PATIENCE;
        while self.get::<Vec<NetworkInfo>>("/networks").await.is_err() {
            assert!(Instant::now() < end, "meshrelay does not come up");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    async fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.command);
        self.ready().await;
    }

    async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, ClientError> {
        unix::connect(&self.socket)
            .await?
            .get(&format!("/v1/admin{path}"))
            .await
    }

    async fn post<A: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<A, ClientError> {
        unix::connect(&self.socket)
            .await?
            .post(&format!("/v1/admin{path}"), body)
            .await
    }

    async fn token(&self) -> JoinToken {
        let created: TokenCreated = self
            .post("/networks/prod/tokens", &TokenCreate::default())
            .await
            .unwrap();
        created.token.unwrap().parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A join that may fail in any way: the program may be dead by now.
async fn attempt(token: JoinToken, at: SocketAddr, name: String) -> Option<(TestNode, String)> {
    let mut node = TestNode::new(&token);
    let joined = tokio::spawn(async move {
        let pins = [*node.token.coordinator.as_bytes()];
        let mut connection = meshd_api::client::pinned::connect("127.0.0.1", at.port(), &pins)
            .await
            .ok()?;
        let exporter = connection.exporter()?;
        let proof =
            meshd_core::auth::NodeAuthorization::sign(token.network(), node.id, &exporter, &node.identity);
        connection.authorize(proof.to_string());
        let request = node.join_request(&name);
        let reply: meshd_api::coordinator::node::JoinReply =
            connection.post("/v1/join", &request).await.ok()?;
        let address = reply.ipv4.to_string();
        node.reply = Some(reply);
        Some((node, address))
    });
    joined.await.ok().flatten()
}

#[tokio::test]
async fn what_was_answered_survives_any_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::start(dir.path(), &[]).await;
    let _: NetworkInfo = process
        .post("/networks", &json!({ "name": "prod", "cidr": "10.77.0.0/16" }))
        .await
        .unwrap();
    let token = process.token().await;
    let mut answered: Vec<(TestNode, String)> = Vec::new();
    for round in 0..12 {
        let joins: Vec<_> = (0..8)
            .map(|n| tokio::spawn(attempt(token.clone(), process.https, format!("n{round}-{n}"))))
            .collect();
        tokio::time::sleep(Duration::from_millis(u64::from(OsRng.next_u32() % 60))).await;
        process.kill();
        for join in joins {
            answered.extend(join.await.unwrap());
        }
        process.restart().await;
        let nodes: Vec<NodeInfo> = process.get("/networks/prod/nodes").await.unwrap();
        for (node, address) in &answered {
            let held = nodes.iter().find(|info| info.id == node.id.to_string());
            assert_eq!(
                held.map(|info| info.ipv4.to_string()).as_ref(),
                Some(address),
                "an answered join is lost"
            );
        }
        let tokens: Vec<TokenInfo> = process.get("/networks/prod/tokens").await.unwrap();
        assert_eq!(
            tokens[0].used as usize,
            nodes.len(),
            "uses and nodes are one transaction"
        );
    }
    assert!(!answered.is_empty());
}

/// A state directory on a file system of 3 MiB that exists for this process only.
const ON_SMALL_DISK: &str = r#"mount -t tmpfs -o size=3m,mode=0700 tmpfs "$1" && shift && exec "$@""#;

#[tokio::test]
async fn a_full_disk_is_an_error_and_no_loss_and_space_heals_it() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: a file system of its own needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let before = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        ON_SMALL_DISK,
        "sh",
        state.to_str().unwrap(),
    ];
    let process = Process::start(dir.path(), &before).await;
    let _: NetworkInfo = process
        .post("/networks", &json!({ "name": "prod", "cidr": "10.77.0.0/16" }))
        .await
        .unwrap();
    let token = process.token().await;
    let mut first = TestNode::new(&token);
    first.try_join(process.https, "first").await.unwrap();

    // its own view of the directory, through /proc
    let filler = PathBuf::from(format!(
        "/proc/{}/root{}/filler",
        process.child.id(),
        state.display()
    ));
    fill(&filler);
    let refused = loop {
        // what is preallocated may take some more
        match process
            .post::<TokenCreated>("/networks/prod/tokens", &TokenCreate::default())
            .await
        {
            Ok(_) => {}
            Err(ClientError::Refused { problem, .. }) => break problem,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(refused.code, "store-failed");
    assert!(refused.message.contains("free space"), "{}", refused.message);
    let tokens: Vec<TokenInfo> = process.get("/networks/prod/tokens").await.unwrap();
    let nodes: Vec<NodeInfo> = process.get("/networks/prod/nodes").await.unwrap();
    assert_eq!(nodes.len(), 1, "what is held is still served");

    std::fs::remove_file(&filler).unwrap();
    let _: TokenCreated = process
        .post("/networks/prod/tokens", &TokenCreate::default())
        .await
        .unwrap();
    let after: Vec<TokenInfo> = process.get("/networks/prod/tokens").await.unwrap();
    assert_eq!(after.len(), tokens.len() + 1);
    let done: Done = process
        .post("/networks/prod/nodes/first/remove", &json!({}))
        .await
        .unwrap();
    assert!(done.message.contains("removed"));
}

fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    let mut size = 1 << 16;
    while size > 0 {
        if file.write_all(&vec![1; size]).is_err() {
            size /= 2;
        }
    }
}

#[tokio::test]
async fn a_damaged_state_is_told_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::start(dir.path(), &[]).await;
    let _: NetworkInfo = process
        .post("/networks", &json!({ "name": "prod", "cidr": "10.77.0.0/16" }))
        .await
        .unwrap();
    process.kill();
    let file = dir.path().join("state/relay.redb");
    let whole = std::fs::read(&file).unwrap();
    for (bytes, word) in [
        (&whole[..whole.len() / 2], "damaged"),
        (&whole[..0], "missing or empty"),
    ] {
        std::fs::write(&file, bytes).unwrap();
        let output = Command::new(&process.command[0])
            .args(&process.command[1..])
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success());
        assert!(
            message.contains(word) && message.contains("relay.redb"),
            "{message}"
        );
        assert!(std::fs::read(&file).unwrap() == bytes, "the file was changed");
    }
    std::fs::write(&file, &whole).unwrap();
    process.restart().await;
    let networks: Vec<NetworkInfo> = process.get("/networks").await.unwrap();
    assert_eq!(networks[0].name, "prod");
}

#[tokio::test]
async fn it_says_when_it_is_ready_and_ends_in_peace() {
    let dir = tempfile::tempdir().unwrap();
    let notify = dir.path().join("notify");
    let heard = std::os::unix::net::UnixDatagram::bind(&notify).unwrap();
    heard.set_read_timeout(Some(PATIENCE)).unwrap();
    let variable = format!("NOTIFY_SOCKET={}", notify.display());
    let mut process = Process::start(dir.path(), &["env", &variable]).await;
    let said = |heard: &std::os::unix::net::UnixDatagram| {
        let mut bytes = [0; 256];
        let len = heard.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..len]).into_owned()
    };
    assert!(said(&heard).contains("READY=1"));
    let _: NetworkInfo = process
        .post("/networks", &json!({ "name": "prod", "cidr": "10.77.0.0/16" }))
        .await
        .unwrap();
    let token = process.token().await;
    let node = TestNode::enter(&token, process.https, "a").await;
    let mut stream = node.stream(process.https).await;
    stream.until_names(&["a"]).await;
    let pid = rustix::process::Pid::from_raw(process.child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    stream.until_end().await;
    assert!(said(&heard).contains("STOPPING=1"));
    let end = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = process.child.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < end, "it does not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(status.success(), "{status}");
    let state = dir.path().join("state");
    assert_eq!(mode(&state), 0o700);
    for file in std::fs::read_dir(&state).unwrap() {
        let file = file.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

fn mode(path: &Path) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions()) & 0o777
}

#[test]
fn flags_are_checked_before_anything_opens() {
    let dir = tempfile::tempdir().unwrap();
    let run = |flags: &[&str]| {
        let state = dir.path().join("state");
        let output = Command::new(env!("CARGO_BIN_EXE_meshrelay"))
            .args(["run", "--state-dir", state.to_str().unwrap()])
            .args(flags)
            .output()
            .unwrap();
        assert!(!output.status.success());
        assert!(!state.exists(), "something was made");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(run(&["--public-addr", "0.0.0.0"]).contains("nodes cannot reach this"));
    assert!(run(&["--listen-https", "nonsense"]).contains("--listen-https"));
    assert!(run(&["--config", "/nonexistent.toml"]).contains("cannot read the configuration file"));
}
