//! The lake's own threads: requests to a store run there, and whoever needs an answer waits for it, from wherever it is.

use std::io;
use std::sync::mpsc;

use tokio::runtime::{Builder, Handle, Runtime, RuntimeFlavor};
use tokio::task::{JoinHandle, block_in_place};

/// Threads that wait for the network.
#[derive(Debug)]
pub(super) struct Threads(Option<Runtime>);

impl Threads {
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(2).thread_name("lake").enable_all().build()?;
        Ok(Self(Some(runtime)))
    }

    /// Begins some work, whose end may be awaited on any runtime, also on one that cannot do I/O.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = io::Result<T>> + Send + 'static,
    ) -> io::Result<JoinHandle<io::Result<T>>> {
        Ok(self.0.as_ref().ok_or_else(ended)?.spawn(work))
    }

    /// Does some work and waits for its end, which the work itself bounds in time.
    ///
    /// Called on a thread of a runtime, that thread's other tasks go on elsewhere meanwhile.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = io::Result<T>> + Send + 'static,
    ) -> io::Result<T> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.spawn(async move {
            // Nobody waits any more if this fails.
            let _ = sender.send(work.await);
            Ok(())
        })?;
        let receive = || receiver.recv().unwrap_or_else(|_| Err(ended()));
        match Handle::try_current().map(|handle| handle.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => block_in_place(receive),
            _ => receive(),
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // A runtime may be dropped on a thread of another one only without waiting.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn ended() -> io::Error {
    io::Error::other("the work was given up: the lake's threads end")
}
