//! Room on the disks that this process fills.

use std::path::{Path, PathBuf};

use prometheus::{IntGaugeVec, Opts, Registry};

/// A file system, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Space {
    /// What this process may still fill.
    pub(crate) free: u64,
    /// All of it.
    pub(crate) size: u64,
}

impl Space {
    /// That of the disk on which a folder lies; `None` if the folder is not there.
    pub(crate) fn of(folder: &Path) -> Option<Self> {
        let space = rustix::fs::statvfs(folder).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(space.f_frsize);
        Some(Self { free: bytes(space.f_bavail), size: bytes(space.f_blocks) })
    }
}

/// The same as metrics, looked at at each scrape.
pub(crate) struct DiskMetrics {
    places: Vec<(&'static str, PathBuf)>,
    free: IntGaugeVec,
    size: IntGaugeVec,
}

impl DiskMetrics {
    /// For these folders, by what is in them.
    pub(crate) fn register(
        registry: &Registry,
        places: Vec<(&'static str, PathBuf)>,
    ) -> Result<Self, prometheus::Error> {
        let gauge = |name, help| IntGaugeVec::new(Opts::new(name, help), &["place"]);
        let free = gauge("streamgauge_disk_free_bytes", "Room left on the disk, by what this process keeps on it.")?;
        let size = gauge("streamgauge_disk_size_bytes", "Size of the disk, by what this process keeps on it.")?;
        registry.register(Box::new(free.clone()))?;
        registry.register(Box::new(size.clone()))?;
        Ok(Self { places, free, size })
    }

    /// Takes over what the file systems say now.
    pub(crate) fn observe(&self) {
        for (place, folder) in &self.places {
            let Some(space) = Space::of(folder) else { continue };
            let gauge = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
            self.free.with_label_values(&[place]).set(gauge(space.free));
            self.size.with_label_values(&[place]).set(gauge(space.size));
        }
    }
}
