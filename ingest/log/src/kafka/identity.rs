//! The id that a cluster gives a topic when it is created.
//!
//! The only way to tell a topic from another of the same name that was made later. The client library knows it since 2.2
//! (`rd_kafka_DescribeTopics`), and its Rust wrapper does not pass it on yet: hence the only unsafe code of the crate.
#![expect(unsafe_code, reason = "rdkafka 0.39 does not wrap rd_kafka_DescribeTopics")]

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::bindings as sys;
use rdkafka::client::Client;

/// Calls the function that frees a thing of the library when it is dropped.
struct Owned<T> {
    raw: *mut T,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// `None` for null.
    fn new(raw: *mut T, free: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        (!raw.is_null()).then_some(Self { raw, free })
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: `raw` is not null, came from the library as the caller's own, and `free` is the function that its
        // documentation names for this type. It is called once: here, and nothing else keeps the pointer.
        unsafe { (self.free)(self.raw) }
    }
}

/// The topic's id as Kafka's own tools print it: 22 characters of base64. Blocks at most `timeout`.
pub(super) fn topic_id<C: ClientContext>(client: &Client<C>, topic: &str, timeout: Duration) -> Result<String, String> {
    const NO_MEMORY: &str = "the client library has no memory";
    let name = CString::new(topic).map_err(|_| "its name holds a zero byte".to_owned())?;
    let names: [*const c_char; 1] = [name.as_ptr()];
    let milliseconds = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
    let handle = client.native_ptr();
    // SAFETY: `handle` is a live client for as long as `client` is borrowed. `names` holds one string that ends with a zero
    // byte; the library copies it. The signature asks for a mutable pointer, nothing is written to it.
    let topics = unsafe { sys::rd_kafka_TopicCollection_of_topic_names(names.as_ptr().cast_mut(), 1) };
    let topics = Owned::new(topics, sys::rd_kafka_TopicCollection_destroy).ok_or(NO_MEMORY)?;
    // SAFETY: a live client, as above.
    let queue = Owned::new(unsafe { sys::rd_kafka_queue_new(handle) }, sys::rd_kafka_queue_destroy).ok_or(NO_MEMORY)?;
    let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    // SAFETY: a live client, as above.
    let options = unsafe { sys::rd_kafka_AdminOptions_new(handle, operation) };
    let options = Owned::new(options, sys::rd_kafka_AdminOptions_destroy).ok_or(NO_MEMORY)?;
    // SAFETY: `options` lives, and with a size of 0 no error text is written.
    unsafe { sys::rd_kafka_AdminOptions_set_request_timeout(options.raw, milliseconds, ptr::null_mut(), 0) };
    // SAFETY: all four live until this function ends. The answer is put into `queue`, which is this call's own; if it comes
    // after the queue was destroyed the library drops it.
    unsafe { sys::rd_kafka_DescribeTopics(handle, topics.raw, options.raw, queue.raw) };
    // SAFETY: `queue` lives; what is returned is the caller's own, or null after the time.
    let event = unsafe { sys::rd_kafka_queue_poll(queue.raw, milliseconds.saturating_add(500)) };
    let event = Owned::new(event, sys::rd_kafka_event_destroy).ok_or("no broker answered in time")?;
    // SAFETY: `event` lives until this function ends, and what is read from it below belongs to it.
    unsafe { id_in(event.raw) }
}

/// Reads the id from an answer.
///
/// # Safety
///
/// `event` is an event of the library that lives until this function returns.
unsafe fn id_in(event: *mut sys::rd_kafka_event_t) -> Result<String, String> {
    // SAFETY: by this function's own condition. Error texts are static or owned by the event; they are copied at once. The
    // result is null unless the event is an answer to DescribeTopics. `topics` points at `count` descriptions, each owned by
    // the event, as are its error and its id; the text of an id is owned by the id and ends with a zero byte.
    unsafe {
        if sys::rd_kafka_event_error(event) != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(text(sys::rd_kafka_event_error_string(event)));
        }
        let result = sys::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return Err("the answer is not one about topics".into());
        }
        let mut count = 0;
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if topics.is_null() || count != 1 {
            return Err("the answer is not about one topic".into());
        }
        let error = sys::rd_kafka_TopicDescription_error(*topics);
        if sys::rd_kafka_error_code(error) != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(text(sys::rd_kafka_error_string(error)));
        }
        let id = text(sys::rd_kafka_Uuid_base64str(sys::rd_kafka_TopicDescription_topic_id(*topics)));
        // Brokers before 2.8 give none, which the library shows as zeros.
        if id.is_empty() || id.bytes().all(|byte| byte == b'A') {
            return Err("the brokers give topics no id".into());
        }
        Ok(id)
    }
}

/// # Safety
///
/// `raw` is null or points at bytes that end with a zero, and that live until this function returns.
unsafe fn text(raw: *const c_char) -> String {
    if raw.is_null() {
        return String::new();
    }
    // SAFETY: by this function's own condition.
    unsafe { CStr::from_ptr(raw) }.to_string_lossy().into_owned()
}
