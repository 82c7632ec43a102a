//! The doors: for each external dependency of the product, the modules through which it enters, and why.
//! It never lists what tests use; a test's dependency is not in the binary.

use super::manifest::Door;

/// Crates whose dependencies need a door.
pub(crate) const MEMBERS: [&str; 4] =
    ["runtime", "runtime/crates/audit", "runtime/crates/jail", "runtime/crates/policy"];

/// Every door.
pub(crate) const DOORS: &[Door] = &[
    Door {
        member: "runtime",
        dependency: "clap",
        modules: &["cli"],
        reason: "one definition of the command line, for parsing, help, completions and manual pages",
    },
    Door {
        member: "runtime",
        dependency: "clap_complete",
        modules: &["cli"],
        reason: "completions from that definition",
    },
    Door {
        member: "runtime",
        dependency: "clap_mangen",
        modules: &["cli"],
        reason: "manual pages from that definition",
    },
    Door {
        member: "runtime",
        dependency: "imara-diff",
        modules: &["workspace"],
        reason: "the unified diff of two files",
    },
    Door {
        member: "runtime",
        dependency: "nix",
        modules: &["backend", "cli", "config", "journal", "session"],
        reason: "users, signals and poll, which std has no calls for: each module asks the kernel for its own",
    },
    Door {
        member: "runtime",
        dependency: "rustix",
        modules: &["cli", "config", "workspace"],
        reason: "files by descriptor, beneath a directory and without following links, and terminals",
    },
    Door {
        member: "runtime",
        dependency: "serde_json",
        modules: &["cli", "config", "gateway", "workspace"],
        reason: "output for scripts, calls as lines, and the state of a layer on disk",
    },
    Door { member: "runtime", dependency: "sha2", modules: &["workspace"], reason: "hashes of files before and after" },
    Door {
        member: "runtime",
        dependency: "tracing",
        modules: &["backend", "cli", "journal", "session"],
        reason: "what operators are told: any module that does something may say so",
    },
    Door {
        member: "runtime",
        dependency: "tracing-subscriber",
        modules: &["cli"],
        reason: "where that goes is decided at one place",
    },
    Door {
        member: "runtime/crates/audit",
        dependency: "base64ct",
        modules: &["text"],
        reason: "base64 as the note format writes it",
    },
    Door {
        member: "runtime/crates/audit",
        dependency: "chacha20poly1305",
        modules: &["blob"],
        reason: "blobs are sealed under a key that can be destroyed",
    },
    Door { member: "runtime/crates/audit", dependency: "crc32c", modules: &["frame"], reason: "checksums of frames" },
    Door {
        member: "runtime/crates/audit",
        dependency: "ed25519-dalek",
        modules: &["note"],
        reason: "signatures of checkpoints",
    },
    Door {
        member: "runtime/crates/audit",
        dependency: "getrandom",
        modules: &["system"],
        reason: "randomness for keys and salts",
    },
    Door {
        member: "runtime/crates/audit",
        dependency: "rustix",
        modules: &["system"],
        reason: "fdatasync, locks and owners of directories",
    },
    Door {
        member: "runtime/crates/audit",
        dependency: "serde_json",
        modules: &["chain", "disclose", "ledger", "query", "record", "scan"],
        reason: "what is on disk is JSON: each kind of it is read and written where it is defined",
    },
    Door {
        member: "runtime/crates/audit",
        dependency: "sha2",
        modules: &["blob", "merkle"],
        reason: "the tree, and names of blobs",
    },
    Door {
        member: "runtime/crates/audit",
        dependency: "zeroize",
        modules: &["blob", "ledger", "note"],
        reason: "each module wipes the keys that it holds",
    },
    Door {
        member: "runtime/crates/jail",
        dependency: "seccompiler",
        modules: &["seccomp"],
        reason: "loads the list of calls, and compiles what it can express beside our own compiler in a test",
    },
    Door {
        member: "runtime/crates/jail",
        dependency: "landlock",
        modules: &["landlock"],
        reason: "rule sets by the rights of the running kernel",
    },
    Door {
        member: "runtime/crates/jail",
        dependency: "libc",
        modules: &["*"],
        reason: "the crate is the door to the kernel: calls and constants that rustix has not",
    },
    Door {
        member: "runtime/crates/jail",
        dependency: "rustix",
        modules: &["*"],
        reason: "the crate is the door to the kernel: calls that have a safe form",
    },
    Door {
        member: "runtime/crates/jail",
        dependency: "serde_json",
        modules: &["init", "plan", "probe", "wire"],
        reason: "plans and findings cross between processes, and are printed and hashed, as JSON",
    },
    Door {
        member: "runtime/crates/jail",
        dependency: "sha2",
        modules: &["plan", "seccomp"],
        reason: "hashes of plan and filter for the log",
    },
    Door {
        member: "runtime/crates/policy",
        dependency: "serde_json",
        modules: &["json"],
        reason: "calls as agents write them",
    },
    Door { member: "runtime/crates/policy", dependency: "toml", modules: &["document"], reason: "profiles" },
];
