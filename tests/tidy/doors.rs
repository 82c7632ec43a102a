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
        dependency: "aho-corasick",
        modules: &["secrets"],
        reason: "finds placeholders, which are no secret: plaintexts have an automaton of our own, which can be wiped",
    },
    Door {
        member: "runtime",
        dependency: "base64ct",
        modules: &["egress", "secrets"],
        reason: "base64 in constant time: basic credentials of a company's proxy, and of secrets",
    },
    Door {
        member: "runtime",
        dependency: "brotli-decompressor",
        modules: &["secrets"],
        reason: "answers are opened to be searched: brotli",
    },
    Door {
        member: "runtime",
        dependency: "bytes",
        modules: &["egress", "secrets"],
        reason: "chunks of a stream, given from one to the other without a copy",
    },
    Door {
        member: "runtime",
        dependency: "chacha20poly1305",
        modules: &["secrets"],
        reason: "the local store is sealed",
    },
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
        dependency: "flate2",
        modules: &["secrets"],
        reason: "answers are opened to be searched: gzip and deflate",
    },
    Door {
        member: "runtime",
        dependency: "hickory-proto",
        modules: &["egress"],
        reason: "questions and answers of the resolver inside, and what is asked outside",
    },
    Door {
        member: "runtime",
        dependency: "hickory-resolver",
        modules: &["egress"],
        reason: "the real resolution: getaddrinfo of a static C library would load name-service modules into the process",
    },
    Door {
        member: "runtime",
        dependency: "hmac",
        modules: &["secrets"],
        reason: "tags of placeholders, and signatures of AWS",
    },
    Door {
        member: "runtime",
        dependency: "http",
        modules: &["egress", "secrets"],
        reason: "methods, addresses and headers of requests: where a plaintext is put is a header map",
    },
    Door { member: "runtime", dependency: "http-body", modules: &["egress"], reason: "bodies as streams" },
    Door {
        member: "runtime",
        dependency: "http-body-util",
        modules: &["egress"],
        reason: "bodies made of one piece, or put behind one type",
    },
    Door {
        member: "runtime",
        dependency: "httparse",
        modules: &["egress"],
        reason: "heads of proxy requests, before hyper sees a connection",
    },
    Door {
        member: "runtime",
        dependency: "hyper",
        modules: &["egress"],
        reason: "HTTP/1.1 and 2, from inside and to the upstream",
    },
    Door { member: "runtime", dependency: "hyper-util", modules: &["egress"], reason: "hyper on tokio: timers and io" },
    Door {
        member: "runtime",
        dependency: "imara-diff",
        modules: &["workspace"],
        reason: "the unified diff of two files",
    },
    Door {
        member: "runtime",
        dependency: "ipnet",
        modules: &["egress"],
        reason: "ranges of addresses that are not public",
    },
    Door {
        member: "runtime",
        dependency: "nix",
        modules: &["backend", "cli", "config", "egress", "gateway", "journal", "secrets", "session"],
        reason: "users, signals, poll and options of sockets, which std has no calls for: each module asks for its own",
    },
    Door {
        member: "runtime",
        dependency: "rcgen",
        modules: &["egress"],
        reason: "the authority of a session and its leaf certificates",
    },
    Door {
        member: "runtime",
        dependency: "rmcp",
        modules: &["gateway"],
        reason: "MCP in both of its eras: messages, versions and the order of a session are the reference library's",
    },
    Door {
        member: "runtime",
        dependency: "rustix",
        modules: &["cli", "config", "egress", "gateway", "secrets", "workspace"],
        reason: "files and sockets by descriptor, beneath a directory and without following links, and terminals",
    },
    Door { member: "runtime", dependency: "rustls", modules: &["egress"], reason: "TLS, with one provider, ring" },
    Door { member: "runtime", dependency: "rustls-native-certs", modules: &["egress"], reason: "what the host trusts" },
    Door {
        member: "runtime",
        dependency: "serde_json",
        modules: &["cli", "config", "egress", "gateway", "secrets", "session", "workspace"],
        reason: "output for scripts, calls as lines, refusals as answers, tokens and the store, the state of a layer on disk, what tools answer",
    },
    Door {
        member: "runtime",
        dependency: "sha1",
        modules: &["egress", "workspace"],
        reason: "the checksum at the end of Java's key store format, and what git calls a content: neither knows another",
    },
    Door {
        member: "runtime",
        dependency: "sha2",
        modules: &["egress", "secrets", "session", "workspace"],
        reason: "hashes of files before and after, of programs, of bodies that are signed, and of keys",
    },
    Door {
        member: "runtime",
        dependency: "tokio",
        modules: &["egress", "gateway", "secrets", "session"],
        reason: "one worker thread waits for many connections, out of a sandbox and to its ports, and for tokens; and MCP",
    },
    Door { member: "runtime", dependency: "tokio-rustls", modules: &["egress"], reason: "rustls on tokio" },
    Door {
        member: "runtime",
        dependency: "tracing",
        modules: &["backend", "cli", "egress", "gateway", "journal", "secrets", "session"],
        reason: "what operators are told: any module that does something may say so",
    },
    Door {
        member: "runtime",
        dependency: "tracing-subscriber",
        modules: &["cli"],
        reason: "where that goes is decided at one place",
    },
    Door {
        member: "runtime",
        dependency: "zeroize",
        modules: &["cli", "egress", "secrets"],
        reason: "each wipes what it holds: what a person types, heads with a plaintext, the plaintexts themselves",
    },
    Door {
        member: "runtime",
        dependency: "zstd",
        modules: &["secrets"],
        reason: "answers are opened to be searched: zstd",
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
