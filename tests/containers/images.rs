//! Images: found by tag, digest and id, built of a directory, and never taken for one another.
//! It never pulls from a registry: there is none that every machine reaches.

use crate::house::{Ground, House, Promise, ended, failed, image, mount, spec, tag};
use std::fs;
use std::os::unix::fs::symlink;
use stockade::backend::container::engine::{Access, Engine, Kind, Progress, Pull};
use stockade::error::Fault;
use stockade_tests::story::{Stop, Told, must, same};

/// Promises about images, which each engine has to keep.
pub(crate) const PROMISES: &[Promise] = &[
    ("an_image_is_found_by_tag_digest_and_id", an_image_is_found),
    ("an_image_that_is_missing_says_how_to_get_it", a_missing_image_is_told),
    ("an_image_of_another_architecture_is_refused", another_architecture_is_refused),
    ("a_hostile_reference_is_refused", a_hostile_reference_is_refused),
    ("images_are_listed", images_are_listed),
    ("a_pull_that_fails_is_told", a_pull_that_fails_is_told),
    ("an_image_is_built_of_a_directory_without_what_is_ignored", an_image_is_built),
    ("a_build_that_fails_says_at_which_step", a_build_that_fails_is_told),
    ("a_dockerfile_outside_of_the_directory_is_refused", a_dockerfile_outside_is_refused),
];

fn quiet(_: Progress) {}

fn an_image_is_found(house: &House) -> Told {
    let engine = house.engine()?;
    let by_tag = image(&engine, "debian")?;
    must(by_tag.id.starts_with("sha256:") && by_tag.id.len() == 71, || by_tag.id.clone())?;
    same("os", by_tag.os.as_str(), "linux")?;
    must(by_tag.env.iter().any(|variable| variable.starts_with("PATH=")), || format!("{:?}", by_tag.env))?;
    must(by_tag.size_bytes > 50 * 1024 * 1024, || by_tag.size_bytes.to_string())?;
    let by_id = engine.image(&by_tag.id, Pull::Never, &mut quiet).map_err(failed)?;
    same("by id", &by_id.id, &by_tag.id)?;
    same("user of another", image(&engine, "distroless")?.user.as_str(), "65532:65532")?;
    // Docker gives an image no digest before it has been in a registry.
    let Some(digest) = by_tag.digest else { return must(house.kind == Kind::Docker, || "no digest".to_owned()) };
    let by_digest = engine.image(&digest, Pull::Never, &mut quiet).map_err(failed)?;
    same("by digest", &by_digest.id, &by_tag.id)?;
    let other = format!("{}{}", &digest[..digest.len() - 64], "0".repeat(64));
    let error = engine.image(&other, Pull::Never, &mut quiet).expect_err("there is none");
    must(error.fault == Fault::Operator, || error.to_string())
}

fn a_missing_image_is_told(house: &House) -> Told {
    let engine = house.engine()?;
    let error = engine.image("localhost/stockade-test/missing:1", Pull::Never, &mut quiet).expect_err("there is none");
    let text = error.to_string();
    let pull = format!("{} pull localhost/stockade-test/missing:1", house.kind);
    must(error.fault == Fault::Operator && text.contains(&pull) && text.contains("stockade image build"), || {
        text.clone()
    })?;
    let id = format!("sha256:{}", "0".repeat(64));
    let error = engine.image(&id, Pull::WhenMissing, &mut quiet).expect_err("there is none").to_string();
    must(error.contains("not on this machine"), || error.clone())
}

fn another_architecture_is_refused(house: &House) -> Told {
    let engine = house.engine()?;
    if engine.about().architecture == "arm64" {
        return Err(Stop::Skip("this machine is what the image is for".to_owned()));
    }
    let error = engine.image(&tag("arm64"), Pull::Never, &mut quiet).expect_err("it is refused");
    must(error.fault == Fault::Operator && error.to_string().contains("linux on arm64"), || error.to_string())
}

fn a_hostile_reference_is_refused(house: &House) -> Told {
    let engine = house.engine()?;
    for reference in ["../containers/json", "a?all=1", "a b", "", "sha256:12"] {
        let error = engine.image(reference, Pull::Never, &mut quiet).expect_err("it is refused");
        must(error.fault == Fault::Operator, || error.to_string())?;
    }
    Ok(())
}

fn images_are_listed(house: &House) -> Told {
    let engine = house.engine()?;
    let images = engine.images().map_err(failed)?;
    let busybox = images.iter().find(|image| image.tags.contains(&tag("busybox")));
    let busybox = busybox.ok_or_else(|| format!("it is not listed: {images:#?}"))?;
    same("id", &busybox.id, &image(&engine, "busybox")?.id)
}

fn a_pull_that_fails_is_told(house: &House) -> Told {
    let engine = house.engine()?;
    // A registry at a port where nobody listens.
    let error =
        engine.image("127.0.0.1:1/nothing/here:1", Pull::WhenMissing, &mut quiet).expect_err("nobody serves it");
    let text = error.to_string();
    must(text.contains("pull image") && text.len() < 1200, || text.clone())
}

