//! Pages, pictures, redirects and hostile answers, from a web that is a table. It never uses a network.

use super::*;
use std::cell::RefCell;

/// Its URL, status, headers and body.
type Page = (&'static str, u16, Vec<(&'static str, &'static str)>, Vec<u8>);

/// A web of some pages, and what was asked of it.
#[derive(Default)]
struct Table {
    pages: Vec<Page>,
    asked: RefCell<Vec<String>>,
}

impl Web for Table {
    fn get(&self, target: &Target<'_>, headers: &[(String, String)]) -> Result<Response, String> {
        let url = format!("{}://{}{}", if target.tls { "https" } else { "http" }, target.authority, target.path);
        self.asked.borrow_mut().push(format!("{url} {headers:?}"));
        let page = self.pages.iter().find(|(known, ..)| *known == url).ok_or("the profile does not grant that host")?;
        let headers = page.2.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        Ok(Response { status: page.1, headers, body: page.3.clone(), complete: true })
    }
}

fn one(content_type: &'static str, body: &[u8]) -> Table {
    Table { pages: vec![("https://h/", 200, vec![("content-type", content_type)], body.to_vec())], ..Table::default() }
}

#[track_caller]
fn content(web: &Table, more: &str) -> String {
    let answer = run(&format!("{{\"url\":\"https://h/\"{more}}}"), web).expect("it can be fetched");
    answer.structured["content"].as_str().expect("it has text").to_owned()
}

#[test]
fn pages_become_markdown_text_or_stay() {
    let html = b"<html><head><title>T</title></head><body><h1>Head</h1><p>A <b>b</b> <a href='x'>l</a>.</p></body>";
    let web = one("text/html; charset=utf-8", html);
    assert_eq!(content(&web, ""), "# Head\n\nA **b** [l](https://h/x).\n");
    assert_eq!(content(&web, ",\"format\":\"text\""), "Head\n\nA b l.\n");
    assert_eq!(content(&web, ",\"format\":\"raw\"").as_bytes(), html);
    assert_eq!(content(&one("application/json", b"{\"a\":1}"), ""), "{\"a\":1}");
}

#[test]
fn encodings_are_those_that_are_declared() {
    assert_eq!(content(&one("text/plain; charset=\"ISO-8859-1\"", b"\xe4"), ""), "\u{e4}");
    assert_eq!(content(&one("text/plain; charset=shift_jis", b"\x82\xa0"), ""), "\u{3042}");
    assert_eq!(content(&one("text/plain", b"\xe4"), ""), "\u{e4}");
    assert_eq!(content(&one("text/html", b"<meta charset=koi8-r><p>\xc1"), ""), "\u{430}\n");
    assert_eq!(content(&one("text/plain", b"\xff\xfea\0"), ""), "a");
}

#[test]
fn pictures_are_shown_and_bytes_are_bytes() {
    let web = one("image/png", b"\x89PNG\r\n\x1a\nx");
    let answer = run("{\"url\":\"https://h/\"}", &web).unwrap();
    assert_eq!(answer.images[0].0, "image/png");
    let web = one("application/octet-stream", b"\0\x01\x02\x03");
    let failure = run("{\"url\":\"https://h/\"}", &web).unwrap_err();
    assert!(failure.text().contains("the format \"bytes\""), "{failure:?}");
    assert_eq!(content(&web, ",\"format\":\"bytes\""), "AAECAw==");
    assert_eq!([base64(b""), base64(b"f"), base64(b"fo"), base64(b"foo")], ["", "Zg==", "Zm8=", "Zm9v"]);
}

#[test]
fn long_texts_come_in_pages() {
    let text: String = (0..20_000).map(|n| format!("\u{e4}{n}\n")).collect();
    let web = one("text/plain", text.as_bytes());
    let (mut offset, mut all) = (0, String::new());
    loop {
        let answer = run(&json!({ "url": "https://h/", "offset": offset }).to_string(), &web).unwrap();
        assert!(answer.text.len() <= ANSWER_BYTES_MAX);
        all += answer.structured["content"].as_str().unwrap();
        match answer.structured["next_offset"].as_u64() {
            Some(next) => offset = next,
            None => break,
        }
    }
    assert_eq!(all, text);
    let failure = run(&json!({ "url": "https://h/", "offset": 1 }).to_string(), &web).unwrap_err();
    assert!(failure.text().contains("must be a next_offset"), "{failure:?}");
}

#[test]
fn what_the_outlet_refuses_is_no_answer_of_the_host() {
    let told = br#"{"reason":"GET /a is not granted","allowed_instead":["/b"],"to_ask":"say why"}"#;
    let page = |field| Table { pages: vec![("https://h/", 403, vec![field], told.to_vec())], ..Table::default() };
    let failure = run("{\"url\":\"https://h/\"}", &page(("proxy-status", "stockade; error=http_request_denied")));
    let text = failure.expect_err("it is refused").text().to_owned();
    assert_eq!(text, "cannot fetch \"https://h/\": GET /a is not granted; allowed instead: /b; say why");
    let answer = run("{\"url\":\"https://h/\"}", &page(("proxy-status", "cdn; error=http_request_denied")));
    assert_eq!(answer.expect("the host's own answer").structured["status"], 403);
}

#[test]
fn redirects_lose_what_was_meant_for_another() {
    let to = |url| vec![("location", url)];
    let web = Table {
        pages: vec![
            ("https://h/", 302, to("/b"), Vec::new()),
            ("https://h/b", 301, to("https://other/c"), Vec::new()),
            ("https://other/c", 200, vec![("content-type", "text/plain")], b"end".to_vec()),
            ("https://h/loop", 302, to("/loop"), Vec::new()),
            ("https://h/down", 302, to("http://h/"), Vec::new()),
            ("https://h/file", 302, to("file:///etc/passwd"), Vec::new()),
        ],
        ..Table::default()
    };
    let answer = run("{\"url\":\"https://h/\",\"headers\":{\"Authorization\":\"x\"}}", &web).unwrap();
    assert_eq!(answer.structured["url"], "https://other/c");
    let asked = web.asked.borrow().clone();
    assert_eq!(asked.iter().filter(|asked| asked.contains("authorization")).count(), 2, "{asked:?}");
    assert_eq!(asked[2], "https://other/c []");
    for (path, said) in [
        ("loop", "more than 5 redirects"),
        ("down", "not encrypted"),
        ("file", "only http and https"),
        ("none", "does not grant"),
    ] {
        let failure = run(&json!({ "url": format!("https://h/{path}") }).to_string(), &web).unwrap_err();
        assert!(failure.text().contains(said), "{failure:?}");
    }
}

#[test]
fn wrong_arguments_are_refused() {
    let web = Table::default();
    for (arguments, said) in [
        (json!({ "url": "example.com" }), "begins with https://"),
        (json!({ "url": "https://h/", "headers": { "Host": "x" } }), "belongs to the connection"),
        (json!({ "url": "https://h/", "headers": { "a b": "x" } }), "no header's name"),
        (json!({ "url": "https://h/", "headers": { "a": "x\r\ny: z" } }), "control character"),
        (json!({ "url": "https://h/", "headers": { "a": 1 } }), "must be a string"),
        (json!({ "uri": "https://h/" }), "\"url\" is missing"),
    ] {
        let failure = run(&arguments.to_string(), &web).unwrap_err();
        assert!(matches!(failure, Failure::InvalidArguments(_)) && failure.text().contains(said), "{failure:?}");
    }
    assert!(web.asked.borrow().is_empty());
}

#[test]
fn a_page_whose_text_would_be_too_long_says_so() {
    let url: &'static str = Box::leak(format!("https://h/{}/p", "x".repeat(7000)).into_boxed_str());
    let body = "<a href=l>t</a> ".repeat(5000).into_bytes();
    let web = Table { pages: vec![(url, 200, vec![("content-type", "text/html")], body)], ..Table::default() };
    let answer = run(&json!({ "url": url }).to_string(), &web).unwrap();
    assert_eq!(answer.structured["complete"], false);
    assert!(answer.text.contains("the text of its beginning"), "{}", super::super::text::cut(&answer.text, 8000));
    let raw = run(&json!({ "url": url, "format": "raw" }).to_string(), &web).unwrap();
    assert_eq!(raw.structured["complete"], true);
}
