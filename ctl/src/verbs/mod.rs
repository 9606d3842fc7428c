//! One file for each verb; what belongs to one noun is a folder-less group of small verbs in one file.

pub mod backup;
pub mod clean;
pub mod cni;
mod cni_credentials;
pub mod completion;
pub mod down;
pub mod endpoint;
pub mod exit;
pub mod expose;
mod expose_allow;
pub mod gateway;
pub mod join;
pub mod k8s;
pub mod leave;
pub mod man;
pub mod name;
pub mod netcheck;
pub mod network;
pub mod network_pods;
pub mod node;
pub mod node_grant;
mod pem;
pub mod ping;
mod place;
mod reach;
pub mod relay;
pub mod restore;
pub mod status;
pub mod template;
pub mod token;
pub mod up;
pub mod version;
pub mod why;

mod token_source;
