//! What the intake lets through, what it refuses, and what each costs of the budget.

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use tokio::time::{Duration, Instant};

use super::super::Settings;
use super::super::for_tests::pipeline;
use super::{Encoding, Intake};
use crate::serve::{Entry, Pipeline};
use crate::types::Reason;

const SETTINGS: Settings = Settings { message_bytes_max: 1000, receive_timeout: Duration::from_secs(10) };

/// Frames that come one by one; then the end, or nothing for ever.
struct Frames {
    frames: VecDeque<Bytes>,
    ends: bool,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.frames.pop_front() {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            None if self.ends => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

/// A message with its prefix.
fn framed(flag: u8, announced: usize, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(announced).expect("small").to_be_bytes();
    [&[flag][..], &length, bytes].concat()
}

fn entry(pipeline: &Arc<Pipeline>) -> Arc<Entry> {
    let client = pipeline.admission().client(IpAddr::from([127, 0, 0, 1]));
    pipeline.enter(&client, Instant::now(), None).expect("room")
}

/// Reads the body to its end: what came through, or why not.
async fn read(
    entry: &Arc<Entry>,
    encoding: Option<Encoding>,
    bytes: &[u8],
    part: usize,
    ends: bool,
) -> Result<Vec<u8>, (Reason, String)> {
    let frames = Frames { frames: bytes.chunks(part).map(Bytes::copy_from_slice).collect(), ends };
    let intake = Intake::new(frames, encoding, SETTINGS, Some(Arc::clone(entry)));
    match intake.collect().await {
        Ok(collected) => Ok(collected.to_bytes().to_vec()),
        Err(status) => {
            let refusal = entry.refusal().expect("the door is told");
            assert_eq!(status.message(), refusal.detail());
            Err((refusal.reason(), refusal.detail().to_owned()))
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// Field 7, so that no model is looked for.
fn message(length: usize) -> Vec<u8> {
    let mut bytes = vec![0x3a, 0x7f];
    bytes.resize(length, 1);
    bytes
}

#[tokio::test]
async fn a_message_comes_through_in_whatever_parts_it_comes() {
    let pipeline = pipeline(10, 10_000);
    let message = message(300);
    let plain = framed(0, 300, &message);
    for part in [1, 2, 5, 6, 300, 1000] {
        let entry = entry(&pipeline);
        assert_eq!(read(&entry, None, &plain, part, true).await.expect("through"), plain, "in parts of {part}");
        assert_eq!(entry.bytes(), 300);
        let small = gzip(&message);
        let compressed = framed(1, small.len(), &small);
        let entry = self::entry(&pipeline);
        let through = read(&entry, Some(Encoding::Gzip), &compressed, part, true).await.expect("through");
        assert_eq!(through, plain, "inflated, in parts of {part}");
    }
    assert_eq!(pipeline.admission().bytes(), 0, "all is given back");
}

#[tokio::test]
async fn what_is_wrong_is_refused_and_named() {
    let pipeline = pipeline(10, 1000);
    let bomb = gzip(&[0; 2000]);
    let truncated = gzip(&[1; 50]);
    let cases = [
        ("nothing", None, vec![], Reason::Invalid, "no message"),
        ("half a prefix", None, vec![0, 0, 0], Reason::Invalid, "after 3 of the 5 bytes"),
        ("too large", None, framed(0, 1001, b""), Reason::TooBig, "limit of 1000 bytes"),
        ("huge", None, framed(0, u32::MAX as usize, b""), Reason::TooBig, "limit of 1000 bytes"),
        ("cut off", None, framed(0, 10, b"123"), Reason::Invalid, "after 3 of the 10 bytes"),
        ("too long", None, framed(0, 3, &message(4)), Reason::Invalid, "more than one message"),
        ("a flag", None, framed(2, 3, &message(3)), Reason::Invalid, "begins with 2"),
        ("no encoding", None, framed(1, 3, &message(3)), Reason::Invalid, "no grpc-encoding"),
        ("a bomb", Some(Encoding::Gzip), framed(1, bomb.len(), &bomb), Reason::TooBig, "limit of 1000 bytes"),
        ("not gzip", Some(Encoding::Deflate), framed(1, truncated.len(), &truncated), Reason::Invalid, "inflated"),
    ];
    for (what, encoding, bytes, reason, text) in cases {
        for part in [1, 4, 9, 5000] {
            let refused = read(&entry(&pipeline), encoding, &bytes, part, true).await.expect_err(what);
            assert_eq!(refused.0, reason, "{what}: {}", refused.1);
            assert!(refused.1.contains(text), "{what}: {}", refused.1);
        }
    }
    assert_eq!(pipeline.admission().bytes(), 0, "all is given back");
}

#[tokio::test]
async fn room_is_taken_before_the_message_comes() {
    let pipeline = pipeline(10, 1000);
    let (first, second) = (entry(&pipeline), entry(&pipeline));
    let announced = framed(0, 600, b"");
    let mut waiting = Box::pin(read(&first, None, &announced, 5, false));
    assert!(poll_once(&mut waiting).await.is_none(), "nothing of it has come");
    assert_eq!(pipeline.admission().bytes(), 600);
    let refused = read(&second, None, &framed(0, 500, b""), 5, false).await.expect_err("no room");
    assert_eq!(refused.0, Reason::InFlight);
    assert_eq!(refused.1, "600 bytes are in flight, 500 more exceed the limit of 1000");
    let zeros = gzip(&[0; 500]);
    let inflated = read(&entry(&pipeline), Some(Encoding::Gzip), &framed(1, zeros.len(), &zeros), 5000, false).await;
    assert_eq!(inflated.expect_err("no room").0, Reason::InFlight, "small as it is on the wire");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_stops_coming_is_ended() {
    let pipeline = pipeline(10, 1000);
    let begun = Instant::now();
    let refused = read(&entry(&pipeline), None, &framed(0, 100, b"12345"), 5, false).await.expect_err("stalled");
    assert_eq!(refused.0, Reason::Deadline);
    assert!(refused.1.starts_with("5 of 100 bytes of the message came"), "{}", refused.1);
    assert_eq!(begun.elapsed(), SETTINGS.receive_timeout);
    let unended = read(&entry(&pipeline), None, &framed(0, 10, &message(10)), 50, false).await.expect_err("stalled");
    assert!(unended.1.contains("not the end of the call"), "{}", unended.1);
}

/// Polls once.
async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|context| match Pin::new(&mut *future).poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
