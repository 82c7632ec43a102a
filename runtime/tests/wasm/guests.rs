//! Components for tests, written in the text format: small enough that each says what it does.
//! They never come from a compiler, so that no toolchain is needed to attack the wall.

/// A manifest with this name and ceiling.
pub(crate) fn manifest(name: &str, ceiling: &str) -> String {
    format!(
        r#"{{"name":"{name}","version":"1.0.0","description":"A guest of a test.","input_schema":{{"type":"object"}},
            "ceiling":{ceiling}}}"#
    )
}

/// A component of this text, with a manifest.
pub(crate) fn assembled(text: &str, manifest: &str) -> Vec<u8> {
    let mut bytes = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"));
    bytes.extend(custom("stockade:tool", manifest.as_bytes()));
    bytes
}

/// A custom section.
pub(crate) fn custom(name: &str, content: &[u8]) -> Vec<u8> {
    let mut body = leb(name.len());
    body.extend(name.as_bytes());
    body.extend(content);
    let mut section = vec![0];
    section.extend(leb(body.len()));
    section.extend(body);
    section
}

fn leb(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).expect("seven bits");
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// The types of the contract, as a component imports them.
pub(crate) const TYPES: &str = r#"
  (import "stockade:tool/tool-types@0.1.0" (instance $types
    (type $image0 (record (field "media-type" string) (field "bytes" (list u8))))
    (export "image" (type $image (eq $image0)))
    (type $reply0 (record (field "text" string) (field "structured" (option string)) (field "images" (list $image))))
    (export "reply" (type (eq $reply0)))
    (type $failure0 (variant (case "invalid-arguments" string) (case "refused" string)))
    (export "failure" (type (eq $failure0)))))
  (alias export $types "reply" (type $reply))
  (alias export $types "failure" (type $failure))"#;

