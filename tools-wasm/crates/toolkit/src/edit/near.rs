//! Why a text was not found, and what in the file comes close to it. It never changes anything: it only shows.

use crate::text::{Encoding, Endings, Text, chomp, lines, shown};

/// How many near misses are shown.
const SHOWN_MAX: usize = 3;
/// How many lines of each.
const SHOWN_LINES_MAX: usize = 8;
const LINE_CHARS_MAX: usize = 200;
/// Files with more lines are not searched for similar lines, only for equal ones.
const COMPARED_LINES_MAX: usize = 50_000;
/// How alike two lines must be to be shown, of 100.
const ALIKE_MIN: usize = 60;

/// A way of looking at lines in which more of them are equal, and what that means when they are.
struct View {
    same: fn(&str) -> String,
    means: &'static str,
}

const VIEWS: [View; 5] = [
    View { same: |line| line.trim_end().to_owned(), means: "differs only in spaces at line ends" },
    View { same: |line| line.trim().to_owned(), means: "differs only in indentation (tabs or spaces)" },
    View { same: |line| line.split_whitespace().collect::<Vec<_>>().join(" "), means: "differs only in white space" },
    View { same: plain, means: "differs in quotes, dashes or spaces that look alike" },
    View { same: |line| plain(line).to_lowercase(), means: "differs in upper and lower case" },
];

/// A sentence for the refusal, with the lines that are near.
pub(super) fn explain(text: &Text, old: &str, new: &str) -> String {
    let mut said = "\"old_string\" is not in the file".to_owned();
    if let Some(why) = slip(text, old) {
        return format!("{said}: {why}");
    }
    let file: Vec<String> = lines(&text.bytes).map(|line| String::from_utf8_lossy(chomp(line)).into_owned()).collect();
    let wanted: Vec<&str> = old.trim_matches('\n').lines().collect();
    for view in VIEWS {
        let places = same_lines(&file, &wanted, view.same);
        if !places.is_empty() {
            said += &format!("; what is there {}:", view.means);
            places.iter().take(SHOWN_MAX).for_each(|at| show(&mut said, &file, *at, wanted.len()));
            return said + "\ncopy it from there";
        }
    }
    if let Some(at) = (!new.trim().is_empty()).then(|| memchr::memmem::find(&text.bytes, new.as_bytes())).flatten() {
        let line = crate::text::line_of(&text.bytes, at);
        said += &format!("; \"new_string\" is there already, at line {line}: perhaps this was done before");
        return said;
    }
    let places = alike(&file, &wanted);
    if places.is_empty() {
        return said + ", nor is anything like it; read the file again";
    }
    said += "; nearest to it is:";
    places.iter().for_each(|at| show(&mut said, &file, *at, wanted.len()));
    said + "\nread these lines and copy them exactly"
}

/// Mistakes that are made in the call, not in what was remembered of the file.
fn slip(text: &Text, old: &str) -> Option<String> {
    let there = |candidate: &str| candidate != old && !candidate.is_empty() && !super::find(text, candidate).is_empty();
    let endings = Endings::of(&text.bytes);
    if old.contains('\r') && there(&old.replace("\r\n", "\n")) {
        return Some(format!("its line endings are {}; write \"\\n\" in \"old_string\"", endings.name()));
    }
    let unnumbered: Option<Vec<&str>> = old.lines().map(without_number).collect();
    if unnumbered.is_some_and(|lines| there(&lines.join("\n"))) {
        return Some("it is there without the line numbers, which read adds; leave them out".to_owned());
    }
    let unescaped = old.replace("\\n", "\n").replace("\\t", "\t").replace("\\\"", "\"").replace("\\\\", "\\");
    if there(&unescaped) {
        return Some("it is there with one level of backslashes less; \"old_string\" was escaped twice".to_owned());
    }
    if there(old.trim_matches('\n')) {
        return Some("it is there without the empty lines at its beginning or end".to_owned());
    }
    (text.encoding == Encoding::Latin1 && !old.is_ascii() && !old.chars().all(|c| u32::from(c) < 256))
        .then(|| "the file is in latin-1, and \"old_string\" has characters that latin-1 has not".to_owned())
}

