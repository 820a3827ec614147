//! Kubernetes' quantities (`500m`, `2`, `1.5Gi`), as whole thousandths.

use serde_json::Value;

const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];
const DECIMAL: [(&str, u32); 7] = [("m", 0), ("k", 6), ("M", 9), ("G", 12), ("T", 15), ("P", 18), ("E", 21)];
/// More digits than any quantity has; with them and the greatest suffix a number still fits.
const DIGITS_MAX: usize = 15;
/// The greatest quantity there is, in thousandths; sums with it stay far from overflow.
const MOST: i128 = i64::MAX as i128 * 1000;

/// In thousandths, rounded up as Kubernetes does.
pub fn parse(value: &Value) -> Option<i128> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    if digits.len() > DIGITS_MAX {
        return None;
    }
    let digits: i128 = digits.parse().ok()?;
    let unit = match suffix {
        "" => 1000,
        other => match BINARY.into_iter().find(|(name, _)| *name == other) {
            Some((_, bits)) => 1000 << bits,
            None => DECIMAL.into_iter().find(|(name, _)| *name == other).map(|(_, tens)| 10_i128.pow(tens))?,
        },
    };
    let parts = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    Some(((digits * unit + parts - 1) / parts).min(MOST))
}

/// As refusals write it: CPU in thousandths where it is not whole, memory with the greatest suffix that fits.
pub fn format(thousandths: i128, counted: &str) -> String {
    if thousandths % 1000 != 0 {
        return format!("{thousandths}m");
    }
    let whole = thousandths / 1000;
    let fits = |(_, bits): &(&str, u32)| counted.ends_with("memory") && whole > 0 && whole % (1_i128 << bits) == 0;
    match BINARY.into_iter().rev().find(fits) {
        Some((name, bits)) => format!("{}{name}", whole >> bits),
        None => whole.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantities_are_read_and_written() {
        for (value, thousandths) in [
            (json!(2), Some(2000)),
            (json!("500m"), Some(500)),
            (json!("0.5"), Some(500)),
            (json!("1.5Gi"), Some(1_610_612_736_000)),
            (json!("128M"), Some(128_000_000_000)),
            (json!("0.0001"), Some(1)),
            (json!("x"), None),
            (json!(""), None),
            (json!("."), None),
            (json!("-1"), None),
            (json!("9999999999999999999999"), None),
            (json!(null), None),
        ] {
            assert_eq!(parse(&value), thousandths, "{value}");
        }
        assert_eq!(format(1500, "requests.cpu"), "1500m");
        assert_eq!(format(2000, "requests.cpu"), "2");
        assert_eq!(format(1_610_612_736_000, "limits.memory"), "1536Mi");
    }
}
