//! What every lake must do, in a folder and in a bucket.
//!
//! Those of a bucket run if `STREAMGAUGE_TEST_S3` has the address of a server with a bucket `streamgauge`, as
//! `deploy/s3/s3` starts one.

mod faults;
mod warehouse;

use std::io;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStoreExt};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use uuid::Uuid;

use super::*;

/// A bucket's lake that nobody else has, if there is a server to ask.
pub(super) fn location(name: &str) -> Option<S3Location> {
    let Some(endpoint) = std::env::var_os("STREAMGAUGE_TEST_S3").and_then(|value| value.into_string().ok()) else {
        println!("skipped: STREAMGAUGE_TEST_S3 is not set");
        return None;
    };
    let mut location: S3Location = format!("s3://streamgauge/test/{}/{name}", Uuid::now_v7()).parse().unwrap();
    location.endpoint = Some(endpoint);
    location.region = Some("us-east-1".into());
    location.keys = Some(AccessKeys { id: "test".into(), secret: "test".into() });
    Some(location)
}

/// A sentence, and its check on a new lake with another one beside it, whose name begins in the same way.
type Rule = (&'static str, fn(&Lake, &Lake));

const RULES: [Rule; 7] = [
    ("a path is written once", is_written_once),
    ("what was written is read", is_read_back),
    ("several files are written at once", are_written_together),
    ("a deleted file is gone", is_deleted),
    ("a lake ends where another begins", is_a_lake_of_its_own),
    ("a file is a source of the Parquet reader", is_a_parquet_source),
    ("others read by ranges", is_an_object_store),
];

fn hold(open: impl Fn(&str) -> (Lake, Lake)) {
    for (idx, (rule, check)) in RULES.iter().enumerate() {
        println!("{rule}");
        let (lake, beside) = open(&idx.to_string());
        check(&lake, &beside);
    }
}

#[test]
fn a_folder_keeps_all_rules() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str| Lake::open(&folder.path().join(name).into()).unwrap();
    hold(|name| (open(name), open(&format!("{name}-beside"))));
}

#[test]
fn a_bucket_keeps_all_rules() {
    let Some(location) = location("rules") else { return };
    let open = |name: &str| {
        let prefix = format!("{}/{name}", location.prefix);
        Lake::open(&S3Location { prefix, ..location.clone() }.into()).unwrap()
    };
    hold(|name| (open(name), open(&format!("{name}-beside"))));
}

#[test]
fn a_bucket_keeps_all_rules_without_memory() {
    let Some(location) = location("rules-without-memory") else { return };
    let open = |name: &str| {
        let prefix = format!("{}/{name}", location.prefix);
        Lake::open(&S3Location { prefix, kept_bytes: 0, ..location.clone() }.into()).unwrap()
    };
    hold(|name| (open(name), open(&format!("{name}-beside"))));
}

/// Of several blocks, the last one short; no two places in it look alike.
fn long() -> Vec<u8> {
    (0..1_300_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).skip(3).collect()
}

fn paths(lake: &Lake) -> Vec<String> {
    let mut paths: Vec<String> = lake.list().unwrap().into_iter().map(|file| file.path).collect();
    paths.sort();
    paths
}

