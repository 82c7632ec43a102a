//! AWS Signature Version 4, as a signer.
//! It never signs for another service, region or host than its secret is bound to.

use crate::error::{Error, Result};
use crate::secrets::plain::Plain;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// The algorithm's name, which an `authorization` header begins with.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// What stands for the payload's hash where it is not signed; servers take it over TLS alone.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
/// The same where checksums follow the payload, which is cut into pieces for that: what AWS's own clients upload with.
/// The signature covers this word; neither a piece nor a checksum.
const UNSIGNED_WITH_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
/// SHA-256 of nothing.
pub const EMPTY_PAYLOAD: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A key pair of AWS, as a secret holds it: `ACCESS-KEY-ID:SECRET-KEY`, or with `:SESSION-TOKEN` after it.
pub struct KeyPair<'a> {
    /// The identifier; it is sent.
    pub id: &'a str,
    /// The key; it never leaves.
    key: &'a [u8],
    /// What temporary credentials carry along.
    pub token: Option<&'a str>,
}

/// For what a signature is good: one day, one region, one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope<'a> {
    /// The day, `20150830`.
    pub day: &'a str,
    /// The region.
    pub region: &'a str,
    /// The service.
    pub service: &'a str,
}

/// A request, as it will be sent.
#[derive(Debug, Clone)]
pub struct Unsigned<'a> {
    /// Method.
    pub method: &'a str,
    /// Path as sent: canonical, percent-encoded.
    pub path: &'a str,
    /// Query as sent, without `?`; empty where there is none.
    pub query: &'a str,
    /// Headers that are signed: lower-case names, with `host` and `x-amz-date` among them.
    pub headers: BTreeMap<String, String>,
    /// Hash of the payload, hex, or [`UNSIGNED_PAYLOAD`].
    pub payload: &'a str,
}

/// What an `authorization` header claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed<'a> {
    /// The key's identifier: from inside, a placeholder.
    pub id: &'a str,
    /// Day, region and service.
    pub scope: Scope<'a>,
    /// Names of the headers that were signed.
    pub signed: Vec<&'a str>,
}

impl<'a> KeyPair<'a> {
    /// Reads a secret as a key pair.
    ///
    /// # Errors
    /// Operator: it is none.
    pub fn read(plain: &'a Plain, name: &str) -> Result<Self> {
        let refuse = || {
            Error::operator(format!("secret \"{name}\" is no key pair of AWS"))
                .hint("store it as ACCESS-KEY-ID:SECRET-KEY, or with :SESSION-TOKEN at its end")
        };
        let text = str::from_utf8(plain.bytes()).map_err(|_| refuse())?;
        let mut parts = text.splitn(3, ':');
        let (Some(id), Some(key)) = (parts.next(), parts.next()) else { return Err(refuse()) };
        let id_fits = (16..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let graphic = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let token = parts.next();
        if !id_fits || !graphic(key) || !token.is_none_or(graphic) {
            return Err(refuse());
        }
        Ok(Self { id, key: key.as_bytes(), token })
    }

    /// What nobody but its owner may see: the key, and the token that is sent with temporary ones.
    pub fn confidential(&self) -> impl Iterator<Item = &'a [u8]> {
        [Some(self.key), self.token.map(str::as_bytes)].into_iter().flatten()
    }
}

impl<'a> Claimed<'a> {
    /// Reads an `authorization` header of this algorithm; `None` for anything else.
    pub fn read(value: &'a str) -> Option<Self> {
        let rest = value.strip_prefix(ALGORITHM)?.strip_prefix(' ')?;
        let mut fields = BTreeMap::new();
        for field in rest.split(',') {
            let (name, value) = field.trim().split_once('=')?;
            fields.insert(name, value).is_none().then_some(())?;
        }
        let mut credential = fields.get("Credential")?.split('/');
        let (id, day) = (credential.next()?, credential.next()?);
        let (region, service) = (credential.next()?, credential.next()?);
        (credential.next() == Some("aws4_request") && credential.next().is_none()).then_some(())?;
        fields.get("Signature")?;
        let signed = fields.get("SignedHeaders")?.split(';').collect();
        Some(Self { id, scope: Scope { day, region, service }, signed })
    }
}

