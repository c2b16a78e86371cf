//! Numbers as people read them: three significant digits, thousands apart, units that fit.

/// Three significant digits, thousands apart: `0.0123`, `12.3`, `1,230,000`; with an exponent only where nobody would
/// count the zeros: `1.23e21`.
#[must_use]
pub fn three(value: f64) -> String {
    if !value.is_finite() {
        return "?".to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    if !(1e-7..1e15).contains(&value.abs()) {
        return format!("{value:.2e}");
    }
    // Rounded first: 999.7 has four digits before the point.
    let rounded: f64 = format!("{value:.2e}").parse().unwrap_or(value);
    let magnitude = rounded.abs().log10().floor() as i32;
    let decimals = usize::try_from(2 - magnitude).unwrap_or(0).min(9);
    let text = format!("{rounded:.decimals$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), String::new()), |(w, r)| (w, format!(".{r}")));
    thousands(whole) + &rest
}

/// A length that was interpolated: whole tokens, three digits of them.
#[must_use]
pub fn length(tokens: f64) -> String {
    let rounded: f64 = format!("{tokens:.2e}").parse().unwrap_or(tokens);
    if (0.0..1e15).contains(&rounded) { thousands(&format!("{rounded:.0}")) } else { three(tokens) }
}

/// Whole digits with commas between thousands.
#[must_use]
pub fn thousands(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |d| ("-", d));
    let mut out = String::from(sign);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A time given in ns, in the unit that leaves one to three digits before the point.
#[must_use]
pub fn time(ns: f64) -> String {
    let units = [(1.0, "ns"), (1e3, "µs"), (1e6, "ms"), (1e9, "s")];
    // Half a unit of the third digit below the next unit rounds up into it.
    let fits = |(scale, _): &&(f64, &str)| ns.abs() >= scale * 0.9995;
    let (scale, unit) = units.iter().rev().find(fits).unwrap_or(&units[0]);
    format!("{} {unit}", three(ns / scale))
}

/// An amount of memory in the binary unit that fits.
#[must_use]
pub fn bytes(n: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1023.5 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{} {}", three(value), units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_thousands() {
        let cases = [
            (0.0, "0"),
            (0.012_345, "0.0123"),
            (1.0, "1.00"),
            (12.34, "12.3"),
            (999.7, "1,000"),
            (123_456.0, "123,000"),
            (1_234_567.0, "1,230,000"),
            (-1234.0, "-1,230"),
            (1.234e21, "1.23e21"),
            (-1e-300, "-1.00e-300"),
        ];
        for (value, text) in cases {
            assert_eq!(three(value), text);
        }
        assert_eq!(three(f64::NAN), "?");
    }

    #[test]
    fn lengths_are_whole() {
        assert_eq!([9.92, 38.4, 1234.5].map(length), ["10", "38", "1,230"]);
        assert_eq!(length(f64::NAN), "?");
    }

    #[test]
    fn times_and_bytes_take_the_unit_that_fits() {
        assert_eq!([time(0.5), time(999.9), time(12_345.0), time(2e9)], ["0.500 ns", "1.00 µs", "12.3 µs", "2.00 s"]);
        assert_eq!([bytes(0), bytes(1023), bytes(1024), bytes(5 << 30)], ["0 B", "1023 B", "1.00 KiB", "5.00 GiB"]);
    }
}
