//! The scrubber against an oracle that shares nothing with it, over random patterns and every split.

use super::*;
use std::collections::BTreeSet;

/// Marsaglia's xorshift: a test needs the same numbers each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).expect("it is below a usize")
    }

    fn letters(&mut self, bytes: usize, letters: &[u8]) -> Vec<u8> {
        (0..bytes).map(|_| letters[self.below(letters.len())]).collect()
    }
}

/// What should be replaced, from the definition alone: each byte of each place where a form stands.
fn oracle_mask(forms: &[Vec<u8>], text: &[u8]) -> Vec<bool> {
    let mut mask = vec![false; text.len()];
    for form in forms {
        for start in 0..text.len() {
            if text[start..].starts_with(form) {
                mask[start..start + form.len()].fill(true);
            }
        }
    }
    mask
}

fn oracle_fill(forms: &[Vec<u8>], text: &[u8]) -> Vec<u8> {
    text.iter().zip(oracle_mask(forms, text)).map(|(byte, hit)| if hit { FILLER } else { *byte }).collect()
}

/// How much of what was seen is decided: all before the earliest suffix that is a proper prefix of a form, and further as far
/// as whole matches reach.
fn oracle_decided(forms: &[Vec<u8>], seen: &[u8]) -> usize {
    let is_open =
        |start: &usize| forms.iter().any(|form| form.starts_with(&seen[*start..]) && form[..] != seen[*start..]);
    let open = (0..seen.len()).find(is_open).unwrap_or(seen.len());
    let mask = oracle_mask(forms, seen);
    (open..seen.len()).find(|place| !mask[*place]).unwrap_or(seen.len())
}

/// Pushes `text` in parts of a random size, through a random entry.
#[track_caller]
fn check(forms: &[Vec<u8>], text: &[u8], random: &mut Random) {
    let refs: Vec<&[u8]> = forms.iter().map(Vec::as_slice).collect();
    let patterns = Arc::new(Patterns::of_forms(&refs));
    let expected = oracle_fill(forms, text);
    let shown = || format!("forms {forms:?} text {:?}", String::from_utf8_lossy(text));

    let mut whole = text.to_vec();
    patterns.scrub_whole(&mut whole);
    assert_eq!(whole, expected, "whole: {}", shown());

    let mut scrubber = Scrubber::new(Arc::clone(&patterns));
    let (mut out, mut at, mut decided) = (Vec::new(), 0, 0);
    while at < text.len() {
        let end = (at + 1 + random.below(7)).min(text.len());
        match random.below(3) {
            0 => out.extend_from_slice(&scrubber.push(Bytes::copy_from_slice(&text[at..end]))),
            1 => out.extend(scrubber.push_parts(Bytes::copy_from_slice(&text[at..end])).concat()),
            _ => out.extend_from_slice(&scrubber.push_slice(&text[at..end])),
        }
        at = end;
        decided = decided.max(oracle_decided(forms, &text[..at]));
        assert_eq!(out.len(), decided, "after {at} bytes: {}", shown());
        assert_eq!(scrubber.held(), at - decided, "after {at} bytes: {}", shown());
        assert_eq!(out, expected[..decided], "after {at} bytes: {}", shown());
    }
    out.extend_from_slice(&scrubber.finish());
    assert_eq!(out, expected, "chunked: {}", shown());
    assert_eq!(scrubber.held(), 0);
}

#[test]
fn chunks_never_change_what_is_scrubbed() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for _ in 0..200_000 {
        let forms: Vec<_> = (0..1 + random.below(4))
            .map(|_| {
                let bytes = 1 + random.below(8);
                random.letters(bytes, b"abc")
            })
            .collect();
        let bytes = random.below(40);
        let text = random.letters(bytes, b"abc");
        check(&forms, &text, &mut random);
    }
}

