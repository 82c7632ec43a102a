//! What fits a schema and what does not, which schemas are none here, and that nothing makes a check endless.

use super::words::Quoting;
use super::{Schema, fit};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[track_caller]
fn schema(rules: Value) -> Schema {
    made(rules).unwrap_or_else(|error| panic!("{error}"))
}

/// A schema of an object with these rules beside that.
fn made(mut rules: Value) -> Result<Schema, String> {
    if let Value::Object(members) = &mut rules {
        members.insert("type".to_owned(), json!("object"));
    }
    Schema::new(rules)
}

impl Schema {
    /// Where nothing has to be taken out of what is quoted.
    fn holds(&self, json: &str, whole: &str) -> Result<(), String> {
        self.fits(json, whole, &str::to_owned)
    }
}

/// Of a member `a` with this schema.
#[track_caller]
fn of_a(rules: &Value) -> Schema {
    schema(json!({ "properties": { "a": rules } }))
}

/// The texts of a keyword that fit and those that do not.
#[track_caller]
fn check(rules: Value, fits: &[Value], others: &[Value]) {
    let schema = of_a(&rules);
    for value in fits {
        let told = schema.holds(&json!({ "a": value }).to_string(), "the object");
        assert_eq!(told, Ok(()), "{rules} {value}");
    }
    for value in others {
        let told = schema.holds(&json!({ "a": value }).to_string(), "the object");
        assert!(told.as_ref().is_err_and(|told| told.starts_with("\"/a")), "{rules} {value}: {told:?}");
    }
}

#[test]
fn each_keyword_asks_what_the_standard_says() {
    check(json!({ "type": "integer" }), &[json!(1), json!(1.0), json!(-3)], &[json!(1.5), json!("1"), json!(null)]);
    check(json!({ "type": ["string", "null"] }), &[json!("x"), json!(null)], &[json!(1), json!([])]);
    check(json!({ "type": "number" }), &[json!(1), json!(1.5)], &[json!("1"), json!(true)]);
    check(
        json!({ "enum": [1, "b", { "c": [null] }] }),
        &[json!(1.0), json!("b"), json!({ "c": [null] })],
        &[json!("c"), json!(2)],
    );
    check(json!({ "const": { "x": 1, "y": 2 } }), &[json!({ "y": 2, "x": 1 })], &[json!({ "x": 1 }), json!(null)]);
    check(json!({ "minimum": 2, "exclusiveMaximum": 5 }), &[json!(2), json!(4.9), json!("x")], &[json!(1.9), json!(5)]);
    check(json!({ "exclusiveMinimum": 2, "maximum": 5 }), &[json!(2.1), json!(5)], &[json!(2), json!(5.1)]);
    check(json!({ "multipleOf": 0.1 }), &[json!(0.3), json!(7), json!(0)], &[json!(0.35)]);
    check(json!({ "multipleOf": 3 }), &[json!(9), json!(-3)], &[json!(10)]);
    check(json!({ "multipleOf": 1 }), &[json!(1e9), json!(-2)], &[json!(1_000_000_000.5)]);
    check(
        json!({ "minLength": 2, "maxLength": 3 }),
        &[json!("éé"), json!("abc"), json!(1)],
        &[json!("é"), json!("abcd")],
    );
    check(json!({ "pattern": "^[0-9a-f]{4}$" }), &[json!("00ff"), json!(1)], &[json!("00fg"), json!("00ff0")]);
    check(
        json!({ "prefixItems": [{ "type": "string" }], "items": { "type": "integer" } }),
        &[json!(["a", 1, 2]), json!([]), json!({})],
        &[json!([1]), json!(["a", "b"])],
    );
    check(json!({ "items": [{ "type": "string" }], "additionalItems": false }), &[json!(["a"])], &[json!(["a", 1])]);
    check(
        json!({ "contains": { "const": 1 }, "maxContains": 2 }),
        &[json!([1, 2, 1])],
        &[json!([2]), json!([1, 1, 1]), json!([])],
    );
    check(json!({ "contains": { "const": 1 }, "minContains": 0 }), &[json!([])], &[]);
    check(json!({ "minItems": 1, "maxItems": 2.0 }), &[json!([1])], &[json!([]), json!([1, 2, 3])]);
    check(
        json!({ "uniqueItems": true }),
        &[json!([1, "1", [1], [2]]), json!([])],
        &[json!([1, 1.0]), json!([{ "a": 1 }, { "a": 1 }])],
    );
}

