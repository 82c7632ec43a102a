//! Tokens by OAuth: asked for by a client's own library with placeholders, and by the outlet itself.
//! It never has a token inside, nor the secret that it is exchanged for.

use crate::servers::{need, part};
use crate::world::{World, host, keep, shown};
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must};

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("oauth::a_library_that_asks_for_tokens_does_not_get_them", library),
        Story::new("oauth::a_library_that_refreshes_does_not_get_tokens", refreshing),
        Story::new("oauth::client_credentials_do_not_need_a_client", credentials),
        Story::new("oauth::a_refresh_token_that_rotates_is_not_lost_to_the_next_session", rotating),
        Story::new("oauth::many_requests_do_not_ask_for_many_tokens", single_flight),
        Story::new("oauth::a_refused_exchange_does_not_let_a_request_out", refused),
    ]
}

/// A secret that is exchanged, with tokens that live so long; attached where `more` says so.
fn world(stage: &mut Stage, grant: &str, life_s: u32, more: &str) -> Result<World, Stop> {
    need(&["python3"])?;
    part(stage, "python")?;
    let token_url = format!("https://good.test/oauth/{life_s}/token");
    let secret = format!(
        "[[secret]]\nname = \"oauth\"\nenv = \"API_KEY\"\nshape = \"opaque\"\nhosts = [\"good.test\", \"api.good.test\"]\n\
         place = {{ oauth = {{ token_url = \"{token_url}\", grant = \"{grant}\", client_id = \"egress client\" }} }}\n\
         reason = \"the client of the tests\"\n"
    );
    let hosts = [host("good.test", "{tls}", ""), host("api.good.test", "{tls}", more)].concat();
    let world = World::with(stage, |_| format!("extends = [\"shell\"]\n{hosts}{}{secret}", shown("{python}")))?;
    keep(stage, "oauth", crate::world::SECRET)?;
    Ok(world)
}

const LIBRARY: &str = r#"export PYTHONPATH={python}; cat > ask.py <<'PYTHON'
import os
from oauthlib.oauth2 import BackendApplicationClient
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session
from authlib.integrations.requests_client import OAuth2Session as Other
URL, API = "https://good.test/oauth/3600/token", "https://api.good.test/oauth/api"
key = os.environ["API_KEY"]
one = OAuth2Session(client=BackendApplicationClient(client_id="egress client"))
token = one.fetch_token(URL, auth=HTTPBasicAuth("egress client", key))
print("asked", token["token_type"], token["expires_in"], token["scope"], token["note"])
print(one.get(API).text)
other = Other("egress client", key, token_endpoint=URL)
print("again", other.fetch_token(URL, grant_type="client_credentials")["expires_in"])
print(other.get(API).text)
again = other.refresh_token(URL, refresh_token=other.token["refresh_token"])
print("refreshed", again["expires_in"], again["refresh_token"] != token["refresh_token"])
print(other.get(API).text)
print("old", one.get(API).status_code)
print("elsewhere", one.get("https://good.test/echo", headers={"x-api-key": token["access_token"]}).status_code)
PYTHON
python3 ask.py"#;

fn library(stage: &mut Stage) -> Told {
    let world = world(stage, "client_credentials", 3600, "")?;
    let heard = world.inside(stage, LIBRARY)?;
    heard.says(&["asked Bearer 3600", "again 3600", "opened by token 1 <***", "opened by token 2 <***"])?;
    heard.says(&["refreshed 3600 True", "opened by token 3 <***", "old 401", "elsewhere 403"])?;
    heard.logged(&[&["secret.use", "name=\"oauth\"", "good.test"], &["secret.canary", "header x-api-key"]])
}

/// What the library of a public client does: the refresh token is all that it has.
fn refreshing(stage: &mut Stage) -> Told {
    let world = world(stage, "refresh_token", 3600, "")?;
    let script = r#"export PYTHONPATH={python}; cat > ask.py <<'PYTHON'
import os
from requests_oauthlib import OAuth2Session
URL, API = "https://good.test/oauth/3600/token", "https://api.good.test/oauth/api"
one = OAuth2Session("egress client", token={"access_token": "none", "token_type": "Bearer", "refresh_token": os.environ["API_KEY"], "expires_in": -1},
    auto_refresh_url=URL, auto_refresh_kwargs={"client_id": "egress client"}, token_updater=print)
print(one.get(API).text)
PYTHON
python3 ask.py"#;
    let heard = world.inside(stage, script)?;
    heard.says(&["expires_in", "opened by token 1 <***"])?;
    heard.logged(&[&["net.request", "/oauth/3600/token", "method=\"POST\""]])
}

/// A client that knows nothing of OAuth; a token of a second is a new one for each request.
fn credentials(stage: &mut Stage) -> Told {
    let world = world(stage, "client_credentials", 1, "secret = \"oauth\"\n")?;
    let heard = world.inside(
        stage,
        "curl -sS https://api.good.test/oauth/api; sleep 1.1; curl -sS https://api.good.test/oauth/api; env | grep -c tk-egress",
    )?;
    must(
        heard.ended.out().contains("opened by token 1 <***") && heard.ended.out().contains("opened by token 2 <***"),
        || heard.told(),
    )?;
    heard.logged(&[
        &["net.open", "good.test", "via=\"exchange\""],
        &["net.request", "method=\"POST\"", "/oauth/1/token"],
        &["secret.scrub", "place=\"body\""],
    ])
}

/// Each refresh token is good for once: the next session begins with the one that this one got last.
fn rotating(stage: &mut Stage) -> Told {
    let world = world(stage, "refresh_token", 1, "secret = \"oauth\"\n")?;
    for (first, second) in [(1, 2), (3, 4)] {
        let heard = world.inside(
            stage,
            "curl -sS https://api.good.test/oauth/api; sleep 1.1; curl -sS https://api.good.test/oauth/api",
        )?;
        heard.says(&[&format!("opened by token {first} <***"), &format!("opened by token {second} <***")])?;
    }
    Ok(())
}

fn single_flight(stage: &mut Stage) -> Told {
    let world = world(stage, "client_credentials", 3600, "secret = \"oauth\"\n")?;
    let heard = world.inside(
        stage,
        "curl -sS -Z $(for i in $(seq 20); do echo https://api.good.test/oauth/api; done) | grep -c 'token 1 '; \
         for i in $(seq 5); do curl -sS https://api.good.test/oauth/api & done; wait",
    )?;
    heard.says(&["20\n", "opened by token 1 <***"])?;
    let asked = heard.seen.matches("/oauth/3600/token").count();
    must(asked == 1, || format!("{asked} tokens were asked for: {}", heard.told()))
}

fn refused(stage: &mut Stage) -> Told {
    let world = world(stage, "client_credentials", 3600, "secret = \"oauth\"\n")?;
    let mut rotate = stage.program(&["{bin}/stockade", "secret", "rotate", "oauth"]);
    rotate.input = b"a key that is void by now".to_vec();
    let rotated = stage.go(&rotate)?;
    must(rotated.code() == 0, || rotated.told())?;
    let heard = world.inside(stage, "curl -sS https://api.good.test/oauth/api -w '%{http_code}'")?;
    heard.says(&["502", "answered 401"])?;
    must(!heard.seen.contains("/oauth/api"), || heard.told())?;
    heard.logged(&[&["net.request", "/oauth/3600/token"], &["net.reply", "status=401"]])
}