fn is_written_once(lake: &Lake, _: &Lake) {
    let path = "main/events/2026-11-23/a.parquet";
    lake.write(path, b"abc").unwrap();
    for again in [b"abc", b"xyz"] {
        assert_eq!(lake.write(path, again).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }
    assert_eq!(lake.read(path).unwrap(), b"abc");
}

fn is_read_back(lake: &Lake, _: &Lake) {
    let long = long();
    lake.write("long", &long).unwrap();
    lake.write("short", b"abc").unwrap();
    // As another process finds them, and then again out of what it kept.
    for _ in 0..2 {
        assert_eq!(lake.read_range("short", 1, 2).unwrap(), b"bc");
        for (offset, length) in [(0, 1), (5, 3_000_000), (long.len() - 10, 10), (524_287, 2), (1_048_576, 524_288)] {
            assert_eq!(lake.read_range("long", offset as u64, length).unwrap(), long[offset..offset + length]);
        }
        assert_eq!(lake.read("long").unwrap(), long);
        assert_eq!(lake.read("short").unwrap(), b"abc");
    }
    assert!(lake.read_range("long", long.len() as u64 - 5, 6).is_err());
    assert!(lake.read_range("short", 3, 1).is_err());
    for missing in
        [lake.read("none").map(drop), lake.open_file("none").map(drop), lake.read_range("none", 0, 1).map(drop)]
    {
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}

fn are_written_together(lake: &Lake, _: &Lake) {
    let files: Vec<(String, &[u8])> = (0..20).map(|n| (format!("ids/{n}.run"), b"abc".as_slice())).collect();
    lake.write_all(&files).unwrap();
    assert_eq!(paths(lake).len(), 20);
    let (path, error) = lake.write_all(&files[7..8]).unwrap_err();
    assert_eq!((path.as_str(), error.kind()), ("ids/7.run", io::ErrorKind::AlreadyExists));
    lake.write_all(&[]).unwrap();
}

fn is_deleted(lake: &Lake, _: &Lake) {
    let path = "main/events/2026-11-23/a.parquet";
    lake.write(path, b"abc").unwrap();
    lake.write("state/b.state", b"abcd").unwrap();
    assert!(lake.exists(path).unwrap());
    let found = lake.list().unwrap().into_iter().find(|file| file.path == path).unwrap();
    assert_eq!(found.bytes, 3);
    assert!(found.age < Duration::from_mins(1), "{:?}", found.age);
    lake.delete(path).unwrap();
    lake.delete(path).unwrap();
    assert!(!lake.exists(path).unwrap());
    assert_eq!(lake.read(path).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(paths(lake), ["state/b.state"]);
}

fn is_a_lake_of_its_own(lake: &Lake, beside: &Lake) {
    lake.write("ids/a.run", b"ours").unwrap();
    beside.write("ids/a.run", b"theirs").unwrap();
    beside.write("ids/b.run", b"theirs").unwrap();
    assert_eq!((paths(lake), paths(beside)), (vec!["ids/a.run".into()], vec!["ids/a.run".into(), "ids/b.run".into()]));
    lake.delete("ids/b.run").unwrap();
    assert_eq!(beside.read("ids/b.run").unwrap(), b"theirs");
    assert!(lake.data_path().ends_with('/') && lake.data_path() != beside.data_path());
}

/// A file of two columns, without compression, so that it is long.
fn parquet(rows: i64) -> Vec<u8> {
    let fields = vec![Field::new("number", DataType::Int64, false), Field::new("text", DataType::Utf8, false)];
    let schema = Arc::new(Schema::new(fields));
    let properties =
        WriterProperties::builder().set_compression(Compression::UNCOMPRESSED).set_dictionary_enabled(false).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, Arc::clone(&schema), Some(properties)).unwrap();
    let texts = StringArray::from_iter_values((0..rows).map(|row| format!("the text of row {row}")));
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(0..rows)), Arc::new(texts)];
    writer.write(&RecordBatch::try_new(schema, columns).unwrap()).unwrap();
    writer.close().unwrap();
    bytes
}

fn is_a_parquet_source(lake: &Lake, _: &Lake) {
    let bytes = parquet(100_000);
    assert!(bytes.len() > 3 << 20, "{}", bytes.len());
    lake.write("main/events/a.parquet", &bytes).unwrap();
    for file in [lake.open_file("main/events/a.parquet"), lake.open_whole("main/events/a.parquet")] {
        let reader = ParquetRecordBatchReaderBuilder::try_new(file.unwrap()).unwrap().build().unwrap();
        let (mut next, mut characters) = (0, 0);
        for batch in reader {
            let batch = batch.unwrap();
            for number in batch.column(0).as_primitive::<Int64Type>().values() {
                assert_eq!(*number, next);
                next += 1;
            }
            let texts = batch.column(1).as_string::<i32>();
            characters += texts.iter().flatten().map(str::len).sum::<usize>();
        }
        assert_eq!((next, characters), (100_000, 100_000 * 16 + 488_890));
    }
}