#[test]
fn each_keyword_of_an_object_or_of_several_schemas_asks_what_the_standard_says() {
    check(
        json!({ "properties": { "b": { "type": "string" } }, "patternProperties": { "^x-": { "type": "integer" } }, "additionalProperties": false }),
        &[json!({ "b": "c", "x-y": 1 })],
        &[json!({ "b": 1 }), json!({ "x-y": "1" }), json!({ "c": 1 })],
    );
    check(json!({ "additionalProperties": { "type": "integer" } }), &[json!({ "z": 1 })], &[json!({ "z": "1" })]);
    check(json!({ "propertyNames": { "maxLength": 2 } }), &[json!({ "ab": 1 })], &[json!({ "abc": 1 })]);
    check(
        json!({ "minProperties": 1, "maxProperties": 1 }),
        &[json!({ "a": 1 })],
        &[json!({}), json!({ "a": 1, "b": 2 })],
    );
    check(json!({ "required": ["b", "c"] }), &[json!({ "b": null, "c": 1 }), json!([])], &[json!({ "b": 1 })]);
    check(
        json!({ "dependentRequired": { "b": ["c"] } }),
        &[json!({}), json!({ "b": 1, "c": 1 })],
        &[json!({ "b": 1 })],
    );
    check(
        json!({ "dependentSchemas": { "b": { "maxProperties": 1 } } }),
        &[json!({ "b": 1 }), json!({ "c": 1, "d": 1 })],
        &[json!({ "b": 1, "c": 1 })],
    );
    check(
        json!({ "dependencies": { "b": ["c"], "c": { "maxProperties": 2 } } }),
        &[json!({ "b": 1, "c": 1 })],
        &[json!({ "b": 1 }), json!({ "c": 1, "d": 1, "e": 1 })],
    );
    check(json!({ "allOf": [{ "minimum": 1 }, { "maximum": 2 }] }), &[json!(1), json!(2)], &[json!(0), json!(3)]);
    check(json!({ "anyOf": [{ "type": "string" }, { "minimum": 2 }] }), &[json!("x"), json!(2)], &[json!(1)]);
    check(
        json!({ "oneOf": [{ "type": "integer" }, { "minimum": 2 }] }),
        &[json!(1), json!(2.5)],
        &[json!(3), json!(1.5)],
    );
    check(json!({ "not": { "type": "string" } }), &[json!(1)], &[json!("x")]);
    check(
        json!({ "if": { "type": "string" }, "then": { "minLength": 2 }, "else": { "minimum": 2 } }),
        &[json!("ab"), json!(2)],
        &[json!("a"), json!(1)],
    );
    check(json!(false), &[], &[json!(1), json!(null)]);
    check(json!({ "format": "email", "title": "t", "default": 1, "x-own": true }), &[json!("no address")], &[]);
    check(json!({}), &[json!(null), json!([[{}]])], &[]);
}