fn an_image_is_built(house: &House) -> Told {
    let engine = house.engine()?;
    let ground = Ground::new()?;
    let dockerfile = ground.file(
        "context/build/Dockerfile",
        &format!("FROM {}\nCOPY . /context\nUSER 1000:1000\nENV MADE=here\nWORKDIR /context\n", tag("busybox")),
    )?;
    ground.file("context/.dockerignore", "# not these\nsecret\n**/*.log\n!kept.log\nbuild\n")?;
    for name in ["kept", "secret/key", "deep/a.log", "kept.log", "deep/b"] {
        ground.file(&format!("context/{name}"), name)?;
    }
    ground.file("outside", "not to be sent")?;
    let context = ground.path().join("context");
    symlink(ground.path().join("outside"), context.join("link"))?;
    symlink(ground.path(), context.join("directory"))?;
    let name = format!("localhost/stockade-test/built-{}:{}", house.name, std::process::id());
    let mut said = Vec::new();
    let built =
        engine.build(&context, &dockerfile, Some(&name), &mut |progress| said.push(progress.text)).map_err(failed)?;
    must(said.iter().any(|line| line.contains("COPY")), || format!("{said:?}"))?;
    same("user", built.user.as_str(), "1000:1000")?;
    same("directory", built.working_dir.as_str(), "/context")?;
    must(built.env.contains(&"MADE=here".to_owned()), || format!("{:?}", built.env))?;
    let found = inside(&engine, house, &built.id, "cd /context; find . | sort; readlink link; cat kept.log")?;
    let removed = remove(house, &name);
    // The Dockerfile is left out too: the engine is sent it, and takes it away before the first step.
    let expected = [".", "./.dockerignore", "./deep", "./deep/b", "./directory", "./kept", "./kept.log", "./link"];
    let outside = ground.path().join("outside").display().to_string();
    // Docker leaves its directory, empty.
    let mut lines: Vec<&str> = found.lines().filter(|line| *line != "./build").collect();
    let tail = lines.split_off(lines.len().saturating_sub(2));
    same("files", lines, expected.to_vec())?;
    same("the link, and a file", tail, vec![outside.as_str(), "kept.log"])?;
    removed
}

/// What a script says in a container of an image.
fn inside(engine: &Engine, house: &House, id: &str, script: &str) -> Result<String, Stop> {
    let ground = Ground::new()?;
    let out = ground.open("out")?;
    let mut asked =
        spec(house, &image(engine, "busybox")?, &["/bin/sh", "-c", &format!("{{ {script}; }} >/tmp/report 2>&1")]);
    id.clone_into(&mut asked.image_id);
    asked.mounts.push(mount(&out, "/tmp", Access::ReadWrite));
    let mut container = engine.create(&asked).map_err(failed)?;
    container.start().map_err(failed)?;
    ended(&container)?;
    Ok(fs::read_to_string(out.join("report"))?)
}

/// Removes what a test built; our own product never removes an image.
fn remove(house: &House, name: &str) -> Told {
    let path = format!("http://engine/v1.40/images/{name}?force=true");
    let socket = house.socket()?;
    let program = stockade_tests::process::Program {
        argv: ["/usr/bin/curl", "-fsS", "-X", "DELETE", "--unix-socket"]
            .iter()
            .map(Into::into)
            .chain([socket.into(), path.into()])
            .collect(),
        directory: "/".into(),
        environment: Vec::new(),
        person: stockade_tests::people::Person::myself(),
        input: Vec::new(),
        limit: crate::house::PATIENCE,
    };
    let ended = program.run()?;
    must(ended.code() == 0, || ended.told())
}

fn a_build_that_fails_is_told(house: &House) -> Told {
    let engine = house.engine()?;
    let ground = Ground::new()?;
    let context = ground.path().join("context");
    let dockerfile = ground.file("context/Dockerfile", &format!("FROM {}\nCOPY nosuchfile /\n", tag("busybox")))?;
    let error = engine.build(&context, &dockerfile, None, &mut quiet).expect_err("it fails");
    must(error.fault == Fault::Operator && error.to_string().contains("nosuchfile"), || error.to_string())?;
    let dockerfile = ground.file("context/Dockerfile", "NOSUCHWORD\n")?;
    let error = engine.build(&context, &dockerfile, None, &mut quiet).expect_err("it fails");
    // Podman says only that it found no FROM.
    must(["NOSUCHWORD", "FROM"].iter().any(|word| error.to_string().to_uppercase().contains(word)), || {
        error.to_string()
    })?;
    ground.file("context/.dockerignore", "[a\n")?;
    let error = engine.build(&context, &dockerfile, None, &mut quiet).expect_err("it fails");
    must(error.fault == Fault::Operator && error.to_string().contains("line 1"), || error.to_string())
}

fn a_dockerfile_outside_is_refused(house: &House) -> Told {
    let engine = house.engine()?;
    let ground = Ground::new()?;
    let context = ground.open("context")?;
    let outside = ground.file("Dockerfile", "FROM scratch\n")?;
    symlink(&outside, context.join("Dockerfile"))?;
    for path in [outside, context.join("Dockerfile")] {
        let error = engine.build(&context, &path, None, &mut quiet).expect_err("it is refused");
        must(error.fault == Fault::Operator && error.to_string().contains("does not lie in"), || error.to_string())?;
    }
    Ok(())
}
