//! A client that writes to the API server without a pause, each time over a new connection, and notes what was acknowledged.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use data_encoding::BASE64;
use serde_json::Value;

use super::Kubeadm;
use super::kubeadm::ADMIN;
use crate::process::Process;

/// Where its credentials are on the machine.
const FOLDER: &str = "/etc/writer";
/// One ConfigMap after the other; a line for each: its name, the answer's code, the time in s.
const SCRIPT: &str = r#"
cd /etc/writer
n=0
while :; do
  n=$((n + 1))
  body="{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"write-$n\"},\"data\":{\"n\":\"$n\"}}"
  code=$(curl --silent --output /dev/null --write-out '%{http_code}' --max-time 1.5 --cacert ca --cert certificate --key key \
    --header 'Content-Type: application/json' --data "$body" "$1/api/v1/namespaces/default/configmaps")
  echo "write-$n $code $EPOCHREALTIME"
done
"#;

/// The client, while it lives.
pub struct Writer(Process);

impl Writer {
    /// Starts it on a machine, with the administrator's credentials from a control plane.
    pub fn start(cluster: &Kubeadm, control_plane: &str, on: &str) -> Self {
        let config = [
            "kubectl",
            "--kubeconfig",
            ADMIN,
            "config",
            "view",
            "--raw",
            "-o",
            "json",
        ];
        let config = cluster.on(control_plane, &config);
        let config: Value = serde_json::from_slice(&config.stdout).expect("kubectl gives JSON");
        let (server, user) = (&config["clusters"][0]["cluster"], &config["users"][0]["user"]);
        let machine = cluster.node(on).mesh().machine();
        fs::create_dir_all(machine.file(FOLDER)).expect("the machine's own folder");
        for (name, data) in [
            ("ca", &server["certificate-authority-data"]),
            ("certificate", &user["client-certificate-data"]),
            ("key", &user["client-key-data"]),
        ] {
            let text = BASE64.decode(data.as_str().expect("it is embedded").as_bytes());
            let file = machine.file(&format!("{FOLDER}/{name}"));
            fs::write(file, text.expect("kubectl writes base64")).expect("the machine's own file");
        }
        let server = server["server"].as_str().expect("a cluster has a server");
        Self(machine.spawn(&["bash", "-c", SCRIPT, "writer", server], &[]))
    }

    /// What was acknowledged so far, and when, in s of unix time.
    pub fn acknowledged(&self) -> Vec<(String, f64)> {
        let log = self.0.log();
        let line = |line: &str| {
            let mut fields = line.split(' ');
            let (name, code, time) = (fields.next()?, fields.next()?, fields.next()?);
            (code == "201").then(|| Some((name.to_owned(), time.parse().ok()?)))?
        };
        log.lines().filter_map(line).collect()
    }

    /// The longest time without an acknowledgement from this one on, in s of unix time.
    pub fn longest_gap(&self, since: f64) -> Duration {
        let all = self.acknowledged();
        let gaps = all
            .windows(2)
            .filter(|two| two[1].1 >= since)
            .map(|two| two[1].1 - two[0].1);
        Duration::from_secs_f64(gaps.fold(0.0, f64::max))
    }

    /// Names that were acknowledged and are not in the cluster.
    pub fn lost(&self, cluster: &Kubeadm, control_plane: &str) -> Vec<String> {
        let acknowledged = self.acknowledged();
        let list = cluster.get(control_plane, &["configmaps", "--namespace", "default"]);
        let list = list.expect("the ConfigMaps are listed");
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let held: BTreeSet<&str> = items
            .iter()
            .filter_map(|one| one["metadata"]["name"].as_str())
            .collect();
        let lost = acknowledged.into_iter().map(|(name, _)| name);
        lost.filter(|name| !held.contains(name.as_str())).collect()
    }
}
