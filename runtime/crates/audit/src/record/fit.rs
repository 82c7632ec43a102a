//! How much of a name a record keeps: all of it, or its beginning and a hash of the whole, which still tells names apart.
//! It never cuts inside a character, nor a name that a record has room for.

use super::values::{Digest, LogPath};
use crate::merkle::sha256;

/// Bytes of a path in a record at most, as the log spells it: two of them fit beside the rest of a leaf.
pub const PATH_BYTES_MAX: usize = 3500;
/// Bytes of what a symbolic link points to, in the two states of a change: they fit beside the longest path.
pub const TARGET_BYTES_MAX: usize = 1400;

const _: () = assert!(2 * PATH_BYTES_MAX + 1024 < crate::frame::LEAF_BYTES_MAX);
const _: () = assert!(PATH_BYTES_MAX + 2 * TARGET_BYTES_MAX + 1024 < crate::frame::LEAF_BYTES_MAX);

impl LogPath {
    /// A path as a record keeps it: with the hash of the whole where that is more than `bytes_max` in a leaf. Of two cut
    /// paths, one of which lies below the other, what is kept of one begins with what is kept of the other.
    #[must_use]
    pub fn kept(path: &[u8], bytes_max: usize) -> (Self, Option<Digest>) {
        if spelled_bytes(path) <= bytes_max {
            return (Self(path.to_vec()), None);
        }
        let raw = path.get(..bytes_max / 4 * 3).unwrap_or(path);
        let kept = match std::str::from_utf8(raw) {
            Err(error) if error.error_len().is_some() => raw,
            // Text so far, perhaps with half a character at its end.
            Ok(_) | Err(_) => text(path, bytes_max),
        };
        (Self(kept.to_vec()), Some(Digest(sha256(path))))
    }
}

/// The longest beginning of a path that is text, and has room.
fn text(path: &[u8], bytes_max: usize) -> &[u8] {
    let valid = path.utf8_chunks().next().map(|chunk| chunk.valid()).unwrap_or_default();
    let mut room = bytes_max;
    let over = valid.char_indices().find(|(_, c)| match room.checked_sub(spelled(*c)) {
        Some(left) => {
            room = left;
            false
        }
        None => true,
    });
    let end = over.map_or(valid.len(), |(at, _)| at);
    path.get(..end).unwrap_or(path)
}

/// How long a path is in a leaf.
fn spelled_bytes(path: &[u8]) -> usize {
    match std::str::from_utf8(path) {
        Ok(text) => text.chars().map(spelled).sum(),
        Err(_) => path.len().div_ceil(3) * 4,
    }
}

fn spelled(c: char) -> usize {
    match c {
        '\0'..'\x20' => 6,
        '"' | '\\' => 2,
        _ => c.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn cut(path: &[u8]) -> Vec<u8> {
        let (kept, whole) = LogPath::kept(path, PATH_BYTES_MAX);
        assert_eq!(whole, Some(Digest(sha256(path))));
        assert!(path.starts_with(&kept.0) && kept.0.len() > 500, "{}", kept.0.len());
        assert!(serde_json::to_vec(&kept).expect("it is written").len() <= PATH_BYTES_MAX + 12);
        kept.0
    }

    #[test]
    fn a_name_that_has_room_is_whole() {
        for path in [b"a".to_vec(), vec![b'x'; PATH_BYTES_MAX], vec![0xff; 2625], vec![1; 583]] {
            assert_eq!(LogPath::kept(&path, PATH_BYTES_MAX), (LogPath(path), None));
        }
    }

    #[test]
    fn what_is_kept_of_a_longer_name_begins_it_and_has_room() {
        assert_eq!(cut(&vec![b'x'; 4095]).len(), PATH_BYTES_MAX);
        assert_eq!(cut(&vec![1; 4095]).len(), PATH_BYTES_MAX / 6);
        assert_eq!(cut(&vec![0xff; 4095]).len(), 2625);
        assert_eq!(cut("日".repeat(1365).as_bytes()).len(), PATH_BYTES_MAX / 3 * 3);
        // It stops being text behind what is kept, and before.
        assert_eq!(cut(&[vec![b'x'; 3000], vec![0xff; 1000]].concat()).len(), 3000);
        assert_eq!(cut(&[vec![b'x'; 2000], vec![0xff; 2000]].concat()).len(), 2625);
        assert_eq!(cut(&[vec![b'x'; 2624], "日".repeat(400).into_bytes()].concat()).len(), 2624 + 876 / 3 * 3);
    }

    #[test]
    fn what_is_kept_of_two_names_tells_whether_one_may_lie_below_the_other() {
        let long = [vec![b'x'; 2700], vec![b'"'; 600], vec![0xff; 700]].concat();
        let cuts: Vec<Vec<u8>> = (3200..4000).step_by(7).map(|length| cut(&long[..length])).collect();
        assert!(cuts.windows(2).all(|two| two[0].starts_with(&two[1]) || two[1].starts_with(&two[0])));
    }
}
