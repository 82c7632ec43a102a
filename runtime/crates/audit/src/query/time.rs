//! Times in questions and answers: since the start of a session, or instants in UTC.
//! It never asks what time it is.

use crate::record::Head;

/// A moment that records are before or after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// Since the log was opened, ns.
    Mono(u64),
    /// Since 1970, ns.
    Wall(u64),
}

impl Bound {
    /// Whether it is after what a record tells of.
    pub(super) fn is_after(self, head: &Head<'_>) -> bool {
        match self {
            Self::Mono(ns) => ns > head.mono_ns.saturating_sub(head.ago_ns),
            Self::Wall(ns) => ns > head.wall_ns.saturating_sub(head.ago_ns),
        }
    }
}

/// `1.5s`, `200ms`, `3m`… or `2026-01-31T12:00:00Z`.
pub(super) fn bound(text: &str) -> Option<Bound> {
    if text.contains('T') { instant(text).map(Bound::Wall) } else { since_start(text).map(Bound::Mono) }
}

fn since_start(text: &str) -> Option<u64> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (amount, unit) = text.split_at(at);
    let unit_ns: u64 = match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, part) = amount.split_once('.').unwrap_or((amount, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 9 {
        return None;
    }
    let scale = 10u64.pow(u32::try_from(part.len()).expect("at most 9"));
    let part_ns = u128::from(part.parse::<u64>().ok()?) * u128::from(unit_ns) / u128::from(scale);
    whole.parse::<u64>().ok()?.checked_mul(unit_ns)?.checked_add(u64::try_from(part_ns).ok()?)
}

/// An instant as RFC 3339 writes it, in UTC, with or without a part of a second.
fn instant(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let [year, month, day] = numbers(date, '-')?;
    let (clock, part) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = numbers(clock, ':')?;
    let right = (1970..=2500).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !right || hour > 23 || minute > 59 || second > 60 || part.is_empty() || part.len() > 9 {
        return None;
    }
    let part_ns = part.bytes().all(|byte| byte.is_ascii_digit()).then(|| format!("{part:0<9}"))?.parse::<u64>().ok()?;
    Some((days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second) * 1_000_000_000 + part_ns)
}

fn numbers(text: &str, between: char) -> Option<[u64; 3]> {
    let number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?;
    text.split(between).map(number).collect::<Option<Vec<u64>>>()?.try_into().ok()
}

/// Days since 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms", `days_from_civil`), for days
/// that are not before it.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a number of days since 1970-01-01 (the same, `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

/// Wall time as RFC 3339 writes it, in UTC, to the second.
#[must_use]
pub fn utc(wall_ns: u64) -> String {
    let seconds = wall_ns / 1_000_000_000;
    let (year, month, day) = civil(seconds / 86_400);
    let of_day = seconds % 86_400;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_and_their_text_are_each_other() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2023-11-14T22:13:20Z", 1_700_000_000),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
        ] {
            assert_eq!(bound(text), Some(Bound::Wall(seconds * 1_000_000_000)), "{text}");
            assert_eq!(utc(seconds * 1_000_000_000), text);
        }
        assert_eq!(bound("1970-01-01T00:00:00.5Z"), Some(Bound::Wall(500_000_000)));
        for text in ["2026-01-01", "2026-01-01T00:00Z", "2026-1-1T0:0:0", "2026-00-01T00:00:00Z", "T", "+T+Z"] {
            assert_eq!(bound(text), None, "{text}");
        }
    }

    #[test]
    fn times_since_the_start_have_units() {
        for (text, ns) in [
            ("0s", 0),
            ("1.5s", 1_500_000_000),
            ("+2ms", 2_000_000),
            ("0.25m", 15_000_000_000),
            ("1h", 3_600_000_000_000),
            ("0.000000001s", 1),
        ] {
            assert_eq!(bound(text), Some(Bound::Mono(ns)), "{text}");
        }
        for text in ["1", "s", "-1s", "1.s", ".5s", "1.0000000001s", "1day", "99999999999h"] {
            assert_eq!(bound(text), None, "{text}");
        }
    }
}
