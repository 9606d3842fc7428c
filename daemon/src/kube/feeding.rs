//! What a watch tells, into what is known of the cluster.

use super::state::Named;
use meshd_core::policy::{Cluster, Full, Name, Namespace, Pod, Policy};

/// A kind of objects that a [`Cluster`] knows.
pub trait Fed: Named + Sized {
    /// These are all.
    fn replace(cluster: &mut Cluster, all: Vec<Self>) -> Result<(), Full>;
    /// One is so.
    fn put(cluster: &mut Cluster, one: Self) -> Result<(), Full>;
    /// One is gone.
    fn drop(cluster: &mut Cluster, name: &Name);
}

impl Fed for Namespace {
    fn replace(cluster: &mut Cluster, all: Vec<Self>) -> Result<(), Full> {
        cluster.replace_namespaces(all)
    }

    fn put(cluster: &mut Cluster, one: Self) -> Result<(), Full> {
        cluster.upsert_namespace(one)
    }

    fn drop(cluster: &mut Cluster, name: &Name) {
        cluster.remove_namespace(&name.name);
    }
}

impl Fed for Pod {
    fn replace(cluster: &mut Cluster, all: Vec<Self>) -> Result<(), Full> {
        cluster.replace_pods(all)
    }

    fn put(cluster: &mut Cluster, one: Self) -> Result<(), Full> {
        cluster.upsert_pod(one)
    }

    fn drop(cluster: &mut Cluster, name: &Name) {
        cluster.remove_pod(name);
    }
}

impl Fed for Policy {
    fn replace(cluster: &mut Cluster, all: Vec<Self>) -> Result<(), Full> {
        cluster.replace_policies(all)
    }

    fn put(cluster: &mut Cluster, one: Self) -> Result<(), Full> {
        cluster.upsert_policy(one)
    }

    fn drop(cluster: &mut Cluster, name: &Name) {
        cluster.remove_policy(name);
    }
}
