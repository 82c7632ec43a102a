//! A URL's parts, and links relative to it. It never resolves a name, and takes no user name or password.

use super::Target;
use std::fmt;

const URL_BYTES_MAX: usize = 8 * 1024;

/// A URL of http or https.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) tls: bool,
    authority: String,
    /// With the query, without the fragment.
    path: String,
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}{}", if self.tls { "https" } else { "http" }, self.authority, self.path)
    }
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Address, String> {
        let url = url.trim();
        if url.len() > URL_BYTES_MAX || url.chars().any(|c| c.is_control()) {
            return Err(format!("the URL is longer than {URL_BYTES_MAX} bytes or has a control character"));
        }
        let (scheme, rest) =
            url.split_once("://").ok_or_else(|| format!("\"{url}\" is no URL; it begins with https://"))?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            other => return Err(format!("the scheme \"{other}\" is not fetched, only http and https")),
        };
        let rest = rest.split('#').next().unwrap_or(rest);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(
                "the URL has a user name or password; use a header, and let the profile hold the secret".to_owned()
            );
        }
        let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
        if authority.is_empty() || !authority.chars().all(sound) {
            return Err(format!("\"{authority}\" is no host; an international name is written in its xn-- form"));
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Address { tls, authority: authority.to_ascii_lowercase(), path: format!("{slash}{}", escaped(path)) })
    }

    pub(super) fn target(&self) -> Target<'_> {
        Target { tls: self.tls, authority: &self.authority, path: &self.path }
    }

    pub(super) fn same_origin(&self, other: &Address) -> bool {
        self.tls == other.tls && self.authority == other.authority
    }

    /// Where a link on this page leads to.
    pub(super) fn join(&self, link: &str) -> String {
        let link = link.trim();
        let origin = format!("{}://{}", if self.tls { "https" } else { "http" }, self.authority);
        let scheme = link.split_once(':').is_some_and(|(scheme, _)| {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        });
        let own = self.path.split('?').next().unwrap_or(&self.path);
        if scheme || link.starts_with('#') {
            return link.to_owned();
        }
        if let Some(rest) = link.strip_prefix("//") {
            return format!("{}//{rest}", if self.tls { "https:" } else { "http:" });
        }
        if link.starts_with('/') {
            return format!("{origin}{link}");
        }
        if link.is_empty() || link.starts_with('?') {
            return format!("{origin}{own}{link}");
        }
        let (path, query) = link.split_at(link.find(['?', '#']).unwrap_or(link.len()));
        let directory = own.rsplit_once('/').map_or("", |(directory, _)| directory);
        let mut parts: Vec<&str> = directory.split('/').collect();
        for part in path.split('/') {
            match part {
                "." => {}
                ".." if parts.len() > 1 => {
                    parts.pop();
                }
                ".." => {}
                part => parts.push(part),
            }
        }
        let ends_open = path.ends_with("..") || path.ends_with("/.") || path == ".";
        format!("{origin}{}{}{query}", parts.join("/"), if ends_open { "/" } else { "" })
    }
}

/// Blanks and what is not ASCII as a URL has them.
fn escaped(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'`' | b'{' | b'}' | b'\\' | b'^' | b'|') {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn joined(link: &str, to: &str) {
        let base = Address::parse("https://Example.com/a/b/c?q=1#top").expect("it is a URL");
        assert_eq!(base.join(link), to);
    }

    #[test]
    fn links_lead_where_browsers_go() {
        joined("d", "https://example.com/a/b/d");
        joined("./d?x=../y", "https://example.com/a/b/d?x=../y");
        joined("../../../../d", "https://example.com/d");
        joined("..", "https://example.com/a/");
        joined("/d", "https://example.com/d");
        joined("//other/d", "https://other/d");
        joined("?p", "https://example.com/a/b/c?p");
        joined("#x", "#x");
        joined("mailto:a@b", "mailto:a@b");
        joined("http://o/", "http://o/");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for url in [
            "example.com",
            "file:///etc/passwd",
            "https://",
            "https://a b/",
            "https://u:p@h/",
            "https://h\u{e4}/",
            "https://h/\u{1}",
        ] {
            assert!(Address::parse(url).is_err(), "{url}");
        }
        assert_eq!(Address::parse("HTTP://H?q \u{e4}#f").unwrap().to_string(), "http://h/?q%20%C3%A4");
    }
}
