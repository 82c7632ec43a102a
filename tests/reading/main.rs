//! Reading a log: tree, why, timeline, query, report, exports, as a person and as other programs get them.
//! It never trusts a page that was not opened in a browser, nor an export that was not held against its schema.

mod answers;
mod learn;
mod page;
mod schemas;
mod session;
