//! The Linux edge of meshd. It does what the core decides and knows nothing of the protocol: it moves packets in
//! batches between the kernel and buffers of the caller, and it changes the machine's network configuration and puts
//! it back. It is the only crate of the workspace with `unsafe`; each block says why it is sound.
//!
//! | module | what it is | threads or tasks |
//! |---|---|---|
//! | [`tun`] | the TUN device: super-packets with their virtio-net header, several queues | plain, non-blocking |
//! | [`udp`] | sockets that send and receive batches and segments; multicast for beacons | plain, non-blocking |
//! | [`poll`] | epoll and a waker for the packet threads | plain |
//! | [`netlink`] | interfaces, addresses, routes, rules: ask, change, watch | tokio |
//! | [`wanted`] | what is wanted of these, compared and put right | tokio |
//! | [`interfaces`] | what the machine has, in one look | tokio |
//! | [`nft`] | our nftables tables, by the `nft` program | tokio |
//! | [`nft_changes`] | that somebody changed nftables rules | tokio |
//! | [`tcp`] | options of connections that are carried for others | plain |
//! | [`sysctl`] | settings of single interfaces, put back later | plain |
//! | [`fdstore`], [`holder`] | descriptors that outlive the process: systemd's store, or a process of our own | plain |
//! | [`facts`] | what tells this machine from others | plain |
//! | [`mod@file`] | files that are whole or not there; locks | plain |
//! | [`memory`], [`settle`] | code and heap that are not needed now are not resident | plain; a task |
//! | [`lease`] | file leases: nobody writes a file while we replace it | plain |
//!
//! On the packet path ([`tun`], [`udp`], [`poll`]) nothing is allocated, logged or formatted per packet, and errors are
//! `Copy`. The other modules belong to the control side: their errors are sentences for a person.
#![deny(clippy::undocumented_unsafe_blocks)]

mod descriptors;
pub mod facts;
pub mod fdstore;
pub mod file;
pub mod holder;
pub mod interfaces;
pub mod lease;
pub mod memory;
pub mod netlink;
pub mod nft;
pub mod nft_changes;
pub mod poll;
pub mod raw;
pub mod settle;
pub mod sysctl;
pub mod tcp;
pub mod tun;
pub mod udp;
pub mod wanted;
