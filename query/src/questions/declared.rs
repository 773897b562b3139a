//! The questions that `/v1/stats/{name}` answers, in the order of their numbers.
//!
//! Days and hours of the app are local; slices are quarters of an hour, of which every local day is made. Watch times are
//! null where nothing was played or tried to.

use super::{Question, questions};

/// All of them.
pub const ALL: &[Question] = questions! {
    1 "summary" App 7 [Before, From, To]
        "My watch time, streams, mean session and platforms in a range, and in the range of equal length before it.";
    1 "activity" App 30 [From, To, Zone]
        "My viewer time, tile time, streams and mean session per local day.";
    3 "categories" App 30 [From, To]
        "My categories with most tile time.";
    3 "platforms" App 30 [From, To]
        "The shares of stream platforms in my tile time.";
    4 "habits" App 30 [From, To, Zone]
        "My mean and longest session, streams, favourite weekday (1 is Monday), peak hour and time per day with any, local.";
    4 "hours" App 30 [From, To, Zone]
        "My viewer time by local weekday (1 is Monday) and hour.";
    8 "concurrency" Project 1 [From, To]
        "Tiles and viewers at once, attempts, starts and failures per minute, the newest first.";
    9 "startup" Project 7 [From, To]
        "Startup times by device platform and version of the app, day by day.";
    10 "stalls" Project 7 [From, To]
        "Stalled share of watch time and stalls per minute by stream platform and hour.";
    10 "stalled-streams" Project 7 [From, To, MinAttempts]
        "Streams that stall most, of those with enough attempts.";
    11 "releases" Project 30 [From, To]
        "Versions of the app, the newest first, each beside the one before: failures, early exits, crashes, startup.";
    12 "exits" Project 7 [From, To]
        "How many left before the first frame, by how long they had to wait.";
    13 "errors" Project 7 [From, To]
        "The errors that come most often: persons, first and last seen, versions.";
    14 "active" Project 30 [To]
        "Persons of the last day, week and month: guests, signed in, new, returning. A guest's id begins with anon:.";
    15 "layouts" Project 7 [From, To]
        "Types of layouts: share of the sessions that watch (a CMCD view without one counts as one), mean tiles, viewer time, how many came up, and how often.";
    15 "templates" Project 30 [From, To]
        "Of the sessions that look at templates, how many make a layout from one.";
    16 "tiles" Project 7 [From, To]
        "Quality by the number of tiles at once: stalls, dropped frames, and what layouts ask of the connection.";
    16 "models" Project 7 [From, To]
        "Stalls and dropped frames by model of the device, as its session told it, and number of tiles at once.";
    16 "thermal" Project 7 [From, To]
        "Thermal states that devices told, by device platform.";
    17 "stall-causes" Project 7 [From, To]
        "Stalls of all tiles together (the device's connection) against those of a stream, by network.";
    18 "retention" Project 90 [From, To, Zone]
        "Of the persons who came first in the range, how many came back 1, 7 and 30 local days later: template users and others.";
    18 "sign-ins" Project 90 [From, To]
        "Of the guests who came first in the range, how many signed in within 7 days.";
    19 "latency" Project 7 [From, To]
        "Live latency by stream platform.";
    19 "sync" Project 7 [From, To]
        "How far the tiles of a layout are apart in live latency, by type of layout.";
    20 "quality" Project 7 [From, To]
        "Received events by format, kind and outcome: how many were late, clamped or corrected. The range is of arrival.";
    20 "clocks" Project 7 [From, To]
        "Clock offsets that were added, by what was done to the time.";
    20 "gaps" Project 7 [From, To]
        "Events that are missing between the first and the last number of a session, by format.";
    20 "freshness" Project 1 [From, To]
        "Seconds from arrival to commit, per hour of arrival." unsteady;
};
