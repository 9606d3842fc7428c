mod bytes;
mod honest;
mod malicious;
mod places;
mod properties;
mod restored;
mod world;
