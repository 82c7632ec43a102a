//! What a client of either era asks, and what it is answered: the side of the protocol that never waits for the session.
//! It never touches the session itself: what needs it goes over the desk.

use crate::gateway::mcp::args::flaw;
use crate::gateway::mcp::bash::Told;
use crate::gateway::mcp::desk::{self, Door, Job, NotTaken, Progress, WAITING_MAX};
use crate::gateway::mcp::pages::{Cursor, Page};
use crate::gateway::mcp::tools::{self, Wanted};
use crate::gateway::mcp::words;
use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, CompleteRequestMethod, CompleteRequestParams,
    CompleteResult, ConstString, CustomRequest, CustomResult, ErrorCode, ErrorData, Implementation,
    ListPromptsRequestMethod, ListPromptsResult, ListResourceTemplatesRequestMethod, ListResourceTemplatesResult,
    ListResourcesRequestMethod, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ProgressNotificationParam, ProgressToken, ProtocolVersion, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use std::sync::PoisonError;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

/// Progress goes out no more often than this.
const PROGRESS_GAP: Duration = Duration::from_millis(200);
/// And no less often, so that a client's patience is renewed.
const PROGRESS_TICK: Duration = Duration::from_secs(2);
/// How long a client may keep the list of tools: it does not change while the server runs.
const LIST_TTL_MS: u64 = 3_600_000;

/// The server, for one client.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) door: Door,
    pub(super) tools: Vec<Tool>,
    pub(super) instructions: String,
    /// Becomes true when the client has gone, or we are to go: no call is waited for any more.
    pub(super) gone: watch::Receiver<bool>,
}

impl Server {
    fn unknown(&self, name: &str) -> ErrorData {
        let known: Vec<&str> = self.tools.iter().map(|tool| tool.name.as_ref()).collect();
        let shown: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
        ErrorData::invalid_params(format!("unknown tool \"{shown}\"; there are: {}", known.join(", ")), None)
    }

    fn page(&self, cursor: Cursor, tell: fn(&Page) -> Told) -> CallToolResult {
        let pages = self.door.pages.lock().unwrap_or_else(PoisonError::into_inner);
        match pages.at(cursor) {
            Some(page) => words::plain(tell(&page)),
            None => words::flawed(&flaw(
                "what this cursor belongs to is not kept any more",
                "call the tool again, or let the command write to a file and read that",
            )),
        }
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let this = Implementation::new("stockade", env!("CARGO_PKG_VERSION")).with_title("Stockade").with_description(
            "Runs an agent's tools behind walls, keeps what they change for review, and logs what happened",
        );
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(this)
            .with_instructions(self.instructions.clone())
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.tools.iter().find(|tool| tool.name == name).cloned()
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        // All tools are on one page, so no client has a cursor from us.
        if request.is_some_and(|request| request.cursor.is_some()) {
            return Err(ErrorData::invalid_params("that is no cursor of this list: it has one page", None));
        }
        let list = ListToolsResult::with_all_items(self.tools.clone());
        let version = context.protocol_version();
        // Hints for caches came with the era that has no handshake.
        let hinted = version.is_some_and(|version| version.as_str() >= ProtocolVersion::V_2026_07_28.as_str());
        Ok(if hinted { list.with_ttl_ms(LIST_TTL_MS).with_cache_scope(CacheScope::Private) } else { list })
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if self.get_tool(&request.name).is_none() {
            return Err(self.unknown(&request.name));
        }
        let work = match tools::wanted(&request.name, request.arguments.unwrap_or_default()) {
            Ok(Wanted::Work(work)) => work,
            Ok(Wanted::More(cursor, tell)) => return Ok(self.page(cursor, tell).into()),
            Err(flaw) => return Ok(words::flawed(&flaw).into()),
        };
        let (stop, stopped) = desk::stop().map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        let (answer, mut answered) = oneshot::channel();
        let token = context.meta.get_progress_token();
        let (note, noted) = match &token {
            Some(_) => Some(watch::channel(String::new())).unzip(),
            None => (None, None),
        };
        let job = Job { work, progress: Progress(note), stop: stopped, answer };
        match self.door.put(job) {
            Ok(()) => {}
            Err(NotTaken::Busy) => return Ok(words::busy(WAITING_MAX).into()),
            Err(NotTaken::Gone) => return Err(ErrorData::internal_error("the session has ended", None)),
        }
        let mut telling = token.zip(noted).map(|(token, noted)| Telling::new(token, noted));
        let mut gone = self.gone.clone();
        loop {
            let said = tokio::select! {
                biased;
                done = &mut answered => {
                    return done.map(Into::into).map_err(|_| ErrorData::internal_error("the session has ended", None));
                }
                // Whoever has gone or cancelled gets no answer; dropping `stop` ends the call.
                () = context.ct.cancelled() => break,
                Ok(_) = gone.wait_for(|gone| *gone) => break,
                said = next(&mut telling) => said,
            };
            // To its end, so that no answer overtakes it; unless a client that reads nothing goes or cancels.
            tokio::select! {
                biased;
                () = context.ct.cancelled() => break,
                Ok(_) = gone.wait_for(|gone| *gone) => break,
                // One that does not listen says so by closing its end, and elsewhere.
                told = context.peer.notify_progress(said) => drop(told),
            }
        }
        drop(stop);
        Err(ErrorData::internal_error("cancelled", None))
    }

