//! Programs of languages that bring resolver, TLS and trust of their own: Deno, Go and Rust, static ones among them.
//! It never tells one of the outlet but by the variables that a sandbox has anyway.

use crate::servers::{need, part};
use crate::world::{World, shown};
use stockade_tests::stage::Stage;
use stockade_tests::story::{Story, Told, must};

const AUTHORIZATION: &str = "Bearer sk-egress-7Qm2vX9rT4bLk8Zp3Wd6Yh1N";

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("clients::deno_does_not_need_to_be_told", deno),
        Story::new("clients::go_without_libc_does_not_need_to_be_told", go),
        Story::new("clients::rustls_without_libc_does_not_need_to_be_told", rust),
    ]
}

/// What is not granted is refused to all of them alike: in the answer, and in the log.
fn refused(heard: &crate::world::Heard) -> Told {
    heard.logged(&[&["net.refuse", "/v2/other"], &["net.name", "nobody.test"]])
}

fn deno(stage: &mut Stage) -> Told {
    part(stage, "python")?;
    let world = World::with(stage, |profile| profile + &shown("{python}/bin"))?;
    stage.scene.file("{up}/www/module.ts", "export const told: string = 'a module';\n")?;
    let script = r#"export DENO_DIR=$PWD/deno DENO_NO_UPDATE_CHECK=1 NO_COLOR=1
cat > get.ts <<'TS'
import { told } from "https://good.test/module.ts";
console.log(told);
const headers = { authorization: "Bearer " + Deno.env.get("API_KEY") };
const answer = await fetch("https://good.test/echo", { headers });
console.log(answer.status, await answer.text());
console.log((await fetch("https://narrow.good.test/v2/other")).status);
const raw = await Deno.connect({ hostname: "raw.test", port: 2222 });
const bytes = new Uint8Array(6);
await raw.read(bytes);
console.log(new TextDecoder().decode(bytes));
try { await fetch("https://nobody.test/"); } catch (error) { console.log("no name:", String(error.cause ?? error)); }
TS
{python}/bin/deno run -q -A get.ts
HTTPS_PROXY=$PROXY {python}/bin/deno eval -q 'console.log("by proxy", (await fetch("https://good.test/bytes/3")).status)'"#;
    let heard = world.inside(stage, script)?;
    heard.says(&["a module\n200 {", "403\n", "hello", "no name:", "by proxy 200"])?;
    heard.arrived(&["/echo", AUTHORIZATION])?;
    heard.logged(&[&["net.open", "good.test", "via=\"http\""]])?;
    refused(&heard)
}

fn go(stage: &mut Stage) -> Told {
    part(stage, "go")?;
    let world = World::with(stage, |profile| profile + &shown("{go}"))?;
    let script = "{go}/get https://good.test/echo https://attach.good.test/bytes/3 http://plain.test/bytes/4 \
        https://echo.test/bytes/2 https://narrow.good.test/v2/other; {go}/get https://nobody.test/; \
        HTTPS_PROXY=$PROXY HTTP_PROXY=$PROXY {go}/get https://good.test/bytes/5 http://plain.test/bytes/6";
    let heard = world.inside(stage, script)?;
    heard.says(&[
        "200 HTTP/2.0 {",
        "200 HTTP/2.0 ...\n",
        "200 HTTP/1.1 ....\n",
        "200 HTTP/2.0 ..\n",
        "403 HTTP/2.0",
    ])?;
    heard.says(&["no such host", "200 HTTP/2.0 .....\n", "200 HTTP/1.1 ......\n"])?;
    heard.arrived(&["/echo", AUTHORIZATION])?;
    heard.logged(&[&["net.open", "good.test", "via=\"http\""]])?;
    refused(&heard)
}

fn rust(stage: &mut Stage) -> Told {
    need(&["bash"])?;
    let world = World::new(stage)?;
    let script = "{bin}/stockade-client good.test /echo /bytes/3; {bin}/stockade-client narrow.good.test /v2/other; \
        {bin}/stockade-client nobody.test / || echo ended";
    let heard = world.inside(stage, script)?;
    heard.says(&["HTTP/1.1 200 OK", "...", "HTTP/1.1 403 Forbidden", "ended"])?;
    heard.arrived(&["/echo", AUTHORIZATION])?;
    must(heard.ended.err().contains("nobody.test"), || heard.told())?;
    refused(&heard)
}
