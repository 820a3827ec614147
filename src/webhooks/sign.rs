//! Signatures as Standard Webhooks has them: what makes a receiver believe a message.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How a secret begins, so that scanners and people know one when they see it.
const PREFIX: &str = "whsec_";
/// How long a key may be, in bytes: as Standard Webhooks says.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// How long one of ours is, in bytes.
const OUR_KEY_BYTES: usize = 32;

/// A secret, read.
pub struct Key(Vec<u8>);

impl Key {
    /// Reads `whsec_` and base64; none when it is not that, or too short or too long.
    pub fn read(secret: &str) -> Option<Self> {
        let key = STANDARD.decode(secret.strip_prefix(PREFIX)?).ok()?;
        KEY_BYTES.contains(&key.len()).then_some(Self(key))
    }

    /// The signature of one message.
    pub fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        // A key of any length is one for HMAC.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return String::new() };
        mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// A new secret.
pub fn secret() -> String {
    format!("{PREFIX}{}", STANDARD.encode(rand::random::<[u8; OUR_KEY_BYTES]>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_signed_as_the_specification_shows() {
        // The example of the Standard Webhooks libraries' tests.
        let key = Key::read("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        let short = format!("whsec_{}", STANDARD.encode([0; 23]));
        let long = format!("whsec_{}", STANDARD.encode([0; 65]));
        for text in ["", "whsec_", "whsec_!!!!", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &short, &long] {
            assert!(Key::read(text).is_none(), "{text}");
        }
        assert!(Key::read(&secret()).is_some());
        assert_ne!(secret(), secret());
    }
}
