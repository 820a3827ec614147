//! Amounts as Kubernetes writes them: `500m`, `1.5`, `64Mi`, `2e3`.

/// The amount, or nothing if it is none. As a float it is exact enough to compare what people ask for.
pub fn parse(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = digits.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(digits.len());
    let (number, suffix) = digits.split_at(end);
    if !number.contains(|c: char| c.is_ascii_digit()) || number.matches('.').count() > 1 {
        return None;
    }
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024_f64.powi(2),
        "Gi" => 1024_f64.powi(3),
        "Ti" => 1024_f64.powi(4),
        "Pi" => 1024_f64.powi(5),
        "Ei" => 1024_f64.powi(6),
        exponent => {
            let exponent: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            10_f64.powi(exponent)
        }
    };
    let amount = number.parse::<f64>().ok()? * factor;
    let amount = if text.starts_with('-') { -amount } else { amount };
    amount.is_finite().then_some(amount)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn amounts_are_read_as_kubernetes_reads_them() {
        let read = [("1", 1.0), ("500m", 0.5), ("1.5", 1.5), (".5", 0.5), ("5.", 5.0), ("+1", 1.0), ("-1", -1.0)];
        let more =
            [("1Ki", 1024.0), ("64Mi", 67_108_864.0), ("2k", 2000.0), ("1E", 1e18), ("2e3", 2000.0), ("1E2", 100.0)];
        for (text, amount) in read.into_iter().chain(more) {
            assert_eq!(parse(text), Some(amount), "{text}");
        }
        for text in ["", "-", ".", "1.2.3", "1 Gi", "1KiB", "1mi", "1MB", "e3", "1e", "1e1.5", "0x10", "one", "1e999"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
