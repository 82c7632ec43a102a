//! Clients of services with protocols of their own: Redis, gRPC, AWS, and a server inside that uses the network too.
//! It never takes a signature for good that nobody else computed.

use crate::servers::{Server, need, part, port, python, start};
use crate::world::{SECRET, World, host, keep, shown};
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must};

const RPC: &str = include_str!("outside/rpc.py");
const AWS: &str = include_str!("outside/aws.py");

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("clients::redis_does_not_need_to_be_told", redis),
        Story::new("clients::redis_at_a_port_that_is_not_granted_is_refused", redis_elsewhere),
        Story::new("clients::grpc_does_not_need_to_be_told", grpc),
        Story::new("clients::grpc_without_a_grant_is_refused", grpc_elsewhere),
        Story::new("clients::aws_does_not_need_the_key_that_signs", aws),
        Story::new("clients::aws_signs_for_no_other_service", aws_elsewhere),
    ]
}

/// Redis as Debian has it, and a grant of its port under a name.
fn redis_world(stage: &mut Stage) -> Result<(Server, World), Stop> {
    need(&["redis-server", "redis-cli"])?;
    let port = port()?;
    stage.scene.name("redis", &port.to_string());
    let server = ["redis-server", "--port", "{redis}", "--bind", "127.0.0.1", "--save", "", "--dir", "{outside}"];
    let server = start(&stage.program(&server), port)?;
    let world = World::with(stage, |profile| {
        profile
            + "[[grant.net]]\nhost = \"redis.test\"\nports = [6379]\nresolve = [\"127.0.0.1:{redis}\"]\nreason = \"a cache\"\n"
    })?;
    Ok((server, world))
}

fn redis(stage: &mut Stage) -> Told {
    let (_server, world) = redis_world(stage)?;
    let script = "redis-cli -h redis.test set story told; redis-cli -h redis.test get story; \
        for i in $(seq 500); do echo \"rpush list $i\"; done | redis-cli -h redis.test --pipe; redis-cli -h redis.test llen list";
    let heard = world.inside(stage, script)?;
    heard.says(&["OK\ntold", "errors: 0, replies: 500", "500"])?;
    heard.logged(&[&["net.open", "redis.test", "port=6379", "via=\"direct\""], &["net.close", "why=\"done\""]])?;
    // The control: it is this server that was told.
    let control = stage.plain(&["redis-cli", "-p", "{redis}", "get", "story"])?;
    must(control.out() == "told\n", || control.told())
}

fn redis_elsewhere(stage: &mut Stage) -> Told {
    let (_server, world) = redis_world(stage)?;
    let script = "time (timeout 20 redis-cli -h redis.test -p 6380 get story); timeout 20 redis-cli -h 127.0.0.1 -p {redis} get story; \
        timeout 20 redis-cli -h 127.1.2.3 -p 6379 get story; timeout 20 redis-cli -h nobody.test get story; echo ended";
    let heard = world.inside(stage, script)?;
    heard.says(&["ended"])?;
    must(heard.ended.err().contains("real\t0m0."), || format!("not at once: {}", heard.told()))?;
    must(!heard.ended.out().contains("OK") && heard.ended.err().contains("refused"), || heard.told())?;
    heard.logged(&[&["net.refuse", "port=6380", "reason="], &["net.name", "nobody.test"]])
}

const CALLS: &str = r#"export PYTHONPATH={python} GRPC_VERBOSITY=NONE; cat > calls.py <<'PYTHON'
import grpc, os, queue, sys
key = (("authorization", "Bearer " + os.environ["API_KEY"]),)
channel = grpc.secure_channel(sys.argv[1], grpc.ssl_channel_credentials())
as_is = lambda message: message
try:
    answer, call = channel.unary_unary("/egress.Test/One", as_is, as_is).with_call(b"hello", metadata=key, timeout=20)
    print(answer.decode(), dict(call.trailing_metadata()).get("x-counted"))
    print([piece.decode() for piece in channel.unary_stream("/egress.Test/Many", as_is, as_is)(b"3", metadata=key, timeout=20)])
    to_say = queue.Queue()
    to_say.put(b"a")
    for back in channel.stream_stream("/egress.Test/Both", as_is, as_is)(iter(to_say.get, None), metadata=key, timeout=20):
        print(back.decode())
        to_say.put({b"back a": b"b"}.get(back))
    big = b"x" * 3_000_000
    print(len(channel.unary_unary("/egress.Test/One", as_is, as_is)(big, metadata=key, timeout=20)))
    channel.unary_unary("/egress.Test/One", as_is, as_is)(b"hello", timeout=20)
except grpc.RpcError as error:
    print(error.code().name, error.details())
PYTHON
"#;

fn grpc_world(stage: &mut Stage) -> Result<(Server, World), Stop> {
    need(&["python3"])?;
    part(stage, "python")?;
    // The certificate of the server is made by the others, which begin with the world.
    let world = World::with(stage, |_| String::new())?;
    let server = python(stage, "rpc", RPC, SECRET)?;
    let secret = "[[secret]]\nname = \"key\"\nenv = \"API_KEY\"\nhosts = [\"rpc.good.test\"]\nshape = \"opaque\"\n\
        place = { header = \"authorization\", format = \"Bearer {}\" }\nreason = \"the key of the tests\"\n";
    let calls = host("rpc.good.test", "{rpc}", "paths = [\"/egress.Test/**\"]\n");
    let world = world.under(stage, &format!("extends = [\"shell\"]\n{calls}{}{secret}", shown("{python}")))?;
    Ok((server, world))
}

