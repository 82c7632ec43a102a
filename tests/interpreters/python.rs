//! The Python tool's contract: what it prints, what a value and an exception come back as, which modules there are.
//! It never tests CPython.

use crate::common::{environment, fresh};
use crate::host::{Answer, Tool};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

/// It compiles for seconds: once for all tests.
static PYTHON: LazyLock<Tool> = LazyLock::new(|| Tool::load("python"));

fn run_in(work: &Path, arguments: Value) -> Answer {
    PYTHON.call(work, &environment(work), &arguments)
}

#[track_caller]
fn run(code: &str) -> Value {
    run_in(&fresh(), json!({ "code": code })).structured()
}

#[test]
fn output_and_the_last_value_come_back() {
    let answer = run("import sys\nprint('out')\nprint('err', file=sys.stderr)\n[x * 2 for x in range(3)]");
    assert_eq!(answer["stdout"], "out\n");
    assert_eq!(answer["stderr"], "err\n");
    assert_eq!(answer["value"], "[0, 2, 4]");
    assert_eq!(answer["exit_code"], 0);
    assert_eq!(answer["exception"], Value::Null);
    assert_eq!(answer["truncated"], false);
}

#[test]
fn a_last_line_without_a_value_gives_none() {
    assert_eq!(run("x = 1")["value"], Value::Null);
    assert_eq!(run("print('only printed')")["value"], Value::Null);
    assert_eq!(run("'text'")["value"], "'text'");
}

#[test]
fn an_exception_is_a_traceback_of_the_code_alone() {
    let answer = run("def f():\n    return 1 / 0\n\nf()");
    assert_eq!(answer["exit_code"], 1);
    assert_eq!(answer["exception"]["type"], "ZeroDivisionError");
    let stderr = answer["stderr"].as_str().expect("text");
    assert!(stderr.starts_with("Traceback (most recent call last):\n  File \"<code>\", line 4"), "{stderr}");
    assert!(stderr.contains("return 1 / 0"), "{stderr}");
    assert!(!stderr.contains("python_tool"), "{stderr}");
}

#[test]
fn a_syntax_error_shows_its_line() {
    let answer = run("x = (1,\nprint('never')\n");
    assert_eq!(answer["exception"]["type"], "SyntaxError");
    assert!(answer["stderr"].as_str().expect("text").contains("File \"<code>\", line 1"), "{answer}");
    assert_eq!(answer["stdout"], "");
}

#[test]
fn exits_have_their_codes() {
    assert_eq!(run("import sys; sys.exit(3)")["exit_code"], 3);
    assert_eq!(run("import sys; sys.exit()")["exit_code"], 0);
    let said = run("import sys; sys.exit('why')");
    assert_eq!((said["exit_code"].clone(), said["stderr"].clone()), (json!(1), json!("why\n")));
}

#[test]
fn files_of_the_workspace_are_read_and_written() {
    let work = fresh();
    let code = "import os, pathlib\nn = len(open('words.txt').readlines())\npathlib.Path('made.txt').write_text(str(n))\n\
                os.makedirs('a/b')\nprint(sorted(os.listdir('src')), os.getcwd())";
    let answer = run_in(&work, json!({ "code": code })).structured();
    assert_eq!(answer["stdout"], format!("['lib', 'lib.rs', 'main.rs'] {}\n", work.display()), "{answer}");
    assert_eq!(fs::read_to_string(work.join("made.txt")).expect("it was written"), "7");
    assert!(work.join("a/b").is_dir());
}

#[test]
fn files_beyond_the_workspace_are_not_there() {
    for path in ["/etc/passwd", "../../../../../../etc/passwd"] {
        let answer = run(&format!("open({path:?}).read()"));
        assert_eq!(answer["exit_code"], 1, "{answer}");
        assert_eq!(answer["value"], Value::Null);
    }
}

#[test]
fn standard_input_and_arguments_are_as_in_a_process() {
    let code = "import sys\nprint(sys.argv)\nprint(input())\nprint(sys.stdin.read(), end='')";
    let answer = run_in(&fresh(), json!({ "code": code, "stdin": "first\nrest\n", "args": ["a", "b c"] })).structured();
    assert_eq!(answer["stdout"], "['-c', 'a', 'b c']\nfirst\nrest\n");
}

