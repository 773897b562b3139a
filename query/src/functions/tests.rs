//! The functions that are ours, through the gate and the engine.

use serde_json::json;

use crate::answer::Refused;
use crate::testing::Fixture;

#[tokio::test]
async fn the_clock_on_the_wall_is_shown_in_any_zone() {
    let fixture = Fixture::with_events(&[]).await;
    let sql = "SELECT local_time(TIMESTAMP '2026-11-23T09:00:00Z', zone)::text AS at FROM \
        (VALUES ('UTC'), ('+05:45'), ('Europe/Berlin'), (NULL)) AS zones(zone) ORDER BY zone";
    let rows = fixture.rows("p", sql).await.unwrap();
    let at = |text: Option<&str>| json!({ "at": text });
    assert_eq!(
        rows,
        json!([
            at(Some("2026-11-23T14:45:00")),
            at(Some("2026-11-23T10:00:00")),
            at(Some("2026-11-23T09:00:00")),
            at(None)
        ])
    );
    // One hour of the day on which clocks are set back comes twice.
    let sql = "SELECT local_time('2026-10-25T00:30:00Z', 'Europe/Berlin') = \
        local_time('2026-10-25T01:30:00Z', 'Europe/Berlin') AS twice";
    assert_eq!(fixture.rows("p", sql).await.unwrap(), json!([{ "twice": true }]));
    let Err(Refused(problem)) = fixture.rows("p", "SELECT local_time(now(), 'Mars/Olympus')").await else {
        panic!("there is no such zone")
    };
    assert_eq!((problem.status, problem.code), (400, "sql_failed"));
}

#[tokio::test]
async fn a_percentile_is_the_value_of_a_bin_however_the_bins_are_put_together() {
    let fixture = Fixture::with_events(&[]).await;
    let bins = "(VALUES ('10', 1), ('10', 2), ('20', 3), ('30', 94), (NULL, 5)) AS bins(bin, n)";
    for (share, bin) in [(0.0, 10), (0.02, 10), (0.5, 30), (1.0, 30)] {
        let sql = format!("SELECT percentile_of_bins(bin, n, {share}) AS value FROM {bins}");
        let one = format!("SELECT percentile_of_bins(bin, n, 1.0) AS value FROM (VALUES ({bin}, 1)) AS bins(bin, n)");
        assert_eq!(fixture.rows("p", &sql).await.unwrap(), fixture.rows("p", &one).await.unwrap(), "{share}");
    }
    let none = format!("SELECT percentile_of_bins(bin, n, 0.5) AS value FROM {bins} WHERE n > 1000");
    assert_eq!(fixture.rows("p", &none).await.unwrap(), json!([{ "value": null }]));
}
