//! Which options of each command the interpreter does as the GNU tools do; an option that is not here leaves the script to bash.
//! It never looks at what an operand says.

use crate::commands::Argument;

/// What a command takes: short options as for getopt (`:` after one that takes a value, `?` after one whose value is joined to
/// it or not there), and long ones.
pub(crate) struct Options {
    short: &'static str,
    long: &'static [&'static str],
    /// `-5` is an option of `head`, and an operand of `seq`.
    numbers: Numbers,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Numbers {
    Refused,
    Taken,
}

const fn options(short: &'static str, long: &'static [&'static str]) -> Options {
    Options { short, long, numbers: Numbers::Refused }
}

const fn with_numbers(short: &'static str, long: &'static [&'static str]) -> Options {
    Options { short, long, numbers: Numbers::Taken }
}

const GREP: Options = with_numbers(
    "EFPGe:f:iyvwxclLoqsm:nbHhZzaIA:B:C:rR",
    &[
        "extended-regexp",
        "fixed-strings",
        "perl-regexp",
        "basic-regexp",
        "regexp",
        "file",
        "ignore-case",
        "invert-match",
        "word-regexp",
        "line-regexp",
        "count",
        "files-with-matches",
        "files-without-match",
        "only-matching",
        "quiet",
        "silent",
        "no-messages",
        "max-count",
        "line-number",
        "byte-offset",
        "with-filename",
        "no-filename",
        "null",
        "null-data",
        "text",
        "after-context",
        "before-context",
        "context",
        "recursive",
        "include",
        "exclude",
        "exclude-dir",
        "color",
        "colour",
    ],
);
const DIGEST: Options = options("cbt", &["check", "status", "quiet", "binary", "text"]);
const DECLARE: Options = options("aAirxnlu", &[]);
/// Commands to which everything is an operand, or which take what is no option of theirs for one.
pub(crate) const WITHOUT_OPTIONS: &[&str] = &[":", "true", "false", "echo", "let", "getopts", "expr", "yes"];
const NONE: Options = options("", &[]);

/// The commands that are done here, with their options.
const TABLE: &[(&[&str], Options)] = &[
    (
        &[
            "exit", "return", "break", "continue", "shift", "pushd", "popd", "dirs", "tac", "rev", "factor", "tsort",
            "printenv", "cksum", "sleep",
        ],
        with_numbers("", &[]),
    ),
    (&["printf"], options("v:", &[])),
    (&["cd"], options("LP", &[])),
    (&["pwd"], options("L", &[])),
    (&["unset"], options("vfn", &[])),
    (&["export"], options("n", &[])),
    (&["readonly"], options("aA", &[])),
    (&["declare", "typeset", "local"], DECLARE),
    (&["read"], options("rd:n:a:p:st:", &[])),
    (&["mapfile", "readarray"], options("tn:O:s:d:", &[])),
    (
        &["cat"],
        options("nbsAETvetu", &["number", "number-nonblank", "squeeze-blank", "show-all", "show-ends", "show-tabs"]),
    ),
    (&["head"], with_numbers("n:c:qvz", &["lines", "bytes", "quiet", "silent", "verbose"])),
    (&["tail"], with_numbers("n:c:qvz", &["lines", "bytes", "quiet", "silent", "verbose"])),
    (
        &["sort"],
        options(
            "nrufVhgMbdiszmck:t:o:",
            &[
                "numeric-sort",
                "reverse",
                "unique",
                "field-separator",
                "key",
                "output",
                "human-numeric-sort",
                "version-sort",
                "ignore-case",
                "stable",
                "zero-terminated",
                "check",
                "merge",
                "general-numeric-sort",
            ],
        ),
    ),
    (&["uniq"], options("cduif:s:w:", &["count", "repeated", "unique", "ignore-case", "skip-fields", "skip-chars"])),
    (
        &["cut"],
        options(
            "d:f:c:b:s",
            &["complement", "only-delimited", "output-delimiter", "delimiter", "fields", "characters", "bytes"],
        ),
    ),
    (&["tr"], options("dscC", &["delete", "squeeze-repeats", "complement"])),
    (&["wc"], options("lwcmL", &["lines", "words", "bytes", "chars", "max-line-length"])),
    (&["nl"], options("b:n:s:w:v:i:", &[])),
    (&["paste"], options("d:sz", &["delimiters", "serial"])),
    (&["comm"], with_numbers("", &[])),
    (&["diff"], options("uq", &["unified", "brief"])),
    (&["join"], options("t:a:v:o:e:1:2:ij:", &[])),
    (&["fold"], with_numbers("w:sb", &["width", "spaces"])),
    (&["expand"], options("t:i", &["tabs"])),
    (&["unexpand"], options("at:", &["all", "tabs"])),
    (&["seq"], with_numbers("s:wf:", &["separator", "equal-width", "format"])),
    (&["tee"], options("ai", &["append"])),
    (&["grep", "egrep", "fgrep"], GREP),
    (
        &["jq"],
        options(
            "rcnseSjRfM",
            &[
                "raw-output",
                "compact-output",
                "null-input",
                "slurp",
                "exit-status",
                "sort-keys",
                "tab",
                "arg",
                "argjson",
                "slurpfile",
                "rawfile",
                "args",
                "jsonargs",
                "indent",
                "join-output",
                "raw-input",
                "from-file",
                "monochrome-output",
            ],
        ),
    ),
    (&["base64", "base32"], options("dw:i", &["decode", "wrap"])),
    (&["md5sum", "sha1sum", "sha224sum", "sha256sum", "sha384sum", "sha512sum", "b2sum"], DIGEST),
    // What `cmp` prints changed from version to version; whether files are the same did not.
    (&["cmp"], options("s", &["silent", "quiet"])),
    (&["od"], options("A:t:N:j:cxbv", &[])),
    (&["xxd"], options("psl:c:g:ru", &[])),
    (&["hexdump"], options("Cn:s:v", &[])),
    (&["strings"], options("n:a", &["all", "bytes"])),
    (&["column"], options("ts:o:", &["table", "separator", "output-separator"])),
    (&["numfmt"], options("", &["to", "from"])),
    (&["shuf"], options("i:en:", &["input-range", "echo", "head-count"])),
    (&["basename"], options("as:", &["multiple", "suffix"])),
    (&["dirname"], NONE),
    (&["realpath"], options("ems", &["relative-to", "relative-base", "no-symlinks", "canonicalize-missing"])),
    (&["readlink"], options("fenm", &["canonicalize", "no-newline"])),
    (&["ls"], options("1ARdt", &["almost-all", "recursive", "directory"])),
    (&["mkdir"], options("p", &["parents"])),
    (&["rmdir"], options("p", &["parents"])),
    (&["rm"], options("rRf", &["recursive", "force"])),
    (&["cp"], options("rRfn", &["recursive", "force", "no-clobber"])),
    (&["mv"], options("f", &["force"])),
    (&["touch"], options("cd:r:t:m", &["no-create", "date", "reference"])),
    (&["ln"], options("sfn", &["symbolic", "force", "no-dereference"])),
    (&["mktemp"], options("dp:t", &["directory", "tmpdir"])),
    (&["truncate"], options("s:c", &["size", "no-create"])),
    (&["split"], options("l:b:", &["lines", "bytes"])),
    (&["stat"], options("c:", &["format", "printf"])),
    (&["date"], options("ud:r:RI?", &["utc", "universal", "date", "reference", "iso-8601"])),
    (
        &["sed"],
        options(
            "ne:f:i?Ersz",
            &["quiet", "silent", "expression", "file", "in-place", "regexp-extended", "separate", "null-data"],
        ),
    ),
    (&["awk"], options("F:v:", &[])),
];

/// The options of a command that is done here; `None` for all others.
pub(crate) fn of(name: &str) -> Option<&'static Options> {
    TABLE.iter().find(|(names, _)| names.contains(&name)).map(|(_, options)| options)
}

impl Options {
    /// The first option that is not among these.
    pub(crate) fn unknown(&self, arguments: &[Argument]) -> Option<String> {
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let text = argument.pieces();
            if text == "--" {
                return None;
            }
            if let Some(option) = text.strip_prefix("--") {
                let (name, joined) = option.split_once('=').map_or((option, false), |(name, _)| (name, true));
                if !self.long.contains(&name) {
                    return Some(format!("--{name}"));
                }
                if takes_next(name) && !joined {
                    arguments.next();
                }
            } else if let Some(cluster) = text.strip_prefix('-').filter(|cluster| !cluster.is_empty()) {
                if self.numbers == Numbers::Taken && cluster.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
                    continue;
                }
                match self.cluster(cluster) {
                    Cluster::Unknown(option) => return Some(format!("-{option}")),
                    Cluster::Whole => {}
                    Cluster::WantsNext => {
                        arguments.next();
                    }
                }
            }
        }
        None
    }

    fn cluster(&self, cluster: &str) -> Cluster {
        let mut letters = cluster.chars();
        while let Some(letter) = letters.next() {
            let Some(place) = self.short.find(letter).filter(|_| letter != ':' && letter != '?') else {
                return Cluster::Unknown(letter);
            };
            match self.short.get(place + letter.len_utf8()..).and_then(|rest| rest.chars().next()) {
                Some(':') if letters.as_str().is_empty() => return Cluster::WantsNext,
                Some(':' | '?') => return Cluster::Whole,
                _ => {}
            }
        }
        Cluster::Whole
    }
}

enum Cluster {
    Unknown(char),
    Whole,
    WantsNext,
}

/// Long options whose value may stand in the next argument.
fn takes_next(name: &str) -> bool {
    matches!(
        name,
        "lines"
            | "bytes"
            | "regexp"
            | "file"
            | "max-count"
            | "after-context"
            | "before-context"
            | "context"
            | "include"
            | "exclude"
            | "exclude-dir"
            | "key"
            | "field-separator"
            | "output"
            | "delimiter"
            | "fields"
            | "characters"
            | "delimiters"
            | "width"
            | "separator"
            | "format"
            | "date"
            | "reference"
            | "size"
            | "expression"
            | "suffix"
            | "output-delimiter"
    )
}
