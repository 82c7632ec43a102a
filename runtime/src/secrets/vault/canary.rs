//! What is wrong with a request because of a secret, and the words for it.
//! It never says what a secret is.

/// A request that is refused because of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canary {
    /// Name of the secret; `None` for a placeholder of another session.
    pub secret: Option<String>,
    /// Where it was seen.
    pub place: String,
    /// What is wrong about that.
    pub why: Why,
}

/// Why a placeholder must not be where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It is another session's.
    Foreign,
    /// The secret is not bound to such a request.
    Unbound,
    /// It is bound to the request, and goes somewhere else in it.
    Elsewhere,
    /// It is bound to the request, and spelled in a way in which it is not swapped.
    Spelled,
    /// It is there twice, or two headers claim the same place.
    Twice,
    /// The request goes in the clear.
    Clear,
    /// No placeholder: the agent sent a credential of its own where the grant has the operator's.
    OwnCredential,
    /// Its source has it no more, or not for us, and why.
    Gone(String),
    /// A signature that we cannot make, and why.
    Unsignable(String),
}

impl Canary {
    /// Whether a placeholder was seen, and the log should say so. Otherwise it is a refusal like any other.
    pub fn is_sighting(&self) -> bool {
        match self.why {
            Why::Foreign | Why::Unbound | Why::Elsewhere | Why::Spelled | Why::Twice | Why::Clear => true,
            Why::OwnCredential | Why::Unsignable(_) | Why::Gone(_) => false,
        }
    }

    /// In words for the agent and the log: the place and the name, nothing of the request.
    pub fn reason(&self) -> String {
        let name = self.secret.as_deref().unwrap_or("of another session");
        let place = &self.place;
        match &self.why {
            Why::Foreign => format!("a placeholder of another session is in {place}"),
            Why::Unbound => {
                format!("secret \"{name}\" is not bound to such a request, and its placeholder is in {place}")
            }
            Why::Elsewhere => format!("the placeholder of secret \"{name}\" is in {place}, where it is not swapped"),
            Why::Spelled => format!("the placeholder of secret \"{name}\" is encoded in {place}: send it as it is"),
            Why::Twice => format!("secret \"{name}\" has more than one place in {place}"),
            Why::Clear => format!("secret \"{name}\" is sent over TLS alone, and its placeholder is in {place}"),
            Why::OwnCredential => format!("{place} belongs to secret \"{name}\": send its placeholder, or nothing"),
            Why::Gone(why) => format!("secret \"{name}\" cannot be had any more: {why}"),
            Why::Unsignable(why) => format!("secret \"{name}\" cannot sign: {why}"),
        }
    }
}
