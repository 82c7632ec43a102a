//! Which wall a profile asks for, from text to canonical bytes: images by their grammar, and who has the last word.
//! It never starts a container.

use std::collections::BTreeMap;
use stockade_policy::{
    AbsolutePath, Backend, Container, Diagnostics, Direction, ExpandedProfile, HostFacts, ImageReference, Pin, Profile,
    ProfileName, RuntimeName, WallChoice, diff, parse, parse_project, resolve, tighten,
};

const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn image(text: &str) -> ImageReference {
    ImageReference::parse(text).unwrap_or_else(|flaw| panic!("{text}: {flaw}"))
}

#[track_caller]
fn is_image(text: &str, name: Option<&str>, pin: Pin<'_>) {
    let image = image(text);
    assert_eq!((image.as_str(), image.name(), image.pin()), (text, name, pin));
    assert_eq!(image.to_string(), text);
}

#[track_caller]
fn is_no_image(text: &str, expect: &str) {
    let flaw = ImageReference::parse(text).expect_err(text);
    assert!(flaw.what.contains(expect), "{text}: {flaw}");
    assert!(!flaw.hint.is_empty(), "{text}");
}

#[test]
fn images_are_named_as_registries_name_them() {
    is_image("debian", Some("debian"), Pin::Tag("latest"));
    is_image("debian:13-slim", Some("debian"), Pin::Tag("13-slim"));
    is_image("library/debian:V_1.x", Some("library/debian"), Pin::Tag("V_1.x"));
    is_image("localhost/x", Some("localhost/x"), Pin::Tag("latest"));
    is_image("localhost:5000/a/b:c", Some("localhost:5000/a/b"), Pin::Tag("c"));
    is_image("Registry.Example.com/a", Some("Registry.Example.com/a"), Pin::Tag("latest"));
    is_image("10.0.0.7:5000/a", Some("10.0.0.7:5000/a"), Pin::Tag("latest"));
    is_image("[::1]:5000/a:b", Some("[::1]:5000/a"), Pin::Tag("b"));
    is_image("[fe80::1]/a", Some("[fe80::1]/a"), Pin::Tag("latest"));
    for name in ["a.b", "a_b", "a__b", "a-b", "a--b", "a---b/c.d/e_f", "0/1", &"a".repeat(255)] {
        is_image(name, Some(name), Pin::Tag("latest"));
    }
    let digest = format!("sha256:{HEX}");
    is_image(&digest, None, Pin::Id(&digest));
    is_image(&format!("a/b@{digest}"), Some("a/b"), Pin::Digest(&digest));
    is_image(&format!("ghcr.io:443/a/b:1.0@{digest}"), Some("ghcr.io:443/a/b"), Pin::Digest(&digest));
    let longest = format!("{}:{}@{digest}", "a".repeat(255), "t".repeat(128));
    is_image(&longest, Some(&"a".repeat(255)), Pin::Digest(&digest));
    assert_eq!(longest.len(), stockade_policy::IMAGE_BYTES_MAX);
}

#[test]
fn what_could_mean_two_images_or_none_is_refused() {
    is_no_image("", "empty");
    is_no_image("Debian", "upper-case");
    is_no_image("Library/debian", "upper-case");
    is_no_image("ghcr.io/Some/thing:latest", "upper-case");
    for name in [
        "a..b",
        "a___b",
        "a._b",
        "-a",
        "a-",
        ".a",
        "a/",
        "/a",
        "a//b",
        "a b",
        "a\u{e9}",
        "a+b",
        "../a",
        "a/../b",
        "~",
        "https://ghcr.io/a",
        "$a",
        "a\\b",
        "a;b",
        "docker://a",
    ] {
        assert!(ImageReference::parse(name).is_err(), "{name}");
    }
    is_no_image("ghcr.io:0/a", "no registry");
    is_no_image("ghcr.io:+80/a", "no registry");
    is_no_image("ghcr.io:65536/a", "no registry");
    is_no_image("ghcr..io/a", "no registry");
    is_no_image("-ghcr.io/a", "no registry");
    is_no_image("[::g]/a", "no registry");
    is_no_image("[::1/a", "no registry");
    is_no_image("user:password@ghcr.io/a", "not sha256");
    is_no_image("a:", "not a tag");
    is_no_image("a:-b", "not a tag");
    is_no_image("a:b:c", "name of an image");
    is_no_image(&format!("a:{}", "t".repeat(129)), "not a tag");
    is_no_image(&"a".repeat(256), "255");
    is_no_image(&format!("{}/a", "a".repeat(500)), "bytes, more than");
    is_no_image(HEX, "id of an image or its name");
    is_no_image("a@", "not sha256");
    is_no_image("a@sha256", "0 digits");
    is_no_image(&format!("a@sha512:{HEX}{HEX}"), "\"sha512\", which is not sha256");
    is_no_image(&format!("sha512:{HEX}{HEX}"), "\"sha512\", which is not sha256");
    is_no_image(&format!("a@sha256:{}", &HEX[1..]), "63 digits, not 64");
    is_no_image(&format!("sha256:{HEX}0"), "65 digits, not 64");
    is_no_image("sha256:latest", "6 digits, not 64");
    is_no_image(&format!("a@sha256:{}", HEX.to_uppercase()), "no digest");
    is_no_image(&format!("a@sha256:{HEX}@sha256:{HEX}"), "digits, not 64");
    is_no_image("a\u{202e}b", "U+202E");
}

