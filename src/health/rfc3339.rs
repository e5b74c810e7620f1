//! Moments as RFC 3339 text.
//!
//! Reads and writes [`UnixMs`]; knows no clock and no time zone but the offset in the text. Layer 2.

use crate::units::UnixMs;

/// The longest text that is read: nine decimals and an offset.
const LEN_MAX: usize = 40;

/// Reads `2026-11-23T01:00:00Z`, with optional decimals and with an offset instead of `Z`
/// (RFC 3339 section 5.6). Decimals after the third are dropped; second 60 is the next second.
///
/// `None` for anything else, for days that are not in the calendar, and before 1970.
pub fn parse(text: &str) -> Option<UnixMs> {
    let octets = text.as_bytes();
    if octets.len() > LEN_MAX || !octets.is_ascii() || octets.len() < 20 {
        return None;
    }
    let separators = [(4, b"--"), (7, b"--"), (10, b"Tt"), (13, b"::"), (16, b"::")];
    if separators.iter().any(|&(at, either)| !either.contains(&octets[at])) {
        return None;
    }
    let field = |from: usize, to: usize| digits(&octets[from..to]);
    let (year, month, day) = (field(0, 4)?, field(5, 7)?, field(8, 10)?);
    let (hour, minute, second) = (field(11, 13)?, field(14, 16)?, field(17, 19)?);
    let is_date = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    if !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (ms, rest) = decimals(&octets[19..])?;
    let offset_min = offset(rest)?;
    let minutes = (days_from_1970(year, month, day) * 24 + hour) * 60 + minute - offset_min;
    u64::try_from((minutes * 60 + second) * 1000 + ms).ok().map(UnixMs)
}

/// Writes `moment` as `2026-11-23T01:00:00.000Z`; years after 9999 have more digits.
pub fn format(moment: UnixMs) -> String {
    let (days, ms) = ((moment.0 / 86_400_000) as i64, moment.0 % 86_400_000);
    let (year, month, day) = date_of(days);
    let (hour, minute) = (ms / 3_600_000, ms / 60_000 % 60);
    let (second, ms) = (ms / 1000 % 60, ms % 1000);
    let (month, day) = (month as u64, day as u64);
    let mut text = String::with_capacity(LEN_MAX);
    // A line of the access log a request begins with this: digits are written without `core::fmt`.
    match year {
        0..=9999 => push_digits::<4>(&mut text, year as u64),
        _ => text.push_str(&year.to_string()),
    }
    for (before, number) in [('-', month), ('-', day), ('T', hour), (':', minute), (':', second)] {
        text.push(before);
        push_digits::<2>(&mut text, number);
    }
    text.push('.');
    push_digits::<3>(&mut text, ms);
    text.push('Z');
    text
}

/// Writes `number`, which has at most `COUNT` digits, with that many.
fn push_digits<const COUNT: usize>(text: &mut String, mut number: u64) {
    let mut digits = ['0'; COUNT];
    for digit in digits.iter_mut().rev() {
        *digit = char::from(b'0' + (number % 10) as u8);
        number /= 10;
    }
    text.extend(digits);
}

/// Digits as a number; `None` when there is anything else among them, or nothing.
fn digits(octets: &[u8]) -> Option<i64> {
    let is_number = !octets.is_empty() && octets.iter().all(u8::is_ascii_digit);
    is_number.then(|| octets.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
}

/// Milliseconds of what may begin with a decimal point, and what follows.
fn decimals(octets: &[u8]) -> Option<(i64, &[u8])> {
    let Some((b'.', rest)) = octets.split_first() else { return Some((0, octets)) };
    let count = rest.iter().take_while(|octet| octet.is_ascii_digit()).count();
    let mut three = [b'0'; 3];
    let kept = count.min(3);
    three[..kept].copy_from_slice(&rest[..kept]);
    (count > 0).then_some((digits(&three)?, &rest[count..]))
}

/// Minutes east of Greenwich: `Z`, or a sign, hours and minutes.
fn offset(octets: &[u8]) -> Option<i64> {
    match octets {
        b"Z" | b"z" => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hour, minute) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            let minutes = hour * 60 + minute;
            (hour < 24 && minute < 60).then_some(if *sign == b'-' { -minutes } else { minutes })
        }
        _ => None,
    }
}

