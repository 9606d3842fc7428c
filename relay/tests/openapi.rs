//! The OpenAPI document against what is really served: every path answers, and every answer fits its schema.

mod checked;
mod schema;
mod tried;
mod world;

use std::collections::BTreeSet;

use checked::Checked;
use schema::misfit;
use serde_json::{Value, json};
use world::World;

#[tokio::test]
async fn every_documented_path_is_served_and_every_answer_fits_its_schema() {
    let world = World::new().await;
    let document: Value = world.admin().await.get("/v1/openapi.json").await.unwrap();
    let mut checked = Checked {
        document,
        seen: BTreeSet::new(),
    };
    tried::admins(&mut checked, &world).await;
    tried::nodes(&mut checked, &world).await;
    tried::control_planes(&mut checked, &world).await;
    tried::relays(&mut checked, &world).await;
    tried::ends(&mut checked, &world).await;
    let paths = checked.document["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, methods)| {
        methods
            .as_object()
            .unwrap()
            .keys()
            .map(move |method| format!("{method} {path}"))
    });
    let missing: Vec<String> = all
        .filter(|operation| !checked.seen.contains(operation))
        .collect();
    assert_eq!(missing, [] as [String; 0], "documented, and not tried");
    let problem = checked.document["components"]["schemas"]["Problem"].clone();
    assert_eq!(
        misfit(
            &checked.document,
            &problem,
            &json!({ "code": "a", "message": "b" })
        ),
        None
    );
}

/// The check above is worth something only where it fails: each field of an answer is taken out of the document, and documented as
/// something else.
#[tokio::test]
async fn a_document_that_differs_from_the_code_in_one_field_is_found() {
    let world = World::with_network().await;
    let document: Value = world.admin().await.get("/v1/openapi.json").await.unwrap();
    let answer: Value = world.get("/networks/prod").await.unwrap();
    let schema = json!({ "$ref": "#/components/schemas/NetworkInfo" });
    assert_eq!(misfit(&document, &schema, &answer), None);
    let fields: Vec<String> = answer.as_object().unwrap().keys().cloned().collect();
    assert!(fields.len() > 10, "{fields:?}");
    for field in fields {
        let mut lacking = document.clone();
        let known =
            |document: &mut Value| document["components"]["schemas"]["NetworkInfo"]["properties"].take();
        let mut properties = known(&mut lacking);
        properties
            .as_object_mut()
            .unwrap()
            .remove(&field)
            .expect("documented");
        lacking["components"]["schemas"]["NetworkInfo"]["properties"] = properties.clone();
        assert!(
            misfit(&lacking, &schema, &answer).is_some(),
            "{field} is not missed"
        );
        let other = if answer[&field].is_boolean() {
            "string"
        } else {
            "boolean"
        };
        properties[&field] = json!({ "type": other });
        lacking["components"]["schemas"]["NetworkInfo"]["properties"] = properties;
        assert!(
            misfit(&lacking, &schema, &answer).is_some(),
            "{field} may be anything"
        );
    }
}
