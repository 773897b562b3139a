//! A cluster of one test alone, which `deploy/kafka/kafka` starts.

use std::process::Command;

/// One broker.
pub(super) struct Broker(tempfile::TempDir);

impl Broker {
    pub(super) fn start() -> Self {
        let broker = Self(tempfile::tempdir().unwrap());
        broker.kafka("start", &["1"]);
        broker
    }

    /// One that listens with TLS too, and takes these ways to log in.
    pub(super) fn secured(mechanisms: &str) -> Self {
        let broker = Self(tempfile::tempdir().unwrap());
        run(broker.script("start", &["1", "secure"]).env("KAFKA_MECHANISMS", mechanisms));
        broker
    }

    pub(super) fn kafka(&self, verb: &str, rest: &[&str]) {
        run(&mut self.script(verb, rest));
    }

    fn script(&self, verb: &str, rest: &[&str]) -> Command {
        let mut command = Command::new("../../deploy/kafka/kafka");
        command.arg(verb).arg(self.0.path()).args(rest);
        command
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

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
