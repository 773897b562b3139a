//! A store that breaks off, loses answers or never answers, as a proxy before the server makes it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Instant;

use super::remote::Limits;
use super::*;

const PASS: u8 = 0;
/// Ends a connection after some of a request.
const BREAK_OFF: u8 = 1;
/// Lets one request through and ends the connection instead of answering, then passes.
const LOSE_AN_ANSWER: u8 = 2;
/// Takes requests and says nothing.
const SILENT: u8 = 3;

struct Proxy {
    fault: Arc<AtomicU8>,
    location: S3Location,
}

impl Proxy {
    fn start(name: &str) -> Option<Self> {
        let mut location = location(name)?;
        let server = location.endpoint.take()?.strip_prefix("http://")?.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        location.endpoint = Some(format!("http://{}", listener.local_addr().unwrap()));
        let fault = Arc::new(AtomicU8::new(PASS));
        let mode = Arc::clone(&fault);
        // Ends with the process.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (mode, server) = (Arc::clone(&mode), server.clone());
                thread::spawn(move || serve(client, &server, &mode));
            }
        });
        Some(Self { fault, location })
    }

    fn turn(&self, fault: u8) {
        self.fault.store(fault, Ordering::SeqCst);
    }

    /// A lake through the proxy that soon loses patience.
    fn lake(&self) -> Lake {
        let limits = Limits { attempts: 2, attempt: Duration::from_millis(900), ..Limits::default() };
        Lake(Place::Bucket(Arc::new(Bucket::with_limits(&self.location, limits).unwrap())))
    }
}

/// Passes on one connection, which the server closes after one answer.
fn serve(mut client: TcpStream, server: &str, mode: &AtomicU8) {
    let mut upstream = TcpStream::connect(server).unwrap();
    let mut answers = upstream.try_clone().unwrap();
    let mut requests = client.try_clone().unwrap();
    let fault = mode.load(Ordering::SeqCst);
    thread::spawn(move || {
        let mut passed = 0;
        let mut buffer = vec![0; 16 << 10];
        while let Ok(count) = requests.read(&mut buffer) {
            passed += count;
            if count == 0 || (fault == BREAK_OFF && passed > 64 << 10) {
                let _ = requests.shutdown(Shutdown::Both);
                let _ = upstream.shutdown(Shutdown::Both);
                return;
            }
            if fault != SILENT && upstream.write_all(&buffer[..count]).is_err() {
                return;
            }
        }
    });
    let mut answer = Vec::new();
    let _ = answers.read_to_end(&mut answer);
    let is_lost = fault == LOSE_AN_ANSWER
        && mode.compare_exchange(LOSE_AN_ANSWER, PASS, Ordering::SeqCst, Ordering::SeqCst).is_ok();
    if !is_lost {
        let _ = client.write_all(&answer);
    }
    let _ = client.shutdown(Shutdown::Both);
}

#[test]
fn an_upload_that_breaks_off_leaves_no_file_and_a_new_name_takes_its_place() {
    let Some(proxy) = Proxy::start("break-off") else { return };
    let (lake, long) = (proxy.lake(), vec![7; 4 << 20]);
    proxy.turn(BREAK_OFF);
    assert!(lake.write("ids/a.run", &long).is_err());
    proxy.turn(PASS);
    assert!(!lake.exists("ids/a.run").unwrap());
    assert_eq!(lake.list().unwrap(), []);
    lake.write("ids/b.run", &long).unwrap();
    assert_eq!(proxy.lake().read("ids/b.run").unwrap(), long);
}

#[test]
fn a_file_whose_answer_was_lost_counts_as_written() {
    let Some(proxy) = Proxy::start("lost-answer") else { return };
    let lake = proxy.lake();
    proxy.turn(LOSE_AN_ANSWER);
    lake.write("ids/a.run", b"abc").unwrap();
    assert_eq!(proxy.fault.load(Ordering::SeqCst), PASS, "one answer was lost");
    assert_eq!(lake.read("ids/a.run").unwrap(), b"abc");
    // Only its own attempt does.
    assert_eq!(proxy.lake().write("ids/a.run", b"abc").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
}

#[test]
fn a_store_that_never_answers_costs_a_bounded_time_and_is_used_again_afterwards() {
    let Some(proxy) = Proxy::start("silent") else { return };
    let lake = proxy.lake();
    lake.write("ids/a.run", b"abc").unwrap();
    let reader = proxy.lake();
    proxy.turn(SILENT);
    let begin = Instant::now();
    assert_eq!(reader.read("ids/a.run").unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(lake.write("ids/b.run", b"abc").unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(lake.delete("ids/a.run").unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(begin.elapsed() < Duration::from_secs(12), "{:?}", begin.elapsed());
    proxy.turn(PASS);
    assert_eq!(reader.read("ids/a.run").unwrap(), b"abc");
    lake.write("ids/c.run", b"abc").unwrap();
}

/// Called on a runtime of one thread, of several, beside them, and dropped there.
#[test]
fn a_bucket_can_be_used_from_anywhere() {
    let Some(location) = location("anywhere") else { return };
    let work = async |name: &str| {
        let lake = Lake::open(&location.clone().into()).unwrap();
        lake.write(name, b"abc").unwrap();
        let (beside, name) = (lake.clone(), name.to_owned());
        let read = tokio::task::spawn_blocking(move || beside.read(&name).unwrap()).await.unwrap();
        assert_eq!(read, b"abc");
    };
    let one = tokio::runtime::Builder::new_current_thread().build().unwrap();
    one.block_on(work("one"));
    let several = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    several.block_on(work("several"));
    let task = {
        let location = location.clone();
        several.spawn(async move {
            let lake = Lake::open(&location.into()).unwrap();
            lake.write("task", b"abc").unwrap();
            lake.list().unwrap().len()
        })
    };
    assert_eq!(several.block_on(task).unwrap(), 3);
}
