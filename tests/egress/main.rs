//! The outlet and the secrets from outside: real clients through it, attacks on it, and what its log says of both.
//! It never sends a packet beyond this machine, but where a client's own packages are fetched from a registry.

mod bounds;
mod clients;
mod companies;
mod ends;
mod exchange;
mod floods;
mod languages;
mod oauth;
mod proofs;
mod rebinding;
mod reflections;
mod registries;
mod requests;
mod served;
mod servers;
mod services;
mod sockets;
mod tools;
mod vault;
mod walls;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    stockade_tests::story::run_trials("egress", |person| {
        let parts = [
            clients::stories(),
            languages::stories(),
            registries::stories(),
            services::stories(),
            served::stories(),
            requests::stories(),
            walls::stories(),
            reflections::stories(),
            bounds::stories(),
            oauth::stories(),
            companies::stories(),
            rebinding::stories(),
            ends::stories(),
            floods::stories(),
            proofs::stories(),
            exchange::stories(),
            vault::stories(),
            tools::stories(),
            sockets::stories(),
        ];
        parts.into_iter().flatten().map(|story| story.trial(person, world::THEATRE)).collect()
    })
}