    // What is not declared is not there; the library would answer with empty lists.

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Err(absent::<ListPromptsRequestMethod>())
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Err(absent::<ListResourcesRequestMethod>())
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Err(absent::<ListResourceTemplatesRequestMethod>())
    }

    async fn complete(
        &self,
        _: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        Err(absent::<CompleteRequestMethod>())
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        let shown: String = request.method.chars().filter(|c| !c.is_control()).take(60).collect();
        // Requests whose parameters are of another shape than their method's come here too.
        if KNOWN.contains(&shown.as_str()) {
            return Err(ErrorData::invalid_params(format!("the parameters of {shown} are not what it takes"), None));
        }
        Err(missing(&shown))
    }
}

/// A method that is MCP's and not ours.
fn absent<M: ConstString>() -> ErrorData {
    missing(M::VALUE)
}

fn missing(method: &str) -> ErrorData {
    ErrorData::new(ErrorCode::METHOD_NOT_FOUND, format!("there is no method \"{method}\""), None)
}

/// The methods that this server has.
const KNOWN: [&str; 5] = ["initialize", "ping", "server/discover", "tools/call", "tools/list"];

/// Waits until there is something to tell; forever, when nobody wants to hear.
async fn next(telling: &mut Option<Telling>) -> ProgressNotificationParam {
    match telling {
        Some(telling) => telling.next().await,
        None => std::future::pending().await,
    }
}

/// What a client is told of how far a call is, and when.
struct Telling {
    token: ProgressToken,
    noted: watch::Receiver<String>,
    began: Instant,
    earliest: Instant,
    latest: Instant,
}

impl Telling {
    fn new(token: ProgressToken, noted: watch::Receiver<String>) -> Self {
        let began = Instant::now();
        Self { token, noted, began, earliest: began, latest: began + PROGRESS_TICK }
    }

    /// The next notification. Safe to drop while it waits: the next one says the same or more.
    async fn next(&mut self) -> ProgressNotificationParam {
        tokio::time::sleep_until(self.earliest).await;
        tokio::select! {
            changed = self.noted.changed() => if changed.is_err() {
                // The call is over; its answer is on the way.
                std::future::pending::<()>().await;
            },
            () = tokio::time::sleep_until(self.latest) => {}
        }
        let now = Instant::now();
        (self.earliest, self.latest) = (now + PROGRESS_GAP, now + PROGRESS_TICK);
        let elapsed = now.duration_since(self.began);
        let what = self.noted.borrow_and_update().clone();
        let message = if what.is_empty() {
            format!("{} s", elapsed.as_secs())
        } else {
            format!("{} s, {what}", elapsed.as_secs())
        };
        ProgressNotificationParam::new(self.token.clone(), elapsed.as_secs_f64()).with_message(message)
    }
}