#[test]
fn a_runtime_is_a_name_and_no_program() {
    for name in ["runc", "crun", "runsc", "kata-fc", "io.containerd.runc.v2", "x_y", "1", &"r".repeat(64)] {
        assert_eq!(RuntimeName::parse(name).expect(name).as_str(), name);
    }
    for name in ["", "/usr/bin/runc", "-runc", ".", "..", "a b", "r\u{e9}", "a;b", &"r".repeat(65)] {
        assert!(RuntimeName::parse(name).is_err(), "{name}");
    }
}

/// `files` are profiles by name; the first one is resolved.
fn joined(files: &[(&str, &str)]) -> Result<Profile, Diagnostics> {
    let text = |name: &str, body: &str| format!("profile = 1\nname = \"{name}\"\n{body}\n");
    let load = |(name, body): &(&str, &str)| parse(&format!("{name}.toml"), text(name, body).as_bytes());
    let mut lookup = |name: &ProfileName| files.iter().find(|(other, _)| *other == name.as_str()).map(load).transpose();
    resolve(&load(&files[0])?, &mut lookup)
}

fn placed(profile: &Profile) -> Result<ExpandedProfile, Diagnostics> {
    let variables = BTreeMap::new();
    let path = |text: &str| AbsolutePath::parse(text.as_bytes()).expect("a clean path");
    profile.expand(&HostFacts { home: path("/home/ada"), workspace: path("/home/ada/work"), variables: &variables })
}

/// `expect` is `process`, or image and runtime.
#[track_caller]
fn check(files: &[(&str, &str)], expect: &str) {
    let profile = joined(files).unwrap_or_else(|all| panic!("\n{all}"));
    is_behind(&profile, expect);
}

#[track_caller]
fn is_behind(profile: &Profile, expect: &str) {
    let expanded = placed(profile).unwrap_or_else(|all| panic!("\n{all}"));
    let got = match expanded.backend() {
        Backend::Process => "process".to_owned(),
        Backend::Container(Container { image, runtime: None }) => image.to_string(),
        Backend::Container(Container { image, runtime: Some(runtime) }) => format!("{image} {runtime}"),
    };
    assert_eq!(got, expect);
    // What a log says of the profile is what it runs behind.
    let canonical = String::from_utf8(expanded.canonical_bytes()).expect("no path here is anything else");
    let said: Vec<&str> =
        canonical.lines().filter_map(|line| line.strip_prefix("backend\tbackend=container")).collect();
    let words = |said: &str| said.replace("\timage=", " ").replace("\truntime=", " ");
    assert_eq!(said.first().map_or("process".to_owned(), |said| words(said).trim().to_owned()), expect);
}

/// At parsing, joining or placing.
#[track_caller]
fn refused(files: &[(&str, &str)], expect: &str) {
    let found = joined(files).and_then(|profile| placed(&profile)).expect_err("it is refused");
    assert_eq!(found.to_string(), expect.trim());
}

const CONTAINER: &str = "backend = \"container\"\n";

#[test]
fn the_wall_is_what_the_profile_says() {
    check(&[("a", "")], "process");
    check(&[("a", "backend = \"process\"")], "process");
    check(&[("a", "backend = \"container\"\nimage = \"x:1\"")], "x:1");
    check(&[("a", "backend = \"container\"\nimage = \"x:1\"\nruntime = \"runsc\"")], "x:1 runsc");
    check(&[("a", "extends = [\"b\"]\nimage = \"x\""), ("b", CONTAINER)], "x");
    check(&[("a", "extends = [\"b\"]\n"), ("b", "backend = \"container\"\nimage = \"x\"")], "x");
}