fn is_an_object_store(lake: &Lake, _: &Lake) {
    let long = long();
    lake.write("main/events/a.parquet", &long).unwrap();
    let path = Path::from("main/events/a.parquet");
    // As the query engine's: it has no I/O of its own.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let objects = lake.objects().unwrap();
    runtime.block_on(async {
        let spans: [(usize, usize); 3] = [(10, 20), (3_000_000, 3_100_000), (5, 6)];
        let ranges = spans.map(|(start, end)| start as u64..end as u64);
        let parts = objects.get_ranges(&path, &ranges).await.unwrap();
        assert_eq!(parts, spans.map(|(start, end)| long[start..end].to_vec()));
        assert_eq!(objects.get_range(&path, 7..9).await.unwrap(), long[7..9]);
        let options = GetOptions { range: Some(GetRange::Suffix(9)), ..GetOptions::default() };
        let end = objects.get_opts(&path, options).await.unwrap();
        assert_eq!((end.meta.size, end.range.clone()), (long.len() as u64, long.len() as u64 - 9..long.len() as u64));
        assert_eq!(end.bytes().await.unwrap(), long[long.len() - 9..]);
        assert_eq!(objects.get(&path).await.unwrap().bytes().await.unwrap(), long);
        assert_eq!(objects.head(&path).await.unwrap().size, long.len() as u64);
        let missing = objects.get(&Path::from("none")).await.unwrap_err();
        assert!(matches!(missing, object_store::Error::NotFound { .. }), "{missing}");
    });
}

#[test]
fn what_was_read_once_is_not_asked_for_again() {
    let Some(location) = location("kept") else { return };
    let writer = Lake::open(&location.clone().into()).unwrap();
    let bytes = parquet(100_000);
    writer.write("main/events/a.parquet", &bytes).unwrap();
    writer.write("main/events/b.parquet", &parquet(10)).unwrap();
    // What it wrote itself it knows.
    ParquetRecordBatchReaderBuilder::try_new(writer.open_file("main/events/b.parquet").unwrap()).unwrap();
    assert_eq!(writer.requests(), LakeRequests { gets: 0, puts: 2 });

    let reader = Lake::open(&location.into()).unwrap();
    let rows = |path: &str| {
        let builder = ParquetRecordBatchReaderBuilder::try_new(reader.open_file(path).unwrap()).unwrap();
        builder.build().unwrap().map(|batch| batch.unwrap().num_rows()).sum::<usize>()
    };
    // A small file is one request. Of a large one its end, and then a request for each block of 512 KiB: never one for
    // each page.
    assert_eq!((rows("main/events/b.parquet"), reader.requests().gets), (10, 1));
    let blocks = bytes.len().div_ceil(512 << 10) as u64;
    assert_eq!(rows("main/events/a.parquet"), 100_000);
    let asked = reader.requests().gets - 1;
    assert!((2..blocks).contains(&asked), "{asked} requests for {blocks} blocks");
    assert_eq!((rows("main/events/a.parquet"), reader.requests().gets), (100_000, 1 + asked));
}

#[test]
fn a_whole_file_takes_few_requests() {
    let Some(location) = location("whole") else { return };
    Lake::open(&location.clone().into()).unwrap().write("a", &vec![7; 20 << 20]).unwrap();
    let reader = Lake::open(&location.into()).unwrap();
    assert_eq!(reader.read("a").unwrap().len(), 20 << 20);
    // Its end, two of 8 MiB, and the rest.
    assert_eq!(reader.requests().gets, 4);
}

#[test]
fn a_bucket_that_cannot_be_used_is_refused_by_name() {
    let Some(location) = location("refused") else { return };
    let refusal = |location: S3Location| Lake::open(&location.into()).unwrap_err();
    let none = refusal(S3Location { bucket: "no-such-bucket".into(), ..location.clone() });
    assert_eq!(none.kind(), io::ErrorKind::NotFound, "{none}");
    assert!(none.to_string().contains("no-such-bucket"), "{none}");
    // Nobody listens there.
    let limits = remote::Limits { attempt: Duration::from_millis(500), ..remote::Limits::default() };
    let keys = Some(AccessKeys { id: "an-id".into(), secret: "a-secret".into() });
    let unreachable = S3Location { endpoint: Some("http://127.0.0.1:1".into()), keys, ..location };
    let bucket = Bucket::with_limits(&unreachable, limits).unwrap();
    let error = bucket.list().unwrap_err();
    assert!(!format!("{error:?} {error} {bucket:?}").contains("a-secret"), "{error:?}");
}