#[test]
fn a_reference_leads_to_a_place_in_the_same_schema() {
    let tree = schema(json!({
        "properties": { "a": { "$ref": "#/$defs/tree" } },
        "$defs": { "tree": { "type": "array", "items": { "$ref": "#/$defs/tree" } }, "a/b%": { "const": 1 } },
        "additionalProperties": { "$ref": "#/$defs/a~1b%25" },
    }));
    tree.holds(r#"{"a":[[],[[[]]]],"b":1}"#, "it").expect("it is a tree");
    assert_eq!(tree.holds(r#"{"a":[[],[[1]]]}"#, "it"), Err("\"/a/1/0/0\" is 1, and has to be an array".to_owned()));
    tree.holds(r#"{"b":2}"#, "it").expect_err("the name of the place is found");
    let beside = |dialect: &str| {
        schema(
            json!({ "$schema": dialect, "properties": { "a": { "$ref": "#/$defs/a", "maximum": 1 } }, "$defs": { "a": true } }),
        )
    };
    beside("https://json-schema.org/draft/2020-12/schema")
        .holds(r#"{"a":2}"#, "it")
        .expect_err("what is beside it counts");
    beside("http://json-schema.org/draft-07/schema#").holds(r#"{"a":2}"#, "it").expect("and did not before 2019-09");
}

#[test]
fn what_is_wrong_is_said_by_its_place_and_with_what_would_fit() {
    let schema = schema(json!({
        "properties": {
            "files": { "type": "array", "items": { "type": "object", "properties": { "a/b": { "enum": ["x", "y"] } } } },
            "count": { "type": ["integer", "null"], "minimum": 1 },
        },
        "required": ["files"],
        "additionalProperties": false,
    }));
    for (text, told) in [
        ("[]", "the object is an array of 0 items, and has to be an object"),
        ("{}", "\"/files\" is missing"),
        (r#"{"files":[{},{"a/b":7}]}"#, "\"/files/1/a~1b\" is 7, and has to be one of: \"x\", \"y\""),
        (r#"{"files":[],"count":"3"}"#, "\"/count\" is \"3\", and has to be null or a whole number"),
        (r#"{"files":[],"count":0}"#, "\"/count\" is 0, and has to be at least 1"),
        (r#"{"files":[],"file":1}"#, "\"/file\" is not known: there are count, files"),
    ] {
        assert_eq!(schema.holds(text, "the object"), Err(told.to_owned()), "{text}");
    }
    let told = schema.holds("{\"files\":", "the object").expect_err("it is cut");
    assert!(told.starts_with("the object cannot be read as JSON"), "{told}");
}

#[test]
fn what_is_said_is_short_whatever_does_not_fit() {
    let name = "\u{202e}n\n".repeat(10_000);
    let strict = schema(json!({ "additionalProperties": false, "properties": { "x".repeat(5000): true } }));
    let told = strict.holds(&json!({ (name.as_str()): 1 }).to_string(), "it").expect_err("it is not known");
    assert!(told.len() < 2000 && !told.contains('\n'), "{told}");
    let values: Vec<String> = (0..5000).map(|n| format!("{n:050}")).collect();
    let told = of_a(&json!({ "enum": values })).holds(&json!({ "a": name }).to_string(), "it").expect_err("it is none");
    assert!(told.len() < 2000, "{}", told.len());
    let deep = (0..100).fold(json!(1), |inner, _| json!({ "nnnnnnnnnnnnnnnnnnnn": inner }));
    let inner = json!({ "$defs": { "a": { "type": "object", "additionalProperties": { "$ref": "#/$defs/a" } } }, "$ref": "#/$defs/a" });
    let told = schema(inner).holds(&deep.to_string(), "it").expect_err("the innermost is a number");
    assert!(told.len() < 500 && told.contains("/nnnnnnnnnnnnnnnnnnnn/"), "{told}");
}

#[test]
fn a_schema_that_cannot_be_kept_is_refused_with_its_place() {
    let chain: serde_json::Map<String, Value> = (0..1000)
        .map(|n| (n.to_string(), json!({ "allOf": [{ "$ref": format!("#/$defs/{}", (n + 1) % 1000) }] })))
        .collect();
    for (rules, told) in [
        (
            json!({ "properties": { "a": { "$ref": "https://example.com/s.json" } } }),
            "only lead to a place in the same schema",
        ),
        (json!({ "properties": { "a": { "$ref": "file:///etc/passwd" } } }), "at \"#/properties/a\""),
        (json!({ "properties": { "a": { "$ref": "//example.com/s" } } }), "only lead to"),
        (json!({ "$defs": { "unused": { "$ref": "other.json#/a" } } }), "only lead to"),
        (json!({ "properties": { "a": { "$ref": "#anchor" } } }), "only lead to"),
        (json!({ "properties": { "a": { "$ref": "#/nowhere" } } }), "there is nothing there"),
        (json!({ "$ref": "#" }), "leads back to itself"),
        (json!({ "allOf": [{ "anyOf": [{ "not": { "$ref": "#" } }] }] }), "leads back to itself"),
        (json!({ "$ref": "#/$defs/0", "$defs": chain }), "leads back to itself"),
        (json!({ "properties": { "a": { "$dynamicRef": "#a" } } }), "\"$dynamicRef\" is not kept"),
        (json!({ "unevaluatedProperties": false }), "\"unevaluatedProperties\" is not kept"),
        (json!({ "$schema": "https://example.com/own" }), "\"$schema\" is"),
        (json!({ "properties": { "a": { "$id": "https://example.com/a" } } }), "\"$id\" is for the whole"),
        (json!({ "properties": { "a": 7 } }), "an object, true or false"),
        (json!({ "properties": { "a": { "pattern": "(a)\\1" } } }), "linear time"),
        (json!({ "properties": { "a": { "pattern": "(?=a)b" } } }), "linear time"),
        (json!({ "properties": { "a": { "pattern": "\\Aa\\z" } } }), "linear time"),
        (json!({ "properties": { "a": { "pattern": "[a" } } }), "linear time"),
        (json!({ "properties": { "a": { "pattern": "[z-a]" } } }), "linear time"),
        (json!({ "properties": { "a": { "pattern": "((a{100}){100}){100}" } } }), "too large"),
        (json!({ "properties": { "a": { "pattern": "a".repeat(2000) } } }), "2000 bytes"),
        (json!({ "properties": { "a": { "pattern": "(".repeat(500) + &")".repeat(500) } } }), "linear time"),
        (json!({ "allOf": vec![json!({ "pattern": "a" }); 65] }), "more than 64 patterns"),
        (json!({ "allOf": vec![json!({}); 9000] }), "more than 8192 schemas"),
        (json!({ "properties": { ("n".repeat(30_000)): { "allOf": vec![json!({}); 4000] } } }), "4194304 bytes"),
        (json!({ "properties": { "a": { "minLength": -1 } } }), "\"minLength\" is a whole number"),
        (json!({ "properties": { "a": { "type": "text" } } }), "\"type\" is one of"),
        (json!({ "required": "a" }), "an array of names"),
        (json!({ "properties": { "a": { "multipleOf": 0 } } }), "above 0"),
    ] {
        let error = made(rules.clone()).expect_err("it is refused");
        assert!(error.contains(told) && error.len() < 1000, "{rules}: {error}");
    }
}

/// Each of these would run for longer than anybody waits, or deeper than a stack is, if nobody counted.
#[test]
fn no_schema_and_no_text_make_a_check_endless() {
    let doubling: serde_json::Map<String, Value> = (0..200)
        .map(|n| {
            let next = json!({ "$ref": format!("#/$defs/{}", n + 1) });
            (n.to_string(), if n == 199 { json!({ "minimum": 5 }) } else { json!({ "anyOf": [next, next] }) })
        })
        .collect();
    let doubling = schema(json!({ "properties": { "a": { "$ref": "#/$defs/0" } }, "$defs": doubling }));
    let twice = json!({ "items": { "allOf": [{ "$ref": "#/$defs/t" }, { "$ref": "#/$defs/t" }] } });
    let nested = schema(json!({ "properties": { "a": { "$ref": "#/$defs/t" } }, "$defs": { "t": twice } }));
    let long: serde_json::Map<String, Value> = (0..3000)
        .map(|n| (n.to_string(), if n == 2999 { json!({}) } else { json!({ "$ref": format!("#/$defs/{}", n + 1) }) }))
        .collect();
    let long = schema(json!({ "properties": { "a": { "$ref": "#/$defs/0" } }, "$defs": long }));
    let unique = of_a(&json!({ "uniqueItems": true }));
    let numbers = json!({ "a": (0..100_000).collect::<Vec<u32>>() }).to_string();
    let pattern = of_a(&json!({ "pattern": "^(([a-z])+.)+[A-Z]([a-z])+$" }));
    let text = json!({ "a": "a".repeat(10_000_000) }).to_string();
    for (schema, text) in [
        (&doubling, r#"{"a":1}"#.to_owned()),
        (&nested, format!("{{\"a\":{}{}}}", "[".repeat(100), "]".repeat(100))),
        (&long, r#"{"a":1}"#.to_owned()),
        (&unique, numbers),
        (&pattern, text),
    ] {
        let told = schema.holds(&text, "the object").expect_err("it is too much");
        assert_eq!(told, "the object is too much to be held against the schema");
    }
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    unique.holds(&deep, "the object").expect_err("nothing is read so deep");
}

/// A name is as long as a text may be, and each look at it costs as much.
#[test]
fn no_name_makes_a_check_endless() {
    let doubled = |last: Value| {
        let mut rules = serde_json::Map::new();
        for n in 0..20 {
            let next = json!({ "$ref": format!("#/$defs/{}", n + 1) });
            rules.insert(n.to_string(), json!({ "allOf": [next, next] }));
        }
        rules.insert("20".to_owned(), last);
        schema(json!({ "$ref": "#/$defs/0", "$defs": rules }))
    };
    let name = "n".repeat(15_000_000);
    let one = json!({ (name.as_str()): 1 }).to_string();
    let others: serde_json::Map<String, Value> =
        (0..200).map(|n| (format!("{}{n}", "n".repeat(60_000)), json!(1))).collect();
    let others = json!({ "a": [others, others] }).to_string();
    for (what, rules, text) in [
        ("a name", json!({ "propertyNames": { "type": "string", "maxLength": 20_000_000 } }), &one),
        ("a pattern of a name", json!({ "patternProperties": { "^n*$": true } }), &one),
        ("a name among names", json!({ "properties": { (name.get(..30_000).expect("it is longer")): true } }), &one),
        ("the same twice", json!({ "properties": { "a": { "not": { "uniqueItems": true } } } }), &others),
    ] {
        let (schema, begun) = (doubled(rules), Instant::now());
        let told = schema.holds(text, "the object").expect_err("it is too much");
        assert_eq!(told, "the object is too much to be held against the schema", "{what}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}: {:?}", begun.elapsed());
    }
}

#[test]
fn a_check_ends_at_its_time_whatever_is_left_of_its_steps() {
    let Ok(Value::Object(rules)) =
        serde_json::from_str(r#"{"type":"object","additionalProperties":{"items":{"type":"integer"}}}"#)
    else {
        panic!("it is an object")
    };
    let schema = Schema::new(Value::Object(rules)).unwrap_or_else(|error| panic!("{error}"));
    let value = json!({ "a": (0..100_000).collect::<Vec<u32>>() });
    let check = |until| fit::fits_until(until, &schema.rules, &value, "the object", Quoting(&str::to_owned));
    assert_eq!(check(Instant::now() + Duration::from_secs(60)), Ok(()));
    let told = check(Instant::now()).expect_err("its time is over");
    assert_eq!(told, "the object is too much to be held against the schema");
}

/// What is cut is looked through before: afterwards nobody would know the beginning of a secret.
#[test]
fn what_is_quoted_is_cleaned_before_it_is_cut() {
    const SECRET: &str = "correct/horse~battery";
    let clean = |text: &str| text.replace(SECRET, "*");
    let long = |before: usize| format!("{}{SECRET}", "-".repeat(before));
    let closed = json!({ "additionalProperties": false });
    let cases = [
        (json!({ "properties": { "a": { "type": "integer" } } }), json!({ "a": long(70) })),
        (json!({ "properties": { "a": { "enum": ["b"] } } }), json!({ "a": long(70) })),
        (json!({ "properties": { "a": { "pattern": "^b$" } } }), json!({ "a": long(70) })),
        (json!({ "properties": { "a": { "not": true } } }), json!({ "a": long(70) })),
        (json!({ "properties": { "a": { "anyOf": [false, false] } } }), json!({ "a": long(70) })),
        (json!({ "propertyNames": { "maxLength": 3 } }), json!({ (long(70)): 1 })),
        (closed.clone(), json!({ (long(250)): 1 })),
        (closed, json!({ SECRET: 1 })),
        (
            json!({ "properties": { "a": { "additionalProperties": { "additionalProperties": false } } } }),
            json!({ "a": { ("-".repeat(240)): { SECRET: 1 } } }),
        ),
    ];
    for (rules, value) in cases {
        let told = schema(rules).fits(&value.to_string(), "it", &clean).expect_err("it does not fit");
        assert!(!told.contains("corr") && !told.contains("horse") && told.contains('*'), "{told}");
    }
}

#[test]
fn what_is_large_and_plain_is_not_too_much() {
    let items = of_a(&json!({ "type": "array", "items": { "type": "integer", "minimum": 0 } }));
    let numbers = json!({ "a": (0..1_000_000).collect::<Vec<u32>>() }).to_string();
    items.holds(&numbers, "the object").expect("each is a number");
    let text = json!({ "a": "x".repeat(10_000_000) }).to_string();
    of_a(&json!({ "type": "string", "minLength": 1 })).holds(&text, "the object").expect("it is a text");
    of_a(&json!({ "pattern": "^x+$" }))
        .holds(&json!({ "a": "x".repeat(100_000) }).to_string(), "it")
        .expect("it matches");
}

#[test]
fn patterns_mean_what_they_mean_in_javascript() {
    for (pattern, fits, others) in [
        (r"^\d+$", vec!["123"], vec!["٣", "a"]),
        (r"^\w+$", vec!["a_1"], vec!["é", "-"]),
        (r"^[\w.-]+$", vec!["a.b-c"], vec!["é", "a b"]),
        (r"^\S+\s\S+$", vec!["a b", "a\u{a0}b"], vec!["ab"]),
        (r"^[^\s[]+$", vec!["ab"], vec!["a b", "a[b"]),
        (r"^[a&&b~~]+$", vec!["a&b~"], vec!["c"]),
        (r"\bcat\b", vec!["a cat"], vec!["concat"]),
        (r"^\/a\-b\u0041$", vec!["/a-bA"], vec!["/a-b"]),
        (r"^\p{L}+$", vec!["äß"], vec!["1"]),
        (r"a$", vec!["ba"], vec!["a\n"]),
        (r"^.$", vec!["x", "\u{1f600}"], vec!["\n", "\r", "\u{2028}", ""]),
        (r"^[!--]+$", vec!["!+-"], vec![".", "0"]),
        (r"^[--/]+$", vec!["-./"], vec!["+", "0"]),
        (r"^[a-z--/]+$", vec!["az-./"], vec!["0", "+"]),
        (r"^[\u0061-\u007a--/]+$", vec!["az-./"], vec!["0", "+"]),
        (r"^[a-z-9]+$", vec!["b-9"], vec!["8", "."]),
        (r"^[\w--]+$", vec!["a-"], vec!["."]),
        (r"^[\w-.]+$", vec!["a-."], vec!["/", "+"]),
        (r"^[+-\d]+$", vec!["+1-1"], vec![".", ","]),
        (r"^[-a]+$", vec!["-a"], vec!["b"]),
        (r"^[a-]+$", vec!["-a"], vec!["b"]),
        (r"^[^--/]+$", vec!["a0"], vec!["-", "."]),
        (r"^[\x41-\u{43}-]+$", vec!["ABC-"], vec!["D"]),
        (r"^[\p{L}\-.]+$", vec!["ä-."], vec!["1"]),
        (r"a[]|b", vec!["b"], vec!["a", "a]"]),
        (r"^[^]$", vec!["a", "\n", "]"], vec!["", "ab"]),
        (r"^\<\>$", vec!["<>"], vec!["", "a"]),
    ] {
        let schema = of_a(&json!({ "pattern": pattern }));
        let told = |text: &str| schema.holds(&json!({ "a": text }).to_string(), "it");
        fits.iter().for_each(|text| assert_eq!(told(text), Ok(()), "{pattern} {text}"));
        others.iter().for_each(|text| assert!(told(text).is_err(), "{pattern} {text}"));
    }
}
