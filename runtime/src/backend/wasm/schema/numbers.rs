//! Numbers as whoever wrote them means them: which is larger, which is whole, which is a multiple.
//! It never rounds where a multiple is asked for: 0.3 is three times 0.1, and a billion and a half is no whole number.

use serde_json::Number;
use std::cmp::Ordering;

pub(super) fn is_whole(number: &Number) -> bool {
    !number.is_f64() || number.as_f64().is_some_and(|number| number.fract() == 0.0)
}

pub(super) fn compared(one: &Number, other: &Number) -> Ordering {
    match (integer(one), integer(other)) {
        (Some(one), Some(other)) => one.cmp(&other),
        _ => {
            let (one, other) = (one.as_f64().unwrap_or(f64::NAN), other.as_f64().unwrap_or(f64::NAN));
            one.partial_cmp(&other).unwrap_or(Ordering::Less)
        }
    }
}

fn integer(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

/// Whether one is a whole number of times the other, by their decimal digits.
pub(super) fn is_multiple(number: &Number, of: &Number) -> bool {
    let (Some(number), Some(of)) = (Decimal::of(number), Decimal::of(of)) else { return false };
    if number.digits == 0 || of.digits == 0 {
        return number.digits == 0 && of.digits != 0;
    }
    match u32::try_from(number.exponent - of.exponent) {
        Ok(zeros) => shifted_remainder(number.digits, zeros, of.digits) == 0,
        // Where the divisor has more zeros behind it than 128 bits can hold, it is larger than the number.
        Err(_) => u32::try_from(of.exponent - number.exponent)
            .ok()
            .and_then(|zeros| 10_u128.checked_pow(zeros)?.checked_mul(u128::from(of.digits)))
            .is_some_and(|of| u128::from(number.digits).is_multiple_of(of)),
    }
}

/// The size of a number: so many times this power of ten.
struct Decimal {
    digits: u64,
    exponent: i32,
}

impl Decimal {
    /// Its shortest digits, which are those that it was written with, if they were at most 17.
    fn of(number: &Number) -> Option<Self> {
        let text = number.to_string();
        let text = text.trim_start_matches('-');
        let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        let part = part.trim_end_matches('0');
        let exponent = exponent.parse::<i32>().ok()?.checked_sub(i32::try_from(part.len()).ok()?)?;
        Some(Self { digits: format!("{whole}{part}").parse().ok()?, exponent })
    }
}

/// What is left of digits with zeros behind them, divided by a number that is not 0.
fn shifted_remainder(digits: u64, mut zeros: u32, of: u64) -> u128 {
    let of = u128::from(of);
    // Two numbers below 2^64 have a product below 2^128.
    let (mut left, mut power) = (u128::from(digits) % of, 10 % of);
    while zeros > 0 {
        if zeros % 2 == 1 {
            left = left * power % of;
        }
        power = power * power % of;
        zeros /= 2;
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_multiple_is_one_by_the_digits_that_were_written() {
        let number =
            |text: &str| serde_json::from_str::<Number>(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        for (of, multiples, others) in [
            ("1", &["1000000000", "-3", "0", "4.0", "1e300", "-0.0"][..], &["1000000000.5", "0.5", "1e-9"][..]),
            ("0.1", &["0.3", "7", "0", "-0.7", "1e300", "1000000000.1"], &["0.35", "1000000000.15", "1e-300"]),
            ("0.01", &["19.99", "4.35", "1.1", "123456789012.34"], &["4.351", "123456789012.345"]),
            ("3", &["9", "9007199254740993", "-9007199254740993"], &["10", "9007199254740994", "1e300"]),
            ("1e300", &["1e300", "7e300", "0"], &["1", "1e299", "18446744073709551615"]),
            ("2.5e-7", &["1e-6", "1", "1e10"], &["1e-7", "0.0000013"]),
            ("18446744073709551615", &["18446744073709551615", "0"], &["18446744073709551614", "1e19", "0.5"]),
        ] {
            multiples.iter().for_each(|text| assert!(is_multiple(&number(text), &number(of)), "{text} of {of}"));
            others.iter().for_each(|text| assert!(!is_multiple(&number(text), &number(of)), "{text} of {of}"));
        }
    }
}
