//! The body of a call on its way in: judged while it arrives, before anything decodes it.
//!
//! The five bytes before a gRPC message tell its length. Room for it is taken before it is buffered; the model is found in
//! its first bytes and asked whether it can answer in time; a compressed message is inflated here, within the same budget.
//! What is refused is not read any further. Below, tonic sees one plain message.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;

use super::Settings;
use super::inflate::{Encoding, Inflate, PREFIX, too_big};
use super::top::Top;
use crate::api::status::status;
use crate::serve::Entry;
use crate::types::{Error, Reason};

/// Compressed bytes are inflated in slices of so many: at most a thousand times as many plain ones come of each.
const SLICE: usize = 4 << 10;
/// After so many plain bytes others get their turn.
const INFLATED_AT_ONCE: usize = 256 << 10;

pin_project! {
    /// The body of one call.
    pub(super) struct Intake<B> {
        #[pin]
        inner: B,
        rules: Rules,
        state: State,
        // Bytes that have arrived and wait to be judged.
        arrived: Bytes,
        // While nothing arrives: when that has lasted too long.
        stalled: Option<Pin<Box<Sleep>>>,
    }
}

struct Rules {
    entry: Option<Arc<Entry>>,
    encoding: Option<Encoding>,
    settings: Settings,
}

enum State {
    /// Some of the five bytes have come.
    Prefix([u8; PREFIX], usize),
    /// So many bytes of a plain message are missing.
    Plain { left: usize, length: usize, seen: bool },
    /// So many bytes of a compressed message are missing.
    Compressed { left: usize, length: usize, inflate: Box<Inflate>, seen: bool },
    /// The message is complete: nothing may follow.
    Whole,
    /// Of a service of its own ways: everything passes.
    Open,
    /// It was refused.
    Refused,
}

/// What to do next.
enum Next {
    /// Read more.
    Read,
    /// Hand this on.
    Give(Bytes),
    /// Let others have their turn.
    Yield,
}

impl<B> Intake<B> {
    /// A body whose message may be as large as `settings` say; `entry` is asked for room and about the model.
    pub(super) fn new(inner: B, encoding: Option<Encoding>, settings: Settings, entry: Option<Arc<Entry>>) -> Self {
        let rules = Rules { entry, encoding, settings };
        Self { inner, rules, state: State::Prefix([0; PREFIX], 0), arrived: Bytes::new(), stalled: None }
    }

    /// The call's entry.
    pub(super) fn entry(&self) -> Option<&Arc<Entry>> {
        self.rules.entry.as_ref()
    }

    /// A body that passes unjudged: a stream of messages, for a service that has limits of its own.
    pub(super) fn open(inner: B, settings: Settings) -> Self {
        Self { state: State::Open, ..Self::new(inner, None, settings, None) }
    }
}

