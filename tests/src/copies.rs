//! Files written to storage and read back from a node's own namespace and from a pod, through a service's address: every byte is
//! compared, and no copy may stand still.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use crate::machine::Machine;
use crate::pods::Pod;
use crate::process::Process;
use crate::report::{figure, keeps};
use crate::storage::{self, Protocol, Watch};

/// The longest that a copy may stand still.
const PAUSE: Duration = Duration::from_secs(3);
/// For a copy of the long kind on a busy computer.
const BOUND: Duration = Duration::from_secs(900);

/// Starts a program somewhere.
type Start<'a> = &'a dyn Fn(&[&str]) -> Process;

/// Who copies, and whither.
#[derive(Clone, Copy)]
pub struct Copies<'a> {
    /// A node.
    pub client: &'a Machine,
    /// A pod on it.
    pub pod: &'a Pod,
    /// The node on which what is written ends up.
    pub server: &'a Machine,
    /// The service that leads there.
    pub service: IpAddr,
}

impl Copies<'_> {
    /// Makes the file that is copied, and a disk for it.
    pub fn prepare(&self, protocol: Protocol, bytes: u64) {
        storage::fill(&storage::file(self.client, "data"), bytes);
        protocol.make_disk(&storage::file(self.server, "disk"), bytes);
    }

    /// Writes and reads back, from the node and from the pod.
    ///
    /// # Panics
    /// If a byte differs, or a copy stands still for 3 s.
    #[track_caller]
    pub fn run(&self, protocol: Protocol, what: &str) {
        let (a, b) = (self.client, self.server);
        let (data, back) = (storage::file(a, "data"), storage::file(a, "back"));
        let node = |argv: &[&str]| a.spawn(argv, &[]);
        let pod = |argv: &[&str]| self.pod.spawn(argv);
        let places: [(&str, Start<'_>); 2] = [("the node", &node), ("a pod", &pod)];
        for ((place, run), name) in places.into_iter().zip(protocol.disks()) {
            let disk = storage::file(b, name);
            let copy = |way: &str, argv: &[String], target: &Path| {
                let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
                let watch = storage::watch(&run(&argv), target, BOUND);
                tell(&format!("{what} {way} {place}"), watch);
            };
            copy("from", &protocol.write(self.service, name, "data"), &disk);
            copy("back to", &protocol.read(self.service, name, "back"), &back);
            assert!(
                storage::same(&data, &disk),
                "{what}: what is stored is what was written"
            );
            assert!(
                storage::same(&data, &back),
                "{what}: what is read is what was written"
            );
            fs::remove_file(&back).expect("it is there");
            protocol.make_disk(&disk, fs::metadata(&data).expect("it is there").len());
        }
    }
}

#[track_caller]
fn tell(what: &str, watch: Watch) {
    let (took, pause) = (watch.took.as_secs_f64(), watch.longest_pause.as_millis());
    figure(
        &format!("{what} in {took:.1} s, longest pause"),
        format!("{pause} ms"),
        "3,000 ms",
    );
    assert!(keeps(watch.longest_pause, PAUSE), "{what}: {watch:?}");
}