/// Whether `year` has a 29 February.
fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days of `month` (1 to 12).
fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1 January 0 to 1 January of `year` (0 or later), Gregorian throughout.
fn days_before_year(year: i64) -> i64 {
    let past = year - 1;
    // Year 0 is a leap year and has gone by for every later year.
    if year == 0 { 0 } else { year * 365 + past / 4 - past / 100 + past / 400 + 1 }
}

/// Days from 1970-01-01 to this date, negative before.
fn days_from_1970(year: i64, month: i64, day: i64) -> i64 {
    let months: i64 = (1..month).map(|m| days_in(year, m)).sum();
    days_before_year(year) - days_before_year(1970) + months + day - 1
}

/// The date `days` after 1970-01-01, as year, month and day.
fn date_of(days: i64) -> (i64, i64, i64) {
    // A year has at most 366 days, so the guess is never too late.
    let mut year = 1970 + days / 366;
    while days_from_1970(year + 1, 1, 1) <= days {
        year += 1;
    }
    let mut left = days - days_from_1970(year, 1, 1);
    let mut month = 1;
    while left >= days_in(year, month) {
        left -= days_in(year, month);
        month += 1;
    }
    (year, month, left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<u64>) {
        assert_eq!(parse(text), expected.map(UnixMs), "{text}");
    }

    #[test]
    fn moments_are_read() {
        check("1970-01-01T00:00:00Z", Some(0));
        check("2026-11-23T01:00:00Z", Some(1_795_395_600_000));
        check("2026-11-23t01:00:00z", Some(1_795_395_600_000));
        check("2026-11-23T01:00:00.5Z", Some(1_795_395_600_500));
        check("2026-11-23T01:00:00.123456789Z", Some(1_795_395_600_123));
        check("2026-11-23T02:30:00+01:30", Some(1_795_395_600_000));
        check("2026-11-22T20:00:00-05:00", Some(1_795_395_600_000));
        check("2000-02-29T00:00:00Z", Some(951_782_400_000));
        check("1998-12-31T23:59:60Z", Some(915_148_800_000));
        check("9999-12-31T23:59:59.999Z", Some(253_402_300_799_999));
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "2026",
            "2026-11-23",
            "2026-11-23T01:00:00",
            "2026-11-23 01:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2026-11-31T00:00:00Z",
            "2026-11-23T24:00:00Z",
            "2026-11-23T01:60:00Z",
            "2026-11-23T01:00:61Z",
            "2026-11-23T01:00:00.Z",
            "2026-11-23T01:00:00+0100",
            "2026-11-23T01:00:00+24:00",
            "2026-11-23T01:00:00Z ",
            "+026-11-23T01:00:00Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
            "2026-11-23T01:00:00.1234567890123456789012345Z",
            "2026-11-2३T01:00:00Z",
            "0000-01-01T00:00:00Z",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        assert_eq!(format(UnixMs(1_795_395_600_000)), "2026-11-23T01:00:00.000Z");
        let mut ms = 0u64;
        while ms < 253_402_300_800_000 {
            assert_eq!(parse(&format(UnixMs(ms))), Some(UnixMs(ms)), "{ms}");
            ms += 8_640_000_000_007;
        }
        for day in 0..(366 * 140) {
            let ms = day * 86_400_000 + 86_399_999;
            assert_eq!(parse(&format(UnixMs(ms))), Some(UnixMs(ms)), "{ms}");
        }
        // Never fails, however far ahead.
        assert!(format(UnixMs(1 << 53)).ends_with('Z'));
    }
}
