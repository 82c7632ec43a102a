//! Reads a unified diff, of git or of diff(1), also with the small mistakes that models make in its numbers. It never
//! looks at a file.

use super::{Act, Change, Hunk, Line, Tag};
use crate::Failure;

/// The name of the side that is not there.
const NOTHING: &str = "/dev/null";

/// What stands before the hunks of one file.
#[derive(Default)]
struct Head {
    line: usize,
    old: Option<String>,
    new: Option<String>,
    from: Option<String>,
    to: Option<String>,
    added: bool,
    deleted: bool,
    /// The permissions that the patch gives the file.
    mode: Option<String>,
    hunks: Vec<Hunk>,
}

/// The files that the patch names.
pub(super) fn parse(lines: &[(usize, &str)]) -> Result<Vec<Change>, Failure> {
    let mut changes = Vec::new();
    let mut head: Option<Head> = None;
    let mut at = 0;
    while let Some((number, line)) = lines.get(at).copied() {
        let next = lines.get(at + 1).map(|(_, next)| *next);
        at += 1;
        if line.starts_with("diff --git ") {
            finish(&mut changes, head.replace(Head { line: number, ..Head::default() }))?;
            name_from_git(line, head.as_mut());
        } else if let (Some(old), Some(new)) =
            (line.strip_prefix("--- "), next.and_then(|next| next.strip_prefix("+++ ")))
        {
            // A `diff --git` line may have begun this file already.
            let begun = head.as_ref().is_some_and(|head| head.hunks.is_empty() && head.old.is_none());
            if !begun {
                finish(&mut changes, head.replace(Head { line: number, ..Head::default() }))?;
            }
            if let Some(head) = &mut head {
                (head.old, head.new) = (Some(name(old)), Some(name(new)));
            }
            at += 1;
        } else if line.starts_with("@@") {
            let Some(head) = head.as_mut().filter(|head| head.old.is_some()) else {
                let text = format!(
                    "line {number} of the patch begins a hunk, but no \"--- \" and \"+++ \" before it name a file"
                );
                return Err(Failure::invalid(text));
            };
            let (hunk, used) = hunk(number, line, lines.get(at..).unwrap_or_default())?;
            head.hunks.push(hunk);
            at += used;
        } else {
            extended(number, line, head.as_mut())?;
        }
    }
    finish(&mut changes, head)?;
    Ok(changes)
}

/// git's own lines between the names and the hunks; other lines are words that mean nothing to a patch.
fn extended(number: usize, line: &str, head: Option<&mut Head>) -> Result<(), Failure> {
    if line.starts_with("GIT binary patch") || line.starts_with("Binary files ") {
        return Err(Failure::invalid(
            "the patch changes a binary file, which this tool cannot; use a shell for that file",
        ));
    }
    let Some(head) = head else { return Ok(()) };
    if let Some(path) = line.strip_prefix("rename from ") {
        head.from = Some(unquoted(path));
    } else if let Some(path) = line.strip_prefix("rename to ") {
        head.to = Some(unquoted(path));
    } else if let Some(mode) = line.strip_prefix("new file mode ") {
        head.added = true;
        head.mode = Some(file_mode(number, mode)?);
    } else if let Some(mode) = line.strip_prefix("new mode ") {
        head.mode = Some(file_mode(number, mode)?);
    } else if let Some(mode) = line.strip_prefix("deleted file mode ") {
        head.deleted = true;
        file_mode(number, mode)?;
    } else if line.starts_with("copy from ") {
        return Err(Failure::invalid("the patch copies a file, which this tool does not; add the copy as a new file"));
    }
    Ok(())
}

/// A link's or submodule's text is no file's content: written as such it would be something else than the patch says.
fn file_mode(number: usize, mode: &str) -> Result<String, Failure> {
    let mode = mode.trim();
    let what = match mode {
        "120000" => "a symbolic link",
        "160000" => "a submodule",
        _ => return Ok(mode.to_owned()),
    };
    Err(Failure::invalid(format!(
        "line {number} of the patch is about {what} (mode {mode}), which this tool neither makes nor deletes; use a shell \
         for it (ln -s, rm, git), and leave it out of the patch"
    )))
}

