//! Keeps what a guest prints from commanding the terminal of the person who watches.
//! It lets text, colours and cursor movement through and never anything that answers, stores or reconfigures.

/// What a byte may do next, remembered from one chunk to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Plain text.
    Text,
    /// After 0xC2, which begins the UTF-8 form of the C1 controls (U+0080 to U+009F), CSI and OSC among them.
    Latin,
    /// After ESC.
    Escape,
    /// In a control sequence (ESC [), collected until its final byte.
    Control,
    /// In a string (OSC, DCS, APC, PM, SOS), dropped until its end.
    Dropped,
    /// In a dropped string, after an ESC that may begin its terminator.
    DroppedEscape,
    /// After ESC and an intermediate byte (character set selection): one more byte.
    Intermediate,
}

/// Longest control sequence that is kept, bytes. xterm itself stops at 30 parameters.
const CONTROL_BYTES_MAX: usize = 128;

/// A filter for one stream. It holds back at most one unfinished sequence.
#[derive(Debug)]
pub struct Screen {
    state: State,
    /// The control sequence so far, ESC included.
    held: Vec<u8>,
}

impl Default for Screen {
    fn default() -> Self {
        Self { state: State::Text, held: Vec::new() }
    }
}

impl Screen {
    /// Filters one chunk of a stream.
    ///
    /// Operating system commands (clipboard, title, palette), device control strings and every control sequence that
    /// makes the terminal send something back are dropped: a reply arrives as if the person had typed it
    /// (CVE-2003-0063 and its family), and OSC 52 writes the clipboard.
    pub fn filter(&mut self, chunk: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(chunk.len());
        for &byte in chunk {
            self.step(byte, &mut out);
        }
        out
    }

    fn step(&mut self, byte: u8, out: &mut Vec<u8>) {
        match self.state {
            State::Text => self.text(byte, out),
            State::Latin => self.latin(byte, out),
            State::Escape => self.escape(byte, out),
            State::Control => self.control(byte, out),
            State::Dropped => match byte {
                0x07 | 0x18 | 0x1a => self.state = State::Text,
                0x1b => self.state = State::DroppedEscape,
                _ => {}
            },
            // ESC \ ends the string; ESC and anything else ends it too and begins a new sequence (ECMA-48 §8.3.143).
            State::DroppedEscape => match byte {
                b'\\' => self.state = State::Text,
                _ => {
                    self.held = vec![0x1b];
                    self.escape(byte, out);
                }
            },
            State::Intermediate => {
                self.state = State::Text;
                self.held.push(byte);
                out.append(&mut self.held);
            }
        }
    }

    fn text(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            0x1b => {
                self.state = State::Escape;
                self.held = vec![0x1b];
            }
            0xc2 => self.state = State::Latin,
            // ENQ asks some terminals for an answerback string.
            0x05 => {}
            _ => out.push(byte),
        }
    }

    /// Drops C1 controls outright: programs of this century send their ESC forms.
    fn latin(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.state = State::Text;
        match byte {
            0x80..=0x9f => {}
            0xa0..=0xbf => out.extend([0xc2, byte]),
            _ => {
                out.push(0xc2);
                self.text(byte, out);
            }
        }
    }

    fn escape(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.held.push(byte);
        self.state = match byte {
            b'[' => State::Control,
            b']' | b'P' | b'X' | b'^' | b'_' => State::Dropped,
            // Character sets and keypad modes take one more byte; the window title of screen(1) (ESC k) is a string.
            b'(' | b')' | b'*' | b'+' | b'#' | b'%' => State::Intermediate,
            b'k' => State::Dropped,
            // ESC Z asks for identification; ESC c resets the terminal, which also drops our own modes.
            b'Z' | b'c' => State::Text,
            0x1b => {
                self.held = vec![0x1b];
                State::Escape
            }
            _ => {
                out.append(&mut self.held);
                State::Text
            }
        };
    }

    fn control(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.held.push(byte);
        match byte {
            0x40..=0x7e => {
                self.state = State::Text;
                if harmless(&self.held) {
                    out.append(&mut self.held);
                }
            }
            0x20..=0x3f if self.held.len() < CONTROL_BYTES_MAX => {}
            0x1b => {
                self.state = State::Escape;
                self.held = vec![0x1b];
            }
            _ => self.state = State::Text,
        }
    }
}

/// Whether a complete control sequence only draws. `n` reports status or position, `c` attributes, `t` is the window
/// (title reports among it), `x` parameters, `q` with `>` the version, `$p` modes, `y` self-tests, `i` the printer,
/// `S` with `?` graphics, `u` with `?` the keyboard: all make the terminal answer or act.
fn harmless(sequence: &[u8]) -> bool {
    let Some((&last, body)) = sequence.split_last() else { return false };
    let parameters = body.get(2..).unwrap_or_default();
    match last {
        b'n' | b'c' | b't' | b'x' | b'y' | b'i' | b'w' | b'v' => false,
        b'q' => parameters.last() == Some(&b' '),
        b'p' => !parameters.contains(&b'$'),
        b'S' | b'u' => parameters.first() != Some(&b'?'),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &[u8], expected: &[u8]) {
        assert_eq!(Screen::default().filter(input), expected, "whole");
        let mut screen = Screen::default();
        let split: Vec<u8> = input.iter().flat_map(|byte| screen.filter(&[*byte])).collect();
        assert_eq!(split, expected, "byte by byte");
    }

    #[test]
    fn text_colours_and_cursor_movement_pass() {
        check("plain ünïcode\r\n\t".as_bytes(), "plain ünïcode\r\n\t".as_bytes());
        check(
            b"\x1b[1;31mred\x1b[0m\x1b[2K\x1b[10;5H\x1b[?25l\x1b[?1049h",
            b"\x1b[1;31mred\x1b[0m\x1b[2K\x1b[10;5H\x1b[?25l\x1b[?1049h",
        );
        check(b"\x1b(B\x1b=\x1b7\x1b8\x1b[4 q", b"\x1b(B\x1b=\x1b7\x1b8\x1b[4 q");
    }

    #[test]
    fn clipboard_title_and_device_strings_never_reach_the_terminal() {
        check(b"a\x1b]52;c;ZXZpbA==\x07b", b"ab");
        check(b"a\x1b]0;title\x1b\\b", b"ab");
        check(b"a\x1bP$q\"p\x1b\\b", b"ab");
        check(b"a\x1b_apc\x1b\\\x1b^pm\x1b\\\x1bXsos\x1b\\b", b"ab");
        check("a\u{9b}31mb\u{9d}0;x\u{b5}".as_bytes(), "a31mb0;x\u{b5}".as_bytes());
        check(b"a\x1b]unfinished\x1b[31mred", b"a\x1b[31mred");
    }

    #[test]
    fn sequences_that_make_the_terminal_answer_never_reach_it() {
        for sequence in
            ["\x1b[6n", "\x1b[c", "\x1b[>c", "\x1b[21t", "\x1b[>q", "\x1b[?2026$p", "\x1bZ", "\x05", "\x1b[?u"]
        {
            check(format!("a{sequence}b").as_bytes(), b"ab");
        }
    }

    #[test]
    fn endless_sequences_hold_back_a_bounded_amount() {
        let mut screen = Screen::default();
        screen.filter(b"\x1b[");
        screen.filter(&vec![b'1'; 1 << 20]);
        assert!(screen.held.len() <= CONTROL_BYTES_MAX + 1);
    }
}