/// Why a request cannot be signed in the way that its client wants.
///
/// # Errors
/// Guest: the payload is signed piece by piece, or the query carries the signature.
pub fn check_form(query: Option<&str>, payload: Option<&str>) -> Result<()> {
    let parameter = |name: &str| {
        let query = query.unwrap_or_default().split('&');
        query.filter_map(|pair| pair.split('=').next()).any(|key| key.eq_ignore_ascii_case(name))
    };
    if ["X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token"].into_iter().any(parameter) {
        return Err(Error::guest("a presigned url cannot be signed again")
            .hint("send the request with an authorization header: the address would be good for whoever has it"));
    }
    match payload {
        Some(UNSIGNED_PAYLOAD | UNSIGNED_WITH_TRAILER) | None => Ok(()),
        Some(form) if form.starts_with("STREAMING-") => {
            Err(Error::guest(format!("payload signing \"{}\" is not supported", shown(form)))
                .hint("turn the signing of pieces off; unsigned payloads and a plain hash are supported"))
        }
        Some(hash) if hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => Ok(()),
        Some(other) => Err(Error::guest(format!("x-amz-content-sha256 \"{}\" is no hash", shown(other)))),
    }
}

/// The value of the `authorization` header.
pub fn authorization(pair: &KeyPair<'_>, scope: Scope<'_>, request: &Unsigned<'_>) -> String {
    let names: Vec<&str> = request.headers.keys().map(String::as_str).collect();
    let names = names.join(";");
    let Scope { day, region, service } = scope;
    let time = request.headers.get("x-amz-date").map_or("", String::as_str);
    let hash = hex(&Sha256::digest(canonical(request, scope, &names)));
    let to_sign = format!("{ALGORITHM}\n{time}\n{day}/{region}/{service}/aws4_request\n{hash}");
    let mut secret = Zeroizing::new(Vec::with_capacity(4 + pair.key.len()));
    secret.extend_from_slice(b"AWS4");
    secret.extend_from_slice(pair.key);
    let of_day = mac(&secret, day.as_bytes());
    let of_region = mac(of_day.as_slice(), region.as_bytes());
    let of_service = mac(of_region.as_slice(), service.as_bytes());
    let signing = mac(of_service.as_slice(), b"aws4_request");
    let signature = hex(mac(signing.as_slice(), to_sign.as_bytes()).as_slice());
    let id = pair.id;
    format!(
        "{ALGORITHM} Credential={id}/{day}/{region}/{service}/aws4_request, SignedHeaders={names}, Signature={signature}"
    )
}

/// Time as signatures write it: `20150830T123600Z`; its first eight characters are the day.
pub fn time_text(wall_s: u64) -> String {
    // Civil date from days since 1970: Howard Hinnant's algorithm, for dates after it.
    let days = wall_s / 86_400 + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (wall_s / 3600 % 24, wall_s / 60 % 60, wall_s % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

fn canonical(request: &Unsigned<'_>, scope: Scope<'_>, names: &str) -> String {
    let Unsigned { method, path, query, headers, payload } = request;
    // Every service but S3 encodes the path once more than it is sent.
    let path = if scope.service == "s3" { (*path).to_owned() } else { encoded(path) };
    let mut lines = String::new();
    for (name, value) in headers {
        // Runs of blanks count as one, and none at the ends.
        let value: Vec<&str> = value.split_ascii_whitespace().collect();
        lines.push_str(&format!("{name}:{}\n", value.join(" ")));
    }
    format!("{method}\n{path}\n{}\n{lines}\n{names}\n{payload}", canonical_query(query))
}

/// Parameters in their order, each with `=`; a `+` is sent as it is and means itself.
fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        pairs.push((reencoded(name), reencoded(value)));
    }
    pairs.sort();
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// Percent-encodes everything but what RFC 3986 leaves unreserved, and slashes.
fn encoded(path: &str) -> String {
    path.bytes().map(|byte| if byte == b'/' { "/".to_owned() } else { encoded_byte(byte) }).collect()
}

/// As [`encoded`], of a text that may be encoded already, in another way.
fn reencoded(text: &str) -> String {
    let mut out = String::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let escape = (byte == b'%').then(|| Some((ahead.next()?, ahead.next()?))).flatten();
        let decoded = escape.and_then(|(high, low)| {
            let text = [high, low];
            u8::from_str_radix(str::from_utf8(&text).ok()?, 16).ok()
        });
        if let Some(decoded) = decoded {
            out.push_str(&encoded_byte(decoded));
            bytes = ahead;
        } else {
            out.push_str(&encoded_byte(byte));
        }
    }
    out
}

