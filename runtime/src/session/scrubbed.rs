//! Takes secrets out of what a call prints, before the log and whoever reads it see it.
//! It never passes on a byte of a secret, nor keeps one back that cannot be part of one.

use crate::backend::process::Sink;
use crate::secrets::scrub::{Hit, Patterns, Scrubber};
use std::io;
use std::sync::Arc;

/// One stream on its way out, in front of whatever takes it. It is finished at the end, or its last bytes are missing.
pub struct Scrubbed<'a> {
    to: &'a mut dyn Sink,
    scrubber: Scrubber,
}

impl<'a> Scrubbed<'a> {
    /// Passes on to `to` what is left of a stream without these secrets.
    pub fn new(to: &'a mut dyn Sink, patterns: Arc<Patterns>) -> Self {
        Self { to, scrubber: Scrubber::new(patterns) }
    }

    /// The stream has paused: passes on what is held if it is too short to be worth anything; a prompt may end in it.
    ///
    /// # Errors
    /// The other side is gone or full.
    pub fn idle(&mut self) -> io::Result<()> {
        self.scrubber.idle().map_or(Ok(()), |held| self.to.take(&held))
    }

    /// The stream ended: passes on what is held, and says what was found in all of it.
    pub fn finish(mut self) -> (io::Result<()>, Vec<Hit>) {
        let last = self.scrubber.finish();
        let passed = if last.is_empty() { Ok(()) } else { self.to.take(&last) };
        (passed, self.scrubber.take_hits())
    }
}

impl Sink for Scrubbed<'_> {
    fn take(&mut self, chunk: &[u8]) -> io::Result<()> {
        let clean = self.scrubber.push_slice(chunk);
        if clean.is_empty() { Ok(()) } else { self.to.take(&clean) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tee::Tee;
    use super::*;
    use crate::secrets::forms::Form;

    #[derive(Default)]
    struct Reader(Vec<u8>);
    impl Sink for Reader {
        fn take(&mut self, chunk: &[u8]) -> io::Result<()> {
            self.0.extend(chunk);
            Ok(())
        }
    }

    #[test]
    fn a_secret_reaches_neither_the_reader_nor_the_log() {
        let patterns = Arc::new(Patterns::new([("key", &b"correct horse battery"[..])]));
        let text = b"key=correct horse battery hex=636f727265637420686f7273652062617474657279 correct";
        let expected = [&b"key="[..], &[b'*'; 21], b" hex=", &[b'*'; 42], b" correct"].concat();
        for bytes in [1, 3, 7, 1000] {
            let mut reader = Reader::default();
            let mut tee = Tee::new(&mut reader);
            let mut scrubbed = Scrubbed::new(&mut tee, Arc::clone(&patterns));
            text.chunks(bytes).for_each(|chunk| scrubbed.take(chunk).expect("the log takes everything"));
            let (passed, hits) = scrubbed.finish();
            passed.expect("the log takes everything");
            let hit = |form| Hit { name: "key".to_owned(), form, count: 1 };
            assert_eq!(hits, [hit(Form::Raw), hit(Form::Hex)]);
            assert_eq!(tee.into_kept(), (expected.clone(), expected.len() as u64));
            assert_eq!(reader.0, expected);
        }
    }

    #[test]
    fn a_prompt_never_waits_for_more_than_a_pause() {
        let patterns = Arc::new(Patterns::new([("key", &b"> correct horse"[..])]));
        let mut reader = Reader::default();
        let mut scrubbed = Scrubbed::new(&mut reader, patterns);
        scrubbed.take(b"name? > ").expect("it takes everything");
        scrubbed.idle().expect("it takes everything");
        drop(scrubbed);
        assert_eq!(reader.0, b"name? > ");
    }
}
