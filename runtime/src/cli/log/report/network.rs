//! Connections and requests in a report, as the outlet accounts for them, with the secrets that went out.
//! It never shows a query, a header, a body or a secret: the log has none.

use super::super::words::{bytes, list, since, span, via};
use super::Report;
use super::facts::{Connection, Request};
use super::page::{Page, Tint};

impl Report<'_> {
    /// What went out, and what came back.
    pub(super) fn network(&self, page: &mut Page) {
        let facts = &self.facts;
        page.raw("<section id=\"network\">\n<h2>Network</h2>\n");
        if facts.connections.list.is_empty() && facts.requests.list.is_empty() {
            page.raw("<p class=\"none\">Nothing left the sandbox, and nothing came in.</p>\n</section>\n");
            return;
        }
        if !facts.requests.list.is_empty() {
            requests(page, &facts.requests.list);
            page.left_out(facts.requests.list.len(), facts.requests.all, "stockade log query SESSION k=net.request");
        }
        if !facts.connections.list.is_empty() {
            connections(page, &facts.connections.list);
            page.left_out(facts.connections.list.len(), facts.connections.all, "stockade log query SESSION k=net.open");
        }
        page.raw("</section>\n");
    }
}

fn requests(page: &mut Page, requests: &[Request]) {
    page.raw(
        "<h3>Requests</h3>\n<div class=\"wide\"><table><tr><th class=\"num\">time</th><th>request</th><th>answer</th>",
    );
    page.raw("<th class=\"num\">out</th><th class=\"num\">in</th><th class=\"num\">took</th><th>by</th>");
    page.raw("<th>secrets</th><th class=\"num\">record</th></tr>\n");
    for Request { at, request, reply, secrets } in requests {
        page.raw("<tr><td class=\"time\">").text(&since(at.mono_ns)).raw("</td><td class=\"mono\">");
        page.text(&format!("{} {}:{}{}", request.method, request.host, request.port, request.path)).raw("</td><td>");
        match reply {
            Some(reply) => {
                let tint = if reply.status.is_some_and(|status| status < 400) { Tint::Good } else { Tint::Warn };
                let status = reply.status.map_or_else(|| "none".to_owned(), |status| status.to_string());
                page.chip(tint, &status);
                if reply.why != "done" {
                    page.raw(" ").text(&reply.why);
                }
                page.raw("</td><td class=\"num\">").text(&bytes(reply.up)).raw("</td><td class=\"num\">");
                page.text(&bytes(reply.down)).raw("</td><td class=\"num\">").text(&span(reply.us.saturating_mul(1000)));
            }
            None => {
                page.chip(Tint::Warn, "no end in the log").raw("</td><td></td><td></td><td>");
            }
        }
        page.raw("</td><td class=\"mono\">").text(&list(&request.rules)).raw("</td><td>");
        for used in secrets {
            page.chip(Tint::Warn, &format!("{} in {}", used.name, used.place)).raw(" ");
        }
        page.raw("</td><td class=\"num\">#").number(at.n).raw("</td></tr>\n");
    }
    page.raw("</table></div>\n");
}

fn connections(page: &mut Page, connections: &[Connection]) {
    page.raw("<h3>Connections</h3>\n<div class=\"wide\"><table><tr><th class=\"num\">time</th><th>by</th><th>to</th><th>how</th>");
    page.raw("<th>address</th><th class=\"num\">out</th><th class=\"num\">in</th><th class=\"num\">open for</th>");
    page.raw("<th>end</th><th class=\"num\">record</th></tr>\n");
    for Connection { at, by, open, close } in connections {
        page.raw("<tr><td class=\"time\">").text(&since(at.mono_ns)).raw("</td><td>");
        page.text(&by.map_or_else(String::new, |p| format!("p{p}"))).raw("</td><td class=\"mono\">");
        page.text(&format!("{}:{}", open.host, open.port)).raw("</td><td>").raw(via(open.via));
        if !open.rules.is_empty() {
            page.raw(" by ").code(&list(&open.rules));
        }
        page.raw("</td><td class=\"mono\">");
        match close {
            Some(close) => {
                page.text(close.addr.as_deref().unwrap_or_default()).raw("</td><td class=\"num\">");
                page.text(&bytes(close.up)).raw("</td><td class=\"num\">").text(&bytes(close.down));
                page.raw("</td><td class=\"num\">").text(&span(close.us.saturating_mul(1000))).raw("</td><td>");
                page.chip(if close.why == "done" { Tint::Good } else { Tint::Warn }, &close.why);
            }
            None => {
                page.raw("</td><td></td><td></td><td></td><td>").chip(Tint::Warn, "no end in the log");
            }
        }
        page.raw("</td><td class=\"num\">#").number(at.n).raw("</td></tr>\n");
    }
    page.raw("</table></div>\n");
}
