//! Text of others, made visible: what would be obeyed or could not be seen is shown as a character of its own.
//!
//! Names, messages, labels and logs are written by whoever submits a job, and by whatever runs in its pods. The templates
//! escape them, so that none is ever markup. What is left is text that lies: control characters, and those that turn the
//! direction of the text around them.

use serde_json::Value;

/// The text with each control character as its picture (`␛` for escape), and what turns the text around as `�`. Line feeds
/// and tabs stay.
pub fn visible(text: &str) -> String {
    text.chars().map(shown).collect()
}

fn shown(c: char) -> char {
    match c {
        '\n' | '\t' => c,
        '\0'..='\u{1f}' => char::from_u32(0x2400 + c as u32).unwrap_or(char::REPLACEMENT_CHARACTER),
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}' | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' => {
            char::REPLACEMENT_CHARACTER
        }
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}' => char::REPLACEMENT_CHARACTER,
        // Of no width, and of no use to any script: two names that look the same are to differ. Joiners stay.
        '\u{ad}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}' => {
            char::REPLACEMENT_CHARACTER
        }
        _ => c,
    }
}

/// The same for every text in an answer, keys too.
pub fn visible_in(value: &mut Value) {
    match value {
        Value::String(text) => *text = visible(text),
        Value::Array(items) => items.iter_mut().for_each(visible_in),
        Value::Object(fields) => {
            let old = std::mem::take(fields);
            for (key, mut it) in old {
                visible_in(&mut it);
                fields.insert(visible(&key), it);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// JSON in which each such character is written as JSON can say it, so that it is exact and can be seen.
pub fn visible_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match shown(c) == c {
            true => text.push(c),
            false => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    text
}

/// A word of the API as people write it: `image_pull` is "image pull".
pub fn words(code: &str) -> String {
    code.replace('_', " ")
}

/// A number that was counted up to a limit: beyond it, nobody counted.
pub fn capped(count: i64, most: i64) -> String {
    if count > most { format!("{most}+") } else { count.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_obeyed_or_could_not_be_seen_is_shown_as_a_character() {
        assert_eq!(visible("\u{1b}[31mred\u{7}"), "␛[31mred␇");
        assert_eq!(visible("a\r\nb\tc\0"), "a␍\nb\tc␀");
        assert_eq!(visible("abc\u{202e}gpj.exe\u{2066}\u{9b}\u{7f}"), "abc�gpj.exe��␡");
        assert_eq!(visible("a\u{200b}b\u{feff}c\u{ad}"), "a�b�c�");
        assert_eq!(visible("👩\u{200d}🚀"), "👩\u{200d}🚀");
        assert_eq!(visible("größe 名前 🚢 <b>&"), "größe 名前 🚢 <b>&");
        let json = serde_json::json!({"a": "x\u{202e}\u{9b}\u{e0001}"}).to_string();
        assert_eq!(visible_json(&json), r#"{"a":"x\u202e\u009b\udb40\udc01"}"#);
        assert_eq!(serde_json::from_str::<Value>(&visible_json(&json)).unwrap().to_string(), json);
        let mut value = serde_json::json!({"a\u{1b}": ["\u{202e}", 1, null]});
        visible_in(&mut value);
        assert_eq!(value, serde_json::json!({"a␛": ["�", 1, null]}));
    }
}
