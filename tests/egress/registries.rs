//! cargo, with a registry of a company that wants a token: published to, asked, fetched and built from.
//! It never has the registry's token inside.

use crate::world::{SECRET, World, host, shown};
use stockade_tests::binaries;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told};

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("clients::cargo_does_not_need_the_token_of_its_registry", cargo),
        Story::new("clients::cargo_through_the_proxy_does_not_need_the_token", cargo_by_proxy),
        Story::new("clients::cargo_without_a_grant_does_not_publish", cargo_reading),
    ]
}

const SET_UP: &str = r#"export PATH={toolchain}/bin:$PATH CARGO_HOME=$PWD/cargo HOME=$PWD CARGO_TERM_COLOR=never CARGO_NET_RETRY=0
export CARGO_REGISTRIES_COMPANY_INDEX=sparse+https://good.test/crates/index/ CARGO_REGISTRIES_COMPANY_TOKEN=$API_KEY
export CARGO_REGISTRY_GLOBAL_CREDENTIAL_PROVIDERS=cargo:token
cargo new -q --vcs none --lib egress-crate && echo 'pub const TOLD: &str = "built from the registry";' > egress-crate/src/lib.rs
printf '[package]\nname = "egress-crate"\nversion = "1.2.3"\nedition = "2021"\ndescription = "a test"\nlicense = "MIT"\n' > egress-crate/Cargo.toml
"#;

const LIFE: &str = r#"(cd egress-crate && cargo publish -q --registry company --no-verify) || exit 1
cargo new -q --vcs none user && cd user && echo 'fn main() { println!("{}", egress_crate::TOLD); }' > src/main.rs
cargo add -q --registry company egress-crate && cargo fetch -q && cargo run -q"#;

/// A registry whose token is a secret, with the toolchain shown.
fn world(stage: &mut Stage, methods: &str) -> Result<World, Stop> {
    let toolchain = binaries::variable("STOCKADE_TEST_TOOLCHAIN");
    let toolchain = toolchain.ok_or_else(|| Stop::Skip("no toolchain was laid out".to_owned()))?;
    stage.scene.name("toolchain", &toolchain.to_string_lossy());
    World::with(stage, |_| {
        let host = host("good.test", "{tls}", "").replace("[\"GET\", \"POST\", \"PUT\", \"HEAD\"]", methods);
        let secret = "[[secret]]\nname = \"key\"\nenv = \"API_KEY\"\nshape = \"opaque\"\nhosts = [\"good.test\"]\n\
            place = { header = \"authorization\", format = \"{}\" }\nreason = \"the registry's token\"\n";
        format!("extends = [\"shell\"]\n{host}{}{secret}", shown("{toolchain}"))
    })
}

fn life(stage: &mut Stage, before: &str) -> Told {
    let world = world(stage, "[\"GET\", \"PUT\"]")?;
    let heard = world.inside(stage, &format!("{before}{SET_UP}{LIFE}"))?;
    heard.says(&["built from the registry"])?;
    heard.arrived(&["PUT", "/crates/api/v1/crates/new", SECRET])?;
    heard.arrived(&["GET", "/crates/index/eg/re/egress-crate", SECRET])?;
    heard.arrived(&["GET", "/crates/dl/egress-crate/1.2.3/download", SECRET])?;
    heard.logged(&[&["secret.use", "name=\"key\""], &["net.request", "method=\"PUT\""]])
}

fn cargo(stage: &mut Stage) -> Told {
    life(stage, "")
}

fn cargo_by_proxy(stage: &mut Stage) -> Told {
    life(stage, "export HTTPS_PROXY=$PROXY\n")
}

fn cargo_reading(stage: &mut Stage) -> Told {
    let world = world(stage, "[\"GET\"]")?;
    let script = format!("{SET_UP}cd egress-crate && cargo publish -q --registry company --no-verify 2>&1; echo ended");
    let heard = world.inside(stage, &script)?;
    heard.says(&["got 403", "ended"])?;
    heard.logged(&[&["net.refuse", "method=\"PUT\"", "/crates/api/v1/crates/new"]])
}
