//! End-to-end tests: the program as its users meet it, over HTTP, with real files and real clients.
//!
//! A test starts servers of its own on free ports and temporary folders; nothing is shared, so all run side by side.

mod uploads;

use rig::server::Start;

/// A server of the program under test.
fn start() -> Start {
    Start::new(env!("CARGO_BIN_EXE_streamgauge"))
}