#[test]
fn the_environment_is_what_was_granted() {
    let answer = run("import os; print(sorted(os.environ))");
    assert_eq!(answer["stdout"], "['HOME', 'LC_ALL', 'PATH', 'TZ']\n", "{answer}");
}

#[test]
fn output_is_bounded_and_says_so() {
    let answer = run_in(&fresh(), json!({ "code": "print('x' * 1000)", "output_bytes": 10 }));
    let Answer::Reply { text, structured } = answer else { panic!("{answer:?}") };
    assert_eq!(structured["stdout"], "xxxxxxxxxx");
    assert_eq!(structured["truncated"], true);
    assert!(text.contains("truncated"), "{text}");
}

#[test]
fn each_call_begins_anew() {
    run("import builtins; builtins.planted = 1; import json; json.planted = 1");
    let answer = run("import builtins, json; (hasattr(builtins, 'planted'), hasattr(json, 'planted'))");
    assert_eq!(answer["value"], "(False, False)");
}

#[test]
fn what_an_interpreter_did_to_be_prepared_does_not_show() {
    let code = "import sys\nprint(sorted(name for name in globals() if name[0] != '_'), sys.argv, __name__, len(sys.stdin.read()))\n\
                try:\n    Point\nexcept NameError as error:\n    print(error)";
    let answer = run(code);
    assert_eq!(answer["stdout"], "['sys'] ['-c'] __main__ 0\nname 'Point' is not defined\n", "{answer}");
    assert_eq!(answer["stderr"], "");
}

#[test]
fn randomness_is_not_that_of_the_snapshot() {
    let code = "import random, uuid, os; (random.random(), uuid.uuid4().hex, os.urandom(4))";
    assert_ne!(run(code)["value"], run(code)["value"]);
}

#[test]
fn there_is_neither_a_process_nor_a_network_nor_a_thread() {
    for code in [
        "import os; os.system('true')",
        "import subprocess; subprocess.run(['true'])",
        "import os; os.fork()",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1/')",
        "import socket; socket.create_connection(('127.0.0.1', 80))",
        "import threading; threading.Thread(target=print).start()",
    ] {
        let answer = run(code);
        assert_eq!(answer["exit_code"], 1, "{code}: {answer}");
        assert!(answer["exception"]["type"].is_string(), "{code}: {answer}");
    }
}

#[test]
fn the_modules_that_agents_import_are_there() {
    let modules = "abc argparse ast base64 bisect calendar collections configparser contextlib copy csv dataclasses datetime \
        decimal difflib email.message enum fnmatch fractions functools glob hashlib heapq hmac html html.parser importlib \
        inspect io ipaddress itertools json logging math mimetypes operator os os.path pathlib pickle platform pprint queue \
        random re secrets shlex shutil statistics string struct sys tempfile textwrap threading time timeit tokenize tomllib \
        traceback types typing unicodedata unittest urllib.parse uuid warnings weakref xml.etree.ElementTree zipfile zoneinfo";
    let code = format!("import importlib\nfor name in {modules:?}.split():\n    importlib.import_module(name)");
    let answer = run(&code);
    assert_eq!(answer["exit_code"], 0, "{answer}");
}

#[test]
fn code_that_closes_its_output_still_gets_an_answer() {
    let answer = run("import sys\nprint('before')\nsys.stdout.close()");
    assert_eq!(answer["stdout"], "before\n", "{answer}");
}

#[test]
fn what_is_printed_need_not_be_text() {
    let answer = run("import sys\nsys.stdout.buffer.write(b'\\xff\\xfe')\nsys.stdout.write('\\udc80')");
    assert_eq!(answer["exit_code"], 0, "{answer}");
}

#[test]
fn arguments_that_do_not_hold_are_named() {
    let work = fresh();
    for (arguments, says) in [
        (json!({}), "`code` is missing"),
        (json!({ "code": 1 }), "`code` is a str"),
        (json!({ "code": "1", "timeout": 1 }), "`timeout` is no argument"),
        (json!({ "code": "1", "args": [1] }), "list of strings"),
        (json!({ "code": "1", "cwd": "nowhere" }), "nowhere"),
        (json!({ "code": "1", "output_bytes": 0 }), "output_bytes"),
    ] {
        let why = run_in(&work, arguments).invalid();
        assert!(why.contains(says), "{why}");
    }
}