/// A line of read's answer without what read adds.
fn without_number(line: &str) -> Option<&str> {
    let rest = line.trim_start();
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let rest = rest.get(digits..).filter(|_| digits > 0)?;
    rest.strip_prefix('\t')
        .or_else(|| rest.strip_prefix('→'))
        .or_else(|| rest.strip_prefix(": "))
        .or_else(|| rest.strip_prefix('|'))
}

/// Characters that are typed for each other.
fn plain(line: &str) -> String {
    let same = |c| match c {
        '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{2032}' | '`' => '\'',
        '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{ab}' | '\u{bb}' => '"',
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        '\u{a0}' | '\u{2002}'..='\u{200a}' | '\u{202f}' | '\u{3000}' => ' ',
        other => other,
    };
    let text: String = line.chars().filter(|c| !matches!(c, '\u{200b}' | '\u{feff}' | '\u{ad}')).map(same).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Where lines of the file are the wanted ones in this view.
fn same_lines(file: &[String], wanted: &[&str], view: fn(&str) -> String) -> Vec<usize> {
    let wanted: Vec<String> = wanted.iter().map(|line| view(line)).collect();
    let Some(first) = wanted.first() else { return Vec::new() };
    if wanted.iter().all(|line| line.is_empty()) {
        return Vec::new();
    }
    let single = wanted.len() == 1;
    let file: Vec<String> = file.iter().map(|line| view(line)).collect();
    let begins = |at: &usize| {
        let Some(window) = file.get(*at..at + wanted.len()) else { return false };
        // The first and the last line of what was wanted may be parts of lines.
        if single { window[0].contains(first.as_str()) } else { window == wanted }
    };
    (0..file.len()).filter(begins).take(SHOWN_MAX).collect()
}

/// The lines that are most like the wanted ones, the best first.
fn alike(file: &[String], wanted: &[&str]) -> Vec<usize> {
    let Some((skipped, first)) = wanted.iter().enumerate().max_by_key(|(_, line)| line.trim().len().min(200)) else {
        return Vec::new();
    };
    let first = pairs(first);
    if file.len() > COMPARED_LINES_MAX || first.is_empty() {
        return Vec::new();
    }
    let mut places: Vec<(usize, usize)> = file
        .iter()
        .enumerate()
        .map(|(at, line)| (alikeness(&first, &pairs(line)), at.saturating_sub(skipped)))
        .filter(|(alike, _)| *alike >= ALIKE_MIN)
        .collect();
    places.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    places.truncate(SHOWN_MAX);
    places.into_iter().map(|(_, at)| at).collect()
}

/// The pairs of neighbouring characters, sorted; of long lines, those of the beginning.
fn pairs(line: &str) -> Vec<(char, char)> {
    let chars: Vec<char> = line.trim().chars().take(200).collect();
    let mut pairs: Vec<_> = chars.windows(2).filter_map(|pair| Some((*pair.first()?, *pair.get(1)?))).collect();
    pairs.sort_unstable();
    pairs
}

/// How many pairs two lines share, of 100.
fn alikeness(a: &[(char, char)], b: &[(char, char)]) -> usize {
    let (mut i, mut j, mut shared) = (0, 0, 0);
    while let (Some(left), Some(right)) = (a.get(i), b.get(j)) {
        match left.cmp(right) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                shared += 1;
                i += 1;
                j += 1;
            }
        }
    }
    200 * shared / (a.len() + b.len()).max(1)
}

fn show(said: &mut String, file: &[String], at: usize, count: usize) {
    for (offset, line) in file.iter().skip(at).take(count.min(SHOWN_LINES_MAX)).enumerate() {
        *said += &format!("\n{:>6}\t{}", at + offset + 1, shown(line.as_bytes(), LINE_CHARS_MAX));
    }
    if count > SHOWN_LINES_MAX {
        *said += "\n      \t…";
    }
}