/// The function of the world, lifted from the core function `call` of instance `$i`.
pub(crate) const CALL: &str = r#"
  (func $call (param "arguments" string) (result (result $reply (error $failure)))
    (canon lift (core func $i "call") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
  (export "call" (func $call))"#;

/// What every core module has: memory, an allocator that never gives back, and an answer of `$n` bytes at `$p`.
pub(crate) const CORE: &str = r#"
    (global $free (mut i32) (i32.const 4096))
    (func $realloc (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (global.set $free (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
      (local.set $at (global.get $free))
      (global.set $free (i32.add (global.get $free) (local.get 3)))
      (block (loop
        (br_if 1 (i32.le_u (global.get $free) (i32.mul (memory.size) (i32.const 65536))))
        (drop (memory.grow (i32.const 16)))
        (br 0)))
      (local.get $at))
    (func $answer (param $p i32) (param $n i32) (result i32)
      (i32.store8 (i32.const 1024) (i32.const 0))
      (i32.store (i32.const 1028) (local.get $p))
      (i32.store (i32.const 1032) (local.get $n))
      (i32.store8 (i32.const 1036) (i32.const 0))
      (i32.store (i32.const 1048) (i32.const 0))
      (i32.store (i32.const 1052) (i32.const 0))
      (i32.const 1024))"#;

/// A tool without imports whose `call` is this body; `$p` and `$n` are its arguments.
pub(crate) fn pure(name: &str, body: &str) -> Vec<u8> {
    assembled(&pure_text(body, ""), &manifest(name, "{}"))
}

/// Its text, with more in its core module.
pub(crate) fn pure_text(body: &str, more: &str) -> String {
    format!(
        r#"(component {TYPES}
  (core module $m
    (memory (export "memory") 1)
    {CORE}
    {more}
    (func $call (export "call") (param $p i32) (param $n i32) (result i32) {body}))
  (core instance $i (instantiate $m)){CALL})"#
    )
}

/// Answers with its arguments.
pub(crate) fn echo() -> Vec<u8> {
    pure("echo", "(call $answer (local.get $p) (local.get $n))")
}

/// A tool that imports functions of one interface: `interface` is the instance's type, `functions` are its names.
pub(crate) fn importing(
    name: &str,
    ceiling: &str,
    interface: (&str, &str),
    functions: &[&str],
    core: (&str, &str),
) -> Vec<u8> {
    let (id, kind) = interface;
    let (imports, body) = core;
    let lowered: String =
        functions.iter().map(|f| format!("(core func ${f} (canon lower (func $host \"{f}\")))\n")).collect();
    let given: String = functions.iter().map(|f| format!("(export \"{f}\" (func ${f}))")).collect();
    let text = format!(
        r#"(component {TYPES}
  (import "{id}" (instance $host {kind}))
  {lowered}
  (core module $m
    {imports}
    (memory (export "memory") 1)
    {CORE}
    (func (export "call") (param $p i32) (param $n i32) (result i32) {body}))
  (core instance $i (instantiate $m (with "host" (instance {given})))){CALL})"#
    );
    assembled(&text, &manifest(name, ceiling))
}

/// Asks three times for a socket, and answers `refused` if it got none because it may not have one.
pub(crate) fn dialing() -> Vec<u8> {
    assembled(&dialing_text(), &manifest("dialing", "{}"))
}

/// Its text; its core module can ask while it is prepared as well.
pub(crate) fn dialing_text() -> String {
    let codes = "\"unknown\" \"access-denied\" \"not-supported\" \"invalid-argument\" \"out-of-memory\" \"timeout\"
        \"concurrency-conflict\" \"not-in-progress\" \"would-block\" \"invalid-state\" \"new-socket-limit\"
        \"address-not-bindable\" \"address-in-use\" \"remote-unreachable\" \"connection-refused\" \"connection-reset\"
        \"connection-aborted\" \"datagram-too-large\" \"name-unresolvable\" \"temporary-resolver-failure\"
        \"permanent-resolver-failure\"";
    format!(
        r#"(component {TYPES}
  (import "wasi:sockets/network@0.2.6" (instance $network
    (type $code0 (enum {codes}))
    (export "error-code" (type (eq $code0)))
    (type $family0 (enum "ipv4" "ipv6"))
    (export "ip-address-family" (type (eq $family0)))))
  (alias export $network "error-code" (type $code))
  (alias export $network "ip-address-family" (type $family))
  (import "wasi:sockets/tcp@0.2.6" (instance $tcp (export "tcp-socket" (type (sub resource)))))
  (alias export $tcp "tcp-socket" (type $socket))
  (import "wasi:sockets/tcp-create-socket@0.2.6" (instance $create
    (alias outer 1 $code (type $code1)) (export "error-code" (type $code2 (eq $code1)))
    (alias outer 1 $family (type $family1)) (export "ip-address-family" (type $family2 (eq $family1)))
    (alias outer 1 $socket (type $socket1)) (export "tcp-socket" (type $socket2 (eq $socket1)))
    (export "create-tcp-socket" (func (param "address-family" $family2)
      (result (result (own $socket2) (error $code2)))))))
  (core module $libc (memory (export "memory") 4) {CORE} (export "answer" (func $answer)))
  (core instance $libc (instantiate $libc))
  (core func $create (canon lower (func $create "create-tcp-socket") (memory (core memory $libc "memory"))))
  (core module $m
    (import "libc" "memory" (memory 1))
    (import "libc" "answer" (func $answer (param i32 i32) (result i32)))
    (import "host" "create" (func $create (param i32 i32)))
    (data (i32.const 2000) "refused")
    (func (export "prepare") (call $create (i32.const 0) (i32.const 600)))
    (func (export "call") (param $p i32) (param $n i32) (result i32)
      (local $left i32)
      (local.set $left (i32.const 3))
      (loop
        (call $create (i32.const 0) (i32.const 600))
        (if (i32.eqz (i32.load8_u (i32.const 600))) (then unreachable))
        (if (i32.ne (i32.load8_u (i32.const 604)) (i32.const 1)) (then unreachable))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br_if 0 (local.get $left)))
      (call $answer (i32.const 2000) (i32.const 7))))
  (core instance $main (instantiate $m (with "libc" (instance $libc))
    (with "host" (instance (export "create" (func $create))))))
  (func $call (param "arguments" string) (result (result $reply (error $failure)))
    (canon lift (core func $main "call") (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (export "call" (func $call)))"#
    )
}

/// Says so often that it is done.
pub(crate) fn reporting(times: u32) -> Vec<u8> {
    let text = format!(
        r#"(component {TYPES}
  (import "stockade:tool/progress@0.1.0" (instance $progress
    (export "report" (func (param "done" u64) (param "total" (option u64)) (param "what" string)))))
  (core module $libc (memory (export "memory") 4) {CORE} (export "answer" (func $answer)))
  (core instance $libc (instantiate $libc))
  (core func $report (canon lower (func $progress "report") (memory (core memory $libc "memory"))))
  (core module $m
    (import "libc" "answer" (func $answer (param i32 i32) (result i32)))
    (import "host" "report" (func $report (param i64 i32 i64 i32 i32)))
    (func (export "call") (param $p i32) (param $n i32) (result i32)
      (local $left i32)
      (local.set $left (i32.const {times}))
      (loop
        (call $report (i64.const 1) (i32.const 1) (i64.const 1) (i32.const 0) (i32.const 0))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br_if 0 (local.get $left)))
      (call $answer (i32.const 0) (i32.const 0))))
  (core instance $main (instantiate $m (with "libc" (instance $libc))
    (with "host" (instance (export "report" (func $report))))))
  (func $call (param "arguments" string) (result (result $reply (error $failure)))
    (canon lift (core func $main "call") (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (export "call" (func $call)))"#
    );
    assembled(&text, &manifest("reporting", "{}"))
}

/// What of `wasi:filesystem` the guest below imports.
const FILES: &str = r#"
  (import "wasi:filesystem/types@0.2.6" (instance $types6
    (export "descriptor" (type $descriptor (sub resource)))
    (type $path0 (flags "symlink-follow"))
    (export "path-flags" (type $path (eq $path0)))
    (type $open0 (flags "create" "directory" "exclusive" "truncate"))
    (export "open-flags" (type $open (eq $open0)))
    (type $flags0 (flags "read" "write" "file-integrity-sync" "data-integrity-sync" "requested-write-sync"
      "mutate-directory"))
    (export "descriptor-flags" (type $flags (eq $flags0)))
    (type $code0 (enum "access" "would-block" "already" "bad-descriptor" "busy" "deadlock" "quota" "exist"
      "file-too-large" "illegal-byte-sequence" "in-progress" "interrupted" "invalid" "io" "is-directory" "loop"
      "too-many-links" "message-size" "name-too-long" "no-device" "no-entry" "no-lock" "insufficient-memory"
      "insufficient-space" "not-directory" "not-empty" "not-recoverable" "unsupported" "no-tty" "no-such-device"
      "overflow" "not-permitted" "pipe" "read-only" "invalid-seek" "text-file-busy" "cross-device"))
    (export "error-code" (type $code (eq $code0)))
    (export "[method]descriptor.open-at" (func (param "self" (borrow $descriptor)) (param "path-flags" $path)
      (param "path" string) (param "open-flags" $open) (param "flags" $flags)
      (result (result (own $descriptor) (error $code)))))
    (export "[method]descriptor.read" (func (param "self" (borrow $descriptor)) (param "length" u64)
      (param "offset" u64) (result (result (tuple (list u8) bool) (error $code)))))
    (export "[method]descriptor.write" (func (param "self" (borrow $descriptor)) (param "buffer" (list u8))
      (param "offset" u64) (result (result u64 (error $code)))))))
  (alias export $types6 "descriptor" (type $descriptor))
  (import "wasi:filesystem/preopens@0.2.6" (instance $preopens
    (alias outer 1 $descriptor (type $descriptor0))
    (export "descriptor" (type $descriptor (eq $descriptor0)))
    (export "get-directories" (func (result (list (tuple (own $descriptor) string)))))))"#;

/// A tool for files: `rPATH` answers with the first 64 KiB of a file, `wPATH` makes it and writes the arguments into it;
/// both with a link at the end followed. `eX` is an error: `A` and its number in WASI.
pub(crate) fn files(ceiling: &str) -> Vec<u8> {
    let lowered = |name: &str, function: &str| {
        format!(
            "(core func ${name} (canon lower (func {function}) (memory (core memory $libc \"memory\"))
               (realloc (core func $libc \"realloc\"))))"
        )
    };
    let lowered = [
        lowered("directories", "$preopens \"get-directories\""),
        lowered("open", "$types6 \"[method]descriptor.open-at\""),
        lowered("read", "$types6 \"[method]descriptor.read\""),
        lowered("write", "$types6 \"[method]descriptor.write\""),
    ]
    .concat();
    let text = format!(
        r#"(component {TYPES} {FILES}
  (core module $libc (memory (export "memory") 4) {CORE} (export "answer" (func $answer)))
  (core instance $libc (instantiate $libc))
  {lowered}
  (core module $m
    (import "libc" "memory" (memory 1))
    (import "libc" "answer" (func $answer (param i32 i32) (result i32)))
    (import "host" "directories" (func $directories (param i32)))
    (import "host" "open" (func $open (param i32 i32 i32 i32 i32 i32 i32)))
    (import "host" "read" (func $read (param i32 i64 i64 i32)))
    (import "host" "write" (func $write (param i32 i32 i32 i64 i32)))
    (func $error (param $code i32) (result i32)
      (i32.store8 (i32.const 600) (i32.const 101))
      (i32.store8 (i32.const 601) (i32.add (local.get $code) (i32.const 65)))
      (call $answer (i32.const 600) (i32.const 2)))
    (func (export "call") (param $p i32) (param $n i32) (result i32)
      (local $writes i32)
      (local.set $writes (i32.eq (i32.load8_u (local.get $p)) (i32.const 119)))
      (call $directories (i32.const 512))
      (if (i32.eqz (i32.load (i32.const 516))) (then (return (call $error (i32.const 50)))))
      (call $open (i32.load (i32.load (i32.const 512))) (i32.const 1)
        (i32.add (local.get $p) (i32.const 1)) (i32.sub (local.get $n) (i32.const 1))
        (select (i32.const 9) (i32.const 0) (local.get $writes))
        (select (i32.const 2) (i32.const 1) (local.get $writes)) (i32.const 528))
      (if (i32.load8_u (i32.const 528)) (then (return (call $error (i32.load8_u (i32.const 532))))))
      (if (local.get $writes) (then
        (call $write (i32.load (i32.const 532)) (local.get $p) (local.get $n) (i64.const 0) (i32.const 544))
        (if (i32.load8_u (i32.const 544)) (then (return (call $error (i32.load8_u (i32.const 552))))))
        (return (call $answer (local.get $p) (local.get $n)))))
      (call $read (i32.load (i32.const 532)) (i64.const 65536) (i64.const 0) (i32.const 560))
      (if (i32.load8_u (i32.const 560)) (then (return (call $error (i32.load8_u (i32.const 564))))))
      (call $answer (i32.load (i32.const 564)) (i32.load (i32.const 568)))))
  (core instance $main (instantiate $m (with "libc" (instance $libc)) (with "host" (instance
    (export "directories" (func $directories)) (export "open" (func $open)) (export "read" (func $read))
    (export "write" (func $write))))))
  (func $call (param "arguments" string) (result (result $reply (error $failure)))
    (canon lift (core func $main "call") (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (export "call" (func $call)))"#
    );
    assembled(&text, &manifest("files", ceiling))
}
