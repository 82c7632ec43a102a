//! The one form of a request: what is judged is what is sent.
//! It never decides whether a request may go.
