mod bytes;
mod honest;
mod malicious;
mod properties;
mod restored;
mod world;