fn encoded_byte(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

fn mac(key: &[u8], bytes: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(bytes);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// Hex of a hash.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn shown(text: &str) -> String {
    text.chars().filter(char::is_ascii_graphic).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of AWS's published test suite; it opens nothing.
    const PAIR: &[u8] = b"AKIDEXAMPLE00000:wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    const SCOPE: Scope<'_> = Scope { day: "20150830", region: "us-east-1", service: "service" };

    #[track_caller]
    fn check(method: &str, path: &str, query: &str, extra: &[(&str, &str)], expect: &str) {
        let plain = Plain::new(PAIR.to_vec()).expect("it fits");
        let pair = KeyPair { id: "AKIDEXAMPLE", ..KeyPair::read(&plain, "aws").expect("a pair") };
        let base = [("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z")];
        let headers = base.iter().chain(extra).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let request = Unsigned { method, path, query, headers, payload: EMPTY_PAYLOAD };
        let signed = authorization(&pair, SCOPE, &request);
        assert_eq!(signed.rsplit('=').next(), Some(expect), "{signed}\n{}", canonical(&request, SCOPE, ""));
        assert!(
            signed.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, ")
        );
    }

    #[test]
    fn the_published_vectors_come_out() {
        // get-vanilla
        check("GET", "/", "", &[], "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
        // post-vanilla
        check("POST", "/", "", &[], "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
        // get-vanilla-query-order-key-case
        let order = "Param2=value2&Param1=value1";
        check("GET", "/", order, &[], "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500");
    }

    #[test]
    fn time_is_written_as_in_the_examples() {
        assert_eq!(time_text(1_440_938_160), "20150830T123600Z");
        assert_eq!(time_text(0), "19700101T000000Z");
        assert_eq!(time_text(951_827_696), "20000229T123456Z");
        assert_eq!(time_text(4_102_444_799), "20991231T235959Z");
    }

    #[test]
    fn a_claim_is_read_or_refused_whole() {
        let value = "AWS4-HMAC-SHA256 Credential=P/20150830/eu-west-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=00";
        let claimed = Claimed::read(value).expect("a claim");
        assert_eq!((claimed.id, claimed.scope.region, claimed.scope.service), ("P", "eu-west-1", "s3"));
        assert_eq!(claimed.signed, ["host", "x-amz-date"]);
        for broken in [
            "Bearer x",
            "AWS4-HMAC-SHA256 Credential=P/20150830/eu-west-1/s3, SignedHeaders=host, Signature=00",
            "AWS4-HMAC-SHA256 Credential=P/20150830/eu-west-1/s3/aws4_request/x, SignedHeaders=host, Signature=00",
            "AWS4-HMAC-SHA256 Credential=P/2/e/s3/aws4_request, Credential=Q/2/e/s3/aws4_request, SignedHeaders=host, Signature=0",
            "AWS4-HMAC-SHA256 Credential=P/2/e/s3/aws4_request, SignedHeaders=host",
            "AWS4-ECDSA-P256-SHA256 Credential=P/2/e/s3/aws4_request, SignedHeaders=host, Signature=00",
        ] {
            assert_eq!(Claimed::read(broken), None, "{broken}");
        }
    }

    #[test]
    fn what_cannot_be_signed_again_is_refused_in_words() {
        assert!(check_form(Some("a=b"), Some(UNSIGNED_PAYLOAD)).is_ok());
        assert!(check_form(None, Some(EMPTY_PAYLOAD)).is_ok());
        assert!(check_form(None, Some("STREAMING-UNSIGNED-PAYLOAD-TRAILER")).is_ok());
        for (query, payload, expect) in [
            (Some("x-amz-signature=1"), None, "error: a presigned url cannot be signed again"),
            (
                None,
                Some("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
                "error: payload signing \"STREAMING-AWS4-HMAC-SHA256-PAYLOAD\" is not supported",
            ),
            (None, Some("zz"), "error: x-amz-content-sha256 \"zz\" is no hash"),
        ] {
            let error = check_form(query, payload).expect_err("it is refused").to_string();
            assert!(error.starts_with(expect), "{error}");
        }
    }

    #[test]
    fn what_is_no_key_pair_is_refused() {
        for text in [
            "AKIA",
            "AKIAAAAAAAAAAAAAAAAA",
            "AKIAAAAAAAAAAAAAAAAA:",
            "AKIA AAAAAAAAAAAAAAA:k",
            "AKIAAAAAAAAAAAAAAAAA:k:",
        ] {
            let plain = Plain::new(text.as_bytes().to_vec()).expect("it fits");
            assert!(KeyPair::read(&plain, "aws").is_err(), "{text}");
        }
    }
}
