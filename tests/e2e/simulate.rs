//! A simulated fleet against a running server: what it answers is what happened.

use std::time::Duration;

use rig::Server;
use rig::server::{Start, wait_until};
use tokio::process::Child;

use crate::start;

/// A server that commits often, so that events come late and units are read back.
fn server() -> Start {
    start()
        .test_clock()
        .variable("STREAMGAUGE_PROCESSOR__COMMIT_INTERVAL", "200ms")
        .variable("STREAMGAUGE_PROCESSOR__STATE_INTERVAL", "600ms")
}

/// Ten devices: every kind of device once.
fn simulate(server: &Server, arguments: &[&str]) -> Child {
    let mut command = server.start().command();
    command.args(["simulate", "--check", "--devices", "10", "--days", "1"]).args(arguments);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
}

async fn assert_true(simulation: Child) {
    let output = simulation.wait_with_output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[tokio::test]
async fn the_answers_are_the_truth_whatever_goes_wrong_on_the_way() {
    let server = server().start().await.unwrap();
    assert_true(simulate(&server, &["--seed", "11", "--disturb", "duplicates,recut,reorder,offline,clocks,lost"]))
        .await;
}

#[tokio::test]
async fn the_answers_are_the_truth_if_all_is_sent_twice_in_any_order_and_the_server_is_killed() {
    let mut server = server().start().await.unwrap();
    let simulation = simulate(&server, &["--seed", "12", "--repeat", "2", "--shuffle"]);
    for events in [800, 3_000] {
        let trouble = || format!("{events} events are not there: {}", server.log());
        let are_there = async || server.number("SELECT count(*) FROM events").await >= events;
        wait_until(Duration::from_secs(60), trouble, are_there).await;
        server = server.crash_and_restart().await;
    }
    assert_true(simulation).await;
}
