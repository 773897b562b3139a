//! A cluster of one test alone, which `deploy/kafka/kafka` starts.

use std::path::Path;
use std::process::Command;

/// One broker.
pub(super) struct Broker(tempfile::TempDir);

impl Broker {
    /// `is_secured`: it listens a second time, with TLS and SASL.
    pub(super) fn start(is_secured: bool) -> Self {
        let broker = Self(tempfile::tempdir().unwrap());
        broker.kafka("start", if is_secured { &["1", "secure"] } else { &["1"] });
        broker
    }

    pub(super) fn kafka(&self, verb: &str, rest: &[&str]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/kafka/kafka");
        let output = Command::new(script).arg(verb).arg(self.0.path()).args(rest).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a file of the cluster says.
    pub(super) fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.path().join(name)).unwrap().trim().to_owned()
    }

    pub(super) fn bootstrap(&self) -> String {
        self.file("bootstrap")
    }

    /// The certificate of somebody who vouches for nobody here.
    pub(super) fn authority() -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut openssl = Command::new("openssl");
        openssl.args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=a stranger",
            "-keyout",
            "/dev/null",
        ]);
        assert!(openssl.arg("-out").arg(file.path()).output().unwrap().status.success());
        file
    }

    pub(super) fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.file("1.pid")]).status().unwrap().success());
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kafka("stop", &[]);
    }
}
