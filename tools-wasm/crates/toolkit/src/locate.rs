//! Paths as text: joining, parents, and names that were perhaps meant. It never decides what a path may lead to.

use super::Failure;
use super::files::{Files, Kind, Meta, Trouble, explain};

/// How many names a refusal offers.
const OFFERED_MAX: usize = 5;

/// What a name in a directory is called from where the directory is called so.
pub(crate) fn join(directory: &str, name: &str) -> String {
    match directory {
        "." | "" => name.to_owned(),
        _ if directory.ends_with('/') => format!("{directory}{name}"),
        _ => format!("{directory}/{name}"),
    }
}

/// The directory part and the last name; a path that ends with a slash or with dots has no name.
pub(crate) fn split(path: &str) -> Option<(&str, &str)> {
    let (directory, name) = match path.rfind('/') {
        None => (".", path),
        Some(0) => ("/", &path[1..]),
        Some(at) => (&path[..at], &path[at + 1..]),
    };
    (!matches!(name, "" | "." | "..")).then_some((directory, name))
}

/// The path below the workspace, where that can be said from its text alone.
pub(crate) fn below_workspace<'p>(files: &dyn Files, path: &'p str) -> Option<&'p str> {
    let below = match path.strip_prefix('/') {
        None => path,
        Some(_) => path.strip_prefix(files.workspace()?)?,
    };
    let below = if path.starts_with('/') && !below.is_empty() { below.strip_prefix('/')? } else { below };
    (!below.split('/').any(|part| part == "..")).then_some(below)
}

/// The file that a path leads to: links are followed here, so that a file is replaced and not the link to it.
pub(crate) fn follow(files: &dyn Files, path: &str) -> Result<(String, Option<Meta>), Failure> {
    let mut path = path.to_owned();
    for _ in 0..16 {
        match files.link_meta(&path) {
            Ok(meta) if meta.kind == Kind::Link => {
                let to = files.read_link(&path).map_err(|trouble| explain("follow", &path, trouble))?;
                path = match split(&path) {
                    Some((directory, _)) if !to.starts_with('/') => join(directory, &to),
                    Some(_) | None => to,
                };
            }
            Ok(meta) => return Ok((path, Some(meta))),
            Err(Trouble::NotFound) => return Ok((path, None)),
            Err(trouble) => return Err(explain("reach", &path, trouble)),
        }
    }
    Err(explain("follow", &path, Trouble::Loop))
}

/// A regular file at the path; otherwise what is there instead and what to do.
pub(crate) fn need_file(files: &dyn Files, path: &str) -> Result<Meta, Failure> {
    let meta = files.meta(path).map_err(|trouble| missing(files, "read", path, trouble))?;
    match meta.kind {
        Kind::File => Ok(meta),
        Kind::Directory => Err(Failure::refused(format!("\"{path}\" is a directory; list shows what is in it"))),
        Kind::Link | Kind::Other => Err(Failure::refused(format!(
            "\"{path}\" is neither a file nor a directory (a device, a socket or a pipe), and this tool takes files only"
        ))),
    }
}

/// As [`explain`], with the names that were perhaps meant when there is nothing at the path.
pub(crate) fn missing(files: &dyn Files, act: &str, path: &str, trouble: Trouble) -> Failure {
    if trouble != Trouble::NotFound {
        return explain(act, path, trouble);
    }
    let offered = offers(files, path);
    if offered.is_empty() {
        return explain(act, path, trouble);
    }
    Failure::refused(format!("cannot {act} \"{path}\": it does not exist; there is: {}", offered.join(", ")))
}

fn offers(files: &dyn Files, path: &str) -> Vec<String> {
    let Some((directory, name)) = split(path) else { return Vec::new() };
    let Ok(listing) = files.list(directory) else { return Vec::new() };
    let wanted = name.to_lowercase();
    let stem = wanted.split('.').next().unwrap_or(&wanted);
    let mut close: Vec<(usize, String)> = Vec::new();
    for entry in listing.entries.iter().take(10_000) {
        let lower = entry.name.to_lowercase();
        let same_stem = stem.len() > 2 && lower.split('.').next() == Some(stem);
        let distance = if same_stem { 1 } else { distance(&wanted, &lower) };
        if distance <= (wanted.len() + 1).div_ceil(2).min(3) {
            close.push((distance, join(directory, &entry.name)));
        }
    }
    close.sort();
    close.into_iter().take(OFFERED_MAX).map(|(_, path)| format!("\"{path}\"")).collect()
}

/// Letters to add, take away or change between two names; long ones are not compared.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().max(b.len()) > 100 || a.len().abs_diff(b.len()) > 4 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let change = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_and_split() {
        assert_eq!(join(".", "a"), "a");
        assert_eq!(join("/", "a"), "/a");
        assert_eq!(join("b", "a"), "b/a");
        assert_eq!(split("a"), Some((".", "a")));
        assert_eq!(split("/a"), Some(("/", "a")));
        assert_eq!(split("b/a"), Some(("b", "a")));
        for path in ["b/", "/", ".", "..", "a/.."] {
            assert_eq!(split(path), None, "{path}");
        }
    }

    #[test]
    fn distances_are_small_for_slips() {
        assert_eq!(distance("main.rs", "mian.rs"), 2);
        assert_eq!(distance("a", "a"), 0);
        assert_eq!(distance("", "ab"), 2);
        assert_eq!(distance("abc", "abcdefgh"), usize::MAX);
    }
}
