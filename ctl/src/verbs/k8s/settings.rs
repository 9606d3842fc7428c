//! A person's own settings: files of YAML documents.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use crate::cli::OfNetwork;
use crate::failure::Failure;

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// What `init` and `join` have in common.
#[derive(Debug, Args)]
pub struct Settings {
    #[command(flatten)]
    pub network: OfNetwork,
    /// Print every file that would be written, and what would be run; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Settings of your own (YAML), merged over those of the same `kind`; may be given several times
    #[arg(long, value_name = "FILE")]
    pub patch: Vec<PathBuf>,
    /// Go on although control planes are too far apart
    #[arg(long)]
    pub force: bool,
    /// Pods' host ports on every address of this machine, public ones too [default: on its mesh addresses]
    #[arg(long)]
    pub public_host_ports: bool,
    /// Checks that kubeadm is to leave out, by its own names for them
    #[arg(long, value_name = "CHECK", value_delimiter = ',')]
    pub ignore_preflight_errors: Vec<String>,
}

impl Settings {
    /// The documents of all files, in their order.
    pub fn patches(&self) -> Result<Vec<Value>, Failure> {
        let mut all = Vec::new();
        for file in &self.patch {
            all.extend(documents(file)?);
        }
        Ok(all)
    }
}

/// Whether the last document of a kind that says anything of a setting says this.
pub fn says(patches: &[Value], kind: &str, setting: &str, wanted: &Value) -> bool {
    let of_kind = patches.iter().filter(|document| document["kind"] == kind);
    of_kind
        .filter_map(|document| document.get(setting))
        .next_back()
        .is_some_and(|value| value == wanted)
}

fn documents(file: &Path) -> Result<Vec<Value>, Failure> {
    let name = file.display();
    let unreadable = |error: std::io::Error| Failure::usage(format!("cannot read {name}: {error}"));
    if fs::metadata(file).map_err(unreadable)?.len() > MAX_FILE {
        return Err(Failure::usage(format!("{name} is longer than settings are")));
    }
    let text = fs::read_to_string(file).map_err(unreadable)?;
    let parsed = serde_saphyr::from_multiple::<Value>(&text);
    let all =
        parsed.map_err(|error| Failure::usage(format!("{name} is no YAML that can be read: {error}")))?;
    Ok(all.into_iter().filter(|document| !document.is_null()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_file_of_several_documents_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("own.yaml");
        let text = "# mine\n---\nkind: KubeletConfiguration\nfailSwapOn: false\nmaxPods: 250\n---\nkind: A\nlist: [1, \"2\"]\n";
        fs::write(&file, text).unwrap();
        let all = documents(&file).unwrap();
        assert_eq!(
            all,
            [
                json!({"kind": "KubeletConfiguration", "failSwapOn": false, "maxPods": 250}),
                json!({"kind": "A", "list": [1, "2"]}),
            ]
        );
        assert!(says(&all, "KubeletConfiguration", "failSwapOn", &json!(false)));
        assert!(!says(&all, "KubeletConfiguration", "failCgroupV1", &json!(false)));
        fs::write(&file, "a: [").unwrap();
        let refused = documents(&file).unwrap_err();
        assert!(refused.message().contains("no YAML"), "{}", refused.message());
        let missing = documents(&folder.path().join("none")).unwrap_err();
        assert!(missing.message().contains("cannot read"), "{}", missing.message());
    }
}
