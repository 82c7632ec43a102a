//! The container of a session as the schema has it: in the device, and in each of its processes.
//! It never splits a name that is an id.

use super::super::export::object;
use crate::record::Container;
use serde_json::{Value as Json, json};

/// The schema's `container`, with its `image`.
pub(super) fn of_container(container: &Container) -> Json {
    let (name, tag) = container.image_name();
    let digest = container.repo_digest.as_ref().map(|digest| [format!("repo_digest:{digest}")]);
    let image = object([
        ("uid", json!(format!("sha256:{}", container.image_id))),
        ("name", json!(name)),
        ("tag", json!(tag)),
        ("labels", json!(digest)),
    ]);
    let engine = format!("engine:{} {} ({})", container.engine, container.engine_v, container.rights.word());
    object([
        ("uid", json!(container.id.to_string())),
        ("image", image),
        ("tag", json!(tag)),
        ("runtime", json!(container.runtime)),
        ("labels", json!([engine])),
    ])
}
