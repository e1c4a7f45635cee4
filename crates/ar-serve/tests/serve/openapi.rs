//! The document matches what the server does.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::client::TestServer;

fn keys(value: &Value) -> BTreeSet<String> {
    value
        .as_object()
        .expect("an object")
        .keys()
        .cloned()
        .collect()
}

#[test]
fn every_path_of_the_document_is_there_and_takes_no_other_method() {
    let server = TestServer::start();
    let document = server.get("/v1/openapi.json").json();
    let paths = document["paths"].as_object().expect("paths");
    for (path, operations) in paths {
        let path = path.replace("{id}", "77");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let answer = server.send(method, &path, "", b"");
            let is_known = operations[&method.to_lowercase()].is_object();
            assert_eq!(
                answer.status != 405,
                is_known,
                "{method} {path}: {}",
                answer.status
            );
            if is_known {
                let documented = &operations[&method.to_lowercase()]["responses"];
                let status = answer.status.to_string();
                assert!(documented[&status].is_object(), "{method} {path}: {status}");
            }
        }
    }
}

#[test]
fn schemas_have_the_properties_of_the_answers() {
    let server = TestServer::start();
    let schemas = &server.get("/v1/openapi.json").json()["components"]["schemas"];
    let id = server.create("{}");
    let video = server.status(id);
    assert_eq!(keys(&video), keys(&schemas["Video"]["properties"]));
    let chosen = &schemas["ChosenOptions"]["properties"];
    assert_eq!(keys(&video["options"]), keys(chosen));
    let model = server.get("/v1/model").json();
    assert_eq!(keys(&model), keys(&schemas["Model"]["properties"]));
    // An unknown option is refused, with the names of the valid ones.
    let refusal = server.post(r#"{"": 0}"#).text();
    for option in keys(&schemas["Options"]["properties"]) {
        assert!(
            refusal.contains(&format!("`{option}`")),
            "{option}: {refusal}"
        );
        let null = server.post(&format!("{{\"{option}\": null}}"));
        let type_of = &schemas["Options"]["properties"][&option]["type"];
        let takes_null = type_of
            .as_array()
            .is_some_and(|types| types.contains(&"null".into()));
        assert_eq!(null.status == 201, takes_null, "{option}: {}", null.text());
    }
    let count = refusal.matches('`').count() / 2 - 1;
    assert_eq!(count, keys(&schemas["Options"]["properties"]).len());
}
