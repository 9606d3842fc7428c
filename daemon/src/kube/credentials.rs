//! A kubeconfig: which are taken, how one is kept, and the client that it makes.
//!
//! meshd runs no program for a kubeconfig (`exec`), and speaks to no API server that does not prove itself. Files that a
//! kubeconfig names (`tokenFile`, certificates) are read where they are, again and again: whoever rotates them is followed.

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A kubeconfig is no larger, in bytes.
const MAX: usize = 256 * 1024;
/// A connection to the API server is made within this time.
const CONNECT: Duration = Duration::from_secs(5);
/// Longer than the longest silence of a watch.
const READ: Duration = Duration::from_secs(90);

/// Why a kubeconfig is not taken: a sentence. Nothing of what it holds is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(String);

fn unfit<T>(sentence: impl Into<String>) -> Result<T, Unfit> {
    Err(Unfit(sentence.into()))
}

/// The form on disk.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct Stored {
    kubeconfig: String,
    #[zeroize(skip)]
    folder: PathBuf,
}

/// A kubeconfig that was taken.
#[derive(Clone)]
pub struct Credentials {
    kubeconfig: Kubeconfig,
    server: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Of a kubeconfig's text; names of files in it are relative to `folder`.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, Unfit> {
        if text.len() > MAX {
            return unfit(format!(
                "it has {} bytes; no kubeconfig has more than {MAX}",
                text.len()
            ));
        }
        // the parser's own words may quote the text
        let Ok(mut kubeconfig) = Kubeconfig::from_yaml(text) else {
            return unfit("it is no kubeconfig: not YAML, or not of its form");
        };
        let server = only_the_current(&mut kubeconfig)?;
        resolve(&mut kubeconfig, folder);
        Ok(Self { kubeconfig, server })
    }

    /// For the disk.
    pub fn encode(text: &str, folder: &Path) -> zeroize::Zeroizing<Vec<u8>> {
        let stored = Stored {
            kubeconfig: text.to_owned(),
            folder: folder.to_owned(),
        };
        // two strings always serialise
        zeroize::Zeroizing::new(serde_json::to_vec(&stored).unwrap_or_default())
    }

    /// What [`Self::encode`] gave.
    ///
    /// # Errors
    /// Where it is no such form, or of a kind that is not taken any more.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unfit> {
        let stored: Result<Stored, _> = serde_json::from_slice(bytes);
        let Ok(stored) = stored else {
            return unfit("the file in the state folder cannot be read");
        };
        Self::parse(&stored.kubeconfig, &stored.folder)
    }

    /// The API server's URL.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// A client, with the files that the kubeconfig names as they are now.
    ///
    /// # Errors
    /// Which of them cannot be used, as a sentence.
    pub async fn client(&self) -> Result<Client, Unfit> {
        let refused = |error: String| Unfit(format!("the kubeconfig cannot be used: {error}"));
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(self.kubeconfig.clone(), &options).await;
        let mut config = config.map_err(|error| refused(error.to_string()))?;
        config.connect_timeout = Some(CONNECT);
        config.read_timeout = Some(READ);
        config.reset_reader_on_write = true;
        config.default_retry = false;
        Client::try_from(config).map_err(|error| refused(error.to_string()))
    }
}

/// Leaves the current context's cluster and user; the URL of its API server.
fn only_the_current(kubeconfig: &mut Kubeconfig) -> Result<String, Unfit> {
    let Some(wanted) = kubeconfig.current_context.clone() else {
        return unfit("it has no current-context: `kubectl config use-context NAME --kubeconfig FILE`");
    };
    kubeconfig.contexts.retain(|context| context.name == wanted);
    let Some(context) = kubeconfig.contexts.first().and_then(|one| one.context.clone()) else {
        return unfit(format!(
            "its current-context \"{wanted}\" is none of its contexts"
        ));
    };
    kubeconfig
        .clusters
        .retain(|cluster| cluster.name == context.cluster);
    kubeconfig
        .auth_infos
        .retain(|user| Some(&user.name) == context.user.as_ref());
    let Some(cluster) = kubeconfig.clusters.first().and_then(|one| one.cluster.as_ref()) else {
        return unfit(format!("its context \"{wanted}\" names no cluster that it has"));
    };
    let server = cluster.server.clone().unwrap_or_default();
    if !server.starts_with("https://") {
        return unfit(format!(
            "its server \"{server}\" is not https://...: credentials would be sent in the clear"
        ));
    }
    if cluster.insecure_skip_tls_verify == Some(true) {
        return unfit("it says insecure-skip-tls-verify: the credentials would go to whoever answers");
    }
    if cluster.proxy_url.is_some() {
        return unfit("it names a proxy (proxy-url), and meshd speaks to the API server itself");
    }
    let Some(user) = kubeconfig
        .auth_infos
        .first()
        .and_then(|one| one.auth_info.as_ref())
    else {
        return unfit(format!("its context \"{wanted}\" names no user that it has"));
    };
    if user.exec.is_some() || user.auth_provider.is_some() {
        return unfit(
            "its user gets credentials from a program (exec, auth-provider), and meshd runs none: use a ServiceAccount's token, \
             a tokenFile or a client certificate",
        );
    }
    let token = user.token.is_some() || user.token_file.is_some();
    let certificate = user.client_certificate.is_some() || user.client_certificate_data.is_some();
    if !token && !certificate {
        return unfit("its user has neither token, tokenFile nor client certificate");
    }
    Ok(server)
}

/// Names of files, made absolute.
fn resolve(kubeconfig: &mut Kubeconfig, folder: &Path) {
    let absolute = |file: &mut Option<String>| {
        if let Some(file) = file {
            *file = folder.join(&*file).to_string_lossy().into_owned();
        }
    };
    for cluster in kubeconfig
        .clusters
        .iter_mut()
        .filter_map(|one| one.cluster.as_mut())
    {
        absolute(&mut cluster.certificate_authority);
    }
    for user in kubeconfig
        .auth_infos
        .iter_mut()
        .filter_map(|one| one.auth_info.as_mut())
    {
        absolute(&mut user.token_file);
        absolute(&mut user.client_certificate);
        absolute(&mut user.client_key);
    }
}
