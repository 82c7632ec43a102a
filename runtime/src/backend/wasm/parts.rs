//! A message's body in datagrams: whole where it fits one, else in parts that follow each other.
//! It never makes room for more than has come, nor for anything of a body whose kind is never long.

use crate::backend::wasm::wire::{BODY_BYTES_MAX, MESSAGE_BYTES_MAX, Message, VERSION, decode, foreign};
use crate::error::{Error, Result};

/// The whole body is in this datagram.
const WHOLE: u8 = 0;
/// The length of the whole follows, and the first part.
const FIRST: u8 = 1;
/// The next part follows.
const NEXT: u8 = 2;
/// Version and form.
const HEAD_BYTES: usize = 2;
/// The same, and a length.
const FIRST_HEAD_BYTES: usize = HEAD_BYTES + 8;
/// Bytes of a body that is whole in a datagram, at most.
const WHOLE_BYTES_MAX: usize = MESSAGE_BYTES_MAX - HEAD_BYTES;
/// Bytes of each part, but the last.
const PART_BYTES: usize = MESSAGE_BYTES_MAX - FIRST_HEAD_BYTES;
const _: () = assert!(PART_BYTES < WHOLE_BYTES_MAX && WHOLE_BYTES_MAX < BODY_BYTES_MAX);

/// A message, encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded(Vec<u8>);

/// Encodes a message.
///
/// # Errors
/// Guest: what a guest put into it makes it too long.
pub fn encode<M: Message>(message: &M) -> Result<Encoded> {
    let body = postcard::to_extend(message, Vec::new())
        .map_err(|error| Error::bug(format!("a message to or from a worker has no bytes: {error}")))?;
    let longest = if body.first() == Some(&M::LONG_KIND) { BODY_BYTES_MAX } else { WHOLE_BYTES_MAX };
    if body.len() > longest {
        return Err(Error::guest(format!("a message of {} bytes is too long", body.len()))
            .hint(format!("arguments and replies of tools have at most {BODY_BYTES_MAX} bytes, others {longest}")));
    }
    Ok(Encoded(body))
}

impl Encoded {
    /// How many datagrams it takes. More than one are sent with no other such message between them.
    pub fn datagrams(&self) -> usize {
        if self.is_whole() { 1 } else { self.0.len().div_ceil(PART_BYTES) }
    }

    /// One of them: its head, and what of the body follows that.
    pub fn datagram(&self, number: usize) -> (Vec<u8>, &[u8]) {
        if self.is_whole() {
            return (vec![VERSION, WHOLE], &self.0);
        }
        let part = self.0.chunks(PART_BYTES).nth(number).unwrap_or_default();
        if number > 0 {
            return (vec![VERSION, NEXT], part);
        }
        let length = u64::try_from(self.0.len()).unwrap_or(u64::MAX);
        ([&[VERSION, FIRST][..], &length.to_le_bytes()].concat(), part)
    }

    fn is_whole(&self) -> bool {
        self.0.len() <= WHOLE_BYTES_MAX
    }
}

/// What has come of a body that comes in parts.
#[derive(Debug, Default)]
pub struct Begun {
    body: Vec<u8>,
    /// Of the whole; 0 where none has begun.
    length: usize,
}

impl Begun {
    /// Takes a datagram. `None`: it is a part, and more follow.
    ///
    /// # Errors
    /// Bug: it is none of ours.
    pub fn take<M: Message>(&mut self, datagram: &[u8]) -> Result<Option<M>> {
        if datagram.len() > MESSAGE_BYTES_MAX {
            return Err(foreign("it is too long"));
        }
        match datagram {
            [VERSION, WHOLE, body @ ..] => decode(body).map(Some),
            [VERSION, FIRST, rest @ ..] => {
                let (length, part) = rest.split_first_chunk().ok_or_else(|| foreign("its length is cut"))?;
                let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
                // A body that fits a datagram is in one: each message has one form.
                if !(WHOLE_BYTES_MAX + 1..=BODY_BYTES_MAX).contains(&length) {
                    return Err(foreign("its length cannot be"));
                }
                if self.length > 0 {
                    return Err(foreign("it begins within another one"));
                }
                if part.first() != Some(&M::LONG_KIND) {
                    return Err(foreign("its kind is never so long"));
                }
                self.length = length;
                self.add(part)
            }
            [VERSION, NEXT, ..] if self.length == 0 => Err(foreign("it goes on without a beginning")),
            [VERSION, NEXT, part @ ..] => self.add(part),
            [VERSION, ..] => Err(foreign("its head is malformed")),
            _ => Err(foreign("it is of another version")),
        }
    }

