//! Our nftables table and interface settings, in a namespace of the test; and a full disk.

mod support;

use std::fs;
use std::io::IoSlice;
use std::path::Path;

use meshd_net::file::write_atomic;
use meshd_net::netlink::Family;
use meshd_net::nft::{Nft, NftError, OwnTable};
use meshd_net::sysctl::{Changes, Setting};
use meshd_net::udp::{SendError, Transmit, UdpConfig, UdpSocket};
use support::Namespace;

/// A namespace and the program, where both can be had.
fn with_nft() -> Option<(Namespace, Nft)> {
    let namespace = Namespace::new()?;
    match Nft::find() {
        Ok(nft) => Some((namespace, nft)),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}

#[test]
fn our_table_is_replaced_listed_and_deleted_and_others_stay() {
    let Some((namespace, nft)) = with_nft() else {
        return;
    };
    namespace.block_on(|| async {
        nft.run("table ip foreign {\n chain c { }\n}\n").await.unwrap();
        let table = OwnTable::new("test").unwrap();
        assert_eq!(table.list(&nft).await.unwrap(), None);
        table.delete(&nft).await.unwrap();
        for port in [1111, 2222] {
            let body = format!("chain out {{ type filter hook output priority 0; udp dport {port} drop; }}");
            table.replace(&nft, &body).await.unwrap();
            let listed = table.list(&nft).await.unwrap().unwrap();
            assert!(listed.contains(&format!("udp dport {port} drop")), "{listed}");
            assert_eq!(listed.matches("drop").count(), 1, "{listed}");
        }
        let tables = nft.list(&["-j"], &["tables"]).await.unwrap().unwrap();
        assert!(
            tables.starts_with('{') && tables.contains("\"meshd-test\"") && tables.contains("\"foreign\"")
        );

        // A refusal carries nft's words and changes nothing.
        let error = table.replace(&nft, "chain out { nonsense }").await.unwrap_err();
        assert!(
            matches!(&error, NftError::Refused { words } if words.contains("nonsense")),
            "{error}"
        );
        assert!(table.list(&nft).await.unwrap().unwrap().contains("2222"));
        let error = table.replace(&nft, "} table ip foreign {").await.unwrap_err();
        assert!(matches!(error, NftError::NotOwn(_)), "{error}");

        // What a local filter drops is told apart from other trouble.
        let socket = UdpSocket::bind(&UdpConfig::new("127.0.0.1:0".parse().unwrap())).unwrap();
        let parts = [IoSlice::new(b"x")];
        let to = |port| Transmit::new(format!("127.0.0.1:{port}").parse().unwrap(), &parts);
        assert_eq!(socket.send_segments(&to(2222)), Err(SendError::Forbidden));
        socket.send_segments(&to(1111)).unwrap();

        table.delete(&nft).await.unwrap();
        assert_eq!(table.list(&nft).await.unwrap(), None);
        assert!(
            nft.list(&[], &["table", "ip", "foreign"])
                .await
                .unwrap()
                .is_some()
        );
    });
}

#[test]
fn a_program_that_is_not_there_or_hangs_is_an_error() {
    support::on_runtime(async {
        let missing = Nft::at(Path::new("/nonexistent/nft"))
            .run("")
            .await
            .unwrap_err()
            .to_string();
        assert!(missing.contains("/nonexistent/nft"), "{missing}");
        // A program that reads nothing and says nothing: its exit status is what is left to tell.
        let silent = Nft::at(Path::new("/bin/false"))
            .run(&"x".repeat(1 << 20))
            .await
            .unwrap_err()
            .to_string();
        assert!(silent.contains("exit status"), "{silent}");
    });
}

#[test]
fn settings_of_an_interface_are_changed_and_put_back() {
    let (Some(namespace), Some(other)) = (Namespace::new(), Namespace::new()) else {
        return;
    };
    namespace.connect(&other, "v0", &["10.5.0.1/24"], &[]);
    namespace.run(|| {
        let forwarding = |family| Setting::new(family, "v0", "forwarding");
        let global = Setting::new(Family::V4, "lo", "forwarding");
        let before = [forwarding(Family::V4).read().unwrap(), global.read().unwrap()];
        assert_eq!(before, ["0", "0"]);
        let mut changes = Changes::default();
        for family in Family::BOTH {
            changes.set(forwarding(family), "1").unwrap();
            changes.set(forwarding(family), "1").unwrap();
            assert_eq!(forwarding(family).read().unwrap(), "1");
        }
        assert_eq!(global.read().unwrap(), "0");
        // Over a restart, and again changed: the first value counts.
        let mut changes = Changes::from_list(changes.list().to_vec());
        changes.set(forwarding(Family::V4), "0").unwrap();
        changes.set(forwarding(Family::V4), "1").unwrap();
        assert_eq!(changes.list().len(), 2);
        assert!(changes.restore().is_empty() && changes.list().is_empty());
        for family in Family::BOTH {
            assert_eq!(forwarding(family).read().unwrap(), "0");
        }
        let gone = Setting::new(Family::V4, "v9", "forwarding");
        assert!(gone.set("1").unwrap_err().is_missing());
        assert!(
            Changes::from_list(vec![(gone, "0".to_owned())])
                .restore()
                .is_empty()
        );
    });
}

#[test]
fn a_full_disk_leaves_the_old_file() {
    let directory = tempfile::tempdir().unwrap();
    let mounted = std::thread::scope(|scope| {
        scope
            .spawn(|| fill_a_small_disk(directory.path()))
            .join()
            .unwrap()
    });
    if let Err(error) = mounted {
        eprintln!("skipped: cannot mount a file system here: {error}");
    }
}

/// Mounts a tmpfs of 64 KiB that only this thread sees, and writes to it until it is full.
fn fill_a_small_disk(directory: &Path) -> std::io::Result<()> {
    let check = |done: i32| {
        if done == 0 {
            Ok(())
        } else {
            Err(std::io::Error::last_os_error())
        }
    };
    // SAFETY: unshare gives the calling thread, which ends after this, a mount namespace of its own.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    let mount = |source: &std::ffi::CStr,
                 target: &Path,
                 kind: &std::ffi::CStr,
                 flags,
                 data: Option<&std::ffi::CStr>| {
        let target = std::ffi::CString::new(target.as_os_str().as_encoded_bytes()).unwrap();
        let data = data.map_or(std::ptr::null(), |data| data.as_ptr().cast());
        // SAFETY: all strings end with a zero and live through the call.
        check(unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data) })
    };
    mount(
        c"none",
        Path::new("/"),
        c"none",
        libc::MS_REC | libc::MS_PRIVATE,
        None,
    )?;
    mount(c"tmpfs", directory, c"tmpfs", 0, Some(c"size=64k"))?;
    let path = directory.join("state");
    write_atomic(&path, b"the old state", 0o600).unwrap();
    let error = write_atomic(&path, &vec![1; 100 << 10], 0o600).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(fs::read(&path).unwrap(), b"the old state");
    assert_eq!(
        fs::read_dir(directory).unwrap().count(),
        1,
        "nothing half written is left"
    );
    Ok(())
}
