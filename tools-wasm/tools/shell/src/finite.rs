//! Tells from a script's text whether each of its commands certainly ends by itself, so that none of a pipeline has to be stopped
//! by the one that reads from it (`yes | head`). It never says so of a script that it does not understand: that one is merely slower.

/// Digits of a number that a command counts to in no time.
const LENGTH_DIGITS_MAX: usize = 6;

/// Whether every command comes to an end, and writes no more than can be kept.
pub(crate) fn is_finite(script: &str) -> bool {
    // Where nothing reads while another writes, nobody waits for an end of numbers.
    let has_reader = script.replace("||", "").contains('|') || script.contains("<(");
    let counts = |rest: &str| !has_reader || counts_to_a_number(rest);
    words(script).all(|(word, rest)| match word {
        "until" | "yes" => false,
        // A loop that reads ends with what it reads.
        "while" => reads_to_an_end(rest),
        "for" => !rest.trim_start().starts_with("(("),
        "seq" => counts(rest),
        // A count of seconds, lines or numbers that nobody waits for.
        _ => word.len() <= LENGTH_DIGITS_MAX || word.bytes().any(|byte| !byte.is_ascii_digit()),
    }) && script.split('{').skip(1).all(|rest| is_short_range(rest.split_once('}').map_or(rest, |(range, _)| range)))
}

/// Each word, and what comes after it.
fn words(script: &str) -> impl Iterator<Item = (&str, &str)> {
    let is_inner = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut rest = script;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|letter| !is_inner(letter));
        let end = rest.find(|letter| !is_inner(letter)).unwrap_or(rest.len());
        let (word, after) = rest.split_at_checked(end).filter(|(word, _)| !word.is_empty())?;
        rest = after;
        Some((word, after))
    })
}

/// What there is of a command after its name.
fn arguments<'a>(rest: &'a str, ends: &[char]) -> &'a str {
    rest.split_once(ends).map_or(rest, |(arguments, _)| arguments)
}

/// `seq` up to short numbers that are there to be read, of whole steps.
fn counts_to_a_number(rest: &str) -> bool {
    let mut numbers = 0;
    let mut arguments = arguments(rest, &['|', ';', '&', '\n', ')', '`', '<', '>']).split_whitespace();
    arguments.all(|argument| {
        let digits = argument.strip_prefix('-').unwrap_or(argument);
        let is_number = is_short(digits);
        numbers += usize::from(is_number);
        is_number || argument == "-w"
    }) && numbers > 0
}

