//! Both databases under the tests of [`conformance`], and what only one of them can do.

mod backups;
mod conformance;
mod damage;
mod migrations;
mod place;
mod postgres;
mod proxy;
mod retention;
mod writers;

use crate::tables::EVENTS;
use crate::{Lake, encode_parquet, may_hold_text};
use conformance::{at, batch_of};

/// The tests on one kind of database.
macro_rules! warehouse_conformance_suite {
    ($kind:ident) => {
        warehouse_conformance_suite!(@work $kind);
        warehouse_conformance_suite!(@tests $kind, conformance, every_rollup_has_the_columns_of_its_definition,);
        warehouse_conformance_suite!(@tests $kind, writers, another_log_goes_on_where_the_one_before_was_taken_in_to,);
        warehouse_conformance_suite!(@tests $kind, migrations,
            a_database_of_any_earlier_commit_gets_the_tables_of_today_and_works,
            processes_of_today_may_open_a_database_of_an_earlier_commit_at_once,
            a_migration_of_another_text_stops_the_start_by_name,
        );
        warehouse_conformance_suite!(@tests $kind, backups,
            at_the_files_is_one_process_at_a_time,
            what_is_restored_is_what_was_backed_up,
            a_second_backup_copies_what_is_new_and_leaves_nothing_of_the_first,
        );
    };
    // What goes on with tables that a later version has added to; a backup of them is not ours to restore.
    (@work $kind:ident) => {
        warehouse_conformance_suite!(@tests $kind, conformance,
            a_commit_moves_everything_or_nothing,
            a_reader_stays_at_its_commit_while_others_land,
            merging_changes_no_answer_at_any_commit,
            a_merge_is_bounded_by_bytes_and_by_days,
            a_merge_leaves_files_of_later_commits_to_others,
            days_with_few_rows_share_a_file,
            expired_commits_are_refused_by_name_and_their_files_go_after_a_grace,
            only_leftovers_of_dead_attempts_are_collected,
            nothing_is_collected_under_a_catalogue_that_is_older_than_the_lake,
            a_catalogue_of_another_version_is_refused_by_name,
            any_range_can_be_one_bucket_merged_or_not,
            a_catalogue_from_before_a_table_gets_it,
            a_catalogue_from_before_a_column_gets_it_and_its_files_are_read_and_merged_with_nulls,
            rows_are_replaced_in_one_commit_with_what_takes_their_place,
        );
        warehouse_conformance_suite!(@tests $kind, damage, other_files_are_merged, other_rows_are_taken_away,);
        warehouse_conformance_suite!(@tests $kind, writers,
            of_two_writers_of_one_partition_one_is_fenced,
            writers_of_different_partitions_all_land_one_after_the_other,
            readers_see_whole_commits_only_while_writers_run,
            merging_beside_writers_changes_no_answer,
            id_runs_and_state_files_are_listed_with_their_commit_and_fenced_by_the_checkpoint,
            a_log_is_bound_once_records_were_taken_in,
            a_paused_partition_is_moved_by_nobody_and_only_then_a_record_is_left_out,
            records_that_the_log_has_not_any_more_are_given_up_by_order_only,
            projects_keys_and_tokens_are_kept_and_revoked,
            keys_of_any_text_are_added_up_and_read_back_in_the_order_of_their_bytes,
            distributions_add_up_merged_or_not,
        );
        warehouse_conformance_suite!(@tests $kind, retention,
            what_is_past_its_retention_goes_and_nothing_else_does,
            an_audit_after_retention_still_names_what_was_removed_behind_its_back,
            records_go_after_their_events_and_the_ledger_remains,
            commits_and_merges_go_on_while_rows_are_taken_away,
            buckets_of_a_grain_go_and_late_events_do_not_bring_back_parts_of_them,
            facts_go_by_their_beginning,
        );
    };
    (@tests $kind:ident, $module:ident, $($test:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                if let Some(place) = $crate::tests::place::Place::$kind().await {
                    $crate::tests::$module::$test(place).await;
                }
            }
        )+
    };
}
use warehouse_conformance_suite;

mod on_sqlite {
    super::warehouse_conformance_suite!(sqlite);
}

mod on_postgres {
    super::warehouse_conformance_suite!(postgres);
}

/// A cluster is upgraded one process at a time: those of the version before go on.
mod on_postgres_that_a_later_version_has_added_to {
    super::warehouse_conformance_suite!(@work postgres_of_later);
}

#[test]
fn a_file_tells_which_sessions_it_cannot_hold() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::open(&folder.path().into()).unwrap();
    let encoded = encode_parquet(&EVENTS, [&batch_of(&EVENTS, 3, at(0))]).unwrap();
    lake.write("main/events/a.parquet", &encoded.bytes).unwrap();
    let may_hold =
        |values: &[&str]| may_hold_text(&lake, "main/events/a.parquet", &["session_id", "view_id"], values).unwrap();
    assert!(may_hold(&["y", "x"]) && !may_hold(&["y", "z"]) && !may_hold(&[]));
    // Without a filter nothing is known.
    assert!(may_hold_text(&lake, "main/events/a.parquet", &["event_id"], &["y"]).unwrap());
}
