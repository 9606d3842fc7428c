//! Real Kubernetes on the mesh: each test is a cluster of three nodes on three networks, but for those of the CNI reference client.

mod authority;
mod balancers;
mod bed;
mod chains;
mod crowd;
mod homes;
mod k3s;
mod k3s_many;
mod kinds;
mod kubeadm;
mod kubeadm_lost;
mod kubeadm_many;
mod labels;
mod nodes;
mod pods;
mod policies;
mod services;
mod storm;
mod strangers;
mod trouble;
mod watch;
