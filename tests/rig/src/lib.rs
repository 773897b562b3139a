//! What end-to-end tests and benchmarks share.
//!
//! [`server`] starts the program as a process of its own, stops it or kills it; [`device`] makes events as a phone does;
//! [`load`] posts many of them at a fixed rate and keeps exact books of what was acknowledged; [`process`] reads what a
//! process cost; [`cluster`] puts several of them on real Kafka and Postgres servers. Nothing here knows how the server works inside: it speaks HTTP and reads `run.json`.

#![expect(clippy::disallowed_methods, reason = "a device has a clock of its own")]

pub mod cluster;
pub mod device;
pub mod load;
pub mod process;
pub mod server;

pub use device::Device;
pub use server::{Reply, Server};
