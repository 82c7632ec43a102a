//! Reads the form of a patch that begins with `*** Begin Patch`. It never looks at a file.

use super::{Act, Change, Comparison, Hunk, Line, Tag};
use crate::Failure;

/// The files that the patch names.
pub(super) fn parse(lines: &[(usize, &str)]) -> Result<Vec<Change>, Failure> {
    let mut changes = Vec::new();
    let mut rest = lines.get(1..).unwrap_or_default();
    let mut ended = false;
    while let Some(((number, line), after)) = rest.split_first() {
        rest = after;
        if line.trim().is_empty() {
            continue;
        }
        if line.trim() == "*** End Patch" {
            ended = true;
            break;
        }
        let body = rest.iter().position(|(_, line)| is_head(line)).unwrap_or(rest.len());
        let (own, others) = rest.split_at(body);
        rest = others;
        changes.push(change(*number, line, own)?);
    }
    if !ended {
        return Err(Failure::invalid("the patch does not end with \"*** End Patch\"; it may have been cut off"));
    }
    Ok(changes)
}

fn is_head(line: &str) -> bool {
    ["*** Add File: ", "*** Delete File: ", "*** Update File: "].iter().any(|head| line.starts_with(head))
        || line.trim_end() == "*** End Patch"
}

fn change(number: usize, head: &str, body: &[(usize, &str)]) -> Result<Change, Failure> {
    if let Some(path) = head.strip_prefix("*** Add File: ") {
        let mut content = String::new();
        for (number, line) in body {
            let Some(text) = line.strip_prefix('+') else {
                if line.is_empty() {
                    continue;
                }
                return Err(wrong(*number, line, "each line of a new file begins with \"+\""));
            };
            content += text;
            content.push('\n');
        }
        return Ok(Change { paths: vec![path.trim().to_owned()], act: Act::Add { content }, note: None });
    }
    if let Some(path) = head.strip_prefix("*** Delete File: ") {
        if let Some((number, line)) = body.iter().find(|(_, line)| !line.is_empty()) {
            return Err(wrong(*number, line, "nothing follows \"*** Delete File\""));
        }
        return Ok(Change { paths: vec![path.trim().to_owned()], act: Act::Delete { hunks: Vec::new() }, note: None });
    }
    let Some(path) = head.strip_prefix("*** Update File: ") else {
        let there = "there are \"*** Add File: \", \"*** Delete File: \", \"*** Update File: \" and \"*** End Patch\"";
        return Err(wrong(number, head, there));
    };
    let (moved, body) = match body.split_first() {
        Some(((_, line), rest)) if line.starts_with("*** Move to: ") => {
            (line.strip_prefix("*** Move to: ").map(|to| to.trim().to_owned()), rest)
        }
        Some(_) | None => (None, body),
    };
    let hunks = hunks(body)?;
    if hunks.is_empty() && moved.is_none() {
        return Err(wrong(number, head, "an update needs at least one changed line"));
    }
    Ok(Change { paths: vec![path.trim().to_owned()], act: Act::Update { hunks, moved }, note: None })
}

fn hunks(body: &[(usize, &str)]) -> Result<Vec<Hunk>, Failure> {
    let mut hunks: Vec<Hunk> = Vec::new();
    let mut fresh = true;
    for (number, line) in body {
        if let Some(anchor) = line.strip_prefix("@@") {
            // Several anchors in a row lead to one place, the outer ones first.
            if fresh || hunks.last().is_none_or(|hunk| !hunk.lines.is_empty()) {
                hunks.push(Hunk { patch_line: *number, comparison: Comparison::Loose, ..Hunk::default() });
            }
            fresh = false;
            let anchor = anchor.trim();
            if let (false, Some(hunk)) = (anchor.is_empty(), hunks.last_mut()) {
                hunk.anchors.push(anchor.to_owned());
            }
            continue;
        }
        if fresh {
            hunks.push(Hunk { patch_line: *number, comparison: Comparison::Loose, ..Hunk::default() });
            fresh = false;
        }
        let Some(hunk) = hunks.last_mut() else { continue };
        if line.trim_end() == "*** End of File" {
            hunk.at_end = true;
            continue;
        }
        let (tag, text) = match line.as_bytes().first() {
            Some(b'+') => (Tag::Add, line.get(1..).unwrap_or_default()),
            Some(b'-') => (Tag::Remove, line.get(1..).unwrap_or_default()),
            Some(b' ') => (Tag::Keep, line.get(1..).unwrap_or_default()),
            None => (Tag::Keep, ""),
            Some(_) => return Err(wrong(*number, line, "a line begins with \" \", \"+\", \"-\" or \"@@\"")),
        };
        hunk.lines.push(Line { tag, text: text.to_owned() });
    }
    for hunk in &hunks {
        if hunk.lines.iter().all(|line| line.tag == Tag::Keep) {
            let text = format!(
                "the part at line {} of the patch changes nothing: no line begins with \"+\" or \"-\"",
                hunk.patch_line
            );
            return Err(Failure::invalid(text));
        }
    }
    Ok(hunks)
}

fn wrong(number: usize, line: &str, why: &str) -> Failure {
    Failure::invalid(format!("line {number} of the patch is \"{}\": {why}", crate::text::cut(line, 200)))
}
