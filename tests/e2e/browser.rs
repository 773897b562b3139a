//! A player in a real browser: unmodified hls.js in Chromium posts to a server of another origin, and the view that comes
//! out is held against what the page measured by itself, with its playhead (`tests/clients/page/clock.js`).

use rig::Server;
use serde_json::{Value, json};

use crate::clients::run;
use crate::program::has;
use crate::{assert_books_balance, start};

/// How far what the player reports may be from what the playhead shows. Events of a media element are sent after the fact,
/// by up to a few ten ms on an idle machine; here two browsers' worth of processes may share two cores with other tests.
const TOLERANCE_MS: i64 = 250;

fn whole_ms(measured: &Value) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "a view of some seconds")]
    let whole = measured.as_f64().unwrap().round() as i64;
    whole
}

fn assert_close(what: &str, ours: &Value, page: i64) {
    let ours = ours.as_i64().unwrap_or_else(|| panic!("{what} is {ours}"));
    println!("{what}: {ours} ms, the page saw {page} ms");
    assert!((ours - page).abs() <= TOLERANCE_MS, "{what} is {ours} ms, and the page saw {page} ms");
}

/// What the page says after its view; `None` without a browser.
async fn play(server: &Server) -> Option<Value> {
    if !has("chromium") {
        return None;
    }
    let page = rig::server::repository().join("tests/clients/page");
    let said = run("browser.mjs", &[&server.http, &server.upload_key, page.to_str().unwrap()]).await?;
    Some(serde_json::from_str(&said).unwrap())
}

#[tokio::test]
async fn a_view_of_hls_js_in_chromium_is_measured_as_its_page_saw_it() {
    let server = start().start().await.unwrap();
    let Some(page) = play(&server).await else { return };
    server.settle().await;
    println!("{page}");

    // Every record that the page saw acknowledged is stored, none twice, and their numbers have no gap.
    let statuses = page["statuses"].as_array().unwrap();
    assert!(!statuses.is_empty() && statuses.iter().all(|status| status == 204), "{statuses:?}");
    let records = page["records"].as_i64().unwrap();
    assert!(records > 20, "{page}");
    let rows = server.sql("SELECT type, seq, view_id, format, stream_id, slot, flags FROM events ORDER BY seq").await;
    assert!(rows.iter().zip(0..).all(|(row, seq)| row["seq"] == seq), "{rows:?}");
    assert_eq!(rows.len(), usize::try_from(records).unwrap());
    for row in &rows {
        let expected = (&json!("cmcd2"), &page["sid"], &json!("twitch:browser"));
        assert_eq!((&row["format"], &row["view_id"], &row["stream_id"]), expected);
        assert_eq!(row["flags"], "", "{row}");
    }
    assert_eq!(server.number("SELECT count(*) FROM quarantine").await, 0);
    assert_eq!(server.number("SELECT count(*) FROM events WHERE slot = 3 AND layout_id = 'lay_01'").await, records - 1);

    // One view, and it ended as the player said.
    let views = server.sql("SELECT * FROM views").await;
    let [view] = &views[..] else { panic!("{views:?}") };
    assert_eq!((&view["view_id"], &view["part"]), (&page["sid"], &json!(0)));
    assert_eq!(
        (&view["outcome"], &view["exit_reason"], &page["ended"]),
        (&json!("played"), &json!("completed"), &json!(true))
    );

    // Its times are those of the page's playhead.
    assert_close("startup_ms", &view["startup_ms"], whole_ms(&page["startup_ms"]));
    assert_close("playing_ms", &view["playing_ms"], whole_ms(&page["playing_ms"]));
    assert_close("playing_ms", &view["playing_ms"], whole_ms(&page["played_ms"]));
    assert_close("paused_ms", &view["paused_ms"], whole_ms(&page["paused_ms"]));
    let [stall] = &page["stalls_ms"].as_array().unwrap()[..] else { panic!("one stall was caused: {page}") };
    assert!(whole_ms(stall) >= 1500, "{page}");
    assert_eq!((&view["rebuffer_count"], &view["sustained_rebuffers"]), (&json!(1), &json!(1)));
    assert_close("rebuffer_ms", &view["rebuffer_ms"], whole_ms(stall));
    let [seek] = &page["seeks_ms"].as_array().unwrap()[..] else { panic!("it sought once: {page}") };
    assert_eq!(view["seeks"], 1);
    assert_close("seek_ms", &view["seek_ms"], whole_ms(seek));

    // The endpoint of the view and the stream's rollup tell the same.
    let path = format!("/v1/views/{}", page["sid"].as_str().unwrap());
    let reply = server.get(&path).await;
    assert_eq!((reply.status, &reply.json()["data"]["open"]), (200, &json!(false)), "{}", reply.text());
    let folded = &reply.json()["data"]["parts"][0];
    for measure in ["startup_ms", "playing_ms", "rebuffer_ms", "seek_ms", "paused_ms", "exit_reason"] {
        assert_eq!(folded[measure], view[measure], "{measure}");
    }
    let summed = "SELECT sum(attempts) AS attempts, sum(playing_ms) AS playing_ms, sum(rebuffer_ms) AS rebuffer_ms, \
                  sum(rebuffer_count) AS rebuffer_count FROM rollup_stream_minute WHERE stream_id = 'twitch:browser'";
    let expected = json!({
        "attempts": 1, "playing_ms": view["playing_ms"], "rebuffer_ms": view["rebuffer_ms"], "rebuffer_count": 1,
    });
    assert_eq!(server.sql(summed).await, [expected]);
    assert_eq!([server.log_lines("WARN"), server.log_lines("ERROR")].concat(), Vec::<String>::new());
    assert_books_balance(&server).await;
}
