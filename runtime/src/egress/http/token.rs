//! The outlet's own requests: a secret is exchanged for a token at the endpoint that its profile names.
//! It never goes where a guest says, and never follows a redirect.

use super::{Inside, Result};
use crate::error::Error;
use crate::secrets::oauth::{TokenEndpoint, TokenReply, TokenRequest};
use std::sync::Arc;

/// Reaches token endpoints for one connection.
pub(super) struct Endpoint {
    inside: Arc<Inside>,
}

impl Endpoint {
    pub(super) fn new(inside: &Arc<Inside>) -> Self {
        Self { inside: Arc::clone(inside) }
    }
}

impl TokenEndpoint for Endpoint {
    async fn exchange(&self, request: TokenRequest) -> Result<TokenReply> {
        let _ = (&self.inside, request);
        Err(Error::host("no token endpoint is reached yet"))
    }
}