/// Longer forms, so that the sieve is at work, in text that is made of parts of them.
#[test]
fn chunks_never_change_what_is_scrubbed_through_the_sieve() {
    let mut random = Random(0xD1B5_4A32_D192_ED03);
    for _ in 0..30_000 {
        let letters: &[u8] = if random.below(2) == 0 { b"abc" } else { b"abcdefghijklmnopqrstuvwxyz" };
        let forms: Vec<_> = (0..1 + random.below(4))
            .map(|_| {
                let bytes = 4 + random.below(40);
                random.letters(bytes, letters)
            })
            .collect();
        let mut text = Vec::new();
        for _ in 0..random.below(6) {
            let form = &forms[random.below(forms.len())];
            let (start, end) = (random.below(3), form.len() - random.below(3).min(form.len() - 3));
            match random.below(4) {
                0 => text.extend_from_slice(form),
                1 => text.extend_from_slice(&form[start..end]),
                2 => text.extend(random.letters(start + 1, letters)),
                _ => {
                    let bytes = random.below(60);
                    text.extend(random.letters(bytes, b"xyz ,.{}"));
                }
            }
        }
        check(&forms, &text, &mut random);
    }
}

#[test]
fn a_short_match_inside_an_open_longer_one_never_lets_the_longer_one_out() {
    let patterns = Arc::new(Patterns::of_forms(&[b"bacbbbab", b"a"]));
    let mut scrubber = Scrubber::new(patterns);
    // `a` is found and whole, and still `b` before it may be the beginning of the longer form.
    assert_eq!(scrubber.push_slice(b"xba"), &b"x"[..]);
    assert_eq!(scrubber.push_slice(b"cbbba"), &b""[..]);
    assert_eq!(scrubber.push_slice(b"b"), &b"********"[..]);
    assert_eq!(scrubber.held(), 0, "its last letter may begin the next, and is replaced whatever comes");
}

#[test]
fn the_end_of_an_overlapping_secret_never_stays() {
    let patterns = Patterns::of_forms(&[b"abcdefgh", b"efghijkl"]);
    let mut text = b"..abcdefghijkl..".to_vec();
    patterns.scrub_whole(&mut text);
    assert_eq!(text, b"..************..");
}

#[test]
fn a_clean_chunk_is_never_copied() {
    let patterns = Arc::new(Patterns::new([("key", &b"correct horse battery"[..])]));
    let mut scrubber = Scrubber::new(patterns);
    let chunk = Bytes::from(vec![b'.'; 4096]);
    let out = scrubber.push(chunk.clone());
    assert_eq!(out.as_ptr(), chunk.as_ptr());
    let tail = Bytes::from_static(b"....corr");
    let out = scrubber.push(tail.clone());
    assert_eq!((&out[..], out.as_ptr()), (&b"...."[..], tail.as_ptr()), "only the candidate is copied");
    let [held, body] = scrubber.push_parts(chunk.clone());
    assert_eq!((&held[..], body.as_ptr()), (&b"corr"[..], chunk.as_ptr()));
}

#[test]
fn a_pause_gives_only_what_is_worth_nothing_and_never_drop_by_drop() {
    let patterns = Arc::new(Patterns::new([("key", &b"correct horse battery"[..])]));
    let mut scrubber = Scrubber::new(Arc::clone(&patterns));
    assert_eq!(scrubber.idle(), None);
    assert!(scrubber.push_slice(b"correct").is_empty());
    assert_eq!(scrubber.idle().as_deref(), Some(&b"correct"[..]));
    assert!(scrubber.push_slice(b" ").is_empty());
    assert_eq!(scrubber.idle(), None, "eight bytes are too many, those that went before included");
    assert_eq!(
        scrubber.push_slice(b"horse battery!"),
        &b"**************!"[..],
        "what comes after the pause is replaced"
    );
    assert!(scrubber.push_slice(b"correct ").is_empty());
    assert_eq!(scrubber.idle(), None);
    assert_eq!(&scrubber.finish()[..], b"correct ");
}

