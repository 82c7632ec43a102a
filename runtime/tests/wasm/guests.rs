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
