use std::collections::HashSet as Reference;

use proptest::prelude::*;
use schemas::Timestamp;
use schemas::dedup::IdTime;
use warehouse::Origin;

use super::*;

fn key(n: u32) -> EventKey {
    EventKey::new("p", "/s", &format!("id-{n}"), IdTime::Derived(Timestamp::from_micros(i64::from(n % 97) * 1_000_000)))
}

struct Setup {
    folder: tempfile::TempDir,
    lake: Lake,
    listed: Vec<IdRun>,
    next_run: i64,
}

impl Setup {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::open(&folder.path().join("lake").into()).unwrap();
        Self { folder, lake, listed: Vec::new(), next_run: 1 }
    }

    fn open(&self, hot_limit: usize) -> KeyIndex {
        KeyIndex::open(self.lake.clone(), 0, self.listed.clone(), hot_limit).unwrap()
    }

    fn list(&mut self, run: NewIdRun) -> IdRun {
        let run = IdRun { run_id: self.next_run, run };
        self.next_run += 1;
        self.listed.push(run.clone());
        run
    }

    /// What a commit does: writes the fresh keys as a run behind some other bytes, lists it.
    fn commit(&mut self, index: &mut KeyIndex) {
        let keys = index.begin_commit();
        let run = (!keys.is_empty()).then(|| {
            let path = format!("ids/{}.run", self.next_run);
            self.lake.write(&path, &[b"before".as_slice(), &encode_run(keys)].concat()).unwrap();
            self.list(NewIdRun { log_partition: 0, level: 0, path, offset_bytes: 6, keys: keys.len() as u64 })
        });
        if let Some(run) = run {
            index.committed(run).unwrap();
        }
        while let Some(run_ids) = index.mergeable() {
            let merged =
                index.write_merged(&run_ids, &FileName::new(Origin::Merge, Timestamp::from_micros(0))).unwrap();
            self.listed.retain(|run| !run_ids.contains(&run.run_id));
            let merged = self.list(merged);
            index.merged(&run_ids, merged).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is repeated, however the hot set is limited and however often the process restarts: as a plain set says.
    #[test]
    fn agrees_with_a_plain_set(
        batches in prop::collection::vec((prop::collection::vec(0_u32..3000, 0..400), any::<bool>()), 1..40),
        hot_limit in prop_oneof![Just(0_usize), Just(100), Just(1_000_000)],
    ) {
        let mut setup = Setup::new();
        let mut index = setup.open(hot_limit);
        let mut reference = Reference::new();
        for (batch, restart) in batches {
            let keys: Vec<_> = batch.iter().map(|n| key(*n)).collect();
            let expected: Vec<_> = batch.iter().map(|n| !reference.insert(*n)).collect();
            prop_assert_eq!(index.take_in(&keys).unwrap(), expected);
            setup.commit(&mut index);
            prop_assert!(index.hot.len() <= hot_limit);
            if restart {
                index = setup.open(hot_limit);
            }
        }
    }
}

#[test]
fn runs_merge_in_levels() {
    let mut setup = Setup::new();
    let mut index = setup.open(0);
    for n in 0..64 * 10 {
        index.take_in(&[key(n)]).unwrap();
        if n % 10 == 9 {
            setup.commit(&mut index);
        }
    }
    assert_eq!(setup.listed.iter().map(|run| (run.run.level, run.run.keys)).collect::<Vec<_>>(), [(2, 640)]);
}

#[test]
fn a_damaged_run_is_named_and_never_answers() {
    let mut setup = Setup::new();
    let mut index = setup.open(0);
    index.take_in(&(0..1000).map(key).collect::<Vec<_>>()).unwrap();
    setup.commit(&mut index);
    let path = setup.folder.path().join("lake").join(&setup.listed[0].run.path);
    let whole = std::fs::read(&path).unwrap();
    for at in [6 + 8, 6 + 40, 6 + 32 + 16 * 1000 + 3, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        std::fs::write(&path, damaged).unwrap();
        let looked_up = KeyIndex::open(setup.lake.clone(), 0, setup.listed.clone(), 0)
            .and_then(|mut index| index.take_in(&(0..1000).map(key).collect::<Vec<_>>()));
        assert!(matches!(looked_up, Err(DedupError::Corrupt { .. })), "byte {at}");
    }
    std::fs::write(&path, &whole[..whole.len() - 9]).unwrap();
    assert!(matches!(KeyIndex::open(setup.lake.clone(), 0, setup.listed.clone(), 0), Err(DedupError::Read { .. })));
}

#[test]
fn keys_that_come_during_a_commit_are_in_the_run_of_the_next_one() {
    let setup = Setup::new();
    let mut index = setup.open(1_000);
    let run = |path: &str, keys: &[EventKey]| {
        setup.lake.write(path, &encode_run(keys)).unwrap();
        let run = NewIdRun { log_partition: 0, level: 0, path: path.into(), offset_bytes: 0, keys: keys.len() as u64 };
        IdRun { run_id: i64::try_from(path.len()).unwrap(), run }
    };
    assert_eq!(index.take_in(&[key(1), key(2)]).unwrap(), [false, false]);
    let first = run("ids/1.run", index.begin_commit());
    assert_eq!(index.take_in(&[key(2), key(3)]).unwrap(), [true, false]);
    index.committed(first).unwrap();
    assert_eq!(index.begin_commit(), [key(3)]);
    let second = run("ids/second.run", &[key(3)]);
    index.committed(second).unwrap();
    assert_eq!(index.take_in(&[key(1), key(3), key(4)]).unwrap(), [true, true, false]);
}