#[test]
fn of_two_backends_the_container_holds_and_of_two_images_a_files_own() {
    let base = ("b", "backend = \"container\"\nimage = \"x\"\nruntime = \"crun\"");
    check(&[("a", "extends = [\"b\"]\nbackend = \"process\""), base], "x crun");
    check(&[("a", "extends = [\"b\"]\nimage = \"y\""), base], "y crun");
    check(&[("a", "extends = [\"b\"]\nruntime = \"runsc\""), base], "x runsc");
    check(&[("a", "extends = [\"c\"]"), ("c", "extends = [\"b\"]\nimage = \"y\""), base], "y crun");
    // Guards come without the wall, as they come without the floor.
    check(&[("a", "guard = [\"b\"]"), base], "process");
    check(
        &[("a", "extends = [\"b\"]\nguard = [\"c\"]"), base, ("c", "backend = \"container\"\nimage = \"z\"")],
        "x crun",
    );
}

#[test]
fn profiles_that_name_two_images_are_joined_only_by_one_that_says_which() {
    let (b, c) = (("b", "backend = \"container\"\nimage = \"x\""), ("c", "backend = \"container\"\nimage = \"y\""));
    for order in ["extends = [\"b\", \"c\"]\n", "extends = [\"c\", \"b\"]\n"] {
        let found = joined(&[("a", order), b, c]).expect_err("two images");
        assert!(found.to_string().contains("image is \""), "{found}");
        check(&[("a", &format!("{order}image = \"z\"")), b, c], "z");
        check(&[("a", order), b, ("c", "extends = [\"b\"]")], "x");
    }
    refused(
        &[("a", "extends = [\"b\", \"c\"]"), b, c],
        "error: profile \"a.toml\", line 3: image is \"x\" in b:4 and \"y\" in c:4\nhint: say which: image = \"x\"",
    );
}

#[test]
fn words_that_do_not_belong_together_are_refused() {
    refused(
        &[("a", "backend = \"vm\"")],
        "error: profile \"a.toml\", line 3: unknown backend \"vm\"\nhint: write \"process\" or \"container\"",
    );
    refused(
        &[("a", "backend = \"process\"\nimage = \"x\"")],
        "error: profile \"a.toml\", line 4: image belongs to the container wall, and the backend is \"process\"\n\
         hint: choose the backend \"container\", or name no image",
    );
    refused(
        &[("a", "image = \"x\"\nruntime = \"runc\"")],
        "error: profile \"a.toml\", line 3: image without backend = \"container\"\n\
         hint: add backend = \"container\", or extends = [\"container\"]\n\
         error: profile \"a.toml\", line 4: runtime without backend = \"container\"\n\
         hint: add backend = \"container\", or extends = [\"container\"]",
    );
    refused(
        &[("a", "backend = \"container\"\nimage = \"Debian\"")],
        "error: profile \"a.toml\", line 4: name of the image \"Debian\" has an upper-case letter\n\
         hint: names of images are in lower case; a tag may have upper case",
    );
    refused(
        &[("a", "backend = \"container\"\nimage = \"x\"\nruntime = \"/bin/sh\"")],
        "error: profile \"a.toml\", line 5: \"/bin/sh\" is not the name of a runtime\n\
         hint: use the name that the engine has for it, such as \"runc\", \"crun\", \"runsc\" or \"kata\"",
    );
}

#[test]
fn a_container_without_an_image_can_be_extended_and_not_opened() {
    let base = ("b", CONTAINER);
    assert!(joined(&[base]).is_ok());
    refused(
        &[("a", "extends = [\"b\"]"), base],
        "error: profile \"b.toml\", line 3: backend = \"container\" has no image\n\
         hint: --image NAME, or image = \"…\" in a profile",
    );
}

#[track_caller]
fn chosen(body: &str, words: [Option<&str>; 3], expect: &str) {
    let [backend, image, runtime] = words;
    let profile = joined(&[("a", body)]).unwrap_or_else(|all| panic!("\n{all}"));
    match WallChoice::parse(backend, image, runtime).and_then(|choice| profile.behind(&choice)) {
        Ok(profile) => is_behind(&profile, expect),
        Err(flaw) => assert!(flaw.what.contains(expect), "{flaw}"),
    }
}

