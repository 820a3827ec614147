//! What flags and variables say of how to start, and what is told of those that cannot be meant so.

use crate::harness::cli::{Said, longshore};

/// What comes of a command whose variables of these names are set so, and none that says which database otherwise.
async fn with(words: &[&str], variables: &[(&str, &str)]) -> Said {
    let mut command = longshore("http://127.0.0.1:1", words);
    for name in ["DATABASE_URL", "LONGSHORE_DATABASE_URL", "LONGSHORE_DATA_DIR", "LONGSHORE_KUBECONFIG"] {
        command.env_remove(name);
    }
    let output = command.envs(variables.iter().copied()).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// What a replica says that is started so, and goes no further: its lease is too short.
async fn serve(words: &[&str], variables: &[(&str, &str)]) -> String {
    let words = [&["serve", "--lease=1ms"], words].concat();
    let said = with(&words, variables).await;
    assert_ne!(said.code, 0, "{words:?} {variables:?}");
    said.err
}

#[tokio::test]
async fn a_variable_may_say_in_any_usual_word_whether_its_flag_is_given() {
    let kubeconfig = ["--kubeconfig=/nowhere"];
    for (word, is_dry) in [("1", true), ("yes", true), ("True", true), ("0", false), ("off", false), ("", false)] {
        let said = serve(&kubeconfig, &[("LONGSHORE_DRY_RUN", word)]).await;
        assert!(said.contains(if is_dry { "leave out --kubeconfig" } else { "--lease must be at least" }), "{said}");
    }
    assert!(serve(&["--dry-run"], &[("LONGSHORE_KUBECONFIG", "/nowhere")]).await.contains("leave out --kubeconfig"));
    let said = serve(&[], &[("LONGSHORE_DRY_RUN", "maybe")]).await;
    assert!(said.contains("--dry-run") && said.contains("false, no, off or 0"), "{said}");
}

#[tokio::test]
async fn a_variable_that_is_empty_names_no_database_and_hides_none() {
    let (ours, common) = (("LONGSHORE_DATABASE_URL", ""), ("DATABASE_URL", "nonsense"));
    let said = with(&["migrate"], &[ours, common]).await.with(1);
    assert!(said.err.contains("URL is not valid") && !said.err.contains("give --database-url"), "{}", said.err);
    assert!(serve(&[], &[ours, common]).await.contains("--lease must be at least"));

    // A replica that took a Postgres of its own because its Secret lacks a key would have a queue of its own.
    for (variables, named) in [
        (&[ours][..], "LONGSHORE_DATABASE_URL"),
        (&[("DATABASE_URL", "")], "DATABASE_URL"),
        (&[ours, ("DATABASE_URL", "")], "LONGSHORE_DATABASE_URL"),
    ] {
        let said = serve(&[], variables).await;
        assert!(said.contains(named) && said.contains("is set, and empty") && said.contains("unset it"), "{said}");
    }
    for (words, variables) in [(&[][..], &[][..]), (&["--data-dir=/nowhere"], &[ours])] {
        assert!(serve(words, variables).await.contains("--lease must be at least"));
    }
}
