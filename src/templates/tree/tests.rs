//! Whatever a value is, the tree around it stays as it is.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn tree(manifest: Value) -> Tree {
    Tree::read(manifest, "").unwrap()
}

fn with(name: &str, value: Value) -> BTreeMap<String, Value> {
    BTreeMap::from([(name.to_owned(), value)])
}

#[test]
fn a_lone_placeholder_keeps_the_type_and_one_in_a_text_is_text() {
    let it = tree(
        json!({"lone": "{{ n }}", "spaced": " {{n}}", "twice": "{{n}}-{{ n }}", "braces": "{{{{ n }}", "plain": "n"}),
    );
    let filled = it.fill(&with("n", json!(7))).unwrap();
    assert_eq!(filled, json!({"lone": 7, "spaced": " 7", "twice": "7-7", "braces": "{{ n }}", "plain": "n"}));
    assert_eq!(it.uses.len(), 4);
    assert_eq!(it.uses.iter().filter(|it| it.whole).count(), 1);
}

#[test]
fn a_value_is_text_where_kubernetes_takes_nothing_else() {
    let it = tree(json!({
        "metadata": {"labels": {"n": "{{ n }}"}},
        "args": ["{{ n }}"], "env": [{"name": "N", "value": "{{ n }}"}], "parallelism": "{{ n }}",
    }));
    let filled = it.fill(&with("n", json!(7))).unwrap();
    assert_eq!(
        filled,
        json!({"metadata": {"labels": {"n": "7"}}, "args": ["7"], "env": [{"name": "N", "value": "7"}], "parallelism": 7})
    );
}

#[test]
fn what_has_no_value_is_left_out() {
    let it = tree(json!({"a": "{{ n }}", "b": ["{{ n }}", "c"]}));
    assert_eq!(it.fill(&BTreeMap::new()).unwrap(), json!({"b": ["c"]}));
}

#[test]
fn wrong_placeholders_are_named_with_their_path() {
    let faults = Tree::read(json!({"a": ["{{ open"], "{{ key }}": 1}), "/manifest").unwrap_err();
    let pointers: Vec<&str> = faults.iter().map(|it| it.pointer.as_str()).collect();
    assert_eq!(pointers, ["/manifest/a/0", "/manifest/{{ key }}"]);
}

#[test]
fn a_value_put_in_many_times_is_stopped_at_the_limit() {
    let it = tree(json!(vec!["{{ n }}"; 100]));
    let large = "x".repeat(RENDERED_BYTES / 10);
    assert!(it.fill(&with("n", json!(large))).is_none());
    let in_one = tree(json!("{{ n }} ".repeat(10_000)));
    assert!(in_one.fill(&with("n", json!(large))).is_none());
}

/// What Kubernetes makes of a text that is an argument: its `expansion.Expand`, every variable being `SECRET`.
fn expanded(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let closed = after.strip_prefix('(').and_then(|it| it.split_once(')'));
        rest = match (after.chars().next(), closed) {
            (Some('$'), _) => {
                out.push('$');
                &after[1..]
            }
            (Some('('), Some((_, after))) => {
                out.push_str("SECRET");
                after
            }
            _ => {
                out.push('$');
                after
            }
        };
    }
    out + rest
}

/// The tree without its strings.
fn shape(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::Object(fields) => fields.iter().map(|(key, it)| (key.clone(), shape(it))).collect(),
        Value::String(_) => "".into(),
        other => other.clone(),
    }
}

/// Texts that mean something to YAML, to this file, to jq, to a shell or to Kubernetes, among others.
fn hostile() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "{{ n }}",
        "{{{{",
        "}}",
        "$(PASSWORD)",
        "$",
        "$$",
        "(PASSWORD)",
        ")",
        "\n- x: 1",
        ": ",
        "\"",
        "'",
        "#",
        "&a",
        "*a",
        "!!map",
        "---\n",
        "|",
        "\\",
        "\u{0}",
        "${x}",
        "`id`",
        "\u{202e}",
        "null",
        "true",
        "{",
        "[",
    ]);
    let known = prop::collection::vec(pieces, 0..6).prop_map(|it| it.concat());
    prop_oneof![known, any::<String>()]
}

proptest! {
    #[test]
    fn no_value_changes_the_shape_of_a_manifest(value in hostile()) {
        let it = tree(json!({
            "a": "{{ n }}", "b": ["x{{ n }}y", {"c": "{{ n }}{{ n }}", "n": null}], "args": ["--n={{ n }}"], "labels": {"d": "{{n}}"},
        }));
        let harmless = it.fill(&with("n", json!("x"))).unwrap();
        let filled = it.fill(&with("n", json!(value))).unwrap();
        prop_assert_eq!(shape(&filled), shape(&harmless));
        prop_assert_eq!(filled["a"].as_str().unwrap(), &value);
        prop_assert_eq!(filled["b"][0].as_str().unwrap(), format!("x{value}y"));
    }

    #[test]
    fn kubernetes_finds_no_reference_in_a_value(value in hostile(), other in hostile(), dollars in 0_usize..4) {
        let before = "$".repeat(dollars);
        let it = tree(json!({"args": [format!("{before}{{{{ n }}}}-{{{{ n }}}}{{{{ m }}}}")]}));
        let values = BTreeMap::from([("n".to_owned(), json!(value)), ("m".to_owned(), json!(other))]);
        let filled = it.fill(&values).unwrap();
        // Each two dollars of the template's own are one to Kubernetes; a single one stays.
        let own = "$".repeat(dollars.div_ceil(2));
        let expected = format!("{own}{value}-{value}{other}");
        if !value.is_empty() {
            prop_assert_eq!(expanded(filled["args"][0].as_str().unwrap()), expected);
        }
    }
}
