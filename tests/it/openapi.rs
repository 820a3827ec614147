//! The OpenAPI document and the pages made of it: complete, true to the routes, and readable without any other host.

use longshore::api;
use serde_json::{Map, Value};

use crate::harness::{World, jobs::job};

fn fields(value: &Value) -> Vec<(String, &Value)> {
    value.as_object().map(Map::iter).into_iter().flatten().map(|(key, it)| (key.clone(), it)).collect()
}

/// Each operation, with its method and path.
fn operations(document: &Value) -> Vec<(String, &Value)> {
    let of_path = |(path, methods)| fields(methods).into_iter().map(move |(it, op)| (format!("{it} {path}"), op));
    fields(&document["paths"]).into_iter().flat_map(of_path).collect()
}

/// Everything in a document that holds `found`, by its JSON Pointer.
fn search<'a>(value: &'a Value, at: String, found: &mut dyn FnMut(&str, &'a Map<String, Value>)) {
    if let Value::Object(map) = value {
        found(&at, map);
        map.iter().for_each(|(key, it)| search(it, format!("{at}/{key}"), found));
    }
    if let Value::Array(items) = value {
        items.iter().enumerate().for_each(|(index, it)| search(it, format!("{at}/{index}"), found));
    }
}

#[test]
fn every_route_is_in_the_document_with_a_name_of_its_own_and_all_that_it_may_answer() {
    let document = api::document();
    let mut names = std::collections::BTreeSet::new();
    let tags: Vec<&Value> = document["tags"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    for (route, operation) in operations(&document) {
        assert!(names.insert(operation["operationId"].as_str().unwrap()), "{route}: its operationId is taken");
        assert!(!operation["summary"].as_str().unwrap_or_default().is_empty(), "{route} has no summary");
        assert!(tags.contains(&&operation["tags"][0]), "{route} belongs to no resource");
        let answers = &operation["responses"];
        assert!(fields(answers).iter().any(|(status, _)| status.starts_with('2')), "{route} never succeeds");
        assert!(answers["500"].is_object(), "{route} names none of its problems");
        for (status, answer) in fields(answers) {
            assert!(!answer["description"].as_str().unwrap_or_default().is_empty(), "{route} {status}: not described");
            let kinds = fields(&answer["content"]);
            assert!(kinds.iter().all(|(_, it)| it["schema"].is_object()), "{route} {status}: without a schema");
            let is_problem = kinds.iter().any(|(it, _)| it == "application/problem+json");
            assert_eq!(is_problem, status.as_str() >= "400", "{route} {status}");
            let passes = ["429", "503"].contains(&status.as_str());
            assert_eq!(passes, answer["headers"]["Retry-After"].is_object(), "{route} {status}");
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["description"].is_string(), "{route}: {parameter} is not described");
            assert_eq!(parameter["required"] == true, parameter["in"] == "path", "{route}: {parameter}");
        }
    }
    // What is given to the router by `route` is served and not documented.
    let source = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/mod.rs")).unwrap();
    assert!(!source.contains(".route("), "a route is given without its annotation");
}

#[test]
fn every_schema_and_each_of_its_fields_is_described() {
    let document = api::document();
    for (name, schema) in fields(&document["components"]["schemas"]) {
        let of_list = name.starts_with("Page_");
        assert!(of_list || schema["description"].is_string(), "{name} is not described");
        for (field, schema) in fields(&schema["properties"]) {
            // A type that has a name is described where it is defined.
            let is_named = |it: &Value| it["$ref"].is_string();
            let named = is_named(schema) || schema["oneOf"].as_array().is_some_and(|it| it.iter().any(is_named));
            assert!(named || schema["description"].is_string(), "{name}/{field} is not described: {schema}");
        }
    }
}

#[test]
fn every_example_fits_its_schema_and_every_reference_leads_somewhere() {
    let document = api::document();
    let fits = |schema: &Value, example: &Value, at: &str| {
        let mut whole = schema.clone();
        whole["components"] = document["components"].clone();
        let validator = jsonschema::validator_for(&whole).unwrap_or_else(|err| panic!("{at}: {err}"));
        let errors: Vec<String> = validator.iter_errors(example).map(|it| it.to_string()).collect();
        assert!(errors.is_empty(), "{at}: {example} does not fit: {errors:?}");
    };
    let mut examples = 0;
    search(&document, String::new(), &mut |at, map| {
        if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
            assert!(document.pointer(&reference[1..]).is_some(), "{at}: {reference} leads nowhere");
        }
        let described = Value::Object(map.clone());
        if at.contains("/example") {
            return;
        }
        // Of a parameter, a header or a body, the schema is beside the example; of a schema, around it.
        let schema = map.get("schema").unwrap_or(&described);
        let named = map.get("examples").map(fields).unwrap_or_default().into_iter().map(|(_, it)| &it["value"]);
        let listed = map.get("examples").and_then(Value::as_array).into_iter().flatten();
        for example in map.get("example").into_iter().chain(named).chain(listed) {
            examples += 1;
            fits(schema, example, at);
        }
    });
    assert!(examples > 50, "only {examples} examples were found");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_and_its_pages_are_served_and_need_no_other_host() {
    let mut world = World::new(0).await;
    let replica = world.start(&[]).await;
    assert_eq!(world.get(&replica, "/openapi.json").await, api::document());
    let page = world.http.get(format!("{replica}/docs")).send().await.unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; style-src 'self';"), "{policy}");
    let page = page.text().await.unwrap();
    for (route, operation) in operations(&api::document()) {
        let (id, path) = (operation["operationId"].as_str().unwrap(), route.split_once(' ').unwrap().1);
        assert!(page.contains(&format!("id=\"{id}\"")) && page.contains(path), "{route} is not on the page");
    }
    assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("href=\"http"), "{page}");
    for link in page.split("href=\"").skip(1).map(|it| it.split('"').next().unwrap()) {
        match link.strip_prefix('#') {
            Some(id) => assert!(page.contains(&format!("id=\"{id}\"")), "{link} leads nowhere"),
            None => {
                assert_eq!(world.http.get(format!("{replica}{link}")).send().await.unwrap().status(), 200, "{link}")
            }
        }
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_problem_has_a_page_that_says_what_helps() {
    let mut world = World::new(0).await;
    let replica = world.start(&[]).await;
    let id = world.submit(&replica, &job("waits", 10, 0)).await;
    let problem: Value =
        world.http.get(format!("{replica}/jobs/{id}/logs")).send().await.unwrap().json().await.unwrap();
    let code = problem["code"].as_str().unwrap();
    assert_eq!(problem["type"], format!("https://longshore.dev/problems/{code}"));
    let page = world.http.get(format!("{replica}/docs/problems/{code}")).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("What helps") && page.contains("GET /jobs/{id}/logs"), "{page}");
    let none = world.http.get(format!("{replica}/docs/problems/no_such_thing")).send().await.unwrap();
    assert_eq!(none.status(), 404);
    assert_eq!(none.json::<Value>().await.unwrap()["code"], "no_such_problem");
    world.finish().await;
}
