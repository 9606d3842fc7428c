mod bytes;
mod honest;
mod malicious;
mod places;
mod proofs;
mod properties;
mod restored;
mod world;
