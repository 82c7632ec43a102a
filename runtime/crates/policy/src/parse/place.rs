//! Reads where in a request a secret goes.
//! It never takes two places for one secret.

use super::fields::Fields;
use super::unknown;
use crate::document::Node;
use crate::name::{Flaw, NAME_BYTES_MAX, plain};
use crate::rule::{OauthGrant, SecretPlace, TokenUrl};
use alloc::format;
use alloc::string::String;

/// The key `place` of a secret.
pub(super) fn read(fields: &mut Fields<'_>) -> Option<SecretPlace> {
    let hint = "write { header = \"authorization\", format = \"Bearer {}\" }, { basic = \"user\" }, { query = \"key\" }, \
                { sigv4 = { … } }, { oauth = { … } }, \"path\" or \"body\"";
    let line = fields.line_of("place");
    let Some(entry) = fields.take("place") else {
        fields.note(line, "secret has no place", hint);
        return None;
    };
    let entries = match entry.value.node.into_table() {
        Ok(entries) => entries,
        Err(Node::String(text)) if text == "path" => return Some(SecretPlace::Path),
        Err(Node::String(text)) if text == "body" => return Some(SecretPlace::Body),
        Err(_) => {
            fields.note(line, "place is none that is known", hint);
            return None;
        }
    };
    let mut fields = Fields::new(fields.file, "place", line, entries, fields.findings);
    let header = fields.parsed("header", header_name);
    let format = fields.parsed("format", secret_format);
    let basic = fields.parsed("basic", basic_user);
    let query = fields.parsed("query", |text| plain(text, "parameter", NAME_BYTES_MAX).map(String::from));
    let signer = sigv4(&mut fields).or_else(|| oauth(&mut fields));
    // Known, even where the other one was there.
    fields.take("oauth");
    let place = match (header, format, basic, query, signer) {
        (Some(name), format, None, None, None) => {
            Some(SecretPlace::Header { name, format: format.unwrap_or_else(|| "{}".into()) })
        }
        (None, None, Some(user), None, None) => Some(SecretPlace::Basic { user }),
        (None, None, None, Some(name), None) => Some(SecretPlace::Query { name }),
        (None, None, None, None, Some(signer)) => signer,
        _ => {
            fields.note(line, "place is not exactly one", hint);
            None
        }
    };
    fields.finish();
    place
}

/// The user name of Basic authentication.
fn basic_user(text: &str) -> Result<String, Flaw> {
    let text = plain(text, "user", NAME_BYTES_MAX)?;
    if text.contains(':') {
        return Err(Flaw::new(format!("user \"{text}\" has a \":\""), "a colon ends the user's name (RFC 7617)"));
    }
    Ok(text.into())
}

/// `sigv4 = { service = "s3", region = "eu-west-1" }`; `Some(None)` when it is there and wrong.
fn sigv4(fields: &mut Fields<'_>) -> Option<Option<SecretPlace>> {
    let (line, entries) = fields.table("sigv4")?;
    let mut fields = Fields::new(fields.file, "sigv4", line, entries, fields.findings);
    let service = fields.required("service", "add service = \"s3\"", |text| scope(text, "service"));
    let region = fields.required("region", "add region = \"eu-west-1\"", |text| scope(text, "region"));
    fields.finish();
    Some(service.zip(region).map(|(service, region)| SecretPlace::Sigv4 { service, region }))
}

/// `oauth = { token_url = "…", grant = "…", client_id = "…" }`; `Some(None)` when it is there and wrong.
fn oauth(fields: &mut Fields<'_>) -> Option<Option<SecretPlace>> {
    let (line, entries) = fields.table("oauth")?;
    let mut fields = Fields::new(fields.file, "oauth", line, entries, fields.findings);
    let hint = "add token_url = \"https://login.example.com/oauth/token\"";
    let token_url = fields.required("token_url", hint, TokenUrl::parse);
    let grants = [OauthGrant::ClientCredentials, OauthGrant::RefreshToken];
    let grant = fields.required("grant", "add grant = \"client_credentials\"", |text| {
        let known = grants.iter().find(|grant| grant.as_str() == text).copied();
        known.ok_or_else(|| unknown("grant", text, &grants.map(OauthGrant::as_str)))
    });
    let client_id = fields.required("client_id", "add client_id = \"…\"", |text| {
        plain(text, "client id", NAME_BYTES_MAX).map(String::from)
    });
    fields.finish();
    let whole = token_url.zip(grant).zip(client_id);
    Some(whole.map(|((token_url, grant), client_id)| SecretPlace::Oauth { token_url, grant, client_id }))
}

/// A word of a credential scope, which is written between slashes.
fn scope(text: &str, idea: &str) -> Result<String, Flaw> {
    let text = plain(text, idea, 64)?;
    if text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') {
        return Ok(text.into());
    }
    Err(Flaw::new(format!("\"{text}\" is not a {idea}"), "use lower-case letters, digits and \"-\""))
}

/// A field name of HTTP (RFC 9110, 5.1) in lower case.
fn header_name(text: &str) -> Result<String, Flaw> {
    let text = plain(text, "header", NAME_BYTES_MAX)?;
    let fits = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "!#$%&'*+-.^_`|~".contains(c));
    if fits {
        return Ok(text.into());
    }
    Err(Flaw::new(format!("\"{text}\" is not a header in lower case"), "write it as \"x-api-key\""))
}

fn secret_format(text: &str) -> Result<String, Flaw> {
    let text = plain(text, "format", NAME_BYTES_MAX)?;
    if text.matches("{}").count() == 1 && text.is_ascii() {
        return Ok(text.into());
    }
    Err(Flaw::new(format!("format \"{text}\" has not exactly one \"{{}}\""), "write \"Bearer {}\""))
}
