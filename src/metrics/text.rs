//! OpenMetrics as Prometheus' own text, version 0.0.4, for readers that know no other.
//!
//! The library writes OpenMetrics only. What differs is little: there a counter's description has the name without `_total`,
//! and units and the end are told.

/// The media type of OpenMetrics.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The media type of what `plain` writes.
pub const PLAIN_MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The same in the older format.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), Some(said)) => help = Some((name, said)),
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let total = if kind == "counter" { "_total" } else { "" };
                if let Some((_, said)) = help.take().filter(|it| it.0 == name) {
                    plain.push_str(&format!("# HELP {name}{total} {said}\n"));
                }
                plain.push_str(&format!("# TYPE {name}{total} {kind}\n"));
            }
            (Some("#"), ..) => {}
            _ => {
                plain.push_str(line);
                plain.push('\n');
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_described_by_their_whole_name_and_nothing_is_left_of_openmetrics() {
        let open = "# HELP a_seconds A.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\na_seconds_total{b=\"# c\"} 1\n# HELP d D.\n# TYPE d gauge\nd 2\n# EOF\n";
        let expected = "# HELP a_seconds_total A.\n# TYPE a_seconds_total counter\na_seconds_total{b=\"# c\"} 1\n# HELP d D.\n# TYPE d gauge\nd 2\n";
        assert_eq!(plain(open), expected);
    }
}
