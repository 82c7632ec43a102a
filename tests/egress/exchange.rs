//! Secrets that are exchanged for tokens: what of it the log has, who may ask the endpoint, and what is kept.
//! It never lets an agent near a refresh token.

use crate::world::{SECRET, World};
use stockade_tests::stage::Stage;
use stockade_tests::story::{Story, Told, must};

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("exchange::a_token_is_not_got_without_a_use_in_the_log", logged),
        Story::new("exchange::an_endpoint_is_not_open_to_the_sandbox", closed),
        Story::new("exchange::a_rule_that_denies_the_endpoint_is_not_passed_by", denied),
        Story::new("exchange::a_refresh_token_that_was_replaced_is_not_lost", stored),
        Story::new("exchange::a_replaced_refresh_token_that_cannot_be_stored_is_not_passed_over_in_silence", unstored),
    ]
}

/// The secret of the stories is exchanged at a host of its own, of which nothing is granted but where it is.
fn exchanged(profile: &str, grant: &str) -> String {
    let place = format!(
        "place = {{ oauth = {{ token_url = \"https://login.good.test/oauth\", grant = \"{grant}\", client_id = \"c\" }} }}"
    );
    let login = r#"
[[grant.net]]
host = "login.good.test"
ports = [443]
methods = ["GET"]
paths = ["/nothing"]
resolve = ["127.0.0.1:{tls}"]
trust = "up/ca.pem"
reason = "where the endpoint is"
"#;
    format!("{}{login}", profile.replace("place = { header = \"authorization\", format = \"Bearer {}\" }", &place))
}

/// What the endpoint answers.
fn answers(stage: &Stage, more: &str) -> Told {
    let reply = format!(
        r#"{{"access_token":"token-from-the-login-0123456789","token_type":"bearer","expires_in":3600{more}}}"#
    );
    Ok(stage.scene.file("{up}/www/oauth", &reply)?)
}

const ASK: &str = "curl -sS https://attach.good.test/echo";

fn logged(stage: &mut Stage) -> Told {
    let world = World::with(stage, |profile| exchanged(&profile, "client_credentials"))?;
    answers(stage, "")?;
    let heard = world.inside(stage, &format!("{ASK}; {ASK}"))?;
    heard.arrived(&["POST", "/oauth", "login.good.test"])?;
    heard.arrived(&["/echo", "Bearer token-from-the-login-0123456789"])?;
    must(!heard.ended.out().contains("token-from-the-login"), || heard.told())?;
    heard.logged(&[
        &["net.open", "host=\"login.good.test\"", "via=\"exchange\""],
        &["net.request", "method=\"POST\"", "host=\"login.good.test\"", "path=\"/oauth\""],
        &["secret.use", "name=\"key\"", "v=1", "host=\"login.good.test\"", "place=\"header authorization\"", "rule="],
        &["secret.use", "name=\"key\"", "v=1", "host=\"attach.good.test\""],
    ])?;
    must(heard.log.matches("path=\"/oauth\"").count() == 1, || format!("it was exchanged twice: {}", heard.told()))?;
    let at = |words: [&str; 2]| heard.log.lines().position(|line| words.iter().all(|word| line.contains(word)));
    must(at(["net.request", "login.good"]) < at(["secret.use", "login.good"]), || heard.told())?;
    must(at(["secret.use", "login.good"]) < at(["net.reply", "status=200"]), || heard.told())
}

fn closed(stage: &mut Stage) -> Told {
    let world = World::with(stage, |profile| exchanged(&profile, "client_credentials"))?;
    answers(stage, "")?;
    let script = "curl -sS -o /dev/null -w '%{http_code}\\n' -X POST -d a=b https://login.good.test/oauth";
    let heard = world.inside(stage, &format!("{ASK} >/dev/null; {script}"))?;
    heard.says(&["403"])?;
    heard.logged(&[&["net.refuse", "login.good.test", "/oauth"]])
}

fn denied(stage: &mut Stage) -> Told {
    let deny = "[[deny.net]]\nhost = \"login.good.test\"\nmethods = [\"POST\"]\nreason = \"no logins\"\n";
    let world = World::with(stage, |profile| format!("{}{deny}", exchanged(&profile, "client_credentials")))?;
    answers(stage, "")?;
    let heard = world.inside(stage, ASK)?;
    must(heard.ended.out().contains("no logins") && !heard.seen.contains("/oauth"), || heard.told())?;
    must(!heard.seen.contains("/echo"), || heard.told())
}

fn stored(stage: &mut Stage) -> Told {
    let world = World::with(stage, |profile| exchanged(&profile, "refresh_token"))?;
    answers(stage, ",\"refresh_token\":\"refresh-after-the-first-0123456789\"")?;
    let heard = world.inside(stage, ASK)?;
    heard.logged(&[
        &["secret.use", "host=\"login.good.test\"", "place=\"body\"", "v=1"],
        &["secret.rotate", "name=\"key\"", "was=1", "v=2", "kept=\"store\""],
    ])?;
    let listed = stage.answers(0, &["secret", "list", "--json"])?;
    must(listed.out().contains("\"version\": 2"), || listed.told())?;
    // The next session begins with it, and what the endpoint repeats replaces nothing.
    let heard = world.inside(stage, ASK)?;
    heard.logged(&[&["secret.use", "host=\"login.good.test\"", "v=2"]])?;
    must(!heard.log.contains("secret.rotate"), || heard.told())?;
    // An operator can go back.
    stage.answers(0, &["secret", "rotate", "key", "--back"])?;
    let heard = world.inside(stage, ASK)?;
    heard.logged(&[
        &["secret.use", "host=\"login.good.test\"", "v=3"],
        &["secret.rotate", "was=3", "v=4", "kept=\"store\""],
    ])
}

fn unstored(stage: &mut Stage) -> Told {
    let world = World::with(stage, |profile| exchanged(&profile, "refresh_token"))?;
    answers(stage, ",\"refresh_token\":\"refresh-after-the-first-0123456789\"")?;
    stage.answers(0, &["secret", "rm", "key"])?;
    stage.answers(0, &["secret", "set", "key", "--from", "env:REFRESH"])?;
    stage.environment.push(("REFRESH".into(), SECRET.into()));
    let heard = world.inside(stage, ASK)?;
    heard.logged(&[&["secret.rotate", "name=\"key\"", "was=1", "kept=\"session\"", "not ours to write to"]])
}
