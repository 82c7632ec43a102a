//! Names and their addresses, both ways.

use super::*;
use std::collections::BTreeSet;

fn name(text: &str) -> HostName {
    match Host::parse(text) {
        Ok(Host::Name(name)) => name,
        other => panic!("{text} is no name: {other:?}"),
    }
}

fn names() -> Names {
    let may = |host: &Host| host.to_string().ends_with(".wild.test");
    Names::new(["a.test", "b.test", "a.test"].map(name), may)
}

#[test]
fn exact_names_have_their_addresses_from_the_start_in_order() {
    let names = names();
    for (text, v4, v6) in [
        ("a.test", "198.18.1.0", "fd73:746f:636b::c612:100"),
        ("b.test", "198.18.1.1", "fd73:746f:636b::c612:101"),
        ("later.wild.test", "198.18.1.2", "fd73:746f:636b::c612:102"),
    ] {
        let addresses = names.address_of(&Host::Name(name(text))).expect("it is granted");
        assert_eq!(addresses, (v4.parse().expect("an address"), v6.parse().expect("an address")), "{text}");
        for address in [v4, v6, &format!("::ffff:{v4}")] {
            let address: IpAddr = match address.parse() {
                Ok(address) => address,
                Err(_) => continue,
            };
            assert_eq!(names.name_of(address), Some(Host::Name(name(text))), "{address}");
        }
    }
}

#[test]
fn a_name_that_no_rule_grants_gets_no_address() {
    let names = names();
    for text in ["c.test", "wild.test", "a.test.evil.test", "notwild.test", "proxy.stockade.internal"] {
        assert_eq!(names.lookup(&name(text)), Lookup::NotGranted, "{text}");
        assert_eq!(names.address_of(&Host::Name(name(text))), None, "{text}");
    }
    assert_eq!(names.address_of(&Host::Address("198.18.1.0".parse().expect("an address"))), None);
}

#[test]
fn an_address_stands_for_one_thing() {
    let names = names();
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    for (text, want) in [
        ("198.18.0.1", Place::Proxy),
        ("fd73:746f:636b::198.18.0.1", Place::Proxy),
        ("198.18.0.2", Place::Resolver),
        ("198.18.0.0", Place::Vacant(address("198.18.0.0"))),
        ("198.18.0.3", Place::Vacant(address("198.18.0.3"))),
        ("198.18.1.2", Place::Vacant(address("198.18.1.2"))),
        ("198.19.255.255", Place::Vacant(address("198.19.255.255"))),
        ("198.20.0.0", Place::Address(address("198.20.0.0"))),
        ("198.17.255.255", Place::Address(address("198.17.255.255"))),
        ("fd73:746f:636b::1", Place::Vacant(address("fd73:746f:636b::1"))),
        ("fd73:746f:636b::8.8.8.8", Place::Vacant(address("fd73:746f:636b::8.8.8.8"))),
        ("fd73:746f:636b::127.0.0.1", Place::Vacant(address("fd73:746f:636b::127.0.0.1"))),
        ("fd73:746f:636b:0:0:1:c612:100", Place::Address(address("fd73:746f:636b:0:0:1:c612:100"))),
        ("127.0.0.1", Place::Loopback),
        ("127.9.9.9", Place::Loopback),
        ("::1", Place::Loopback),
        ("::ffff:127.0.0.1", Place::Loopback),
        ("93.184.216.34", Place::Address(address("93.184.216.34"))),
        ("::ffff:93.184.216.34", Place::Address(address("93.184.216.34"))),
        ("2606:4700::1", Place::Address(address("2606:4700::1"))),
    ] {
        assert_eq!(names.place(address(text)), want, "{text}");
    }
}

#[test]
fn a_flood_of_names_ends_at_the_limit_and_moves_nothing() {
    let names = Names::new([name("first.test")], |_| true);
    let mut seen = BTreeSet::new();
    for n in 1..NAMES_MAX {
        let Lookup::Found(found) = names.lookup(&name(&format!("n{n}.test"))) else { panic!("there is room for {n}") };
        assert!(seen.insert(found.v4), "{found:?} is given twice");
    }
    assert_eq!(names.lookup(&name("one-too-many.test")), Lookup::Full);
    assert_eq!(names.lookup(&name("another.test")), Lookup::Full);
    assert_eq!(names.lookup(&name("first.test")), Lookup::Found(Synthetic::of(0).expect("the first")));
    assert_eq!(names.lookup(&name("n1.test")), Lookup::Found(Synthetic::of(1).expect("the second")));
    assert_eq!(Synthetic::of(NAMES_MAX), None);
}

#[test]
fn many_threads_give_a_name_one_address() {
    let names = Names::new([], |_| true);
    let lookup = |_| (0..200).map(|n| names.lookup(&name(&format!("n{n}.test")))).collect::<Vec<_>>();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|n| scope.spawn(move || lookup(n))).collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
    });
    assert!(answers.windows(2).all(|pair| pair.first() == pair.last()));
}
