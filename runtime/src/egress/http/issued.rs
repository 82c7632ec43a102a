//! A token endpoint's answer: read whole, and passed on with placeholders for its tokens.
//! It never passes on what it cannot read.

use super::reply::{Answer, Reply, decoded, scrub_fields};
use super::request::{Stop, unreachable};
use super::upstream::Back;
use super::{Inside, Result, token};
use crate::egress::canonical;
use crate::error::Error;
use crate::secrets::vault::{Outgoing, Slots};
use http::Response;
use http::header::CONTENT_ENCODING;
use hyper::body::Incoming;

/// The answer of a token endpoint, whole, with placeholders for its tokens.
pub(super) async fn reply(
    inside: &Inside,
    request: &Outgoing<'_>,
    slots: &Slots,
    response: Response<Incoming>,
    back: Back,
    mut answer: Answer,
) -> Result<Response<Reply>, Stop> {
    let (parts, incoming) = response.into_parts();
    let mut headers = parts.headers;
    let read_whole = async {
        if headers.contains_key(CONTENT_ENCODING) {
            return Err(Error::host("a token endpoint's answer is encoded"));
        }
        let whole = token::whole(incoming).await?;
        if whole.is_empty() { Ok(Vec::new()) } else { inside.context.vault.reply_tokens(request, &whole) }
    };
    let mut body = match read_whole.await {
        Ok(body) => body,
        Err(error) => {
            answer.end(Some(error.reports.first().map(|report| report.what.clone()).unwrap_or_default()))?;
            return Err(unreachable(&error));
        }
    };
    canonical::reply(&mut headers);
    decoded(&mut headers);
    if let Some(patterns) = inside.context.vault.patterns(slots.uses()) {
        scrub_fields(&mut headers, &patterns, &answer, "header")?;
        answer.scrubbed(patterns.scrub_whole(&mut body), "body")?;
    }
    answer.count(body.len());
    answer.end(None)?;
    back.give();
    let mut made = Response::new(Reply::of(body.into()));
    *made.status_mut() = parts.status;
    *made.headers_mut() = headers;
    Ok(made)
}