/// For what has no `---` and `+++`: empty files that come or go.
fn name_from_git(line: &str, head: Option<&mut Head>) {
    let names = line.strip_prefix("diff --git ").and_then(|names| names.split_once(" b/"));
    if let (Some((old, new)), Some(head)) = (names, head) {
        let old = old.strip_prefix("a/").unwrap_or(old);
        if old == new {
            (head.from, head.to) = (Some(old.to_owned()), Some(new.to_owned()));
        }
    }
}

fn finish(changes: &mut Vec<Change>, head: Option<Head>) -> Result<(), Failure> {
    let Some(Head { line, old, new, from, to, added, deleted, mode, hunks }) = head else { return Ok(()) };
    let (gone, came) = (old.as_deref() == Some(NOTHING), new.as_deref() == Some(NOTHING));
    let (added, deleted) = (added || gone, deleted || came);
    if added && deleted {
        return Err(Failure::invalid(format!("line {line} of the patch adds and deletes a file at once")));
    }
    let side = if deleted { &old } else { &new };
    let paths = match (side, &from) {
        (Some(name), _) => stripped(name, &old, &new),
        (None, Some(name)) => vec![name.clone()],
        (None, None) => return Err(Failure::invalid(format!("line {line} of the patch names no file"))),
    };
    let (paths, act) = match (from, to) {
        _ if added => (paths, Act::Add { content: content(&hunks)? }),
        _ if deleted => (paths, Act::Delete { hunks }),
        (Some(from), Some(to)) if from != to => (vec![from], Act::Update { hunks, moved: Some(to) }),
        (_, _) if hunks.is_empty() && mode.is_some() => {
            return Err(Failure::invalid(format!(
                "line {line} of the patch changes only a file's permissions, which this tool cannot; use chmod in a shell, \
                 and leave that file out of the patch"
            )));
        }
        (_, _) if hunks.is_empty() => {
            let text = format!("line {line} of the patch names a file, and nothing says what becomes of it");
            return Err(Failure::invalid(text));
        }
        (_, _) => (paths, Act::Update { hunks, moved: None }),
    };
    let note = mode.and_then(|mode| permissions(&act, &mode));
    changes.push(Change { paths, act, note });
    Ok(())
}

/// What the patch says of permissions and this tool cannot do.
fn permissions(act: &Act, mode: &str) -> Option<String> {
    match act {
        Act::Add { .. } if mode == "100755" => {
            Some("it is not executable yet; chmod +x in a shell makes it so".to_owned())
        }
        Act::Add { .. } | Act::Delete { .. } => None,
        Act::Update { .. } => {
            Some(format!("it keeps its permissions; the patch wants {mode}, for which there is chmod in a shell"))
        }
    }
}

/// A path without git's `a/` and `b/`, and as it stands.
fn stripped(name: &str, old: &Option<String>, new: &Option<String>) -> Vec<String> {
    let begins = |side: &Option<String>, prefix: &str| {
        side.as_ref().is_none_or(|name| name == NOTHING || name.starts_with(prefix))
    };
    let bare = name.strip_prefix("a/").or_else(|| name.strip_prefix("b/"));
    let bare = bare.filter(|_| begins(old, "a/") && begins(new, "b/"));
    bare.into_iter().chain([name]).map(str::to_owned).collect()
}

/// What a new file has in it.
fn content(hunks: &[Hunk]) -> Result<String, Failure> {
    let mut content = String::new();
    for hunk in hunks {
        if hunk.old().next().is_some() {
            let text = format!("the hunk at line {} of the patch has old lines, but its file is new", hunk.patch_line);
            return Err(Failure::invalid(text));
        }
        hunk.new_text().for_each(|line| content += &format!("{line}\n"));
        if hunk.new_open {
            content.pop();
        }
    }
    Ok(content)
}

/// The name in a `---` or `+++` line, without what diff(1) writes behind it.
fn name(field: &str) -> String {
    let field = field.split('\t').next().unwrap_or(field);
    unquoted(field.trim_end())
}

