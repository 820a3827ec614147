//! The files that a database's URL names for TLS, read before anything starts: later the database would seem to be away, and
//! nothing would say which file is missing.

use std::path::Path;

use reqwest::Url;

/// How the parameters of a URL are called that name a file, in all their spellings.
const PARAMETERS: [&str; 7] = ["sslrootcert", "ssl-root-cert", "ssl-ca", "sslcert", "ssl-cert", "sslkey", "ssl-key"];
/// How a certificate begins that stands in the URL itself.
const INLINE: &str = "-----BEGIN";

/// What is wrong with the files that a URL names, without anything else of the URL.
pub fn fault_of(url: &str) -> Option<String> {
    // What is no URL is told elsewhere.
    let url = Url::parse(url).ok()?;
    url.query_pairs()
        .filter(|(name, value)| PARAMETERS.contains(&name.as_ref()) && !value.trim_start().starts_with(INLINE))
        .find_map(|(name, file)| Some(format!("{name}: {}", unreadable(Path::new(file.as_ref()))?)))
}

/// Why a file cannot be read.
pub fn unreadable(file: &Path) -> Option<String> {
    let err = std::fs::read(file).err()?;
    Some(format!("cannot read {}: {err}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_a_url_names_and_that_is_not_there_is_told_by_parameter_and_path_without_the_password() {
        let dir = tempfile::tempdir().unwrap();
        let there = dir.path().join("root.crt");
        std::fs::write(&there, "").unwrap();
        let url =
            |more: &str| format!("postgres://u:secret@h/d?sslmode=verify-full&sslrootcert={}&{more}", there.display());
        assert_eq!(fault_of(&url("sslcert=-----BEGIN CERTIFICATE-----")), None);
        let told = fault_of(&url("sslkey=%2Fno%2Fsuch.key")).unwrap();
        assert!(told.starts_with("sslkey: cannot read /no/such.key: No such file"), "{told}");
    }
}
