//! The proxies of a company, real ones: what goes out goes through them, and their password stays outside.
//! It never takes a way around a proxy that refuses.

use crate::servers::{Server, need, port, start};
use crate::world::{PASSWORD, World, host};
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must};

const AUTHORIZATION: &str = "Bearer sk-egress-7Qm2vX9rT4bLk8Zp3Wd6Yh1N";
/// Names that the proxies know and nobody else.
const HOSTS: &str = "127.0.0.1 localhost good.test echo.test plain.test raw.test forbidden.test\n";

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("companies::tinyproxy_with_a_password_is_not_gone_around", |stage| through(stage, tinyproxy)),
        Story::new("companies::squid_is_not_gone_around", |stage| through(stage, squid)),
        Story::new("companies::a_proxy_that_refuses_is_not_gone_around", |stage| refused(stage, tinyproxy)),
        Story::new("companies::a_rule_of_squid_is_not_gone_around", |stage| refused(stage, squid)),
        Story::new("companies::a_wrong_password_does_not_open_a_way", wrong_password),
        Story::new("companies::a_proxy_that_is_gone_is_not_gone_around", gone),
    ]
}

/// A proxy that runs, its URL, and the file in which it says what it was asked for.
struct Proxy {
    server: Server,
    url: String,
    log: &'static str,
}

/// Hosts whose addresses nobody here knows: it is the proxy that finds them.
fn world(stage: &mut Stage) -> Result<World, Stop> {
    stage.scene.file("{outside}/hosts", HOSTS)?;
    let unpinned = |name: &str, port: &str| {
        let pins = format!("resolve = [\"127.0.0.1:{port}\"]\n");
        host(name, port, "").replace(&pins, "").replace("[443]", &format!("[{port}]"))
    };
    let plain = unpinned("plain.test", "{http}").replace("trust = \"up/ca.pem\"\n", "");
    let whole = |name: &str, port: &str| {
        format!(
            "[[grant.net]]\nhost = \"{name}\"\nports = [{port}]\ntrust = \"up/ca.pem\"\nreason = \"passed through\"\n"
        )
    };
    let secret = "[[secret]]\nname = \"key\"\nenv = \"API_KEY\"\nshape = \"opaque\"\nhosts = [\"good.test\"]\n\
        place = { header = \"authorization\", format = \"Bearer {}\" }\nreason = \"the key of the tests\"\n";
    World::with(stage, |_| {
        [
            "extends = [\"shell\"]\n".to_owned(),
            unpinned("good.test", "{tls}"),
            unpinned("forbidden.test", "{tls}"),
            whole("echo.test", "{tls}"),
            whole("raw.test", "{raw}").replace("trust = \"up/ca.pem\"\n", ""),
            plain,
            secret.to_owned(),
        ]
        .concat()
    })
}

/// tinyproxy as Debian has it, with a password. It asks the machine for names, so it gets a machine of its own.
fn tinyproxy(stage: &mut Stage) -> Result<Proxy, Stop> {
    need(&["tinyproxy", "unshare", "mount"])?;
    let port = port()?;
    stage.scene.name("company", &port.to_string());
    stage.scene.name("password", PASSWORD);
    let settings = "Port {company}\nListen 127.0.0.1\nTimeout 60\nMaxClients 50\nLogFile \"{outside}/tinyproxy.log\"\n\
        LogLevel Connect\nBasicAuth company {password}\nConnectPort {tls}\nConnectPort {raw}\nFilter \"{outside}/filter\"\n";
    stage.scene.file("{outside}/tinyproxy.conf", settings)?;
    stage.scene.file("{outside}/filter", "^forbidden\\.test$\n")?;
    let script = "mount --bind {outside}/hosts /etc/hosts && exec tinyproxy -d -c {outside}/tinyproxy.conf";
    let own: &[&str] = if stage.scene.person().is_root() { &[] } else { &["--user", "--map-root-user"] };
    let words = [&["unshare", "--mount"], own, &["/bin/sh", "-c", script]].concat();
    let server = start(&stage.program(&words), port)?;
    Ok(Proxy { server, url: format!("http://company:{PASSWORD}@127.0.0.1:{port}"), log: "{outside}/tinyproxy.log" })
}