#[test]
fn hits_are_counted_once_each_by_secret_and_longest_form() {
    let patterns = Arc::new(Patterns::new([("one", &b"sixteen bytes ok"[..]), ("two", b"and another/key")]));
    let text = b"sixteen bytes ok sixteen bytes ok sixteen%20bytes%20ok c2l4dGVlbiBieXRlcyBvaw== and another\\/key";
    let hit = |name: &str, form, count| Hit { name: name.to_owned(), form, count };
    let expected = vec![
        hit("one", Form::Raw, 2),
        hit("one", Form::Base64, 1),
        hit("one", Form::Percent, 1),
        hit("two", Form::Json, 1),
    ];
    for bytes in 1..=text.len() {
        let (mut scrubber, mut hits) = (Scrubber::new(Arc::clone(&patterns)), Vec::new());
        for chunk in text.chunks(bytes) {
            scrubber.push_slice(chunk);
            hits.extend(scrubber.take_hits());
        }
        scrubber.finish();
        hits.extend(scrubber.take_hits());
        let mut summed: Vec<Hit> = Vec::new();
        for hit in hits {
            match summed.iter_mut().find(|one| (&one.name, one.form) == (&hit.name, hit.form)) {
                Some(one) => one.count += hit.count,
                None => summed.push(hit),
            }
        }
        summed.sort();
        assert_eq!(summed, expected, "in chunks of {bytes}");
    }
    assert_eq!(patterns.scrub_whole(&mut text.to_vec()), expected);
}

#[test]
fn every_form_is_taken_out_at_every_split_of_a_body() {
    let plain = br#"sk-"7/x+y=z&<Q>'\ ~!"#;
    let patterns = Arc::new(Patterns::new([Watched { name: "key", plain, user: Some("robot") }]));
    let spellings =
        super::super::forms::spellings(plain, Some("robot")).unwrap_or_else(|_| panic!("it is long enough"));
    let different: BTreeSet<Vec<u8>> = spellings.iter().map(|one| one.bytes.to_vec()).collect();
    assert!(different.len() > 60, "{} forms", different.len());
    for form in different {
        let front = b"HTTP/1.1 200 OK\r\n\r\n{\"headers\": {\"Authorization\": \"";
        let body = [&front[..], &form, b"\", \"Host\": \"example.test\"}}\n"].concat();
        let expected = [&front[..], &vec![FILLER; form.len()], b"\", \"Host\": \"example.test\"}}\n"].concat();
        for split in 0..=body.len() {
            let mut scrubber = Scrubber::new(Arc::clone(&patterns));
            let (left, right) = body.split_at(split);
            let out = [&scrubber.push_slice(left)[..], &scrubber.push_slice(right), &scrubber.finish()].concat();
            assert_eq!(lossy(&out), lossy(&expected), "split at {split}");
        }
        let mut scrubber = Scrubber::new(Arc::clone(&patterns));
        let mut out: Vec<u8> = body.iter().flat_map(|byte| scrubber.push_slice(&[*byte]).into_owned()).collect();
        out.extend(scrubber.finish());
        assert_eq!(lossy(&out), lossy(&expected), "byte by byte");
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn what_cannot_be_looked_for_is_named() {
    let long = vec![b'k'; super::super::forms::WATCHED_BYTES_MAX + 1];
    let secrets = [("short", &b" 1234567\n"[..]), ("long", &long), ("good", b"12345678")];
    let patterns = Patterns::new(secrets);
    let unwatched = |name: &str, reason| Unwatched { name: name.to_owned(), reason };
    assert_eq!(patterns.unwatched(), [unwatched("short", Reason::Short), unwatched("long", Reason::Long)]);
    let many: Vec<Vec<u8>> = (0..30).map(|one| vec![b'a' + one; 4000]).collect();
    let patterns = Patterns::new(many.iter().map(|plain| ("many", &plain[..])));
    assert!(patterns.unwatched().iter().all(|one| one.reason == Reason::Full));
    assert!((1..30).contains(&patterns.unwatched().len()), "{}", patterns.unwatched().len());
}

#[test]
fn nothing_is_found_where_nothing_is_looked_for() {
    let patterns = Arc::new(Patterns::new(Vec::<Watched>::new()));
    assert!(patterns.is_empty());
    let mut scrubber = Scrubber::new(patterns);
    assert!(matches!(scrubber.push_slice(b"anything"), Cow::Borrowed(b"anything")));
    assert_eq!((scrubber.idle(), scrubber.finish().len(), scrubber.take_hits()), (None, 0, Vec::new()));
}

#[test]
fn no_plaintext_is_printed() {
    let patterns = Arc::new(Patterns::new([("key", &b"correct horse battery"[..])]));
    let mut scrubber = Scrubber::new(Arc::clone(&patterns));
    scrubber.push_slice(b"correct horse");
    let shown = format!("{patterns:?} {scrubber:?}");
    assert!(shown.contains("key") && !shown.contains("correct") && !shown.contains("114"), "{shown}");
}