#[test]
fn who_starts_a_session_has_the_last_word() {
    let full = "backend = \"container\"\nimage = \"x\"\nruntime = \"crun\"";
    chosen("", [None, None, None], "process");
    chosen("", [None, Some("y"), None], "y");
    chosen("", [None, Some("y"), Some("runsc")], "y runsc");
    chosen("", [Some("container"), Some("y"), None], "y");
    chosen(full, [None, None, None], "x crun");
    chosen(full, [None, Some("y"), None], "y crun");
    chosen(full, [None, None, Some("runsc")], "x runsc");
    chosen(full, [Some("container"), None, None], "x crun");
    chosen(full, [Some("process"), None, None], "process");
    chosen(CONTAINER, [None, Some("y"), None], "y");
    chosen(CONTAINER, [Some("process"), None, None], "process");
    chosen("", [Some("container"), None, None], "the container wall has no image");
    chosen("", [None, None, Some("runsc")], "the container wall has no image");
    chosen("", [Some("process"), Some("y"), None], "image belongs to the container wall");
    chosen(full, [Some("process"), None, Some("runsc")], "runtime belongs to the container wall");
    chosen("", [Some("vm"), None, None], "unknown backend");
    chosen("", [None, Some("Y"), None], "upper-case");
}

#[test]
fn a_project_never_chooses_the_wall_its_image_or_its_runtime() {
    let lines = ["backend = \"container\"", "backend = \"process\"", "image = \"evil\"", "runtime = \"evil\""];
    for line in lines {
        let text = format!("profile = 1\n{line}\n");
        let found = parse_project("stockade.toml", text.as_bytes()).expect_err("a project cannot");
        let key = line.split(' ').next().expect("a key");
        let what = format!("line 2: \"{key}\" could widen the profile, a project cannot");
        assert!(found.to_string().contains(&what), "{found}");
    }
    let profile = joined(&[("a", "backend = \"container\"\nimage = \"x\"\nruntime = \"crun\"")]).expect("it joins");
    let project = parse_project("stockade.toml", b"profile = 1\nfloor = \"full\"\n").expect("it tightens");
    is_behind(&tighten(&profile, &project).expect("it tightens"), "x crun");
}

#[test]
fn a_profile_that_says_nothing_of_a_wall_has_the_bytes_that_it_had() {
    let bytes = |body| String::from_utf8(joined(&[("a", body)]).expect("it joins").canonical_bytes()).expect("text");
    let before = "stockade-profile/1\ndurability\tdurability=group\nfloor\tfloor=full\nname\tname=a\n\
                  record\trecord=changes\nrecord_floor\trecord_floor=outcome-only\n";
    assert_eq!(bytes(""), before);
    assert_eq!(bytes("backend = \"process\""), before);
    let all = bytes("backend = \"container\"\nimage = \"x:1\"\nruntime = \"crun\"");
    assert!(all.contains("\nbackend\tbackend=container\timage=x:1\truntime=crun\n"), "{all}");
}

#[test]
fn a_difference_of_walls_is_shown_with_its_direction() {
    let of = |body| joined(&[("a", body)]).expect("it joins");
    let shown = |before: &Profile, after: &Profile| {
        diff(before, after).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let (none, x) = (of(""), of("backend = \"container\"\nimage = \"x\""));
    assert_eq!(shown(&none, &x), "tighter: backend = \"process\" -> backend = \"container\"\nchanged: + image = \"x\"");
    assert_eq!(diff(&x, &none)[0].direction, Direction::Wider);
    let y = of("backend = \"container\"\nimage = \"y\"\nruntime = \"runsc\"");
    assert_eq!(shown(&x, &y), "changed: image = \"x\" -> image = \"y\"\nchanged: + runtime = \"runsc\"");
    assert_eq!(shown(&x, &x), "");
}

#[test]
fn an_explanation_says_which_image_who_named_it_and_that_a_tag_can_move() {
    let of = |body: &str| joined(&[("a", body)]).expect("it joins");
    let text = of("backend = \"container\"\nimage = \"x\"\nruntime = \"crun\"").explain().to_string();
    for line in [
        "  backend = \"container\"\n",
        "  image = \"x\"  [a.toml:4]\n      by a tag, which can come to mean another image; a digest cannot\n",
        "  runtime = \"crun\"  [a.toml:5]\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let pinned = of(&format!("backend = \"container\"\nimage = \"x@sha256:{HEX}\"")).explain().to_string();
    assert!(!pinned.contains("by a tag"), "{pinned}");
    assert!(of(CONTAINER).explain().to_string().contains("still to be named"));
    assert!(of("").explain().to_string().contains("  backend = \"process\"\n"));
}