    fn add<M: Message>(&mut self, part: &[u8]) -> Result<Option<M>> {
        if part.len() != PART_BYTES.min(self.length - self.body.len()) {
            return Err(foreign("a part of it has another length"));
        }
        self.body.extend_from_slice(part);
        if self.body.len() < self.length {
            return Ok(None);
        }
        decode(&std::mem::take(self).body).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::wasm::call::{CallGrant, Files, Limits, Printed, Reply, ToolUsage, Use, What};
    use crate::backend::wasm::wire::{CallRequest, Ended, Ending, FromWorker, ToWorker, WireGrant};

    fn ended(text: String) -> FromWorker {
        let reply = Reply { text, structured: Some("{}".to_owned()), images: vec![("image/png".to_owned(), vec![1])] };
        let uses = vec![Use::new(What::Rename { to: b"/b".to_vec() }, *b"/a")];
        let (usage, printed) = (ToolUsage { cpu_us: 7, ..ToolUsage::default() }, Printed::default());
        FromWorker::Ended { call: 3, ended: Box::new(Ended { ending: Ending::Answered(reply), uses, usage, printed }) }
    }

    fn datagrams(message: &impl Message) -> Vec<Vec<u8>> {
        let encoded = encode(message).expect("it is short enough");
        let one = |number| {
            let (head, part) = encoded.datagram(number);
            [&head, part].concat()
        };
        (0..encoded.datagrams()).map(one).collect()
    }

    /// What the other end makes of these, one after the other: the message that the last one ends.
    fn taken(datagrams: &[Vec<u8>]) -> Result<Option<FromWorker>> {
        let mut begun = Begun::default();
        let (last, before) = datagrams.split_last().expect("there is one");
        for datagram in before {
            assert_eq!(begun.take::<FromWorker>(datagram)?, None);
        }
        begun.take(last)
    }

    #[test]
    fn a_message_of_any_length_comes_back() {
        let around = datagrams(&ended(String::new()))[0].len() - HEAD_BYTES;
        // The length of a text takes three bytes here, and one where there is none.
        let of_body = |bytes: usize| ended("x".repeat(bytes - around - 2));
        for (bytes, wanted) in [
            (WHOLE_BYTES_MAX, 1),
            (WHOLE_BYTES_MAX + 1, 2),
            (2 * PART_BYTES, 2),
            (2 * PART_BYTES + 1, 3),
            (20 * PART_BYTES, 20),
        ] {
            let message = of_body(bytes);
            let sent = datagrams(&message);
            assert_eq!(sent.len(), wanted, "{bytes}");
            assert!(sent.iter().all(|datagram| datagram.len() <= MESSAGE_BYTES_MAX));
            assert_eq!(taken(&sent).expect("it is ours"), Some(message), "{bytes}");
        }
    }

    #[test]
    fn short_messages_may_come_between_parts_and_long_ones_may_not() {
        let (long, short) = (ended("x".repeat(3 * PART_BYTES)), FromWorker::Loaded { component: 7 });
        let (parts, between) = (datagrams(&long), datagrams(&short));
        let mut begun = Begun::default();
        for (number, part) in parts.iter().enumerate() {
            assert_eq!(begun.take(&between[0]).expect("it is ours"), Some(FromWorker::Loaded { component: 7 }));
            let wanted = (number + 1 == parts.len()).then(|| long.clone());
            assert_eq!(begun.take::<FromWorker>(part).expect("it is ours"), wanted);
        }
        let error = taken(&[parts[0].clone(), parts[0].clone()]).expect_err("one within another");
        assert!(error.to_string().contains("within another"), "{error}");
        // The control: after the end of one, another one may begin.
        let twice = [&parts[..], &parts[..]].concat();
        let mut begun = Begun::default();
        let came = twice.iter().filter_map(|part| begun.take::<FromWorker>(part).expect("it is ours")).count();
        assert_eq!(came, 2);
    }

    #[test]
    fn what_is_not_a_whole_message_is_refused() {
        let short = datagrams(&ended("x".to_owned())).remove(0);
        for cut in 0..short.len() {
            taken(&[short.get(..cut).expect("it is longer").to_vec()]).expect_err("a part is no message");
        }
        taken(&[[&short[..], &[0]].concat()]).expect_err("bytes follow");
        let parts = datagrams(&ended("x".repeat(3 * PART_BYTES)));
        taken(&parts[1..2]).expect_err("it goes on without a beginning");
        taken(&[parts[0].clone(), parts[3].clone()]).expect_err("what is between is missing");
        taken(&[parts[0].clone(), [&parts[1][..], &[0]].concat()]).expect_err("a part with more bytes");
        taken(&[parts[0].clone(), parts[1][..100].to_vec()]).expect_err("a part with less bytes");
        taken(&[parts[0].clone(), vec![VERSION, NEXT]]).expect_err("a part with none");
        let mut empty = parts[0].clone();
        empty.truncate(FIRST_HEAD_BYTES);
        taken(&[empty]).expect_err("a beginning with nothing");
    }

    #[test]
    fn a_length_that_cannot_be_is_refused_before_anything_is_kept() {
        let first = |length: u64, kind: u8| {
            let mut datagram = [&[VERSION, FIRST][..], &length.to_le_bytes(), &[kind]].concat();
            datagram.resize(MESSAGE_BYTES_MAX, 0);
            datagram
        };
        let taken = |datagram: &[u8]| {
            let mut begun = Begun::default();
            let taken = begun.take::<FromWorker>(datagram);
            (taken, begun.body.capacity())
        };
        for length in [0, 1, WHOLE_BYTES_MAX as u64, BODY_BYTES_MAX as u64 + 1, u64::MAX] {
            let (taken, kept) = taken(&first(length, FromWorker::LONG_KIND));
            taken.expect_err("it would fit one, or nobody has so much");
            assert_eq!(kept, 0);
        }
        // Uses, progress and words fit a datagram: a worker that somebody took over gets no memory for them.
        for kind in (0..=u8::MAX).filter(|kind| *kind != FromWorker::LONG_KIND) {
            let (taken, kept) = taken(&first(BODY_BYTES_MAX as u64, kind));
            let error = taken.expect_err("its kind is never so long").to_string();
            assert!(error.contains("never so long") && kept == 0, "{kind}: {error}");
        }
        // The control; and there is room for what has come alone.
        let (taken, kept) = taken(&first(BODY_BYTES_MAX as u64, FromWorker::LONG_KIND));
        assert_eq!(taken.expect("that can be"), None);
        assert!(kept < 2 * MESSAGE_BYTES_MAX, "{kept}");
        for datagram in [&[9, WHOLE][..], &[VERSION, 3], &[VERSION], &[], &[VERSION, FIRST, 1]] {
            Begun::default().take::<FromWorker>(datagram).expect_err("it is none of ours");
        }
    }

    #[test]
    fn only_calls_and_their_ends_may_be_long() {
        let kind = |datagrams: Vec<Vec<u8>>| datagrams.first().and_then(|first| first.get(HEAD_BYTES)).copied();
        assert_eq!(kind(datagrams(&ended(String::new()))), Some(FromWorker::LONG_KIND));
        let grant = WireGrant::new(&CallGrant {
            files: Files::None,
            directory: std::path::PathBuf::new(),
            network: false,
            sockets: false,
            clocks: false,
            random: false,
            env: Vec::new(),
            arguments: false,
            stdin: false,
            limits: Limits::default(),
        });
        let request = CallRequest { call: 1, component: 1, grant, arguments: String::new() };
        assert_eq!(kind(datagrams(&ToWorker::Call(Box::new(request)))), Some(ToWorker::LONG_KIND));
        let uses = vec![Use::new(What::Unlink, vec![b'x'; MESSAGE_BYTES_MAX])];
        encode(&FromWorker::Used { call: 1, uses }).expect_err("it is never so long");
        let why = "x".repeat(MESSAGE_BYTES_MAX);
        encode(&ToWorker::NoStream { call: 1, request: 1, why }).expect_err("it is never so long");
    }
}
