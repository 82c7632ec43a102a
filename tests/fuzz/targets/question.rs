//! Questions to the resolver inside: any bytes are a question, an error or nothing, and every reply fits its question.
//! It never asks anybody.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::net::{IpAddr, Ipv6Addr};
use stockade::egress::resolver::message::{Answer, Asked, REPLY_BYTES_MAX, read, reply};

fn check(question: &[u8], reply: &[u8]) {
    assert!(reply.len() <= REPLY_BYTES_MAX, "a reply fits everywhere");
    assert_eq!(reply.get(..2), question.get(..2), "a reply has its question's number");
    assert!(matches!(read(reply), Asked::Nothing), "a reply is never answered");
}

fuzz_target!(|bytes: &[u8]| {
    match read(bytes) {
        Asked::Nothing => {}
        Asked::Malformed(reply) => check(bytes, &reply),
        Asked::Question(question) => {
            let address = Answer::Address(IpAddr::V6(Ipv6Addr::LOCALHOST));
            for answer in [address, Answer::NoData, Answer::NoName, Answer::Refused] {
                check(bytes, &reply(&question, answer).expect("whatever can be read can be answered"));
            }
        }
    }
});