/// squid with the rules that Debian's own configuration has: CONNECT for TLS alone, everything else as it is meant to be.
fn squid(stage: &mut Stage) -> Result<Proxy, Stop> {
    need(&["squid"])?;
    let port = port()?;
    stage.scene.name("company", &port.to_string());
    let settings = "http_port 127.0.0.1:{company}\nhosts_file {outside}/hosts\npid_filename none\ncache deny all\n\
        access_log stdio:{outside}/squid.log\ncache_log {outside}/squid.cache.log\ncoredump_dir {outside}\n\
        shutdown_lifetime 0 seconds\nvisible_hostname company\nnetdb_filename none\npinger_enable off\n\
        acl SSL_ports port {tls} {raw}\nacl CONNECT method CONNECT\nacl forbidden dstdomain forbidden.test\n\
        http_access deny CONNECT !SSL_ports\nhttp_access deny forbidden\nhttp_access allow all\n";
    stage.scene.file("{outside}/squid.conf", settings)?;
    // As root it gives root up for a user of its own, who must be able to write here.
    for log in ["{outside}/squid.log", "{outside}/squid.cache.log"] {
        stage.scene.file(log, "")?;
    }
    let words = ["/usr/sbin/squid", "-N", "-n", "company{company}", "-f", "{outside}/squid.conf"];
    let server = start(&stage.program(&words), port)?;
    Ok(Proxy { server, url: format!("http://127.0.0.1:{port}"), log: "{outside}/squid.log" })
}

fn tell(stage: &mut Stage, url: &str) {
    for name in ["HTTPS_PROXY", "http_proxy"] {
        stage.environment.push((name.into(), url.into()));
    }
}

fn through(stage: &mut Stage, proxy: fn(&mut Stage) -> Result<Proxy, Stop>) -> Told {
    let world = world(stage)?;
    let script = "curl -sS -H \"authorization: Bearer $API_KEY\" https://good.test:{tls}/echo
curl -sS https://echo.test:{tls}/bytes/3
curl -sS http://plain.test:{http}/bytes/4 http://plain.test:{http}/bytes/5; head -c 300000 /dev/zero | curl -sS -T - -X POST http://plain.test:{http}/count
exec 3<>/dev/tcp/raw.test/{raw}; head -1 <&3; echo back >&3; head -1 <&3
env | grep -i -c company; cat /proc/*/environ | grep -c company: ; true";
    // The control: nobody but the proxy knows the names.
    let control = world.inside(stage, "curl -sS https://good.test:{tls}/echo")?;
    must(control.ended.out().contains("has no address") && control.seen.is_empty(), || control.told())?;
    let proxy = proxy(stage)?;
    tell(stage, &proxy.url);
    let heard = world.inside(stage, script)?;
    heard.says(&["Bearer ***", "...", "....", ".....", "300000\n", "hello\nback\n0\n0\n"])?;
    heard.arrived(&["good.test", AUTHORIZATION])?;
    heard.arrived(&["plain.test", "/bytes/4"])?;
    let log = stage.text(proxy.log);
    for asked in
        ["CONNECT good.test:{tls}", "CONNECT echo.test:{tls}", "CONNECT raw.test:{raw}", "http://plain.test:{http}/"]
    {
        let asked = stage.scene.fill(asked);
        must(log.contains(&asked), || format!("the proxy was not asked for {asked:?}: {log}"))?;
    }
    heard.logged(&[&["net.reply", "addr=\"127.0.0.1:", "status=200"], &["net.close", "why=\"done\""]])?;
    drop(proxy.server);
    Ok(())
}

const FORBIDDEN: &str = "curl -sS https://forbidden.test:{tls}/echo -w ' %{http_code}\n'; echo ended";

fn refused(stage: &mut Stage, proxy: fn(&mut Stage) -> Result<Proxy, Stop>) -> Told {
    let world = world(stage)?;
    let proxy = proxy(stage)?;
    tell(stage, &proxy.url);
    let heard = world.inside(stage, FORBIDDEN)?;
    heard.says(&["it answers 403", "502", "HTTPS_PROXY", "ended"])?;
    must(heard.seen.is_empty(), || heard.told())?;
    heard.logged(&[&["net.reply", "it answers 403"]])?;
    drop(proxy.server);
    Ok(())
}

fn wrong_password(stage: &mut Stage) -> Told {
    let world = world(stage)?;
    let proxy = tinyproxy(stage)?;
    tell(stage, &proxy.url.replace(PASSWORD, "another"));
    let heard = world.inside(
        stage,
        "curl -sS https://good.test:{tls}/echo; curl -sS http://plain.test:{http}/bytes/4 -w ' %{http_code}\n'; \
         exec 3<>/dev/tcp/raw.test/{raw}; head -1 <&3; echo ended",
    )?;
    heard.says(&["it wants other credentials (401)", "ended"])?;
    must(heard.seen.is_empty() && !heard.ended.out().contains("hello"), || heard.told())?;
    must(!heard.log.contains("another") && !heard.ended.out().contains("another"), || heard.told())?;
    drop(proxy.server);
    Ok(())
}

fn gone(stage: &mut Stage) -> Told {
    let world = world(stage)?;
    let nobody = port()?;
    tell(stage, &format!("http://company:{PASSWORD}@127.0.0.1:{nobody}"));
    let heard = world.inside(stage, FORBIDDEN)?;
    heard.says(&["connection refused", "502", "ended"])?;
    must(!heard.log.contains(PASSWORD), || heard.told())
}