fn is_short(digits: &str) -> bool {
    (1..=LENGTH_DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// What is within braces: no range, or one from and to what is there to be read.
fn is_short_range(inner: &str) -> bool {
    let is_letter = |end: &str| end.len() == 1 && end.bytes().all(|byte| byte.is_ascii_alphabetic());
    !inner.contains("..")
        || inner.split("..").all(|end| is_short(end.strip_prefix('-').unwrap_or(end)) || is_letter(end))
}

/// The condition of a loop: a `read` that takes a line each time from the loop's own input, and perhaps the question whether
/// the last line was one without an end.
fn reads_to_an_end(rest: &str) -> bool {
    let condition = rest.trim_start();
    let Some(read) = without_separator(condition).and_then(|condition| condition.strip_prefix("read")) else {
        return false;
    };
    let condition = arguments(read, &[';', '\n', '&']);
    let (read, other) = condition.split_once("||").unwrap_or((condition, ""));
    let mut names = Vec::new();
    for argument in read.split_whitespace() {
        match argument.strip_prefix('-') {
            // Others read nothing (`-t 0`, `-n 0`), and so for ever.
            Some(options) if !options.chars().all(|option| matches!(option, 'r' | 'a' | 'd' | 's' | 'u')) => {
                return false;
            }
            Some(_) => {}
            None => names.push(argument),
        }
    }
    let begins = read.is_empty() || read.starts_with(char::is_whitespace);
    begins && !read.contains(['<', '|']) && (other.is_empty() || asks_for_a_rest(other, &names))
}

/// Without the `IFS=…` before a command.
fn without_separator(condition: &str) -> Option<&str> {
    let Some(value) = condition.strip_prefix("IFS=") else { return Some(condition) };
    let mut quote = None;
    for (place, letter) in value.char_indices() {
        match quote {
            Some(open) => quote = (letter != open).then_some(open),
            None if letter.is_whitespace() => return value.get(place..).map(str::trim_start),
            None => quote = matches!(letter, '\'' | '"').then_some(letter),
        }
    }
    None
}

/// `[ -n "$name" ]` of a name that was read.
fn asks_for_a_rest(test: &str, names: &[&str]) -> bool {
    let bare: String = test.chars().filter(|letter| !matches!(letter, '"' | '{' | '}')).collect();
    let words: Vec<&str> = bare.split_whitespace().collect();
    let ["[" | "[[", "-n", name, "]" | "]]"] = words.as_slice() else { return false };
    name.strip_prefix('$').is_some_and(|name| names.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::is_finite;

    #[test]
    fn what_ends_by_itself_is_known() {
        for script in [
            "sort words.txt | head -1",
            "seq 10 | head -1",
            "seq -w 1 2 100 2>/dev/null | tac",
            "for i in $(seq 3); do echo $i; done | sort",
            "n=5; for i in $(seq 1 $n); do echo $i; done || echo no",
            "echo {1..5} {a..c} {-3..3} | wc -w",
            "echo ${x%.*} {a,b} | cat",
            "for i in 1 2; do echo $i; done",
            "while read -r line; do echo $line; done < words.txt | head -1",
            "while IFS= read -r line || [ -n \"$line\" ]; do echo $line; done < words.txt",
            "while IFS=';' read -r a b || [[ -n ${a} ]]; do echo $a; done < words.txt",
            "while IFS=$'\\t' read -r -d '' a; do echo $a; done",
            "head -c 999999 x",
        ] {
            assert!(is_finite(script), "{script}");
        }
    }

    #[test]
    fn what_may_not_end_is_not_taken_for_what_does() {
        for script in [
            "yes | head -1",
            "while :; do echo x; done | head -1",
            "while\n:; do echo x; done | head -1",
            "until false; do echo x; done | head -1",
            "for ((;;)); do echo x; done | head -1",
            "for\t  ((i=0;;i++)); do echo x; done | head -1",
            "seq 9999999 | head -1",
            "seq $((10**9)) | head -1",
            "seq 1e9 | head -1",
            "seq 1 $n | head -1",
            "seq \"$n\" | head -1",
            "seq 1 0.0001 99999 | head -1",
            "seq inf | head -1",
            "seq -s ' ' 1 $n | head -1",
            "echo 9 | xargs seq | head -1",
            "head -1 <(seq $n)",
            "for i in {1..$n}; do echo; done | head -1",
            "for i in {1..9999999}; do echo; done | head -1",
            "while read x < f; do echo $x; done | head -1",
            "while read x <<< y; do echo $x; done | head -1",
            "while IFS= read -r x < f; do echo $x; done | head -1",
            "while IFS= true; do echo $x; done | head -1",
            "while reader; do echo $x; done | head -1",
            "while read x || true; do echo $x; done | head -1",
            "while read x || [ -n \"$y\" ]; do echo $x; done | head -1",
            "while read x || [ -n \"$x\" ] || true; do echo $x; done | head -1",
            "while read -t 0 x; do echo $x; done | head -1",
            "while read -n0 x; do echo $x; done | head -1",
            "while echo y | read x; do echo $x; done | head -1",
            "while read x | true; do echo $x; done | head -1",
            "while IFS='",
            "while",
        ] {
            assert!(!is_finite(script), "{script}");
        }
    }
}
