//! What can be posted, and how it is answered.

use chrono::Utc;
use rig::Device;
use serde_json::json;

use crate::start;

#[tokio::test]
async fn a_batch_is_answered_by_index_and_found_in_every_place() {
    let server = start().start().await.unwrap();
    let mut device = Device::new();
    let good = device.event("feature.used", Utc::now(), json!({"feature": "share"}));
    let bad = rig::device::without(device.event("feature.used", Utc::now(), json!({"feature": "x"})), "source");
    let reply = server.upload(&[good.clone(), bad, good]).await;
    assert_eq!(reply.status, 202, "{}", reply.text());
    let results = reply.json()["results"].clone();
    let words: Vec<_> = results.as_array().unwrap().iter().map(|result| result["result"].clone()).collect();
    assert_eq!(words, ["accepted", "quarantined", "duplicate"]);
    server.settle().await;
    assert_eq!(server.number("SELECT count(*) FROM events").await, 1);
    assert_eq!(
        server.number("SELECT count(*) FROM quarantine WHERE reason = 'missing_attribute' AND field = 'source'").await,
        1
    );
    assert_eq!(server.get("/v1/stats/usage").await.json()["dailyEvents"], 1);
    let batch = server.get(&format!("/v1/batches/{}", reply.json()["batch_id"].as_str().unwrap())).await;
    let words: Vec<_> =
        batch.json()["results"].as_array().unwrap().iter().map(|result| result["result"].clone()).collect();
    assert_eq!(words, ["stored", "quarantined", "duplicate"]);
    assert_eq!(server.log_lines("ERROR"), Vec::<String>::new());
}