/// git writes unusual names in quotes, with backslashes.
fn unquoted(name: &str) -> String {
    let Some(inner) = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) else { return name.to_owned() };
    let mut bytes = Vec::new();
    let mut rest = inner.bytes().peekable();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next() {
            Some(b'n') => bytes.push(b'\n'),
            Some(b't') => bytes.push(b'\t'),
            Some(digit @ b'0'..=b'3') => {
                let mut value = digit - b'0';
                for _ in 0..2 {
                    value = value
                        .wrapping_mul(8)
                        .wrapping_add(rest.next_if(u8::is_ascii_digit).map_or(0, |digit| digit - b'0'));
                }
                bytes.push(value);
            }
            Some(other) => bytes.push(other),
            None => {}
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The numbers of `@@ -start,count +start,count @@`, where they are there.
fn numbers(line: &str) -> Option<(usize, usize, usize)> {
    let inner = line.strip_prefix("@@ -")?;
    let (old, rest) = inner.split_once(" +")?;
    let (new, _) = rest.split_once(" @@")?;
    let pair = |side: &str| match side.split_once(',') {
        Some((start, count)) => Some((start.parse().ok()?, count.parse().ok()?)),
        None => Some((side.parse().ok()?, 1)),
    };
    let ((start, old), (_, new)): ((usize, usize), (usize, usize)) = (pair(old)?, pair(new)?);
    Some((start, old, new))
}

/// One hunk, and how many lines it takes. Where its numbers are wrong, its lines count.
fn hunk(number: usize, head: &str, body: &[(usize, &str)]) -> Result<(Hunk, usize), Failure> {
    let said = numbers(head);
    let mut hunk = Hunk { patch_line: number, start: said.map(|(start, _, _)| start), ..Hunk::default() };
    let (mut old, mut new) = said.map_or((usize::MAX, usize::MAX), |(_, old, new)| (old, new));
    let mut used = 0;
    for (at, (_, line)) in body.iter().enumerate() {
        let satisfied = old == 0 && new == 0;
        let begins = |at: usize, with: &str| body.get(at).is_some_and(|(_, line)| line.starts_with(with));
        if begins(at, "@@") || begins(at, "diff --git ") {
            break;
        }
        if begins(at, "--- ") && begins(at + 1, "+++ ") {
            // The head of the next file, or a line that goes and one that comes. Numbers that still want more than these
            // two, where a hunk follows them, are wrong.
            let next_file = begins(at + 2, "@@") && (old, new) != (1, 1);
            if satisfied || said.is_none() || old == 0 || next_file {
                break;
            }
        }
        let (tag, text) = match line.as_bytes().first() {
            Some(b'\\') => {
                open_end(&mut hunk);
                used = at + 1;
                continue;
            }
            Some(b'+') => (Tag::Add, line.get(1..)),
            Some(b'-') if satisfied && *line == "-- " => break,
            Some(b'-') => (Tag::Remove, line.get(1..)),
            Some(b' ') => (Tag::Keep, line.get(1..)),
            // An empty line that lost its blank; after the last line it is none of the hunk's.
            None if !satisfied => (Tag::Keep, Some("")),
            Some(_) | None => break,
        };
        if tag != Tag::Add {
            old = old.saturating_sub(1);
        }
        if tag != Tag::Remove {
            new = new.saturating_sub(1);
        }
        hunk.lines.push(Line { tag, text: text.unwrap_or_default().to_owned() });
        used = at + 1;
    }
    if hunk.lines.iter().all(|line| line.tag == Tag::Keep) {
        let text =
            format!("the hunk at line {number} of the patch changes nothing: no line begins with \"+\" or \"-\"");
        return Err(Failure::invalid(text));
    }
    Ok((hunk, used))
}

/// `\ No newline at end of file`, about the line before it.
fn open_end(hunk: &mut Hunk) {
    match hunk.lines.last().map(|line| line.tag) {
        Some(Tag::Keep) => (hunk.old_open, hunk.new_open) = (true, true),
        Some(Tag::Remove) => hunk.old_open = true,
        Some(Tag::Add) => hunk.new_open = true,
        None => {}
    }
}