impl<B> Body for Intake<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut this = self.project();
        loop {
            if !this.arrived.is_empty() {
                match this.rules.judge(this.state, this.arrived) {
                    Ok(Next::Read) => {}
                    Ok(Next::Give(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Ok(Next::Yield) => {
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Err(error) => return Poll::Ready(Some(Err(this.rules.refuse(this.state, error)))),
                }
                continue;
            }
            let Poll::Ready(frame) = this.inner.as_mut().poll_frame(context) else {
                if matches!(this.state, State::Open) {
                    return Poll::Pending;
                }
                ready!(this.rules.poll_stalled(this.stalled, context));
                let error = this.rules.stalled(this.state);
                return Poll::Ready(Some(Err(this.rules.refuse(this.state, error))));
            };
            *this.stalled = None;
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => *this.arrived = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(Status::from_error(error.into())))),
                None => {
                    let ended = ended(this.state).map_err(|error| this.rules.refuse(this.state, error));
                    return Poll::Ready(ended.err().map(Err));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Whole) && self.arrived.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl Rules {
    /// Judges what has arrived, and takes from it what it hands on.
    fn judge(&self, state: &mut State, arrived: &mut Bytes) -> Result<Next, Error> {
        match state {
            State::Prefix(prefix, count) => {
                let taken = arrived.len().min(PREFIX - *count);
                let whole = taken == PREFIX;
                let (places, bytes) = (prefix.get_mut(*count..*count + taken), arrived.get(..taken));
                if let (Some(places), Some(bytes)) = (places, bytes) {
                    places.copy_from_slice(bytes);
                }
                *count += taken;
                if *count < PREFIX {
                    arrived.advance(taken);
                    return Ok(Next::Read);
                }
                let prefix = *prefix;
                *state = self.announced(prefix)?;
                let is_plain = matches!(state, State::Plain { .. });
                if is_plain && whole {
                    // As a rule all is in one frame: handed on as it is.
                    return self.plain(state, arrived, PREFIX);
                }
                arrived.advance(taken);
                Ok(if is_plain { Next::Give(Bytes::copy_from_slice(&prefix)) } else { Next::Read })
            }
            State::Plain { .. } => self.plain(state, arrived, 0),
            State::Compressed { .. } => self.compressed(state, arrived),
            State::Open => Ok(Next::Give(std::mem::take(arrived))),
            State::Whole => Err(Error::invalid("the call has more than one message, expected one")),
            State::Refused => {
                arrived.clear();
                Ok(Next::Read)
            }
        }
    }

    /// The prefix is complete: takes room for the message.
    fn announced(&self, prefix: [u8; PREFIX]) -> Result<State, Error> {
        let [flag, length @ ..] = prefix;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        let bytes_max = self.settings.message_bytes_max;
        if length > bytes_max {
            return Err(too_big(bytes_max));
        }
        match (flag, self.encoding) {
            (0, _) => {
                if let Some(entry) = &self.entry {
                    entry.grow(length)?;
                }
                Ok(State::Plain { left: length, length, seen: false })
            }
            (1, Some(encoding)) => {
                let inflate = Box::new(Inflate::new(encoding, bytes_max, self.entry.clone()));
                Ok(State::Compressed { left: length, length, inflate, seen: false })
            }
            (1, None) => Err(Error::invalid("the message is marked as compressed, but there is no grpc-encoding")),
            (flag, _) => Err(Error::invalid(format!("the message begins with {flag}, expected 0 or 1 (compressed)"))),
        }
    }

    /// Hands on what has come of a plain message, behind `before` bytes of prefix.
    fn plain(&self, state: &mut State, arrived: &mut Bytes, before: usize) -> Result<Next, Error> {
        let State::Plain { left, seen, .. } = state else { return Ok(Next::Read) };
        let here = arrived.len() - before;
        let message = arrived.get(before..).unwrap_or_default();
        if here > *left {
            return Err(Error::invalid("the call has more than one message, expected one"));
        }
        if !*seen && (here > 0 || *left == 0) {
            *seen = true;
            self.look(message, here == *left)?;
        }
        *left -= here;
        if *left == 0 {
            *state = State::Whole;
        }
        Ok(Next::Give(std::mem::take(arrived)))
    }

    /// Inflates what has come of a compressed message; hands the whole on when it is complete.
    fn compressed(&self, state: &mut State, arrived: &mut Bytes) -> Result<Next, Error> {
        let State::Compressed { left, inflate, seen, .. } = state else { return Ok(Next::Read) };
        if arrived.len() > *left {
            return Err(Error::invalid("the call has more than one message, expected one"));
        }
        let before = inflate.so_far().len();
        while !arrived.is_empty() && inflate.so_far().len() - before < INFLATED_AT_ONCE {
            let slice = arrived.split_to(arrived.len().min(SLICE));
            inflate.feed(&slice)?;
            *left -= slice.len();
            if !*seen && !inflate.so_far().is_empty() {
                *seen = true;
                self.look(inflate.so_far(), false)?;
            }
        }
        if *left > 0 {
            return Ok(if arrived.is_empty() { Next::Read } else { Next::Yield });
        }
        match std::mem::replace(state, State::Whole) {
            State::Compressed { inflate, .. } => inflate.finish().map(Next::Give),
            _ => Ok(Next::Read),
        }
    }

    /// Looks for the model at the top of the message, and asks whether it can answer in time.
    fn look(&self, message: &[u8], is_whole: bool) -> Result<(), Error> {
        let Some(entry) = &self.entry else { return Ok(()) };
        let Some(top) = Top::read(message, is_whole) else { return Ok(()) };
        entry.route(top.model, top.version, top.priority).map(drop)
    }

    fn refuse(&self, state: &mut State, error: Error) -> Status {
        *state = State::Refused;
        let status = status(&error);
        if let Some(entry) = &self.entry {
            entry.refuse(error);
        }
        status
    }

    /// Ready when nothing has arrived for too long.
    fn poll_stalled(&self, stalled: &mut Option<Pin<Box<Sleep>>>, context: &mut Context<'_>) -> Poll<()> {
        let sleep = stalled.get_or_insert_with(|| {
            let patience = Instant::now() + self.settings.receive_timeout;
            let until = self.entry.as_ref().map_or(patience, |entry| entry.readable_until().min(patience));
            Box::pin(sleep_until(until))
        });
        sleep.as_mut().poll(context)
    }

    fn stalled(&self, state: &State) -> Error {
        let (came, length) = match state {
            State::Plain { left, length, .. } | State::Compressed { left, length, .. } => {
                (length - left, Some(*length))
            }
            State::Prefix(..) => (0, None),
            State::Whole | State::Open | State::Refused => {
                return Error::new(Reason::Deadline, "the call's message has come, but not the end of the call");
            }
        };
        let of = length.map(|length| format!(" of {length}")).unwrap_or_default();
        let timeout = self.settings.receive_timeout.as_secs_f64();
        let detail =
            format!("{came}{of} bytes of the message came; no more within {timeout} s or the time of the call");
        Error::new(Reason::Deadline, detail)
    }
}

/// Has the call ended where it may?
fn ended(state: &State) -> Result<(), Error> {
    match state {
        State::Whole | State::Open | State::Refused | State::Plain { left: 0, .. } => Ok(()),
        State::Prefix(_, 0) => Err(Error::invalid("the call has no message, expected one")),
        State::Prefix(_, count) => {
            Err(Error::invalid(format!("the call ended after {count} of the {PREFIX} bytes before a message")))
        }
        State::Plain { left, length, .. } | State::Compressed { left, length, .. } => {
            let came = length - left;
            Err(Error::invalid(format!("the message ended after {came} of the {length} bytes that it announced")))
        }
    }
}

#[cfg(test)]
#[path = "intake_tests.rs"]
mod tests;