fn grpc(stage: &mut Stage) -> Told {
    let (_server, world) = grpc_world(stage)?;
    let script = format!(
        "{CALLS}python3 calls.py rpc.good.test:443; https_proxy=$PROXY python3 calls.py rpc.good.test:443 | tail -1"
    );
    let heard = world.inside(stage, &script)?;
    let stars = "*".repeat(SECRET.len());
    heard.says(&[
        &format!("one <hello> for {stars} 5"),
        "['piece 0', 'piece 1', 'piece 2']",
        "back a\nback b\n",
        "3000045",
        "UNAUTHENTICATED who are you\nUNAUTHENTICATED who are you",
    ])?;
    heard.logged(&[
        &["net.request", "/egress.Test/Both"],
        &["secret.scrub", "place=\"body\""],
        &["net.open", "rpc.good.test", "via=\"http\""],
    ])
}

fn grpc_elsewhere(stage: &mut Stage) -> Told {
    let (_server, world) = grpc_world(stage)?;
    let other = CALLS.replace("egress.Test", "egress.Other");
    let script = format!("{other}python3 calls.py rpc.good.test:443; python3 calls.py nobody.test:443; echo ended");
    let heard = world.inside(stage, &script)?;
    heard.says(&["PERMISSION_DENIED", "UNAVAILABLE", "ended"])?;
    heard.logged(&[&["net.refuse", "/egress.Other/One", "reason="], &["net.name", "nobody.test"]])
}

/// The command line of AWS, and secrets that sign for S3 and for STS.
fn aws_world(stage: &mut Stage) -> Result<(Server, World), Stop> {
    need(&["python3"])?;
    part(stage, "python")?;
    let world = World::with(stage, |_| String::new())?;
    let pair = format!("AKIAEGRESSOFTESTS0:{SECRET}");
    let server = python(stage, "aws", AWS, &pair)?;
    let secret = |name: &str, prefix: &str, host: &str| {
        format!(
            "[[secret]]\nname = \"{name}\"\nenv = \"{prefix}_ACCESS_KEY_ID\"\nshape = \"opaque\"\nhosts = [{host}]\n\
             place = {{ sigv4 = {{ service = \"{name}\", region = \"eu-west-1\" }} }}\nreason = \"the key of the tests\"\n"
        )
    };
    let profile = [
        "extends = [\"shell\"]\n".to_owned(),
        host("s3.good.test", "{aws}", ""),
        host("*.s3.good.test", "{aws}", ""),
        host("sts.good.test", "{aws}", ""),
        shown("{python}"),
        secret("s3", "AWS", "\"s3.good.test\", \"*.s3.good.test\""),
        secret("sts", "STS", "\"sts.good.test\""),
    ];
    for name in ["s3", "sts"] {
        keep(stage, name, &pair)?;
    }
    Ok((server, world.under(stage, &profile.concat())?))
}

const COMMANDS: &str = r#"export PYTHONPATH={python} HOME=$PWD AWS_DEFAULT_REGION=eu-west-1 AWS_EC2_METADATA_DISABLED=true AWS_MAX_ATTEMPTS=1
aws() { python3 -m awscli "$@"; }
s3() { aws --endpoint-url https://s3.good.test s3 "$@"; }
sts() { AWS_ACCESS_KEY_ID=$STS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY=$STS_SECRET_ACCESS_KEY aws --endpoint-url https://sts.good.test sts "$@"; }
"#;

fn aws(stage: &mut Stage) -> Told {
    let (_server, world) = aws_world(stage)?;
    let script = format!(
        "{COMMANDS}head -c 1000000 /dev/urandom > up.bin
s3 cp --only-show-errors up.bin 's3://bucket/a folder/up.bin' && s3 ls 's3://bucket/a folder/' && \
s3 cp --only-show-errors 's3://bucket/a folder/up.bin' down.bin && cmp up.bin down.bin && echo same
sts get-caller-identity; HTTPS_PROXY=$PROXY sts get-caller-identity --query Account
aws configure set default.s3.addressing_style virtual
printf 'from a pipe' | s3 cp --only-show-errors - s3://bucket/piped && s3 cp --only-show-errors s3://bucket/piped -"
    );
    let heard = world.inside(stage, &script)?;
    heard.says(&[
        "1000000 up.bin",
        "same",
        "arn:aws:iam::123456789012:user/egress",
        "\"123456789012\"",
        "from a pipe",
    ])?;
    heard.logged(&[
        &["secret.use", "name=\"s3\"", "place=\"signature\""],
        &["secret.use", "name=\"sts\"", "place=\"signature\""],
        &["net.request", "method=\"PUT\"", "host=\"s3.good.test\"", "up.bin"],
        &["net.request", "method=\"PUT\"", "host=\"bucket.s3.good.test\"", "/piped"],
    ])
}

fn aws_elsewhere(stage: &mut Stage) -> Told {
    let (_server, world) = aws_world(stage)?;
    // The key that is bound to S3, before STS; a region that it is not bound to; an address that is good for anybody.
    let script = format!(
        "{COMMANDS}aws --endpoint-url https://sts.good.test sts get-caller-identity 2>&1
aws --region us-east-1 --endpoint-url https://s3.good.test s3 ls s3://bucket/ 2>&1
curl -sS \"$(s3 presign s3://bucket/piped)\"; echo ended"
    );
    let heard = world.inside(stage, &script)?;
    heard.says(&["ended"])?;
    must(!heard.ended.out().contains("arn:aws"), || heard.told())?;
    heard.logged(&[
        &["net.refuse", "sts.good.test", "secret \\\"s3\\\" is not bound to such a request"],
        &["net.refuse", "s3.good.test", "bound to service \\\"s3\\\" in region \\\"eu-west-1\\\""],
        &["secret.canary", "place=\"query\""],
    ])
}
